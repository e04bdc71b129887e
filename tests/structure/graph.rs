//! Directed graphs by name, and their cycles.

use std::collections::{BTreeMap, BTreeSet};

/// Each node with the nodes that it points to.
pub(crate) type Graph = BTreeMap<String, BTreeSet<String>>;

/// The sets of two or more nodes that all reach each other.
pub(crate) fn cycles(graph: &Graph) -> Vec<Vec<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> =
        graph.keys().map(|node| (node, reachable(graph, node))).collect();
    let mut found: Vec<Vec<String>> = Vec::new();
    for (node, reached) in &reach {
        if found.iter().any(|cycle| cycle.contains(node)) || !reached.contains(*node) {
            continue;
        }
        let mutual =
            reached.iter().filter(|other| reach.get(**other).is_some_and(|back| back.contains(node)));
        found.push(mutual.map(|other| (*other).clone()).collect());
    }
    found
}

fn reachable<'a>(graph: &'a Graph, from: &str) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&String> = graph.get(from).into_iter().flatten().collect();
    while let Some(node) = open.pop() {
        if reached.insert(node) {
            open.extend(graph.get(node).into_iter().flatten());
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    }

    #[test]
    fn a_cycle_is_found_and_a_chain_is_not() {
        assert!(cycles(&graph(&[("a", "b"), ("b", "c")])).is_empty());
        assert_eq!(cycles(&graph(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")])), [["b", "c"]]);
    }
}

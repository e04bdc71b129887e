//! The structure of the sources: no two files import each other in a cycle, and imports follow the layers that
//! `ARCHITECTURE.md` names. `cargo test -p bulkhead-tests --test structure -- --nocapture` prints the figures.

mod graph;
mod modules;

use graph::{Graph, cycles};
use modules::Sources;
use std::path::Path;

/// The crates of the product, with the folder of each.
const CRATES: [(&str, &str); 4] = [
    ("bulkhead_proto", "proto"),
    ("bulkhead_supervisor", "supervisor"),
    ("bulkhead_worker_api", "worker-api"),
    ("bulkhead_worker_analytics", "worker-analytics"),
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn sources(folder: &str) -> Sources {
    Sources::read(&root().join(folder).join("src"))
}

/// The imports whose file lies in `from` and whose target lies in one of `to`, written `file -> file`.
fn imports(graph: &Graph, from: &str, to: &[&str]) -> Vec<String> {
    let within =
        |file: &str, place: &str| file == format!("{place}.rs") || file.starts_with(&format!("{place}/"));
    let edges = graph.iter().filter(|(file, _)| within(file, from));
    let edges = edges.flat_map(|(file, targets)| targets.iter().map(move |target| (file, target)));
    let wrong = edges.filter(|(_, target)| to.iter().any(|place| within(target, place)));
    wrong.map(|(file, target)| format!("{file} -> {target}")).collect()
}

/// The graph of the folders (and files) directly below `place`.
fn folders(graph: &Graph, place: &str) -> Graph {
    let folder = |file: &str| {
        let below = file.strip_prefix(place)?.strip_prefix('/')?;
        let name = below.split('/').next()?.trim_end_matches(".rs");
        (name != "mod").then(|| name.to_owned())
    };
    let mut folders = Graph::new();
    for (file, targets) in graph {
        let Some(from) = folder(file) else { continue };
        let others = targets.iter().filter_map(|target| folder(target)).filter(|to| *to != from);
        folders.entry(from.clone()).or_default().extend(others);
    }
    folders
}

#[test]
fn no_files_import_each_other_in_a_cycle() {
    for (name, folder) in CRATES {
        let sources = sources(folder);
        let found = cycles(&sources.graph());
        let mut lines: Vec<usize> = sources.line_counts().collect();
        lines.sort_unstable();
        println!(
            "{name}: {} files, median {} lines, maximum {} lines, {} cycles",
            lines.len(),
            lines[lines.len() / 2],
            lines[lines.len() - 1],
            found.len()
        );
        assert!(lines.len() > 10, "{folder}: only {} files found", lines.len());
        assert_eq!(found, Vec::<Vec<String>>::new(), "{folder}");
    }
}

#[test]
fn the_core_imports_nothing_that_does_input_or_output() {
    let graph = sources("supervisor").graph();
    let outside =
        ["cli", "config", "control", "listener", "log", "runtime", "store", "sys", "systemd"].as_slice();
    assert!(imports(&graph, "core", &["core/model"]).len() > 20, "the imports of the core are found");
    assert_eq!(imports(&graph, "core", outside), Vec::<String>::new());
}

#[test]
fn imports_in_the_core_run_towards_the_model() {
    let graph = sources("supervisor").graph();
    let folders = folders(&graph, "core");
    println!("folders of the core: {folders:?}");
    let of_model: Vec<_> = folders["model"].iter().collect();
    assert_eq!(of_model, Vec::<&String>::new(), "the model is the lowest layer");
    assert_eq!(cycles(&folders), Vec::<Vec<String>>::new());
}

#[test]
fn the_data_plane_knows_no_policy_and_the_wire_knows_neither() {
    let graph = sources("proto").graph();
    assert!(imports(&graph, "worker", &["shm", "wire"]).len() > 10, "the imports of proto are found");
    assert_eq!(imports(&graph, "wire", &["shm", "worker"]), Vec::<String>::new());
    assert_eq!(
        imports(&graph, "shm", &["worker", "wire/control", "wire/status", "wire/crash"]),
        Vec::<String>::new()
    );
}

#[test]
fn crates_depend_on_proto_alone() {
    for (name, folder) in CRATES {
        let named = sources(folder).crates_named();
        let others: Vec<_> = CRATES.iter().map(|(other, _)| *other).filter(|other| *other != name).collect();
        let used: Vec<_> = others.into_iter().filter(|other| named.contains(*other)).collect();
        let allowed: &[&str] = if name == "bulkhead_proto" { &[] } else { &["bulkhead_proto"] };
        assert_eq!(used, allowed, "{folder}");
    }
}

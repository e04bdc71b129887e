//! The modules of a crate and what each imports, read from its sources.
//!
//! An import counts for the file that defines the imported item: re-exports are followed. Test modules do not count, nor do
//! `mod` declarations.

use crate::graph::Graph;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use syn::{
    Attribute, ItemFn, ItemImpl, ItemMod, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

/// A module path below the crate, such as `["core", "model"]`.
type Module = Vec<String>;

/// The sources of one crate.
pub(crate) struct Sources {
    files: BTreeMap<Module, File>,
}

struct File {
    /// Relative to the crate's `src`.
    path: String,
    lines: usize,
    /// The paths that its code names, resolved to begin below the crate.
    named: Vec<Vec<String>>,
    /// Other crates whose items it names.
    crates: BTreeSet<String>,
    /// What it re-exports: the name (or `*`), and the path of the item.
    exports: Vec<(String, Vec<String>)>,
}

impl Sources {
    /// Reads all files below a crate's `src` that are not tests.
    pub(crate) fn read(src: &Path) -> Self {
        let mut paths = Vec::new();
        rust_files(src, &mut paths);
        let files = paths.iter().filter_map(|path| {
            let relative = path.strip_prefix(src).ok()?.to_str()?.to_owned();
            let module = module_of(&relative);
            if module.iter().any(|part| part == "tests" || part.ends_with("_tests") || part == "testing") {
                return None;
            }
            let text = fs::read_to_string(path).expect("a source file can be read");
            let syntax = syn::parse_file(&text).expect("a source file is valid Rust");
            let mut reader =
                Reader { module: &module, named: Vec::new(), crates: BTreeSet::new(), exports: Vec::new() };
            reader.visit_file(&syntax);
            let Reader { named, crates, exports, .. } = reader;
            Some((module, File { path: relative, lines: text.lines().count(), named, crates, exports }))
        });
        Self { files: files.collect() }
    }

    /// The number of lines of each file.
    pub(crate) fn line_counts(&self) -> impl Iterator<Item = usize> + '_ {
        self.files.values().map(|file| file.lines)
    }

    /// The crates that any file names.
    pub(crate) fn crates_named(&self) -> BTreeSet<String> {
        self.files.values().flat_map(|file| file.crates.iter().cloned()).collect()
    }

    /// Which file imports from which.
    pub(crate) fn graph(&self) -> Graph {
        let mut graph = Graph::new();
        for file in self.files.values() {
            let targets = file.named.iter().filter_map(|path| self.defining(path, 0));
            let targets = targets.map(|target| target.path.clone()).filter(|target| *target != file.path);
            graph.insert(file.path.clone(), targets.collect());
        }
        graph
    }

    /// The file that defines the item at a path.
    fn defining(&self, path: &[String], depth: usize) -> Option<&File> {
        // Re-exports of re-exports end sooner; a limit guards against a cycle of globs.
        const MOST: usize = 8;
        let length = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let file = &self.files[&path[..length]];
        let Some(item) = path.get(length) else { return Some(file) };
        if depth < MOST {
            let exported = file.exports.iter().find(|(name, _)| name == item);
            if let Some((_, origin)) = exported {
                return self.defining(origin, depth + 1);
            }
            let globs = file.exports.iter().filter(|(name, _)| name == "*");
            for (_, origin) in globs {
                let beyond: Vec<_> = origin.iter().chain([item]).cloned().collect();
                if let Some(found) = self.defining(&beyond, depth + 1)
                    && found.path != file.path
                {
                    return Some(found);
                }
            }
        }
        Some(file)
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder can be read") {
        let path = entry.expect("a source folder can be read").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn module_of(relative: &str) -> Module {
    let stem = relative.trim_end_matches(".rs").trim_end_matches("/mod");
    stem.split('/').filter(|part| !matches!(*part, "lib" | "mod")).map(str::to_owned).collect()
}

/// Collects what one file names.
struct Reader<'a> {
    module: &'a Module,
    named: Vec<Vec<String>>,
    crates: BTreeSet<String>,
    exports: Vec<(String, Vec<String>)>,
}

impl Reader<'_> {
    /// The path below the crate, if it begins with `crate`, `self` or `super`.
    fn resolve(&self, path: &[String]) -> Option<Vec<String>> {
        let mut base: Module = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.module.clone(),
            _ => return None,
        };
        let ups = path.iter().take_while(|part| *part == "super").count();
        base.truncate(base.len().checked_sub(ups)?);
        base.extend(path.iter().skip(ups.max(1)).cloned());
        Some(base)
    }

    fn name(&mut self, path: &[String]) {
        match self.resolve(path) {
            Some(path) => self.named.push(path),
            None => self.crates.extend(path.first().filter(|name| name.starts_with("bulkhead_")).cloned()),
        }
    }

    fn tree(&mut self, tree: &UseTree, before: &mut Vec<String>, exported: bool) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(&path.tree, before, exported);
                before.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, before, exported)),
            UseTree::Name(name) => self.leaf(&name.ident.to_string(), None, before, exported),
            UseTree::Rename(rename) => {
                self.leaf(&rename.ident.to_string(), Some(rename.rename.to_string()), before, exported);
            }
            UseTree::Glob(_) => self.leaf("*", None, before, exported),
        }
    }

    fn leaf(&mut self, name: &str, alias: Option<String>, before: &[String], exported: bool) {
        let mut path = before.to_vec();
        if !matches!(name, "self" | "*") {
            path.push(name.to_owned());
        }
        if exported {
            // A path that begins with the name of a child module.
            let origin =
                self.resolve(&path).unwrap_or_else(|| self.module.iter().chain(&path).cloned().collect());
            let visible =
                if name == "self" { before.last().cloned().unwrap_or_default() } else { name.to_owned() };
            self.exports.push((alias.unwrap_or(visible), origin));
        } else {
            self.name(&path);
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|word| word == "test")
    })
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        // A module within the file counts as the file.
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if !is_test(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if is_test(&item.attrs) {
            return;
        }
        let exported = !matches!(item.vis, Visibility::Inherited);
        self.tree(&item.tree, &mut Vec::new(), exported);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if parts.len() > 1 {
            self.name(&parts);
        }
        visit::visit_path(self, path);
    }
}

//! The pages: each row of "What happens when" names a test that exists, and each link leads to a file.

use bulkhead_proto::wire::fault::FaultKind;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder of the page, relative to the repository. Links in the page are relative to it.
const FOLDER: &str = "supervisor";

/// The pages for users and contributors, relative to the repository.
const PAGES: [&str; 9] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "deploy/README.md",
    "supervisor/README.md",
    "tests/README.md",
    "worker-analytics/README.md",
    "worker-api/README.md",
];

const TITLE: &str = "\n## What happens when";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn folder() -> PathBuf {
    root().join(FOLDER)
}

/// The operator's page.
fn page() -> String {
    fs::read_to_string(folder().join("README.md")).unwrap()
}

/// Whether a file has a test of this name: a function whose last attribute is `…test]` or `…test(…)]`.
fn has_test(text: &str, name: &str) -> bool {
    let before = text.split_once(&format!("fn {name}(")).map(|(before, _)| before);
    let attribute = before.and_then(|before| before.rsplit_once("#[")).map(|(_, attribute)| attribute);
    attribute.and_then(|text| text.split([']', '(']).next()).is_some_and(|path| path.ends_with("test"))
}

#[test]
fn each_row_of_what_happens_when_names_a_test_that_exists() {
    let (folder, page) = (folder(), page());
    let section = page.split_once(TITLE).unwrap_or_else(|| panic!("no section {TITLE:?}")).1;
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let rows: Vec<&str> =
        section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| When")).collect();
    assert!(rows.len() >= 49, "the table has only {} rows", rows.len());
    for row in rows {
        // [test](file "name")
        let (file, name) = row
            .rsplit_once("](")
            .and_then(|(_, link)| link.split_once("\")")?.0.split_once(" \""))
            .unwrap_or_else(|| panic!("no test is linked: {row}"));
        let text =
            fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}: {row}"));
        assert!(has_test(&text, name), "{file} has no test {name}: {row}");
    }
}

#[test]
fn the_page_lists_every_fault_kind_in_the_order_of_the_vocabulary() {
    let page = page();
    let row = page.lines().find(|line| line.starts_with("| `bulkhead fault ")).unwrap();
    let kinds: Vec<_> = FaultKind::ALL.iter().map(|kind| format!("`{kind}`")).collect();
    assert!(row.contains(&format!("| {}; only", kinds.join(" "))), "{row}");
    let table = page.lines().skip_while(|line| !line.starts_with("| KIND |")).skip(2);
    let explained: Vec<_> = table.map_while(|line| line.strip_prefix("| ")?.split(" |").next()).collect();
    assert_eq!(explained, kinds);
}

#[test]
fn each_relative_link_of_a_page_leads_to_a_file() {
    for page in PAGES {
        let path = root().join(page);
        let text = fs::read_to_string(&path).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
            assert!(path.with_file_name("").join(target).exists(), "{page} links to {target}");
        }
    }
}

#[test]
fn a_function_without_a_test_attribute_is_not_a_test() {
    let text = "\n#[test]\nfn a() {}\n\n#[tokio::test(start_paused = true)]\nasync fn b() {}\n\n#[allow(x)]\nfn c() {}\n";
    assert_eq!(["a", "b", "c", "d"].map(|name| has_test(text, name)), [true, true, false, false]);
}

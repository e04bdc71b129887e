//! The operator's page: each row of its table "What happens when" names a test that exists.

use bulkhead_proto::words::FaultKind;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder of the page, relative to the repository. Links in the page are relative to it.
const FOLDER: &str = "supervisor";

const TITLE: &str = "\n## What happens when";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FOLDER)
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
fn a_function_without_a_test_attribute_is_not_a_test() {
    let text = "\n#[test]\nfn a() {}\n\n#[tokio::test(start_paused = true)]\nasync fn b() {}\n\n#[allow(x)]\nfn c() {}\n";
    assert_eq!(["a", "b", "c", "d"].map(|name| has_test(text, name)), [true, true, false, false]);
}

//! The table "What happens when" of the README: each line is backed by a test, which is there.

use bulkhead_proto::wire::fault::FaultKind;
use std::{fs, path::Path};

const TITLE: &str = "\n## What happens when";

/// Whether a file has a test of this name: a function whose last attribute is `…test]` or `…test(…)]`.
fn has_test(text: &str, name: &str) -> bool {
    let before = text.split_once(&format!("fn {name}(")).map(|(before, _)| before);
    let attribute = before.and_then(|before| before.rsplit_once("#[")).map(|(_, attribute)| attribute);
    attribute.and_then(|text| text.split([']', '(']).next()).is_some_and(|path| path.ends_with("test"))
}

#[test]
fn every_line_of_the_table_in_the_readme_is_backed_by_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let section = readme.split_once(TITLE).unwrap_or_else(|| panic!("no section {TITLE:?}")).1;
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let rows: Vec<&str> =
        section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| When")).collect();
    assert!(rows.len() >= 25, "the table has shrunk to {} lines", rows.len());
    for row in rows {
        // [test](file "name")
        let (file, name) = row
            .rsplit_once("](")
            .and_then(|(_, link)| link.split_once("\")")?.0.split_once(" \""))
            .unwrap_or_else(|| panic!("no test is named: {row}"));
        let text =
            fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}: {row}"));
        assert!(has_test(&text, name), "{file} has no test {name}: {row}");
    }
}

#[test]
fn the_readme_names_every_fault_in_the_order_of_the_contract() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let row = readme.lines().find(|line| line.starts_with("| `bulkhead fault ")).unwrap();
    let kinds: Vec<_> = FaultKind::ALL.iter().map(|kind| format!("`{kind}`")).collect();
    assert!(row.contains(&format!("| {}; only", kinds.join(" "))), "{row}");
    let table = readme.lines().skip_while(|line| !line.starts_with("| KIND |")).skip(2);
    let explained: Vec<_> = table.map_while(|line| line.strip_prefix("| ")?.split(" |").next()).collect();
    assert_eq!(explained, kinds);
}

#[test]
fn a_function_that_is_no_test_backs_nothing() {
    let text = "\n#[test]\nfn a() {}\n\n#[tokio::test(start_paused = true)]\nasync fn b() {}\n\n#[allow(x)]\nfn c() {}\n";
    assert_eq!(["a", "b", "c", "d"].map(|name| has_test(text, name)), [true, true, false, false]);
}

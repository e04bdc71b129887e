//! `check --json`: the documented form on stdout, and nothing on stderr.

use super::{FILE, bulkhead, dir, output_of};

fn json(text: &str) -> String {
    let dir = dir(text);
    let mut command = bulkhead(dir.path());
    command.args(["check", "--json", "--config", FILE]);
    output_of(command)
}

#[test]
fn json_lists_all_problems_with_their_positions() {
    insta::assert_snapshot!(json("[restart]\ninitial = \"1m\"\nlimit = 0\nmaxx = 1\n"));
}

#[test]
fn json_of_a_valid_file_has_no_problems() {
    insta::assert_snapshot!(json(""));
}

#[test]
fn json_without_a_file_has_null_source_and_position() {
    let dir = dir("");
    let mut command = bulkhead(dir.path());
    command.args(["check", "--json"]).env("BULKHEAD_API_LISTEN", "8080");
    if !std::path::Path::new("/etc/bulkhead/bulkhead.toml").exists() {
        insta::assert_snapshot!(output_of(command));
    }
}

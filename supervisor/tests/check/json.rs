//! `check --json`: the documented shape, on stdout, nothing on stderr.

use super::{FILE, bulkhead, folder, told};

fn json(text: &str) -> String {
    let folder = folder(text);
    let mut command = bulkhead(folder.path());
    command.args(["check", "--json", "--config", FILE]);
    told(command)
}

#[test]
fn json_tells_all_problems_with_their_places() {
    insta::assert_snapshot!(json("[restart]\ninitial = \"1m\"\nlimit = 0\nmaxx = 1\n"));
}

#[test]
fn json_tells_that_all_is_well() {
    insta::assert_snapshot!(json(""));
}

#[test]
fn json_has_no_file_and_no_place_when_there_is_none() {
    let folder = folder("");
    let mut command = bulkhead(folder.path());
    command.args(["check", "--json"]).env("BULKHEAD_API_LISTEN", "8080");
    if !std::path::Path::new("/etc/bulkhead/bulkhead.toml").exists() {
        insta::assert_snapshot!(told(command));
    }
}

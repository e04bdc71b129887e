//! Relative paths.

use super::{load, model::resolve_program};
use std::path::Path;

#[test]
fn every_relative_path_begins_in_the_directory_of_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let text = "state_dir = \"../state\"\napi.token_file = \"token\"\nanalytics.cwd = \"/absolute\"\n\
                [[worker]]\nname = \"w\"\ncwd = \"work\"\ncommand = [\"./w\"]\n";
    std::fs::write(dir.path().join("c.toml"), text).unwrap();
    std::fs::write(dir.path().join("token"), "a-token-of-some-length").unwrap();
    let (config, _) = load(Some(Path::new("c.toml")), &|_| None, dir.path()).unwrap();
    assert_eq!(config.state_dir, dir.path().join("../state"));
    assert_eq!(config.token_file, Some(dir.path().join("token")));
    let worker = config.worker("w").unwrap();
    assert_eq!(worker.cwd, Some(dir.path().join("work")));
    let program = resolve_program(&worker.command[0], Path::new("/bin/bulkhead"), &config.start_dir);
    assert_eq!(program, dir.path().join("w"));
    assert_eq!(config.worker("analytics").unwrap().cwd, Some("/absolute".into()));
}

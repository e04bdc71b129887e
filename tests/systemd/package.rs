//! Builds the Debian package of the binaries under test.

use bulkhead_tests::binaries;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

/// The package.
pub(crate) const FIRST: &str = "/packages/bulkhead.deb";
/// The same package with a later version and one more comment in its configuration.
pub(crate) const SECOND: &str = "/packages/bulkhead-2.deb";

/// The directory with both packages. Builds them if they are older than their sources. The binaries may be unoptimised:
/// the tests check the package.
pub(crate) fn folder() -> PathBuf {
    let binary = binaries::find(binaries::SUPERVISOR);
    let profile = binary.parent().unwrap();
    let folder = profile.join("package");
    fs::create_dir_all(&folder).unwrap();
    // Each test is a separate process.
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let second = folder.join("bulkhead-2.deb");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sources = [root.join("supervisor/Cargo.toml"), root.join("deploy"), root.join("deploy/debian")];
    let binaries = [binaries::SUPERVISOR, binaries::API, binaries::ANALYTICS].map(|name| profile.join(name));
    let newest =
        sources.iter().flat_map(|path| files(path)).chain(binaries).map(|path| modified(&path)).max();
    if !second.exists() || Some(modified(&second)) <= newest {
        build(root, profile, &folder);
    }
    folder
}

fn build(root: &Path, profile: &Path, folder: &Path) {
    let first = folder.join("bulkhead.deb");
    // cargo-deb takes the name of the profile. The directory of the profile "dev" is "debug".
    let name = profile.file_name().unwrap().to_str().unwrap();
    let name = if name == "debug" { "dev" } else { name };
    let binary = profile.join(binaries::SUPERVISOR);
    run_ok(Command::new(root.join("deploy/documents")).arg(binary).arg(profile.join("share")));
    let mut deb = Command::new("cargo");
    deb.args([
        "deb",
        "--quiet",
        "--no-build",
        "--fast",
        "--no-strip",
        "-p",
        "bulkhead-supervisor",
        "--profile",
        name,
    ]);
    run_ok(deb.arg("-o").arg(&first).env("CARGO_TARGET_DIR", profile.parent().unwrap()).current_dir(root));

    let unpacked = tempfile::tempdir().unwrap();
    let tree = unpacked.path().join("tree");
    run_ok(Command::new("dpkg-deb").arg("-R").arg(&first).arg(&tree));
    edit(&tree.join("DEBIAN/control"), |text| text.replace("\nVersion: ", "\nVersion: 1:"));
    edit(&tree.join("etc/bulkhead/bulkhead.toml"), |text| format!("{text}# Version 2.\n"));
    run_ok(Command::new("dpkg-deb").args(["-Zgzip", "-b"]).arg(&tree).arg(folder.join("bulkhead-2.deb")));
}

fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    fs::write(path, change(fs::read_to_string(path).unwrap())).unwrap();
}

fn run_ok(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return vec![path.to_owned()] };
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

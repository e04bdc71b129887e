//! Finds the binaries under test: cargo built them into the same target directory as this test.

use std::path::PathBuf;

/// The supervisor, which is also the operator's command.
pub const SUPERVISOR: &str = "bulkhead";
/// The API worker.
pub const API: &str = "bulkhead-api";
/// The analysis worker.
pub const ANALYTICS: &str = "bulkhead-analytics";

/// The path of a binary of the workspace.
///
/// Cargo does not build the binaries of other packages for a test. `make test` builds them first.
///
/// # Panics
/// If the binary has not been built.
#[must_use]
pub fn find(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().unwrap();
    // A test is target/PROFILE/deps/e2e-HASH. The binaries, also the campaign's, are in target/PROFILE.
    let profile = if folder.ends_with("deps") { folder.parent().unwrap() } else { folder };
    let binary = profile.join(name);
    assert!(
        binary.is_file(),
        "{} is missing: run `make test`, or `cargo build --workspace --bins` before `cargo test -p bulkhead-tests`",
        binary.display()
    );
    binary
}

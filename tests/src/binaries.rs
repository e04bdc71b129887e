//! Finds the binaries under test: those that cargo built into the same target directory as this test.

use std::path::PathBuf;

/// The supervisor and operator's command.
pub const SUPERVISOR: &str = "bulkhead";
/// The API worker.
pub const API: &str = "bulkhead-api";
/// The analysis worker.
pub const ANALYTICS: &str = "bulkhead-analytics";

/// The path of a binary of the workspace.
///
/// Cargo builds no other package's binaries for a test, so `make test` builds them first.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn find(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let beside = own.parent().unwrap();
    // A test is target/PROFILE/deps/e2e-HASH, and the binaries are in target/PROFILE, as the campaign's is.
    let profile = if beside.ends_with("deps") { beside.parent().unwrap() } else { beside };
    let binary = profile.join(name);
    assert!(
        binary.is_file(),
        "{} is missing: run `make test`, or `cargo build --workspace --bins` before `cargo test -p bulkhead-tests`",
        binary.display()
    );
    binary
}

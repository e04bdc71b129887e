//! Where the configuration comes from, and how a file is read.

use super::problem::Issue;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use std::{
    fmt,
    fs::File,
    io::Read as _,
    ops::Range,
    path::{Path, PathBuf},
};

/// The largest configuration file, in bytes: a hundred times what 64 workers need. Bounds the cost of a wrong path.
const MAX_FILE: usize = 1 << 20;

/// Where a configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This file.
    File(PathBuf),
    /// No file; the built-in defaults.
    Defaults,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Defaults => f.write_str("the built-in defaults"),
        }
    }
}

/// Why a file cannot be used, and the text in which `span` is shown.
#[derive(Debug)]
pub(super) struct ReadError {
    pub(super) text: String,
    pub(super) issue: Issue,
    pub(super) span: Option<Range<usize>>,
}

impl From<Issue> for ReadError {
    fn from(issue: Issue) -> Self {
        Self { text: String::new(), issue, span: None }
    }
}

/// Reads a configuration file.
///
/// # Errors
/// The file is missing, unreadable, not a regular file, larger than [`MAX_FILE`], or not UTF-8.
pub(super) fn read(path: &Path) -> Result<String, ReadError> {
    let bytes = read_bytes(path)?;
    String::from_utf8(bytes).map_err(|error| {
        let start = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let issue =
            Issue::new("the file is not valid UTF-8", "invalid byte").with_help("save the file as UTF-8");
        let end = start + char::REPLACEMENT_CHARACTER.len_utf8();
        ReadError { text, issue, span: Some(start..end) }
    })
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Issue> {
    let cannot_read =
        |why: &dyn fmt::Display| Issue::new(format!("cannot read the configuration: {why}"), "");
    // NONBLOCK: opening a FIFO must not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => cannot_read(&"no such file").with_help("check the path"),
        Errno::ACCESS => cannot_read(&"permission denied")
            .with_help("check the permissions of the file and its directories"),
        error => cannot_read(&std::io::Error::from(error)),
    })?;
    let mut file = File::from(file);
    let kind = file.metadata().map_err(|error| cannot_read(&error))?;
    if !kind.is_file() {
        let found = if kind.is_dir() { "it is a directory" } else { "it is not a regular file" };
        return Err(Issue::new(format!("cannot read the configuration: {found}"), "expected a regular file"));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    file.by_ref().take(limit + 1).read_to_end(&mut bytes).map_err(|error| cannot_read(&error))?;
    if bytes.len() > MAX_FILE {
        return Err(
            cannot_read(&"the file is larger than 1 MiB").with_help("check that this is the right file")
        );
    }
    Ok(bytes)
}

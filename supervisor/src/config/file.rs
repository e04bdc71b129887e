//! Reads the text of a configuration, whatever lies at its path.

use super::problem::Fault;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use std::{fs::File, io::Read as _, ops::Range, path::Path};

/// The longest file: a hundred times what 64 workers need. Bounds what a wrong path can cost.
const MAX_FILE: usize = 1 << 20;

/// Why a file is no configuration, with as much of its text as the place of the problem needs.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) text: String,
    pub(super) fault: Fault,
    pub(super) span: Option<Range<usize>>,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { text: String::new(), fault, span: None }
    }
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<String, Refusal> {
    let bytes = bytes(path)?;
    String::from_utf8(bytes).map_err(|error| {
        let start = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let fault =
            Fault::new("found bytes that are not UTF-8", "wanted UTF-8").help("save the file as UTF-8");
        let end = start + char::REPLACEMENT_CHARACTER.len_utf8();
        Refusal { text, fault, span: Some(start..end) }
    })
}

fn bytes(path: &Path) -> Result<Vec<u8>, Fault> {
    let cannot =
        |why: &dyn std::fmt::Display| Fault::new(format!("cannot read the configuration: {why}"), "");
    // Without waiting for the writer of a FIFO.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT => cannot(&"there is no such file"),
        Errno::ACCESS => {
            cannot(&"it may not be read by this user").help("mind the permissions of its directories, too")
        }
        error => cannot(&std::io::Error::from(error)),
    })?;
    let mut file = File::from(file);
    let kind = file.metadata().map_err(|error| cannot(&error))?;
    if !kind.is_file() {
        let found = if kind.is_dir() { "it is a directory" } else { "it is not a regular file" };
        return Err(Fault::new(format!("cannot read the configuration: {found}"), "wanted a file"));
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    file.by_ref().take(most + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
    if bytes.len() > MAX_FILE {
        return Err(cannot(&"it is longer than 1 MiB").help("is it the right file?"));
    }
    Ok(bytes)
}

//! The file of the bearer token: opened anew for each generation of the API, which alone reads it.

use super::spawn_error::SpawnError;
use rustix::fs::{FileType, Mode, OFlags, fstat, open as open_file};
use std::{io, os::fd::OwnedFd, path::Path};

/// Opens the file, which must be a regular file: a pipe would be empty for the next generation.
///
/// # Errors
/// If it cannot be read. This is not a configuration error: a file that is being replaced will exist again
/// soon.
pub(in crate::runtime) fn open(path: &Path) -> Result<OwnedFd, SpawnError> {
    let wrong = |why: &dyn std::fmt::Display| SpawnError {
        text: format!(
            "the token file {} {why}; it is named by api.token_file or is systemd's credential",
            path.display()
        ),
        config: false,
    };
    let unreadable = |error| wrong(&format_args!("cannot be read: {}", io::Error::from(error)));
    // Opening a file that is not a regular one must not block.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open_file(path, flags, Mode::empty()).map_err(unreadable)?;
    let kind = FileType::from_raw_mode(fstat(&file).map_err(unreadable)?.st_mode);
    if kind.is_file() { Ok(file) } else { Err(wrong(&"is not a regular file")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_opened_and_anything_else_is_a_clear_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let absent = open(&file).unwrap_err();
        assert!(!absent.config && absent.text.contains(&file.display().to_string()), "{absent:?}");
        std::fs::write(&file, "secret").unwrap();
        open(&file).unwrap();
        for path in [folder.path(), Path::new("/dev/null")] {
            let error = open(path).unwrap_err();
            assert!(!error.config && error.text.contains("not a regular file"), "{error:?}");
        }
    }
}

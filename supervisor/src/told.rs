//! Errors in one line.

/// An error and its causes, each said once: many errors, ours among them, end with the text of their cause already, and
/// anyhow's `{:#}` would say it again.
#[must_use]
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = text + ": " + &cause;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::shm::{memory::MemoryError, segment::SegmentError};

    #[test]
    fn every_cause_is_said_once() {
        let source = std::io::Error::from_raw_os_error(24);
        let error = SegmentError::System { kind: "events", action: "make it", source };
        let error = anyhow::Error::from(MemoryError::from(error)).context("cannot make the shared memory");
        assert_eq!(
            told(&error),
            "cannot make the shared memory: segment events: cannot make it: Too many open files (os error 24)"
        );
    }

    #[test]
    fn a_cause_that_was_not_said_follows() {
        let error = anyhow::anyhow!("no such file").context("marks").context("cannot begin");
        assert_eq!(told(&error), "cannot begin: marks: no such file");
    }
}

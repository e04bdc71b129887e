//! High-water marks: numbers are reserved on disk in blocks before they are issued, so that no number is issued twice,
//! even after a power failure.

use super::atomic_file::replace;
use anyhow::Context as _;
use bulkhead_proto::wire::ids::{CrashId, Generation, Seq};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

/// Version of the file format.
const VERSION: u32 = 1;

/// Generations and crash ids reserved at once: one disk write per thousand starts.
const BLOCK: u64 = 1_000;

/// Event numbers reserved at once. The API reports when its numbers pass a multiple of half a block. If less than three
/// quarters of a block are left at that time, the next block is reserved. So at least a quarter is always left.
const SEQ_BLOCK: u64 = 1 << 32;

/// Bytes read from the file at most: several times the longest valid file.
const MAX_FILE: u64 = 1 << 10;

/// Upper bound of all numbers: some share a 64-bit word with other bits.
const MAX_NUMBER: u64 = 1 << 62;

/// The largest number that can have been issued. Reserved numbers are larger than issued ones, and stay below
/// [`MAX_NUMBER`].
pub const MAX_ISSUED: u64 = MAX_NUMBER / 2;

/// The first numbers that were never issued; each is at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// The next generation.
    pub generation: Generation,
    /// The next crash report.
    pub crash: CrashId,
    /// The next event.
    pub seq: Seq,
}

/// Content of the file, as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MarksFile {
    version: u32,
    /// Written at an orderly stop: the numbers are exact, and the snapshot matches them.
    clean: bool,
    #[serde(flatten)]
    numbers: Numbers,
}

/// The marks of the running supervisor.
#[derive(Debug)]
pub struct HighWaterMarks {
    path: PathBuf,
    reserved: Numbers,
}

impl HighWaterMarks {
    /// Reads the next numbers, and whether the last run ended in order. `None` before the first run.
    ///
    /// # Errors
    /// The file cannot be read or is damaged. Guessed numbers could be issued twice.
    pub fn read(path: &Path) -> anyhow::Result<Option<(Numbers, bool)>> {
        let cannot = || format!("cannot read {}", path.display());
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(cannot),
        };
        let mut text = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut text).with_context(cannot)?;
        let damaged =
            || format!("{} is damaged; restore it, or start over with an empty state_dir", path.display());
        let content: MarksFile = serde_json::from_slice(&text).with_context(damaged)?;
        anyhow::ensure!(
            content.version == VERSION,
            "{} is in format version {}, this program supports version {VERSION}: use the program that wrote it",
            path.display(),
            content.version
        );
        let Numbers { generation, crash, seq } = content.numbers;
        for (name, number) in [("generation", generation.0), ("crash", crash.0), ("seq", seq.0)] {
            anyhow::ensure!((1..MAX_NUMBER).contains(&number), "{}: {name} is {number}", damaged());
        }
        Ok(Some((content.numbers, content.clean)))
    }

    /// Begins a run. Until [`Self::close`], the file says that this run did not end in order.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(path: &Path, next: Numbers) -> anyhow::Result<Self> {
        let mut marks = Self { path: path.to_owned(), reserved: next };
        marks.reserve_block(next)?;
        Ok(marks)
    }

    /// Reserves these numbers, which are about to be issued, if they are not reserved yet.
    ///
    /// # Errors
    /// The file cannot be written. Call again before the next numbers are issued.
    pub fn reserve(&mut self, next: Numbers) -> anyhow::Result<()> {
        let enough = next.generation < self.reserved.generation
            && next.crash < self.reserved.crash
            && next.seq.0.saturating_add(SEQ_BLOCK / 4 * 3) <= self.reserved.seq.0;
        if enough { Ok(()) } else { self.reserve_block(next) }
    }

    fn reserve_block(&mut self, next: Numbers) -> anyhow::Result<()> {
        let reserved = Numbers {
            generation: Generation(self.reserved.generation.0.max(next.generation.0.saturating_add(BLOCK))),
            crash: CrashId(self.reserved.crash.0.max(next.crash.0.saturating_add(BLOCK))),
            seq: Seq(self.reserved.seq.0.max(next.seq.0.saturating_add(SEQ_BLOCK))),
        };
        write(&self.path, reserved, false)?;
        self.reserved = reserved;
        Ok(())
    }

    /// Ends a run in order, after its snapshot is saved: the next run continues with exactly these numbers.
    ///
    /// # Errors
    /// The file cannot be written. The next run then starts after all reserved numbers.
    pub fn close(&self, next: Numbers) -> anyhow::Result<()> {
        write(&self.path, next, true)
    }
}

fn write(path: &Path, numbers: Numbers, clean: bool) -> anyhow::Result<()> {
    let text = serde_json::to_string(&MarksFile { version: VERSION, clean, numbers })?;
    replace(path, |file| Ok(writeln!(file, "{text}")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(generation: u64, crash: u64, seq: u64) -> Numbers {
        Numbers { generation: Generation(generation), crash: CrashId(crash), seq: Seq(seq) }
    }

    #[test]
    fn there_are_no_marks_before_the_first_run() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(HighWaterMarks::read(&dir.path().join("marks")).unwrap(), None);
    }

    #[test]
    fn after_an_orderly_end_numbering_continues_without_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marks");
        let marks = HighWaterMarks::begin(&path, numbers(1, 1, 1)).unwrap();
        marks.close(numbers(7, 3, 20_001)).unwrap();
        assert_eq!(HighWaterMarks::read(&path).unwrap(), Some((numbers(7, 3, 20_001), true)));
    }

    #[test]
    fn after_a_crash_numbering_continues_after_every_number_that_may_have_been_issued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marks");
        let mut marks = HighWaterMarks::begin(&path, numbers(1, 1, 1)).unwrap();
        for generation in 1..=5_000 {
            let seq = generation << 20;
            marks.reserve(numbers(generation, generation, seq)).unwrap();
            let (reserved, clean) = HighWaterMarks::read(&path).unwrap().unwrap();
            assert!(!clean);
            assert!(
                reserved.generation.0 > generation && reserved.crash.0 > generation && reserved.seq.0 > seq
            );
        }
    }

    #[test]
    fn numbers_are_reserved_in_blocks_so_that_most_starts_need_no_disk_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marks");
        let mut marks = HighWaterMarks::begin(&path, numbers(1, 1, 1)).unwrap();
        std::fs::remove_file(&path).unwrap();
        for generation in 1..=1_000 {
            marks.reserve(numbers(generation, 1, 1)).unwrap();
        }
        assert!(!path.exists(), "nothing was written");
        marks.reserve(numbers(1_001, 1, 1)).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn damaged_marks_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marks");
        for text in [
            "",
            "{",
            "{\"version\":1}",
            "{\"version\":9,\"clean\":true,\"generation\":1,\"crash\":1,\"seq\":1}",
            "{\"version\":1,\"clean\":true,\"generation\":0,\"crash\":1,\"seq\":1}",
            "{\"version\":1,\"clean\":true,\"generation\":1,\"crash\":1,\"seq\":18446744073709551615}",
            &" ".repeat(1 << 20),
            "\u{0}\u{1}",
        ] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", HighWaterMarks::read(&path).unwrap_err());
            assert!(error.contains("marks is"), "{error}");
        }
    }
}

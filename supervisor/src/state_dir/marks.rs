//! High-water marks: numbers are reserved on disk in blocks before they are given out, so that none is given out twice,
//! whatever happens to the machine.

use super::replace;
use anyhow::Context as _;
use bulkhead_proto::wire::ids::{CrashId, Generation, Seq};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

/// The version of the file's form.
const VERSION: u32 = 1;

/// Generations and crash reports are reserved so many at once: a disk write in a thousand starts.
const BLOCK: u64 = 1_000;

/// Events are reserved so many at once. The API tells of every half block that it has begun; unless three quarters are left
/// by then, the next block is reserved, so that no less than a quarter is ever left.
const SEQ_BLOCK: u64 = 1 << 32;

/// The longest file that can be one of ours, in bytes, several times over.
const MAX_FILE: u64 = 1 << 10;

/// No number comes near this: some share their word with other things.
const MAX_NUMBER: u64 = 1 << 62;

/// A number beyond this was never given out: blocks are reserved behind those that were, and all must stay below
/// [`MAX_NUMBER`].
pub const MAX_GIVEN: u64 = MAX_NUMBER / 2;

/// The first numbers that were never given out; at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// The next generation.
    pub generation: Generation,
    /// The next crash report.
    pub crash: CrashId,
    /// The next event.
    pub seq: Seq,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    /// Written at an orderly stop: these numbers are exact, and the snapshot belongs to them.
    clean: bool,
    #[serde(flatten)]
    numbers: Numbers,
}

/// The marks on disk.
#[derive(Debug)]
pub struct Marks {
    path: PathBuf,
    reserved: Numbers,
}

impl Marks {
    /// Reads the marks. Says where numbering goes on, and whether the last run ended in order.
    /// `None` when there was none.
    ///
    /// # Errors
    /// When they cannot be read or are damaged: to guess might give numbers out twice.
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
            || format!("{} is damaged; restore it, or begin anew with an empty state_dir", path.display());
        let written: Written = serde_json::from_slice(&text).with_context(damaged)?;
        anyhow::ensure!(
            written.version == VERSION,
            "{} is of version {}, this program knows {VERSION}: use the program that wrote it",
            path.display(),
            written.version
        );
        let Numbers { generation, crash, seq } = written.numbers;
        for (name, number) in [("generation", generation.0), ("crash", crash.0), ("seq", seq.0)] {
            anyhow::ensure!((1..MAX_NUMBER).contains(&number), "{}: {name} is {number}", damaged());
        }
        Ok(Some((written.numbers, written.clean)))
    }

    /// Begins a run: from now on the last run's end counts as not orderly, until [`Self::close`].
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn begin(path: &Path, next: Numbers) -> anyhow::Result<Self> {
        let mut marks = Self { path: path.to_owned(), reserved: next };
        marks.raise(next)?;
        Ok(marks)
    }

    /// Makes sure that these numbers, which are about to be given out, are reserved.
    ///
    /// # Errors
    /// When they are not and cannot be; to be tried again.
    pub fn reserve(&mut self, next: Numbers) -> anyhow::Result<()> {
        let enough = next.generation < self.reserved.generation
            && next.crash < self.reserved.crash
            && next.seq.0.saturating_add(SEQ_BLOCK / 4 * 3) <= self.reserved.seq.0;
        if enough { Ok(()) } else { self.raise(next) }
    }

    fn raise(&mut self, next: Numbers) -> anyhow::Result<()> {
        let reserved = Numbers {
            generation: Generation(self.reserved.generation.0.max(next.generation.0.saturating_add(BLOCK))),
            crash: CrashId(self.reserved.crash.0.max(next.crash.0.saturating_add(BLOCK))),
            seq: Seq(self.reserved.seq.0.max(next.seq.0.saturating_add(SEQ_BLOCK))),
        };
        write(&self.path, reserved, false)?;
        self.reserved = reserved;
        Ok(())
    }

    /// Ends a run in order, its memory being saved: numbering goes on exactly here.
    ///
    /// # Errors
    /// When they cannot be written; then the next run begins behind all that is reserved.
    pub fn close(&self, next: Numbers) -> anyhow::Result<()> {
        write(&self.path, next, true)
    }
}

fn write(path: &Path, numbers: Numbers, clean: bool) -> anyhow::Result<()> {
    let text = serde_json::to_string(&Written { version: VERSION, clean, numbers })?;
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
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Marks::read(&folder.path().join("marks")).unwrap(), None);
    }

    #[test]
    fn after_an_orderly_end_numbering_goes_on_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks");
        let marks = Marks::begin(&path, numbers(1, 1, 1)).unwrap();
        marks.close(numbers(7, 3, 20_001)).unwrap();
        assert_eq!(Marks::read(&path).unwrap(), Some((numbers(7, 3, 20_001), true)));
    }

    #[test]
    fn after_a_crash_numbering_goes_on_behind_all_that_may_have_been_given_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks");
        let mut marks = Marks::begin(&path, numbers(1, 1, 1)).unwrap();
        for generation in 1..=5_000 {
            let seq = generation << 20;
            marks.reserve(numbers(generation, generation, seq)).unwrap();
            let (reserved, clean) = Marks::read(&path).unwrap().unwrap();
            assert!(!clean);
            assert!(
                reserved.generation.0 > generation && reserved.crash.0 > generation && reserved.seq.0 > seq
            );
        }
    }

    #[test]
    fn numbers_are_reserved_in_blocks_so_that_starts_do_not_wait_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks");
        let mut marks = Marks::begin(&path, numbers(1, 1, 1)).unwrap();
        std::fs::remove_file(&path).unwrap();
        for generation in 1..=1_000 {
            marks.reserve(numbers(generation, 1, 1)).unwrap();
        }
        assert!(!path.exists(), "nothing was written");
        marks.reserve(numbers(1_001, 1, 1)).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn damaged_marks_are_an_error_not_a_guess() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks");
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
            let error = format!("{:#}", Marks::read(&path).unwrap_err());
            assert!(error.contains("marks is"), "{error}");
        }
    }
}

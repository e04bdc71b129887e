//! Names for the frames of a backtrace, from the program's own debug information. It takes tens of milliseconds, on the
//! thread that stores; the same panic of the same program is named once.

use super::program::{self, Places};
use bulkhead_proto::wire::{control::MAX_BACKTRACE, crash::MAX_LINE, text::cut};
use std::{fs::File, os::unix::fs::MetadataExt as _, panic::catch_unwind};

/// Where the frames end that a panic, or a signal's handler, has added itself.
const TELLING_ENDS: [&str; 2] = ["__rust_end_short_backtrace", "bulkhead_proto::worker::signals::handle"];

/// Frames behind that one that say nothing either.
const MACHINERY: [&str; 4] = ["__rustc::", "rust_begin_unwind", "core::panicking::", "std::panicking::"];

/// Where a thread's own frames begin.
const THREAD_BEGINS: &str = "__rust_begin_short_backtrace";

/// What was named last.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    last: Option<(Program, Vec<u64>, Vec<String>)>,
}

/// What tells one program's file from others: device, inode, when it was changed.
type Program = (u64, u64, i64, i64);

impl Symbols {
    /// The frames with their names and places, as far as the program tells them; else as offsets in it.
    pub(super) fn name(&mut self, program: Option<&File>, frames: &[u64]) -> Vec<String> {
        let frames = &frames[..frames.len().min(MAX_BACKTRACE)];
        let of = program.and_then(|file| file.metadata().ok());
        let of = of.map(|meta| (meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec()));
        let (Some(program), Some(of), false) = (program, of, frames.is_empty()) else {
            return offsets(frames);
        };
        if let Some((last, those, named)) = &self.last
            && *last == of
            && those == frames
        {
            return named.clone();
        }
        // Nothing that a worker says may end this thread.
        let named = catch_unwind(|| name(program, frames)).unwrap_or_else(|_| offsets(frames));
        self.last = Some((of, frames.to_vec(), named.clone()));
        named
    }
}

fn name(program: &File, frames: &[u64]) -> Vec<String> {
    // By our own fd: what is at the program's path may be another one by now.
    let Ok(bytes) = program::read(program) else { return offsets(frames) };
    let Some(places) = Places::find(&bytes) else { return offsets(frames) };
    let named = frames.iter().flat_map(|frame| inlined(&places, *frame)).collect();
    own(named).into_iter().map(|line| cut(&line, MAX_LINE).to_owned()).take(MAX_BACKTRACE).collect()
}

/// Frames of which nothing more is known.
fn offsets(frames: &[u64]) -> Vec<String> {
    frames.iter().map(|frame| bare(*frame)).collect()
}

fn bare(frame: u64) -> String {
    format!("{frame:#x}")
}

/// The functions at that place: those that were inlined there first.
fn inlined(places: &Places<'_>, frame: u64) -> Vec<String> {
    // It is where the call returns to, which may be the next line, or another function.
    let call = frame.saturating_sub(1);
    let mut named = places.functions(call);
    // The one that the others were inlined into has its full name in the table of symbols alone.
    let (function, place) = named.pop().unwrap_or_default();
    let whole = places.symbol(call).or(function).map_or_else(|| bare(frame), |name| name + &place);
    let inlined = named.into_iter().filter_map(|(function, place)| Some(function? + &place));
    inlined.chain([whole]).collect()
}

/// Without the frames of the panic or the handler itself, and of the thread's start.
fn own(named: Vec<String>) -> Vec<String> {
    let end = named.iter().position(|line| line.contains(THREAD_BEGINS)).unwrap_or(named.len());
    let telling = |line: &String| TELLING_ENDS.iter().any(|part| line.contains(part));
    let told = named.iter().position(telling).map_or(0, |place| place + 1);
    let machinery = |line: &&String| MACHINERY.iter().any(|part| line.starts_with(part));
    let start = told + named.iter().skip(told).take_while(machinery).count();
    named.into_iter().take(end).skip(start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::worker::backtrace;

    #[test]
    fn frames_of_this_very_program_have_names_and_places() {
        let program = File::open("/proc/self/exe").unwrap();
        let mut symbols = Symbols::default();
        let mut frames = Vec::with_capacity(MAX_BACKTRACE);
        backtrace::prepare();
        backtrace::capture(&mut frames);
        let named = symbols.name(Some(&program), &frames);
        let this = "frames_of_this_very_program_have_names_and_places";
        assert!(named.iter().any(|line| line.contains(this) && line.contains("symbols.rs:")), "{named:#?}");
        assert_eq!(symbols.name(Some(&program), &frames), named, "and again");
    }

    #[test]
    fn frames_without_a_program_or_beyond_it_are_bare() {
        let mut symbols = Symbols::default();
        assert_eq!(symbols.name(None, &[0x10, 0x20]), ["0x10", "0x20"]);
        let program = File::open("/proc/self/exe").unwrap();
        assert_eq!(symbols.name(Some(&program), &[u64::MAX]), ["0xffffffffffffffff"]);
        let none = File::open("/dev/null").unwrap();
        assert_eq!(symbols.name(Some(&none), &[1; 100]), vec!["0x1"; MAX_BACKTRACE]);
    }

    #[test]
    fn what_tells_of_a_hang_is_left_out() {
        let named = [
            "bulkhead_proto::worker::backtrace::capture",
            "bulkhead_proto::worker::signals::handle at s.rs:9",
            "user::spin",
        ];
        assert_eq!(own(named.map(str::to_owned).to_vec()), ["user::spin"]);
    }

    #[test]
    fn the_panics_own_frames_and_the_threads_start_are_left_out() {
        let named = [
            "std::panicking::panic_with_hook at x",
            "std::sys::backtrace::__rust_end_short_backtrace::<f>",
            "__rustc::rust_begin_unwind",
            "core::panicking::panic_fmt",
            "user::apply at a.rs:1",
            "user::main at a.rs:9",
            "std::sys::backtrace::__rust_begin_short_backtrace::<f>",
            "std::rt::lang_start",
        ];
        let own = own(named.map(str::to_owned).to_vec());
        assert_eq!(own, ["user::apply at a.rs:1", "user::main at a.rs:9"]);
        assert_eq!(super::own(vec!["0x1".into()]), ["0x1"]);
    }
}

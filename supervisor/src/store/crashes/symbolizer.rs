//! Resolves the frames of a backtrace to names, from the debug information of the executable. This takes tens of
//! milliseconds, on the thread that writes the reports; a repeated backtrace of the same executable is resolved once. One
//! fault has several: an event is applied by another caller when it is tried again than when it arrives.

use super::debug_info::{self, DebugInfo};
use crate::core::Stack;
use bulkhead_proto::wire::{control::MAX_BACKTRACE, crash::MAX_LINE, text::cut};
use std::{fs::File, os::unix::fs::MetadataExt as _, panic::catch_unwind};

/// The last of the frames that the panic machinery or the signal handler adds to a backtrace.
const HANDLER_ENDS: [&str; 2] = ["__rust_end_short_backtrace", "bulkhead_proto::worker::signals::handle"];

/// Further frames of the panic machinery, after a frame of [`HANDLER_ENDS`].
const PANIC_FRAMES: [&str; 4] = ["__rustc::", "rust_begin_unwind", "core::panicking::", "std::panicking::"];

/// First frame of a thread's own code.
const THREAD_START: &str = "__rust_begin_short_backtrace";

/// The number of backtraces whose names are cached.
const CACHED: usize = 8;

/// Resolves backtraces, and caches the last different ones.
#[derive(Debug, Default)]
pub(super) struct Symbolizer {
    /// Ordered by their last use.
    recent: Vec<Resolved>,
}

/// A backtrace with its names.
#[derive(Debug)]
struct Resolved {
    id: FileId,
    frames: Vec<u64>,
    named: Vec<String>,
}

/// Identity of an executable: device, inode, and modification time in seconds and nanoseconds.
type FileId = (u64, u64, i64, i64);

impl Symbolizer {
    /// Names and source lines of the frames, as far as the executable has them; otherwise hexadecimal offsets.
    pub(super) fn resolve(&mut self, stack: &Stack) -> Vec<String> {
        let frames = &stack.frames[..stack.frames.len().min(MAX_BACKTRACE)];
        let program = stack.program.as_deref();
        let id = program.and_then(|file| file.metadata().ok());
        let id = id.map(|meta| (meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec()));
        let (Some(program), Some(id), false) = (program, id, frames.is_empty()) else {
            return offsets(frames);
        };
        let known = self.recent.iter().position(|known| known.id == id && known.frames == frames);
        let resolved = match known {
            Some(index) => self.recent.remove(index),
            None => {
                // The executable is untrusted: a panic while parsing it must not end this thread.
                let named = catch_unwind(|| resolve(program, frames)).unwrap_or_else(|_| offsets(frames));
                Resolved { id, frames: frames.to_vec(), named }
            }
        };
        let named = resolved.named.clone();
        self.recent.truncate(CACHED - 1);
        self.recent.insert(0, resolved);
        named
    }
}

fn resolve(program: &File, frames: &[u64]) -> Vec<String> {
    // Reads the open file: another executable may be at its path by now.
    let Ok(bytes) = debug_info::read(program) else { return offsets(frames) };
    let Some(info) = DebugInfo::parse(&bytes) else { return offsets(frames) };
    let named = frames.iter().flat_map(|frame| functions_at(&info, *frame)).collect();
    without_machinery(named)
        .into_iter()
        .map(|line| cut(&line, MAX_LINE).to_owned())
        .take(MAX_BACKTRACE)
        .collect()
}

fn offsets(frames: &[u64]) -> Vec<String> {
    frames.iter().map(|frame| format_offset(*frame)).collect()
}

fn format_offset(frame: u64) -> String {
    format!("{frame:#x}")
}

/// The functions at this frame, innermost inlined function first.
fn functions_at(info: &DebugInfo<'_>, frame: u64) -> Vec<String> {
    // A frame is a return address: it may belong to the next line or the next function. The call is before it.
    let call = frame.saturating_sub(1);
    let mut named = info.functions(call);
    // Only the symbol table has the full name of the outermost function.
    let (function, line) = named.pop().unwrap_or_default();
    let outermost = info.symbol(call).or(function).map_or_else(|| format_offset(frame), |name| name + &line);
    let inlined = named.into_iter().filter_map(|(function, line)| Some(function? + &line));
    inlined.chain([outermost]).collect()
}

/// Removes the frames of the panic machinery, of the signal handler, and of the thread start.
fn without_machinery(named: Vec<String>) -> Vec<String> {
    let end = named.iter().position(|line| line.contains(THREAD_START)).unwrap_or(named.len());
    let handler_end = |line: &String| HANDLER_ENDS.iter().any(|part| line.contains(part));
    let handler = named.iter().position(handler_end).map_or(0, |index| index + 1);
    let machinery = |line: &&String| PANIC_FRAMES.iter().any(|part| line.starts_with(part));
    let start = handler + named.iter().skip(handler).take_while(machinery).count();
    named.into_iter().take(end).skip(start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::worker::backtrace;
    use std::sync::Arc;

    fn stack(program: &str, frames: &[u64]) -> Stack {
        Stack { program: Some(Arc::new(File::open(program).unwrap())), frames: frames.to_vec() }
    }

    #[test]
    fn frames_of_the_running_executable_have_names_and_lines() {
        let mut symbolizer = Symbolizer::default();
        let mut frames = Vec::with_capacity(MAX_BACKTRACE);
        backtrace::prepare();
        backtrace::capture(&mut frames);
        let stack = stack("/proc/self/exe", &frames);
        let named = symbolizer.resolve(&stack);
        let this = "frames_of_the_running_executable_have_names_and_lines";
        assert!(
            named.iter().any(|line| line.contains(this) && line.contains("symbolizer.rs:")),
            "{named:#?}"
        );
        assert_eq!(symbolizer.resolve(&stack), named, "the second time from the cache");
    }

    #[test]
    fn backtraces_that_alternate_are_resolved_once_each() {
        let mut symbolizer = Symbolizer::default();
        let mut cached = |frames: &[u64]| {
            symbolizer.resolve(&stack("/proc/self/exe", frames));
            symbolizer.recent.iter().map(|resolved| resolved.frames[0]).collect::<Vec<_>>()
        };
        assert_eq!(cached(&[1]), [1]);
        assert_eq!(cached(&[2]), [2, 1]);
        assert_eq!(cached(&[1]), [1, 2], "it was in the cache");
        let last = (10..30).map(|frame| cached(&[frame])).last().unwrap();
        assert_eq!(last, (22..30).rev().collect::<Vec<_>>());
    }

    #[test]
    fn frames_without_an_executable_or_beyond_it_are_shown_as_offsets() {
        let mut symbolizer = Symbolizer::default();
        let unknown = Stack { program: None, frames: vec![0x10, 0x20] };
        assert_eq!(symbolizer.resolve(&unknown), ["0x10", "0x20"]);
        assert_eq!(symbolizer.resolve(&stack("/proc/self/exe", &[u64::MAX])), ["0xffffffffffffffff"]);
        assert_eq!(symbolizer.resolve(&stack("/dev/null", &[1; 100])), vec!["0x1"; MAX_BACKTRACE]);
    }

    #[test]
    fn the_frames_of_the_signal_handler_are_removed() {
        let named = [
            "bulkhead_proto::worker::backtrace::capture",
            "bulkhead_proto::worker::signals::handle at s.rs:9",
            "user::spin",
        ];
        assert_eq!(without_machinery(named.map(str::to_owned).to_vec()), ["user::spin"]);
    }

    #[test]
    fn the_frames_of_the_panic_machinery_and_the_thread_start_are_removed() {
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
        let own = without_machinery(named.map(str::to_owned).to_vec());
        assert_eq!(own, ["user::apply at a.rs:1", "user::main at a.rs:9"]);
        assert_eq!(without_machinery(vec!["0x1".into()]), ["0x1"]);
    }
}

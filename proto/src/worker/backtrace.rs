//! Backtraces as bare addresses: to capture one takes microseconds, to symbolise it tens of milliseconds. The
//! supervisor, which has the program file, symbolises them later.

use crate::wire::control::MAX_BACKTRACE;
use std::{fs, ops::Range, sync::OnceLock};

/// The address range of this process's program.
static PROGRAM: OnceLock<Range<u64>> = OnceLock::new();

/// Prepares [`capture`]: finds the address range of the program, and makes the unwinder take a first backtrace, during
/// which it may allocate.
pub fn prepare() {
    if let Some(program) = program() {
        let _ = PROGRAM.set(program);
    }
    capture(&mut Vec::with_capacity(MAX_BACKTRACE));
}

/// Writes the return addresses of this thread's frames to `into`, the innermost first, as offsets in the program. Omits
/// frames in libraries. Writes at most the capacity of `into` and at most [`MAX_BACKTRACE`] frames; none before
/// [`prepare`]. Does not allocate: it can run in the middle of an allocation.
pub fn capture(into: &mut Vec<u64>) {
    into.clear();
    let most = into.capacity().min(MAX_BACKTRACE);
    let Some(program) = PROGRAM.get().filter(|_| most > 0) else { return };
    backtrace::trace(|frame| {
        let address = frame.ip().addr() as u64;
        if program.contains(&address) {
            into.push(address - program.start);
        }
        into.len() < most
    });
}

fn program() -> Option<Range<u64>> {
    let here = (prepare as fn() as usize) as u64;
    range(&fs::read_to_string("/proc/self/maps").ok()?, here)
}

/// From the first to the last mapping of the file that contains the address `here`: see proc(5).
fn range(maps: &str, here: u64) -> Option<Range<u64>> {
    let parsed = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        // After permissions, offset and device: inode and path.
        let file = rest.splitn(4, ' ').nth(3)?;
        Some((number(start)?..number(end)?, file))
    });
    let parsed: Vec<_> = parsed.collect();
    let (_, file) = parsed.iter().find(|(range, _)| range.contains(&here))?;
    let mut own = parsed.iter().filter(|(_, other)| other == file).map(|(range, _)| range);
    let first = own.next()?;
    Some(first.start..own.next_back().unwrap_or(first).end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_lies_within_the_program() {
        prepare();
        let program = program().unwrap();
        let mut all = Vec::with_capacity(MAX_BACKTRACE);
        capture(&mut all);
        assert!(all.len() > 3 && all.len() <= MAX_BACKTRACE, "{all:?}");
        assert!(all.iter().all(|frame| *frame < program.end - program.start), "{all:?}");
    }

    #[test]
    fn a_backtrace_is_no_longer_than_the_given_capacity() {
        prepare();
        let (mut none, mut some) = (Vec::new(), Vec::with_capacity(4));
        capture(&mut none);
        capture(&mut some);
        assert_eq!((none.capacity(), some.capacity(), some.len()), (0, 4, 4));
    }

    #[test]
    fn a_program_extends_over_all_mappings_of_its_file() {
        let maps = "5000-6000 r--p 00000000 fe:00 12                         /bin/x\n\
                    6000-7000 r-xp 00001000 fe:00 12                         /bin/x\n\
                    7000-8000 rw-p 00000000 00:00 0 \n\
                    8000-9000 rw-p 00002000 fe:00 12                         /bin/x\n\
                    9000-a000 r-xp 00000000 fe:00 13                         /lib/y\n\
                    nonsense\n";
        assert_eq!(range(maps, 0x6100), Some(0x5000..0x9000));
        assert_eq!(range(maps, 0x9100), Some(0x9000..0xa000));
        assert_eq!(range(maps, 0xb000), None);
        assert_eq!(range("", 1), None);
    }
}

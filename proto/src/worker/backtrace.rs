//! Where a process is, as bare numbers: they are had in microseconds, where names take tens of milliseconds. Whoever holds
//! the program names them later.

use std::{fs, ops::Range, sync::OnceLock};

/// The most frames of a trace.
pub const MAX_FRAMES: usize = 64;

/// Where this process's program lies in its memory.
static PROGRAM: OnceLock<Range<u64>> = OnceLock::new();

/// Makes ready for [`capture`]: finds out where the program lies, and has the unwinder take a first trace, for which it may
/// allocate.
pub fn prepare() {
    if let Some(program) = program() {
        let _ = PROGRAM.set(program);
    }
    capture(&mut Vec::with_capacity(MAX_FRAMES));
}

/// Puts the return addresses of this thread's frames there, the innermost first, as offsets in this process's program; those
/// in libraries are left out. As many as there is room for, at most [`MAX_FRAMES`], and none before [`prepare`]: nothing is
/// allocated, for this may be called in the midst of an allocation.
pub fn capture(into: &mut Vec<u64>) {
    into.clear();
    let most = into.capacity().min(MAX_FRAMES);
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

/// From the first to the last mapping of the file in which that address is: see proc(5).
fn range(maps: &str, here: u64) -> Option<Range<u64>> {
    let parsed = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        // Behind permissions, offset and device: inode and path.
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
    fn a_trace_is_had_and_lies_within_the_program() {
        prepare();
        let program = program().unwrap();
        let mut all = Vec::with_capacity(MAX_FRAMES);
        capture(&mut all);
        assert!(all.len() > 3 && all.len() <= MAX_FRAMES, "{all:?}");
        assert!(all.iter().all(|frame| *frame < program.end - program.start), "{all:?}");
    }

    #[test]
    fn a_trace_takes_no_more_room_than_it_is_given() {
        prepare();
        let (mut none, mut some) = (Vec::new(), Vec::with_capacity(4));
        capture(&mut none);
        capture(&mut some);
        assert_eq!((none.capacity(), some.capacity(), some.len()), (0, 4, 4));
    }

    #[test]
    fn a_program_is_all_mappings_of_its_file() {
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

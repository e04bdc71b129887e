//! An allocator that leaves word of what it was refused, so that a death for want of memory is not taken for a mere abort.

use crate::{shm::cursor, worker::this_process};
use std::alloc::{GlobalAlloc, Layout, System};

/// Neither allocates, nor locks, nor panics: it is called in the midst of an allocation.
#[cold]
fn note(bytes: usize) {
    if let Some((page, generation)) = this_process::cursor_page() {
        cursor::record_allocation_failure(page, generation, bytes as u64);
    }
}

/// Allocates as the allocator within does, by default the system's, and notes what that one refuses on this process's
/// [`this_process`].
#[derive(Debug)]
pub struct OomRecordingAlloc<A = System>(A);

impl OomRecordingAlloc {
    /// Around the system's allocator.
    pub const SYSTEM: Self = Self(System);
}

impl<A> OomRecordingAlloc<A> {
    /// Around an allocator of your own.
    pub const fn around(allocator: A) -> Self {
        Self(allocator)
    }
}

/// Passes an answer on.
fn answered(answer: *mut u8, bytes: usize) -> *mut u8 {
    if answer.is_null() {
        note(bytes);
    }
    answer
}

// SAFETY: every call is passed on as it is, and so is its answer; what is done besides touches neither memory that the
// allocator within has given out, nor that allocator.
unsafe impl<A: GlobalAlloc> GlobalAlloc for OomRecordingAlloc<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises what the allocator within asks for.
        answered(unsafe { self.0.alloc(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above; the block is from the allocator within, since all are.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        answered(unsafe { self.0.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as above; the block is from the allocator within, since all are.
        answered(unsafe { self.0.realloc(block, layout, bytes) }, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        shm::{cursor::Activity, memory::SharedMemory, ring::MIN_CAPACITY},
        wire::ids::{Generation, Seq},
        worker::link::AnalyticsLink,
    };
    use rustix::process::{WaitOptions, waitpid};
    // The compiler may take an allocation that nobody looks at for granted.
    use std::{hint::black_box, sync::Arc};

    fn vast() -> Layout {
        Layout::from_size_align(isize::MAX.unsigned_abs() - 7, 8).unwrap()
    }

    /// How a child that is forked here and refused memory there leaves: by 0 if it got over that.
    fn refused_in_a_fork() -> Option<i32> {
        // SAFETY: what the child does is safe in a fork of many threads: the allocator is the system's, which is made ready.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: the layout is not of size zero.
            let denied = black_box(unsafe { OomRecordingAlloc::SYSTEM.alloc(vast()) });
            // SAFETY: it asks for nothing, and runs nothing of what the parent has registered.
            unsafe { libc::_exit(i32::from(!denied.is_null())) };
        }
        let (_, status) =
            waitpid(rustix::process::Pid::from_raw(pid), WaitOptions::empty()).unwrap().unwrap();
        status.exit_status()
    }

    #[test]
    fn what_is_refused_is_noted_and_what_is_granted_is_not() {
        let memory = SharedMemory::create(MIN_CAPACITY, 1, 1).unwrap();
        let page = AnalyticsLink::open_in_process(&memory).unwrap().cursor;
        cursor::take_over(&page, Generation(7), Seq(0));
        cursor::set_in_flight(&page, Activity::Apply, Seq(1));
        this_process::register(Arc::clone(&page), Generation(7));
        assert_eq!(refused_in_a_fork(), Some(0), "a forked child has no page, and does without");
        let allocator = OomRecordingAlloc::SYSTEM;
        let (small, vast) = (Layout::new::<u64>(), vast());
        // SAFETY: the layout is not of size zero.
        let granted = black_box(unsafe { allocator.alloc_zeroed(small) });
        assert!(!granted.is_null());
        assert_eq!(cursor::allocation_failure(&page), None);
        // SAFETY: the block is this allocator's, of this layout; the new size is not zero, and not too large.
        let denied = black_box(unsafe { allocator.realloc(granted, small, vast.size()) });
        assert!(denied.is_null());
        let noted = cursor::allocation_failure(&page).unwrap();
        assert_eq!((noted.generation, noted.bytes), (Generation(7), vast.size() as u64));
        // SAFETY: a realloc that was refused has left the block as it was.
        unsafe { allocator.dealloc(granted, small) };
    }
}

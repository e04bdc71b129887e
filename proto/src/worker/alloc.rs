//! An allocator that records allocations that the system refuses, so that the supervisor can distinguish an abort for
//! lack of memory from other aborts.

use crate::{shm::cursor, worker::this_process};
use std::alloc::{GlobalAlloc, Layout, System};

/// This function runs in the middle of an allocation: it neither allocates, nor locks, nor panics.
#[cold]
fn record(bytes: usize) {
    if let Some((page, generation)) = this_process::cursor_page() {
        cursor::record_allocation_failure(page, generation, bytes as u64);
    }
}

/// Allocates through an inner allocator, by default the system's, and records each refused allocation on the cursor page of
/// this process ([`this_process`]).
#[derive(Debug)]
pub struct OomRecordingAlloc<A = System>(A);

impl OomRecordingAlloc {
    /// The system's allocator, with recording.
    pub const SYSTEM: Self = Self(System);
}

impl<A> OomRecordingAlloc<A> {
    /// Any other allocator, with recording.
    pub const fn around(allocator: A) -> Self {
        Self(allocator)
    }
}

/// Returns the result of the inner allocator, and records a refusal.
fn checked(block: *mut u8, bytes: usize) -> *mut u8 {
    if block.is_null() {
        record(bytes);
    }
    block
}

// SAFETY: every call and its result are passed on unchanged. The recording touches neither memory that the inner allocator
// has given out, nor that allocator.
unsafe impl<A: GlobalAlloc> GlobalAlloc for OomRecordingAlloc<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds the contract of the inner allocator.
        checked(unsafe { self.0.alloc(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above; the block is from the inner allocator, as all blocks are.
        unsafe { self.0.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        checked(unsafe { self.0.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as above; the block is from the inner allocator, as all blocks are.
        checked(unsafe { self.0.realloc(block, layout, bytes) }, bytes)
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
    // `black_box`: the compiler may remove an allocation that is not used.
    use std::{hint::black_box, sync::Arc};

    fn vast() -> Layout {
        Layout::from_size_align(isize::MAX.unsigned_abs() - 7, 8).unwrap()
    }

    /// Forks a child, in which an allocation is refused. Returns its exit code: 0 if the child survives the refusal.
    fn refused_in_a_fork() -> Option<i32> {
        // SAFETY: what the child does is safe after a fork of a threaded process: it uses only the system's allocator,
        // which supports that.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: the size of the layout is not zero.
            let refused = black_box(unsafe { OomRecordingAlloc::SYSTEM.alloc(vast()) });
            // SAFETY: `_exit` has no preconditions, and runs no handler that the parent has registered.
            unsafe { libc::_exit(i32::from(!refused.is_null())) };
        }
        let (_, status) =
            waitpid(rustix::process::Pid::from_raw(pid), WaitOptions::empty()).unwrap().unwrap();
        status.exit_status()
    }

    #[test]
    fn a_refused_allocation_is_recorded_and_a_granted_one_is_not() {
        let memory = SharedMemory::create(MIN_CAPACITY, 1, 1).unwrap();
        let page = AnalyticsLink::open_in_process(&memory).unwrap().cursor;
        cursor::take_over(&page, Generation(7), Seq(0));
        cursor::set_in_flight(&page, Activity::Apply, Seq(1));
        this_process::register(Arc::clone(&page), Generation(7));
        assert_eq!(refused_in_a_fork(), Some(0), "a forked child has no page and survives a refusal");
        let allocator = OomRecordingAlloc::SYSTEM;
        let (small, vast) = (Layout::new::<u64>(), vast());
        // SAFETY: the size of the layout is not zero.
        let granted = black_box(unsafe { allocator.alloc_zeroed(small) });
        assert!(!granted.is_null());
        assert_eq!(cursor::allocation_failure(&page), None);
        // SAFETY: the block is from this allocator and has this layout; the new size is neither zero nor above the maximum.
        let refused = black_box(unsafe { allocator.realloc(granted, small, vast.size()) });
        assert!(refused.is_null());
        let recorded = cursor::allocation_failure(&page).unwrap();
        assert_eq!((recorded.generation, recorded.bytes), (Generation(7), vast.size() as u64));
        // SAFETY: a refused realloc leaves the block unchanged.
        unsafe { allocator.dealloc(granted, small) };
    }
}

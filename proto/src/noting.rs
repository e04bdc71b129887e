//! An allocator that leaves word of what it was refused, so that a death for want of memory is not taken for a mere abort.

use crate::{cursor, ids::Generation, segment::ReadWrite};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{Arc, OnceLock},
};

/// Where refusals are noted, and by whom.
static PAGE: OnceLock<(Arc<ReadWrite>, Generation)> = OnceLock::new();

/// From now on, what a [`Noting`] allocator of this process is refused is noted on this page, for this generation. It must
/// be the analysis at work, to which the page belongs. Holds for good: a later call changes nothing.
pub fn note_refusals(page: Arc<ReadWrite>, generation: Generation) {
    let _ = PAGE.set((page, generation));
}

/// Neither allocates, nor locks, nor panics: it is called in the midst of an allocation.
#[cold]
fn note(bytes: usize) {
    if let Some((page, generation)) = PAGE.get() {
        cursor::note_refusal(page, *generation, bytes as u64);
    }
}

/// Allocates as the allocator within does, by default the system's, and notes what that one refuses.
#[derive(Debug)]
pub struct Noting<A = System>(A);

impl Noting {
    /// Around the system's allocator.
    pub const SYSTEM: Self = Self(System);
}

impl<A> Noting<A> {
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
unsafe impl<A: GlobalAlloc> GlobalAlloc for Noting<A> {
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
        cursor::Doing,
        ids::Seq,
        link::{AnalyticsLink, Memory},
        ring::MIN_CAPACITY,
    };
    // The compiler may take an allocation that nobody looks at for granted.
    use std::hint::black_box;

    #[test]
    fn what_is_refused_is_noted_and_what_is_granted_is_not() {
        let memory = Memory::create(MIN_CAPACITY, 1, 1).unwrap();
        let page = AnalyticsLink::open_within(&memory).unwrap().cursor;
        cursor::take_over(&page, Generation(7), Seq(0));
        cursor::set_hand(&page, Doing::Apply, Seq(1));
        note_refusals(Arc::clone(&page), Generation(7));
        let allocator = Noting::SYSTEM;
        let small = Layout::new::<u64>();
        let vast = Layout::from_size_align(isize::MAX.unsigned_abs() - 7, 8).unwrap();
        // SAFETY: the layout is not of size zero.
        let granted = black_box(unsafe { allocator.alloc_zeroed(small) });
        assert!(!granted.is_null());
        assert_eq!(cursor::refused(&page), None);
        // SAFETY: the block is this allocator's, of this layout; the new size is not zero, and not too large.
        let denied = black_box(unsafe { allocator.realloc(granted, small, vast.size()) });
        assert!(denied.is_null());
        let noted = cursor::refused(&page).unwrap();
        assert_eq!((noted.generation, noted.bytes), (Generation(7), vast.size() as u64));
        // SAFETY: a realloc that was refused has left the block as it was.
        unsafe { allocator.dealloc(granted, small) };
    }
}

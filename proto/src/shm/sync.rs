//! Memory orderings, each with a name, so that the models can show that each is needed.
//!
//! In a normal build [`at`] and [`fence`] are just the ordering and the fence. Under `--cfg loom` a model may weaken one
//! site at a time; then it must fail (`proto/tests/loom.rs`).

pub use std::sync::atomic::Ordering;

/// One place where an ordering or a fence carries the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// `ring::tail`: the flip that publishes a tail, and with it the records before it.
    TailPublish,
    /// `ring::tail`: a slot is overwritten only behind the flip before it.
    TailOverwrite,
    /// `ring::tail`: the slot is read behind the flip that names it.
    TailRead,
    /// `ring::tail`: the flip is looked at again behind the slot.
    TailRecheck,
    /// `bell`: the consumer looks for work behind its announcement.
    Park,
    /// `bell`: the publisher looks at the epoch behind its publishing.
    Wake,
    /// `table`: the commit's number, behind its record, tags and bodies.
    CommitPublish,
    /// `table`: records, tags and bodies are overwritten only behind the commit before, and bodies behind BUSY.
    CommitOverwrite,
    /// `table`: a record is read behind the commit that names it.
    CommitRead,
    /// `table`: the commit is looked at again behind the record.
    CommitRecheck,
    /// `table`: the tag is looked at again behind the body.
    BodyRecheck,
    /// `board`: the edition, behind its value.
    SeqlockPublish,
    /// `board`: a value is overwritten only behind its new edition.
    SeqlockOverwrite,
    /// `board`: the value is read behind the edition that names it.
    SeqlockRead,
    /// `board`: the slot's edition is looked at again behind the value.
    SeqlockRecheck,
}

#[cfg(not(loom))]
mod plain {
    use super::{Ordering, Site};

    /// The ordering that this site needs.
    #[inline(always)]
    pub(crate) const fn at(_: Site, order: Ordering) -> Ordering {
        order
    }

    /// The fence that this site needs.
    #[inline(always)]
    pub(crate) fn fence(_: Site, order: Ordering) {
        std::sync::atomic::fence(order);
    }

    /// The CRC-32C of some bytes.
    #[inline(always)]
    pub(crate) fn crc(bytes: &[u8]) -> u32 {
        crc32c::crc32c(bytes)
    }
}

#[cfg(not(loom))]
pub(crate) use plain::{at, crc, fence};

#[cfg(loom)]
mod modelled {
    use super::{Ordering, Site};
    use std::sync::Mutex;

    static WEAKENED: Mutex<Option<Site>> = Mutex::new(None);

    /// Weakens one site, or none, in all that follows.
    pub fn weaken(site: Option<Site>) {
        *WEAKENED.lock().unwrap() = site;
    }

    fn weak(site: Site) -> bool {
        *WEAKENED.lock().unwrap() == Some(site)
    }

    pub(crate) fn at(site: Site, order: Ordering) -> Ordering {
        if weak(site) { Ordering::Relaxed } else { order }
    }

    pub(crate) fn fence(site: Site, order: Ordering) {
        if !weak(site) {
            loom::sync::atomic::fence(order);
        }
    }

    /// No check sum in a model: it would catch what an ordering lets through, and hide that the ordering is needed.
    pub(crate) fn crc(_: &[u8]) -> u32 {
        0
    }
}

#[cfg(loom)]
pub use modelled::weaken;
#[cfg(loom)]
pub(crate) use modelled::{at, crc, fence};

//! Named memory orderings, so that the loom models can show that each one is needed.
//!
//! In a normal build, `at` and `fence` are just the ordering and the fence. Under `--cfg loom`, a model can weaken one
//! site at a time; then a model must fail (`proto/tests/loom.rs`).

pub use std::sync::atomic::Ordering;

/// A place where an ordering or a fence is part of the correctness argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// `ring::tail`: the store of the version that publishes a tail, and with it the records before the tail.
    TailPublish,
    /// `ring::tail`: a slot is overwritten only after the previous version was published.
    TailOverwrite,
    /// `ring::tail`: the slot is read after the version that selects it.
    TailRead,
    /// `ring::tail`: the version is read again after the slot.
    TailRecheck,
    /// `wake`: the consumer checks for work after it has stored its epoch.
    PrepareWait,
    /// `wake`: the publisher reads the epoch after it has published.
    Wake,
    /// `table`: the commit number is stored after record, versions and bodies.
    CommitPublish,
    /// `table`: records, versions and bodies are overwritten only after the previous commit was published and had cleared the
    /// versions that it replaced.
    CommitOverwrite,
    /// `table`: a record is read after the commit number that selects it.
    CommitRead,
    /// `table`: the commit number is read again after the record, and after the index.
    CommitRecheck,
    /// `table`: the tag is read again after the body.
    BodyRecheck,
    /// `seqlock`: the version is stored after its value.
    SeqlockPublish,
    /// `seqlock`: the value is overwritten only after the new version is in the slot.
    SeqlockOverwrite,
    /// `seqlock`: the value is read after the version that selects it.
    SeqlockRead,
    /// `seqlock`: the version in the slot is read again after the value.
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

    /// The CRC-32C of `bytes`.
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

    /// Weakens one site, or none, from now on.
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

    /// No checksum in a model: it would detect what a weak ordering lets through, and hide that the ordering is needed.
    pub(crate) fn crc(_: &[u8]) -> u32 {
        0
    }
}

#[cfg(loom)]
pub use modelled::weaken;
#[cfg(loom)]
pub(crate) use modelled::{at, crc, fence};

//! One version of one slot: key, private state, public part, and a CRC over all of it.

use super::layout::{BODY_BYTES, BodySlot};
use crate::shm::sync::crc;
use std::str;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The longest key, in bytes.
pub const MAX_KEY: usize = crate::wire::event::MAX_SERIES;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Head {
    crc: u32,
    slot: u32,
    tag: u64,
    version: u32,
    key: u32,
    state: u32,
    public: u32,
    last_arrival_ms: i64,
}

/// The length of the head of a body, in bytes.
pub(super) const HEAD_BYTES: usize = size_of::<Head>();

/// The most bytes that the key, the state and the public part of a series may have together.
pub const MAX_CONTENT: usize = BODY_BYTES - HEAD_BYTES;

/// The state and the public part of a series do not fit its slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "series {key:?} does not fit its slot: key {}, state {state} and public part {public} bytes; \
     together at most {}",
    key.len(), MAX_CONTENT
)]
pub struct BodyTooLarge {
    /// The name of the series.
    pub key: String,
    /// The length of its encoded state, in bytes.
    pub state: usize,
    /// The length of its public part, in bytes.
    pub public: usize,
}

/// What is stored of a series.
#[derive(Clone, Copy, Debug, Default)]
pub struct Content<'a> {
    /// The name of the series. Empty: the slot has no series.
    pub key: &'a str,
    /// The `VERSION` of the analysis.
    pub version: u32,
    /// When its last event was accepted, in Unix milliseconds.
    pub last_arrival_ms: i64,
    /// The private state, as the analysis encoded it.
    pub state: &'a [u8],
    /// The public part, as the analysis rendered it.
    pub public: &'a [u8],
}

/// A verified body, in private memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    bytes: Vec<u8>,
    key: usize,
    state: usize,
    /// The number of the commit that wrote the body, as the body says.
    pub(super) tag: u64,
    /// The `VERSION` of the analysis that wrote the body.
    pub version: u32,
    /// When the last event of the series was accepted, in Unix milliseconds.
    pub last_arrival_ms: i64,
}

impl Body {
    /// Whether the slot has no series: it was removed.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.key().is_empty()
    }

    /// The name of the series.
    #[must_use]
    pub fn key(&self) -> &str {
        // `parse` has checked the text: the fallback is never taken.
        str::from_utf8(&self.bytes[HEAD_BYTES..self.key]).unwrap_or_default()
    }

    /// The private state, as the analysis encoded it.
    #[must_use]
    pub fn state(&self) -> &[u8] {
        &self.bytes[self.key..self.state]
    }

    /// The public part, as the analysis rendered it. Untrusted.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.bytes[self.state..]
    }

    /// The length of a body according to its head, in bytes. `None` if the lengths are impossible.
    pub(super) fn length(head: &[u8]) -> Option<usize> {
        let (head, _) = Head::read_from_prefix(head).ok()?;
        let parts = [head.key, head.state, head.public].map(|part| part as usize);
        let length = HEAD_BYTES + parts.iter().sum::<usize>();
        (length <= BODY_BYTES && parts[0] <= MAX_KEY).then_some(length)
    }

    /// Verifies a private copy of a body of `slot`.
    pub(super) fn parse(bytes: Vec<u8>, slot: BodySlot) -> Option<Self> {
        let (head, rest) = Head::read_from_prefix(&bytes).ok()?;
        let whole = Self::length(&bytes)? == bytes.len() && head.slot == slot.0;
        if !whole || head.crc != crc(&bytes[size_of::<u32>()..]) {
            return None;
        }
        let Head { tag, version, last_arrival_ms, .. } = head;
        let (key, state) = (head.key as usize, head.state as usize);
        str::from_utf8(&rest[..key]).ok()?;
        let (key, state) = (HEAD_BYTES + key, HEAD_BYTES + key + state);
        Some(Self { key, state, tag, version, last_arrival_ms, bytes })
    }

    /// The key in an unverified body, as far as it is readable; empty if it is not.
    pub(super) fn claimed_key(bytes: &[u8]) -> String {
        let key = Head::read_from_prefix(bytes).ok().and_then(|(head, rest)| rest.get(..head.key as usize));
        let short = key.filter(|key| key.len() <= MAX_KEY);
        short.map(|key| String::from_utf8_lossy(key).into_owned()).unwrap_or_default()
    }

    /// When the last event of the series was accepted, according to the head of an unverified body.
    pub(super) fn claimed_last_arrival_ms(head: &[u8; HEAD_BYTES]) -> i64 {
        let head: Head = zerocopy::transmute!(*head);
        head.last_arrival_ms
    }

    /// Appends a body to `into`.
    pub(super) fn encode(
        into: &mut Vec<u8>,
        (slot, tag): (BodySlot, u64),
        content: Content<'_>,
    ) -> Result<(), BodyTooLarge> {
        let Content { key, version, last_arrival_ms, state, public } = content;
        let too_large = || BodyTooLarge { key: key.to_owned(), state: state.len(), public: public.len() };
        if key.len() > MAX_KEY || key.len() + state.len() + public.len() > MAX_CONTENT {
            return Err(too_large());
        }
        let length = |bytes: usize| u32::try_from(bytes).map_err(|_| too_large());
        let head = Head {
            crc: 0,
            slot: slot.0,
            tag,
            version,
            key: length(key.len())?,
            state: length(state.len())?,
            public: length(public.len())?,
            last_arrival_ms,
        };
        let start = into.len();
        for part in [head.as_bytes(), key.as_bytes(), state, public] {
            into.extend_from_slice(part);
        }
        let crc = crc(&into[start + size_of::<u32>()..]);
        into[start..start + size_of::<u32>()].copy_from_slice(&crc.to_ne_bytes());
        Ok(())
    }
}

//! The body of a series in the arena: a head, the key and the public part with one CRC, then the private state with another.
//! So the public part can be read without the state, which can be much larger.

use super::line::BodySlot;
use crate::shm::sync::crc;
use std::{ops::Deref, str};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The longest key, in bytes.
pub const MAX_KEY: usize = crate::wire::event::MAX_SERIES;

/// The most bytes that the state and the public part of a series may have together.
pub const MAX_CONTENT: usize = 16 << 20;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Head {
    /// Over the rest of the head, the key and the public part.
    public_crc: u32,
    state_crc: u32,
    slot: u32,
    version: u32,
    tag: u64,
    last_arrival_ms: i64,
    key: u32,
    public: u32,
    state: u32,
    reserved: u32,
}

/// The length of the head of a body, in bytes.
pub(super) const HEAD_BYTES: usize = size_of::<Head>();

/// The longest body, in bytes: a whole number of words.
pub(super) const MAX_BODY: usize = (HEAD_BYTES + MAX_KEY + MAX_CONTENT).next_multiple_of(size_of::<u64>());

/// The state and the public part of a series are too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "series {key:?} is too large: key {} bytes (at most {MAX_KEY}), state {state} and public part {public} bytes \
     (together at most {MAX_CONTENT})",
    key.len()
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

/// The lengths of the parts of a body, according to its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    /// Head, key and public part.
    pub(super) front: usize,
    pub(super) state: usize,
}

impl Lengths {
    /// Reads the head of a body. `None` if the lengths are impossible.
    pub(super) fn read(head: &[u8]) -> Option<Self> {
        let (head, _) = Head::read_from_prefix(head).ok()?;
        let [key, public, state] = [head.key, head.public, head.state].map(|part| part as usize);
        let possible = key <= MAX_KEY && public + state <= MAX_CONTENT;
        possible.then_some(Self { front: HEAD_BYTES + key + public, state })
    }
}

/// A verified body without its state, in private memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyFront {
    bytes: Vec<u8>,
    key: usize,
    state_crc: u32,
    /// The number of the commit that wrote the body, as the body says.
    pub(super) tag: u64,
    /// The `VERSION` of the analysis that wrote the body.
    pub version: u32,
    /// When the last event of the series was accepted, in Unix milliseconds.
    pub last_arrival_ms: i64,
}

impl BodyFront {
    /// Verifies a private copy of the front of a body of `slot`.
    pub(super) fn parse(bytes: Vec<u8>, slot: BodySlot) -> Option<Self> {
        let (head, rest) = Head::read_from_prefix(&bytes).ok()?;
        let whole = Lengths::read(&bytes)?.front == bytes.len() && head.slot == slot.0;
        if !whole || head.public_crc != crc(&bytes[size_of::<u32>()..]) {
            return None;
        }
        let key = head.key as usize;
        str::from_utf8(&rest[..key]).ok()?;
        let Head { state_crc, tag, version, last_arrival_ms, .. } = head;
        Some(Self { key: HEAD_BYTES + key, state_crc, tag, version, last_arrival_ms, bytes })
    }

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

    /// The public part, as the analysis rendered it. Untrusted.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.bytes[self.key..]
    }
}

/// A verified body, in private memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    front: BodyFront,
    state: Vec<u8>,
}

impl Deref for Body {
    type Target = BodyFront;

    fn deref(&self) -> &BodyFront {
        &self.front
    }
}

impl Body {
    /// Verifies the state that belongs to a front.
    pub(super) fn parse(front: BodyFront, state: Vec<u8>) -> Option<Self> {
        (front.state_crc == crc(&state)).then_some(Self { front, state })
    }

    /// The private state, as the analysis encoded it.
    #[must_use]
    pub fn state(&self) -> &[u8] {
        &self.state
    }

    /// What the body holds.
    pub(super) fn content(&self) -> Content<'_> {
        Content {
            key: self.key(),
            version: self.version,
            last_arrival_ms: self.last_arrival_ms,
            state: &self.state,
            public: self.public(),
        }
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

    /// Appends a body to `into`, which gets a whole number of words.
    pub(super) fn encode(
        into: &mut Vec<u8>,
        (slot, tag): (BodySlot, u64),
        content: Content<'_>,
    ) -> Result<(), BodyTooLarge> {
        let Content { key, version, last_arrival_ms, state, public } = content;
        let too_large = || BodyTooLarge { key: key.to_owned(), state: state.len(), public: public.len() };
        if key.len() > MAX_KEY || state.len() + public.len() > MAX_CONTENT {
            return Err(too_large());
        }
        let length = |bytes: usize| u32::try_from(bytes).map_err(|_| too_large());
        let head = Head {
            public_crc: 0,
            state_crc: crc(state),
            slot: slot.0,
            version,
            tag,
            last_arrival_ms,
            key: length(key.len())?,
            public: length(public.len())?,
            state: length(state.len())?,
            reserved: 0,
        };
        let start = into.len();
        for part in [head.as_bytes(), key.as_bytes(), public] {
            into.extend_from_slice(part);
        }
        let crc = crc(&into[start + size_of::<u32>()..]);
        into[start..start + size_of::<u32>()].copy_from_slice(&crc.to_ne_bytes());
        into.extend_from_slice(state);
        into.resize(into.len().next_multiple_of(size_of::<u64>()), 0);
        Ok(())
    }
}

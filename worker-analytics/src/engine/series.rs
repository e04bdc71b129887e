//! The states of the series that this generation has used: each is decoded once, and encoded at every commit
//! if it changed.

use super::{damaged_series, render::render, schema_id::SchemaId};
use crate::{
    Analysis,
    state::{self, StateError},
};
use bulkhead_proto::{
    shm::table::{Body, BodySlot, BodyTooLarge, TableMemory, TableWriter},
    wire::series::OVERFLOW_SERIES,
};
use hashbrown::{HashMap, HashSet};
use serde::{Serialize, de::DeserializeOwned};

/// Why a series could not be opened or staged for a commit. The process then exits; the last commit stays
/// valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeriesError {
    /// The state and the rendered form do not fit the slot.
    #[error("{0}. Let the analysis keep or render less per series")]
    TooLarge(#[from] BodyTooLarge),
    /// The encoding cannot hold the state.
    #[error("series {series:?}: the state cannot be stored: {source}")]
    NotStorable {
        /// The name of the series.
        series: String,
        /// The field, and what is wrong with it.
        source: StateError,
    },
    /// The overflow series has no slot either.
    #[error("the state table has no slot left for {OVERFLOW_SERIES:?}: it needs max_series + 1 slots")]
    NoSlot,
}

/// The index of an open series in [`OpenSeries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeriesIndex(usize);

struct Entry<S> {
    key: Box<str>,
    slot: BodySlot,
    state: S,
    dirty: bool,
    /// Whether a state of this series was read again after it was encoded.
    verified: bool,
    /// Whether it could not be rendered at the last commit.
    render_failed: bool,
}

impl<S: Serialize + DeserializeOwned> Entry<S> {
    fn encode(&mut self, into: &mut Vec<u8>) -> Result<(), SeriesError> {
        let mut encoded = state::encode(&self.state, into);
        if !std::mem::replace(&mut self.verified, true) {
            encoded = encoded.and_then(|()| state::verify(&self.state, into));
        }
        encoded.map_err(|source| SeriesError::NotStorable { series: self.key.to_string(), source })
    }
}

/// The series that this generation has opened.
pub(super) struct OpenSeries<A: Analysis> {
    by_key: HashMap<Box<str>, SeriesIndex>,
    entries: Vec<Entry<A::State>>,
    /// The slots of all entries.
    slots: HashSet<BodySlot>,
    /// The series that changed since the last commit.
    dirty: Vec<SeriesIndex>,
    /// When this many series have a slot, events of further ones count under [`OVERFLOW_SERIES`].
    max_series: u32,
    /// The series that have a slot, without the overflow series.
    used: u32,
    resets: u64,
    encoded: Vec<u8>,
    rendered: Vec<u8>,
}

impl<A: Analysis> OpenSeries<A> {
    /// Starts with no open series, on a table that was just activated. `max_series` is the configured limit.
    pub(super) fn new(table: &TableWriter<impl TableMemory>, max_series: u32) -> Self {
        let overflow = table.find(OVERFLOW_SERIES).is_some();
        Self {
            by_key: HashMap::new(),
            entries: Vec::new(),
            slots: HashSet::new(),
            dirty: Vec::new(),
            max_series,
            used: table.record().slots.saturating_sub(overflow.into()),
            resets: 0,
            encoded: Vec::new(),
            rendered: Vec::new(),
        }
    }

    /// The number of series that were reset since the last call.
    pub(super) fn take_resets(&mut self) -> u64 {
        std::mem::take(&mut self.resets)
    }

    /// Whether any series changed since the last commit.
    pub(super) const fn has_changes(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The index of an open series.
    pub(super) fn find(&self, key: &str) -> Option<SeriesIndex> {
        self.by_key.get(key).copied()
    }

    /// The state of a series, to be changed. The next commit includes it.
    pub(super) fn state_mut(&mut self, index: SeriesIndex) -> &mut A::State {
        let entry = &mut self.entries[index.0];
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(index);
        }
        &mut entry.state
    }

    /// Opens a series that is not open yet: loads it, or creates it, or returns the overflow series if there
    /// is no room.
    pub(super) fn open(
        &mut self,
        analysis: &A,
        table: &mut TableWriter<impl TableMemory>,
        key: &str,
    ) -> Result<SeriesIndex, SeriesError> {
        if let Some(slot) = table.find(key) {
            let body = table.load(slot);
            let other_series =
                self.slots.contains(&slot) || body.as_ref().is_some_and(|body| body.key() != key);
            if !other_series {
                return Ok(self.load(analysis, table, key, slot, body));
            }
            // Two names with the same 64-bit hash: a chance of 2^-64 per pair. The second one gets no slot.
            tracing::warn!(
                series = key,
                slot = slot.0,
                "the slot of this series belongs to a series with the same hash; \
                 its events count under {OVERFLOW_SERIES:?}"
            );
        } else if (self.used < self.max_series || key == OVERFLOW_SERIES)
            && let Some(slot) = table.assign(key)
        {
            self.used += u32::from(key != OVERFLOW_SERIES);
            return Ok(self.insert(key, slot, A::State::default()));
        }
        match self.find(OVERFLOW_SERIES) {
            Some(index) => Ok(index),
            None if key == OVERFLOW_SERIES => Err(SeriesError::NoSlot),
            None => {
                self.report_overflow(key);
                self.open(analysis, table, OVERFLOW_SERIES)
            }
        }
    }

    /// Logs, once in each generation, that further series have no slot.
    fn report_overflow(&self, key: &str) {
        tracing::warn!(
            event_name = "series_merged",
            series = key,
            max_series = self.max_series,
            "series_merged: analytics.max_series ({}) is reached: the events of further series, such as {key:?}, count under \
             {OVERFLOW_SERIES:?}; raise analytics.max_series and restart the service",
            self.max_series
        );
    }

    fn insert(&mut self, key: &str, slot: BodySlot, state: A::State) -> SeriesIndex {
        let index = SeriesIndex(self.entries.len());
        self.entries.push(Entry {
            key: key.into(),
            slot,
            state,
            dirty: false,
            verified: false,
            render_failed: false,
        });
        self.by_key.insert(key.into(), index);
        self.slots.insert(slot);
        index
    }

    fn load(
        &mut self,
        analysis: &A,
        table: &TableWriter<impl TableMemory>,
        key: &str,
        slot: BodySlot,
        body: Option<Body>,
    ) -> SeriesIndex {
        let body = body.ok_or_else(|| "the bytes do not match their CRC".to_owned());
        let state = body.and_then(|body| decode(analysis, &body)).unwrap_or_else(|reason| {
            self.resets += 1;
            damaged_series::report(key, slot, &reason, &table.raw_slot(slot));
            A::State::default()
        });
        self.insert(key, slot, state)
    }

    /// Loads and migrates every series of another version. After the next commit, the whole table has the
    /// current version. Calls `on_series` after each one.
    pub(super) fn migrate(
        &mut self,
        analysis: &A,
        table: &TableWriter<impl TableMemory>,
        on_series: impl Fn(),
    ) {
        for slot in (0..table.record().slots).map(BodySlot) {
            let Some(body) = table.load(slot) else { continue };
            let key = body.key().to_owned();
            if SchemaId(body.version) != SchemaId::current::<A>() && self.find(&key).is_none() {
                let index = self.load(analysis, table, &key, slot, Some(body));
                self.state_mut(index);
                on_series();
            }
        }
    }

    /// Stages the changed series for the next commit. Calls `on_series` after each one.
    ///
    /// The first state of each series is read again: a state that the encoding cannot hold is refused before anything
    /// is committed.
    pub(super) fn stage(
        &mut self,
        analysis: &A,
        table: &mut TableWriter<impl TableMemory>,
        on_series: impl Fn(),
    ) -> Result<(), SeriesError> {
        for index in self.dirty.drain(..) {
            let entry = &mut self.entries[index.0];
            entry.dirty = false;
            entry.render_failed =
                render(analysis, &entry.key, &entry.state, entry.render_failed, &mut self.rendered);
            entry.encode(&mut self.encoded)?;
            table.stage(entry.slot, SchemaId::current::<A>().0, &entry.key, &self.encoded, &self.rendered)?;
            on_series();
        }
        Ok(())
    }
}

/// The state that a body holds, migrated if it is of an earlier version. The error is the reason for people.
pub(super) fn decode<A: Analysis>(analysis: &A, body: &Body) -> Result<A::State, String> {
    let schema = SchemaId(body.version);
    if schema == SchemaId::current::<A>() {
        return state::decode(body.state()).map_err(|error| format!("the state cannot be decoded: {error}"));
    }
    let version =
        schema.readable_version::<A>().ok_or("the state has a version that this analysis cannot migrate")?;
    let migrated = analysis.migrate(version, body.state());
    migrated.map_err(|error| format!("the state cannot be migrated from version {version}: {error}"))
}

//! The states of the series that this generation has used: each is decoded once, and encoded at every commit
//! if it changed. A series that is removed keeps its slot until the commit.

use super::{damaged_series, expiry::Expiry, render::render, schema_id::SchemaId};
use crate::{
    Analysis,
    state::{self, StateError},
};
use bulkhead_proto::{
    shm::table::{Body, BodySlot, BodyTooLarge, Content, TableMemory, TableWriter},
    wire::series::OVERFLOW_SERIES,
    worker::settings::Settings,
};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use serde::{Serialize, de::DeserializeOwned};
use smol_str::SmolStr;
use std::{cmp::Reverse, hash::BuildHasher, mem};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SeriesIndex(usize);

struct Entry<S> {
    key: SmolStr,
    slot: BodySlot,
    state: S,
    /// When its last event was accepted, in Unix milliseconds. `None`: there was none since the series was created or removed.
    last_arrival: Option<i64>,
    dirty: bool,
    /// Whether a state of this series was read again after it was encoded.
    verified: bool,
    /// Whether it could not be rendered at the last commit.
    render_failed: bool,
}

impl<S: Serialize + DeserializeOwned> Entry<S> {
    fn encode(&mut self, into: &mut Vec<u8>) -> Result<(), SeriesError> {
        let mut encoded = state::encode(&self.state, into);
        if !mem::replace(&mut self.verified, true) {
            encoded = encoded.and_then(|()| state::verify(&self.state, into));
        }
        encoded.map_err(|source| SeriesError::NotStorable { series: self.key.to_string(), source })
    }
}

/// What happened to series since the last commit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Series that were reset because their slots did not verify.
    pub(super) resets: u64,
    /// Series that were removed on request.
    pub(super) removed: u64,
    /// Series that expired.
    pub(super) expired: u64,
}

/// The series that this generation has opened.
pub(super) struct OpenSeries<A: Analysis> {
    /// By the names in `entries`: short ones are in the entry itself, so that a lookup touches little memory.
    by_key: HashTable<SeriesIndex>,
    hasher: DefaultHashBuilder,
    entries: Vec<Entry<A::State>>,
    by_slot: HashMap<BodySlot, SeriesIndex>,
    /// The series that changed since the last commit.
    dirty: Vec<SeriesIndex>,
    /// When this many series have a slot, events of further ones count under [`OVERFLOW_SERIES`].
    max_series: u32,
    /// The series that have a slot, without the overflow series.
    used: u32,
    pub(super) expiry: Expiry,
    counts: Counts,
    encoded: Vec<u8>,
    rendered: Vec<u8>,
}

impl<A: Analysis> OpenSeries<A> {
    /// Starts with no open series, on a table that was just activated.
    pub(super) fn new(table: &TableWriter<impl TableMemory>, settings: &Settings) -> Self {
        let overflow = table.find(OVERFLOW_SERIES).is_some();
        Self {
            by_key: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            entries: Vec::new(),
            by_slot: HashMap::new(),
            dirty: Vec::new(),
            max_series: settings.max_series,
            used: table.record().series.saturating_sub(overflow.into()),
            expiry: Expiry::new(settings.expire_ms),
            counts: Counts::default(),
            encoded: Vec::new(),
            rendered: Vec::new(),
        }
    }

    /// What happened since the last call.
    pub(super) fn take_counts(&mut self) -> Counts {
        mem::take(&mut self.counts)
    }

    /// Whether any series changed since the last commit.
    pub(super) const fn has_changes(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The index of an open series.
    pub(super) fn find(&self, key: &str) -> Option<SeriesIndex> {
        let found = self.by_key.find(self.hasher.hash_one(key), |index| self.entries[index.0].key == key);
        found.copied()
    }

    /// The state of a series, to be changed by an event with this arrival. The next commit includes it. A series that has
    /// ended begins anew.
    pub(super) fn state_mut(&mut self, index: SeriesIndex, arrival: i64) -> &mut A::State {
        self.mark_dirty(index);
        let entry = &mut self.entries[index.0];
        let last = entry.last_arrival.unwrap_or(arrival);
        if self.expiry.has_ended(last, arrival) {
            entry.state = A::State::default();
            self.counts.expired += 1;
        }
        entry.last_arrival = Some(arrival);
        &mut entry.state
    }

    fn mark_dirty(&mut self, index: SeriesIndex) {
        let entry = &mut self.entries[index.0];
        if !mem::replace(&mut entry.dirty, true) {
            self.dirty.push(index);
        }
    }

    /// Removes a series with the next commit. Nothing happens if there is none.
    pub(super) fn remove(&mut self, table: &TableWriter<impl TableMemory>, key: &str) {
        let unopened = || table.find(key).filter(|slot| !self.by_slot.contains_key(slot));
        let index = match self.find(key) {
            Some(index) => index,
            None => match unopened() {
                // A state that does not verify can be removed, too.
                Some(slot) if table.load(slot).is_none_or(|body| body.key() == key) => {
                    self.insert(key, slot, A::State::default(), Some(0))
                }
                Some(_) | None => return,
            },
        };
        self.counts.removed += u64::from(self.end(index));
    }

    /// Removes the series of a slot with the next commit, because it has expired. A slot that does not verify is kept.
    pub(super) fn expire(&mut self, table: &TableWriter<impl TableMemory>, slot: BodySlot) {
        let index = match self.by_slot.get(&slot) {
            Some(index) => *index,
            None => {
                let Some(body) = table.load(slot).filter(|body| !body.is_free()) else { return };
                self.insert(body.key(), slot, A::State::default(), Some(body.last_arrival_ms))
            }
        };
        self.end(index);
        self.counts.expired += 1;
        self.expiry.count();
    }

    /// Ends a series: its next event begins it anew, and without one the next commit removes it. `false`: it had ended.
    fn end(&mut self, index: SeriesIndex) -> bool {
        self.mark_dirty(index);
        let entry = &mut self.entries[index.0];
        entry.state = A::State::default();
        entry.last_arrival.take().is_some()
    }

    /// When the last event of the series in a slot was accepted. `None`: the slot has none.
    pub(super) fn last_arrival(&self, table: &TableWriter<impl TableMemory>, slot: BodySlot) -> Option<i64> {
        match self.by_slot.get(&slot) {
            Some(index) => self.entries[index.0].last_arrival,
            None => table.last_arrival_ms(slot),
        }
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
                self.by_slot.contains_key(&slot) || body.as_ref().is_some_and(|body| body.key() != key);
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
            return Ok(self.insert(key, slot, A::State::default(), None));
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
             {OVERFLOW_SERIES:?}; remove series, or raise analytics.max_series and restart the service",
            self.max_series
        );
    }

    fn insert(
        &mut self,
        key: &str,
        slot: BodySlot,
        state: A::State,
        last_arrival: Option<i64>,
    ) -> SeriesIndex {
        let index = SeriesIndex(self.entries.len());
        self.entries.push(Entry {
            key: key.into(),
            slot,
            state,
            last_arrival,
            dirty: false,
            verified: false,
            render_failed: false,
        });
        let Self { by_key, hasher, entries, .. } = self;
        by_key.insert_unique(hasher.hash_one(key), index, |index| hasher.hash_one(&*entries[index.0].key));
        self.by_slot.insert(slot, index);
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
        let last_arrival = body.as_ref().map(|body| body.last_arrival_ms);
        let body = body.ok_or_else(|| "the bytes do not match their CRC".to_owned());
        let state = body.and_then(|body| decode(analysis, &body)).unwrap_or_else(|reason| {
            self.counts.resets += 1;
            damaged_series::report(key, slot, &reason, &table.raw_slot(slot));
            A::State::default()
        });
        self.insert(key, slot, state, last_arrival)
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
            let Some(body) = table.load(slot).filter(|body| !body.is_free()) else { continue };
            let key = body.key().to_owned();
            if SchemaId(body.version) != SchemaId::current::<A>() && self.find(&key).is_none() {
                let index = self.load(analysis, table, &key, slot, Some(body));
                self.mark_dirty(index);
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
        let mut removed = Vec::new();
        // In the order of their slots, mostly: neighbours share pages and cache lines.
        self.dirty.sort_unstable();
        for index in self.dirty.drain(..) {
            let entry = &mut self.entries[index.0];
            entry.dirty = false;
            let Some(last_arrival_ms) = entry.last_arrival else {
                table.stage_removal(entry.slot, &entry.key)?;
                removed.push(index);
                continue;
            };
            entry.render_failed =
                render(analysis, &entry.key, &entry.state, entry.render_failed, &mut self.rendered);
            entry.encode(&mut self.encoded)?;
            let content = Content {
                key: &entry.key,
                version: SchemaId::current::<A>().0,
                last_arrival_ms,
                state: &self.encoded,
                public: &self.rendered,
            };
            table.stage(entry.slot, content)?;
            on_series();
        }
        removed.sort_unstable_by_key(|index: &SeriesIndex| Reverse(index.0));
        removed.into_iter().for_each(|index| self.close(index));
        Ok(())
    }

    /// Forgets a series whose removal is staged. The last entry takes its place.
    fn close(&mut self, index: SeriesIndex) {
        let closed = self.entries.swap_remove(index.0);
        self.replace_key(&closed.key, index, None);
        self.by_slot.remove(&closed.slot);
        self.used -= u32::from(closed.key != OVERFLOW_SERIES);
        if let Some(moved) = self.entries.get(index.0) {
            let (key, slot) = (moved.key.clone(), moved.slot);
            self.replace_key(&key, SeriesIndex(self.entries.len()), Some(index));
            self.by_slot.insert(slot, index);
        }
    }

    /// Changes the index of a name, or removes it.
    fn replace_key(&mut self, key: &str, old: SeriesIndex, new: Option<SeriesIndex>) {
        let found = self.by_key.find_entry(self.hasher.hash_one(key), |index| *index == old);
        if let Ok(mut found) = found {
            match new {
                Some(new) => *found.get_mut() = new,
                None => drop(found.remove()),
            }
        }
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

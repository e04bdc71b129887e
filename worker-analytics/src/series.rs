//! The states of the series that this generation touched: decoded once, encoded again at a commit if they changed.

use crate::{Analysis, lost, version::Stamp};
use bulkhead_proto::{
    shm::table::{BODY_BYTES, Body, BodySlot, BodyTooLarge, TableMemory, TableWriter},
    wire::{codec, series::OVERFLOW_SERIES},
};
use hashbrown::{HashMap, HashSet};

/// Why a series could not be opened or prepared for a commit. The process ends then; nothing is lost by that.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeriesError {
    /// It does not fit its slot.
    #[error("{0}. Let the analysis keep or show less of a series")]
    TooLarge(#[from] BodyTooLarge),
    /// The analysis shows something that the API could not serve.
    #[error("series {series:?}: render must give a JSON object; it gave {found}")]
    NoObject {
        /// The series.
        series: String,
        /// What was rendered, in short.
        found: String,
    },
    /// Not even the overflow series has a slot.
    #[error("the state table has no slot left for {OVERFLOW_SERIES:?}: it needs one more than max_series")]
    NoSlot,
}

/// A series that is open, by its place among those of this generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(usize);

struct Entry<S> {
    key: Box<str>,
    slot: BodySlot,
    state: S,
    dirty: bool,
}

/// The series of one generation.
pub(crate) struct Series<A: Analysis> {
    places: HashMap<Box<str>, Place>,
    entries: Vec<Entry<A::State>>,
    /// The slots of the entries.
    taken: HashSet<BodySlot>,
    dirty: Vec<Place>,
    /// Further series than these count under [`OVERFLOW_SERIES`].
    most: u32,
    used: u32,
    resets: u64,
    encoded: Vec<u8>,
    rendered: Vec<u8>,
}

impl<A: Analysis> Series<A> {
    /// The series of a table that was just activated; `most` is the limit of the configuration.
    pub(crate) fn new(table: &TableWriter<impl TableMemory>, most: u32) -> Self {
        let overflow = table.find(OVERFLOW_SERIES).is_some();
        Self {
            places: HashMap::new(),
            entries: Vec::new(),
            taken: HashSet::new(),
            dirty: Vec::new(),
            most,
            used: table.record().slots.saturating_sub(overflow.into()),
            resets: 0,
            encoded: vec![0; BODY_BYTES],
            rendered: Vec::new(),
        }
    }

    /// How many series were reset since this was asked last.
    pub(crate) fn take_resets(&mut self) -> u64 {
        std::mem::take(&mut self.resets)
    }

    /// Whether any series changed since the last commit.
    pub(crate) const fn changed(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The place of a series that is open.
    pub(crate) fn find(&self, key: &str) -> Option<Place> {
        self.places.get(key).copied()
    }

    /// The state at a place, to be changed: it is part of the next commit.
    pub(crate) fn change(&mut self, place: Place) -> &mut A::State {
        let entry = &mut self.entries[place.0];
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(place);
        }
        &mut entry.state
    }

    /// Opens a series that is not open: loads it or begins it, or finds the one that counts what is too many.
    pub(crate) fn open(
        &mut self,
        analysis: &A,
        table: &mut TableWriter<impl TableMemory>,
        key: &str,
    ) -> Result<Place, SeriesError> {
        if let Some(slot) = table.find(key) {
            let body = table.load(slot);
            let foreign = self.taken.contains(&slot) || body.as_ref().is_some_and(|body| body.key() != key);
            if !foreign {
                return Ok(self.load(analysis, table, key, slot, body));
            }
            // Two names of one hash: 2^-64 a pair by chance. The second has no slot of its own.
            tracing::warn!(series = key, slot = slot.0, "its slot is taken by a series of the same hash");
        } else if (self.used < self.most || key == OVERFLOW_SERIES)
            && let Some(slot) = table.assign(key)
        {
            self.used += u32::from(key != OVERFLOW_SERIES);
            return Ok(self.insert(key, slot, A::State::default()));
        }
        match self.find(OVERFLOW_SERIES) {
            Some(place) => Ok(place),
            None if key == OVERFLOW_SERIES => Err(SeriesError::NoSlot),
            None => self.open(analysis, table, OVERFLOW_SERIES),
        }
    }

    fn insert(&mut self, key: &str, slot: BodySlot, state: A::State) -> Place {
        let place = Place(self.entries.len());
        self.entries.push(Entry { key: key.into(), slot, state, dirty: false });
        self.places.insert(key.into(), place);
        self.taken.insert(slot);
        place
    }

    fn load(
        &mut self,
        analysis: &A,
        table: &TableWriter<impl TableMemory>,
        key: &str,
        slot: BodySlot,
        body: Option<Body>,
    ) -> Place {
        let read = body.ok_or_else(|| "its bytes do not match their CRC".to_owned());
        let state = read.and_then(|body| decode(analysis, &body)).unwrap_or_else(|why| {
            self.resets += 1;
            lost::report(key, slot, &why, &table.raw_slot(slot));
            A::State::default()
        });
        self.insert(key, slot, state)
    }

    /// Brings every series of another version to this one, so that the table is of one version after the next commit.
    /// `done` is told of each.
    pub(crate) fn migrate(&mut self, analysis: &A, table: &TableWriter<impl TableMemory>, done: impl Fn()) {
        for slot in (0..table.record().slots).map(BodySlot) {
            let Some(body) = table.load(slot) else { continue };
            let key = body.key().to_owned();
            if Stamp(body.version) != Stamp::own::<A>() && self.find(&key).is_none() {
                let place = self.load(analysis, table, &key, slot, Some(body));
                self.change(place);
                done();
            }
        }
    }

    /// Stages what changed for the next commit. `done` is told of each series.
    pub(crate) fn stage(
        &mut self,
        analysis: &A,
        table: &mut TableWriter<impl TableMemory>,
        done: impl Fn(),
    ) -> Result<(), SeriesError> {
        for place in self.dirty.drain(..) {
            let entry = &mut self.entries[place.0];
            entry.dirty = false;
            render(analysis, &entry.key, &entry.state, &mut self.rendered)?;
            let Ok(length) = codec::encode(&entry.state, &mut self.encoded) else {
                return Err(too_large::<A>(entry, self.rendered.len()).into());
            };
            let state = &self.encoded[..length];
            table.stage(entry.slot, Stamp::own::<A>().0, &entry.key, state, &self.rendered)?;
            done();
        }
        Ok(())
    }
}

fn decode<A: Analysis>(analysis: &A, body: &Body) -> Result<A::State, String> {
    let stamp = Stamp(body.version);
    if stamp == Stamp::own::<A>() {
        return codec::decode(body.state()).map_err(|error| format!("its state is {error}"));
    }
    let version = stamp.version::<A>().ok_or("it is of a version that this analysis cannot migrate")?;
    let migrated = analysis.migrate(version, body.state());
    migrated.ok_or_else(|| format!("it could not be migrated from version {version}"))
}

fn render<A: Analysis>(
    analysis: &A,
    series: &str,
    state: &A::State,
    into: &mut Vec<u8>,
) -> Result<(), SeriesError> {
    into.clear();
    let found = match serde_json::to_writer(&mut *into, &analysis.render(series, state)) {
        Ok(()) if into.first() == Some(&b'{') => return Ok(()),
        Ok(()) => String::from_utf8_lossy(into).chars().take(40).collect(),
        Err(error) => error.to_string(),
    };
    Err(SeriesError::NoObject { series: series.to_owned(), found })
}

/// The error of a state that does not even fit the buffer, with its true size.
fn too_large<A: Analysis>(entry: &Entry<A::State>, public: usize) -> BodyTooLarge {
    let whole = bincode::encode_to_vec(&entry.state, bincode::config::standard());
    BodyTooLarge { key: entry.key.to_string(), state: whole.map_or(usize::MAX, |bytes| bytes.len()), public }
}

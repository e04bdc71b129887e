//! The run to which all others are compared: one analysis, no restart.

use super::{Failure, Problem};
use crate::{Analysis, Event, engine::begin_of, state};
use bulkhead_proto::shm::table::MAX_CONTENT;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// A series after one event.
#[derive(PartialEq)]
pub(super) struct Moment {
    pub(super) state: Vec<u8>,
    pub(super) rendered: Value,
}

impl Moment {
    /// Encodes and renders a series.
    pub(super) fn of<A: Analysis>(analysis: &A, series: &str, state: &A::State) -> Result<Self, Problem> {
        let mut encoded = Vec::new();
        state::encode(state, &mut encoded).map_err(Problem::NotStorable)?;
        let json = serde_json::to_vec(&analysis.render(series, state));
        let json = json.map_err(|error| Problem::NotAnObject(error.to_string()))?;
        let rendered: Value =
            serde_json::from_slice(&json).map_err(|error| Problem::NotAnObject(error.to_string()))?;
        if !rendered.is_object() {
            return Err(Problem::NotAnObject(begin_of(&json)));
        }
        if encoded.len() + json.len() > MAX_CONTENT {
            return Err(Problem::TooLarge { state: encoded.len(), rendered: json.len() });
        }
        Ok(Self { state: encoded, rendered })
    }
}

/// What the series of each event was after that event.
pub(super) struct Reference(Vec<Moment>);

impl Reference {
    pub(super) fn record<A: Analysis>(analysis: &A, events: &[Event<'_>]) -> Result<Self, Failure> {
        let mut states: HashMap<&str, A::State> = HashMap::new();
        let moments = events.iter().enumerate().map(|(index, event)| {
            let state = states.entry(event.series).or_default();
            let moment = apply(analysis, state, event);
            moment.map_err(|problem| Failure { event: index, series: event.series.to_owned(), problem })
        });
        Ok(Self(moments.collect::<Result<_, _>>()?))
    }

    /// The series of this event after the event.
    pub(super) fn after(&self, event: usize) -> &Moment {
        &self.0[event]
    }

    /// What readers of each series see after the last event.
    pub(super) fn into_rendered(self, events: &[Event<'_>]) -> BTreeMap<String, Value> {
        let moments = self.0.into_iter().map(|moment| moment.rendered);
        events.iter().map(|event| event.series.to_owned()).zip(moments).collect()
    }
}

fn apply<A: Analysis>(analysis: &A, state: &mut A::State, event: &Event<'_>) -> Result<Moment, Problem> {
    event.encode(&mut Vec::new()).map_err(Problem::Event)?;
    analysis.apply(state, event);
    let moment = Moment::of(analysis, event.series, state)?;
    state::verify(state, &moment.state).map_err(Problem::NotStorable)?;
    Ok(moment)
}

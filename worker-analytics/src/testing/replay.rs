//! The same events once more, with commits and restarts.

use super::{
    Failure, Problem,
    reference::{Moment, Reference},
};
use crate::{Analysis, Event, StateError, state};
use std::collections::{HashMap, hash_map::Entry};

/// What happens after an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Continue,
    /// All changed series are stored.
    Commit,
    /// The analysis dies. Another one continues after the last commit.
    Crash,
    /// A commit, and then a crash.
    Restart,
}

/// The open states, and those of the last commit.
struct Run<'e, A: Analysis> {
    analysis: A,
    open: HashMap<&'e str, A::State>,
    committed: HashMap<&'e str, Vec<u8>>,
    /// The number of events that the last commit covers.
    covered: usize,
}

/// Applies the events, and compares the series of each event with the reference. `step` chooses what happens after an
/// event, `when` describes it.
pub(super) fn replay<'e, A: Analysis>(
    new: &impl Fn() -> A,
    events: &'e [Event<'e>],
    reference: &Reference,
    when: &str,
    mut step: impl FnMut() -> Step,
) -> Result<(), Failure> {
    let mut run = Run { analysis: new(), open: HashMap::new(), committed: HashMap::new(), covered: 0 };
    let mut next = 0;
    while let Some(event) = events.get(next) {
        let index = next;
        let failed = |problem| Failure { event: index, series: event.series.to_owned(), problem };
        run.apply(event, reference.after(index), when).map_err(failed)?;
        next += 1;
        let step = step();
        if matches!(step, Step::Commit | Step::Restart) {
            run.commit(next).map_err(failed)?;
        }
        if matches!(step, Step::Crash | Step::Restart) {
            run.analysis = new();
            run.open.clear();
            next = run.covered;
        }
    }
    Ok(())
}

impl<'e, A: Analysis> Run<'e, A> {
    fn apply(&mut self, event: &Event<'e>, expected: &Moment, when: &str) -> Result<(), Problem> {
        let state = match self.open.entry(event.series) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(match self.committed.get(event.series) {
                Some(bytes) => state::decode(bytes).map_err(Problem::NotStorable)?,
                None => A::State::default(),
            }),
        };
        self.analysis.apply(state, event);
        let found = Moment::of(&self.analysis, event.series, state)?;
        if found == *expected {
            return Ok(());
        }
        let wanted = state::decode::<A::State>(&expected.state).map_err(Problem::NotStorable)?;
        state::compare(&wanted, state, when).map_err(Problem::StateDiffers)?;
        let rendered: Result<(), StateError> = state::compare(&expected.rendered, &found.rendered, when);
        rendered.map_err(Problem::RenderedDiffers)
    }

    fn commit(&mut self, covered: usize) -> Result<(), Problem> {
        for (series, state) in &self.open {
            state::encode(state, self.committed.entry(series).or_default()).map_err(Problem::NotStorable)?;
        }
        self.covered = covered;
        Ok(())
    }
}

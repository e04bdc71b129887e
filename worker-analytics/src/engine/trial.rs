//! A trial: several events in a row have failed, and the supervisor must know whether this program can apply any event.

use super::{Engine, EngineError};
use crate::{Analysis, supervisor_link::SupervisorLink};
use bulkhead_proto::{
    shm::{
        access::WriteWords,
        cursor::{self, Activity},
        table::TableMemory,
    },
    wire::{
        control::Trial,
        event::Input,
        ids::{Position, Seq},
    },
};
use std::mem;

impl<A: Analysis, L: SupervisorLink, M: TableMemory, C: WriteWords> Engine<A, L, M, C> {
    /// Applies one pending event, and encodes and renders its series as for a commit. Commits nothing: the engine must not
    /// be used afterwards. `false`: there is no event to try yet.
    pub(crate) fn try_event(&mut self, trial: Trial) -> Result<bool, EngineError> {
        let Some((seq, begin)) = self.find_event(trial)? else { return Ok(false) };
        // Where the record begins: if this process dies, the supervisor must find the event.
        self.processed.1 = begin;
        self.apply(seq)?;
        cursor::set_in_flight(&self.cursor, Activity::Apply, seq);
        self.series.stage(&self.analysis, &mut self.table, || cursor::count_step(&self.cursor))?;
        cursor::set_in_flight(&self.cursor, Activity::Idle, seq);
        Ok(true)
    }

    /// The event to try, and where its record begins. Its bytes are in `self.payload`.
    fn find_event(&mut self, Trial { after, target }: Trial) -> Result<Option<(Seq, Position)>, EngineError> {
        let (mut found, mut bytes) = (None, Vec::new());
        loop {
            let begin = self.consumer.position();
            let Some(seq) = self.consumer.next(&mut bytes)? else { return Ok(found) };
            // The removal of a series runs no code of the analysis.
            let is_removal = matches!(Input::decode(&bytes), Ok(Input::Removal(_)));
            if seq > after && !is_removal {
                mem::swap(&mut bytes, &mut self.payload);
                found = Some((seq, begin));
            }
            if seq >= target {
                return Ok(found);
            }
        }
    }
}

//! A commit in the name of a generation that never was.

use crate::Supervisor;
use bulkhead_proto::{
    shm::{
        state_memory::StateMemory,
        table::{CommitHeader, TableWriter},
    },
    wire::ids::Generation,
    worker::{
        fds::{FdName, InheritedFds},
        pipe::Received,
    },
};

/// Commits what is committed already, under another's number; then it leaves when it is told to.
pub(crate) fn as_another(supervisor: &Supervisor, mut fds: InheritedFds) {
    let memory = StateMemory::map(fds.take(FdName::State).unwrap()).unwrap();
    let mut table = TableWriter::attach(memory).unwrap();
    table.activate();
    let last = *table.record();
    table
        .commit(CommitHeader {
            generation: Generation(u64::MAX),
            seq: last.seq,
            position: last.position,
            version: last.version,
            analysed: last.analysed,
            skipped: last.skipped,
            resets: last.resets,
            at_ms: last.at_ms,
        })
        .unwrap();
    println!("signed as another");
    while let Ok(Received::Frame(_)) = supervisor.from.recv() {}
}

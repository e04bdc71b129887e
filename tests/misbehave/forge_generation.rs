//! A commit with the number of a generation that does not exist.

use crate::control_pipes::ControlPipes;
use bulkhead_proto::{
    shm::{
        state_memory::StateMemory,
        table::{CommitRecord, TableWriter},
    },
    wire::ids::Generation,
    worker::{
        fds::{FdName, InheritedFds},
        pipe::Received,
        settings::Settings,
    },
};

/// Repeats the last commit with another generation's number. Returns when the supervisor closes the control pipe or asks
/// the worker to exit.
pub(crate) fn commit(pipes: &ControlPipes, mut fds: InheritedFds) {
    let slots = Settings::from_env().unwrap().slots();
    let memory = StateMemory::map(fds.take(FdName::State).unwrap(), slots).unwrap();
    let mut table = TableWriter::attach(memory, slots).unwrap();
    table.activate();
    let forged = CommitRecord { generation: Generation(u64::MAX), ..*table.record() };
    table.commit(forged).unwrap();
    println!("committed with a forged generation");
    while let Ok(Received::Frame(_)) = pipes.from.recv() {}
}

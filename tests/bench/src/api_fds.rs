//! The fds that an API would inherit.

use anyhow::Context as _;
use bulkhead_proto::{shm::memory::SharedMemory, worker::fds::FdHandoff};
use std::{collections::BTreeMap, os::fd::OwnedFd};

/// What an API would inherit: the variable that lists the fds, and the fds by name.
pub(crate) fn api_fds(memory: &SharedMemory) -> anyhow::Result<(String, BTreeMap<String, OwnedFd>)> {
    let mut fds = FdHandoff::default();
    memory.pass_to_api(&mut fds)?;
    let variable = fds.variable();
    let names =
        variable.split(',').filter_map(|entry| entry.split_once('=')).map(|(name, _)| name.to_owned());
    // The fds have the order of their names.
    let by_name = names.zip(fds.into_fds()).collect();
    Ok((variable, by_name))
}

/// Takes one of them.
pub(crate) fn take(fds: &mut BTreeMap<String, OwnedFd>, name: &str) -> anyhow::Result<OwnedFd> {
    fds.remove(name).with_context(|| format!("an API inherits no fd named {name}"))
}

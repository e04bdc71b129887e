//! Makes the files of sockets again that were removed.

use super::event_loop::Supervisor;
use crate::{
    core::{Command, Event},
    display::error_chain,
    listener::Listener,
};
use bulkhead_proto::wire::role::Role;
use std::path::Path;

impl Supervisor {
    /// Makes the files of sockets again, if they were removed.
    pub(super) fn restore_socket_files(&mut self) {
        if self.state.refusal().is_some() {
            return;
        }
        if !self.control.socket.file().exists() {
            let restored = self.control.socket.reopen();
            self.restored("control socket", self.control.socket.file().path(), restored);
        }
        if let Some(file) = self.children.spawner.listener.file.as_ref().filter(|file| !file.exists()) {
            let path = file.path().to_owned();
            let restored = self.reopen_listener();
            self.restored("socket of the API", &path, restored);
        }
        if let Some(path) =
            self.children.spawner.listener.file_of_systemd.as_ref().filter(|path| !path.exists())
        {
            tracing::error!(
                "the socket of the API {} was removed: no client can connect to it; it belongs to systemd, which creates it \
                 again when both units are stopped and started: `systemctl stop bulkhead.socket bulkhead`, then `systemctl start \
                 bulkhead.socket bulkhead`",
                path.display()
            );
        }
    }

    fn restored(&self, what: &str, path: &Path, restored: anyhow::Result<()>) {
        let path_shown = path.display();
        match restored {
            Ok(()) => {
                tracing::warn!("the {what} {path_shown} was removed: created again");
                self.socket_watch.add(path);
            }
            Err(error) => tracing::error!(
                "the {what} {path_shown} was removed and cannot be created again: {}; SIGHUP tries again",
                error_chain(&error)
            ),
        }
    }

    /// Opens another socket at the same address, and replaces the API, which inherits it. The old one serves the connections that
    /// it has.
    fn reopen_listener(&mut self) -> anyhow::Result<()> {
        let listener = Listener::open(&self.children.spawner.listener.address)?;
        self.probes.idle.listen_to(listener.fd.try_clone()?);
        self.children.spawner.listener = listener;
        let api = self.state.workers.iter().find(|worker| worker.role == Role::Api);
        if let Some(name) = api.map(|worker| worker.name.clone()) {
            let client = self.control.new_client();
            self.drive(Event::Command { client, command: Command::Replace(name) });
        }
        Ok(())
    }
}

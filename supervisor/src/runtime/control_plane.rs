//! The control plane: the control socket, and the clients that wait for an answer.
//!
//! Each client is answered at most once; a client whose channel is dropped reads that the supervisor is stopping.

use crate::{
    control::{protocol::Reply, server::ControlSocket},
    core::ClientId,
};
use bulkhead_proto::wire::ids::{Generation, Seq};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Where the answer to a client goes.
pub(super) type ReplyTo = oneshot::Sender<Reply>;

/// The clients of the control socket.
pub(super) struct ControlPlane {
    // Its file is removed on drop.
    pub(super) socket: ControlSocket,
    /// The clients that wait for the reply to a command, with the worker that the command concerns.
    clients: BTreeMap<ClientId, (Option<String>, ReplyTo)>,
    next_client: ClientId,
    /// The clients that wait for the replay of a quarantined event, with the API that is to append it.
    replays: Vec<(Seq, Generation, ReplyTo)>,
}

impl ControlPlane {
    pub(super) const fn new(socket: ControlSocket) -> Self {
        Self { socket, clients: BTreeMap::new(), next_client: ClientId(1), replays: Vec::new() }
    }

    /// A number that was never used.
    pub(super) fn new_client(&mut self) -> ClientId {
        let client = self.next_client;
        self.next_client = ClientId(client.0.saturating_add(1));
        client
    }

    /// Adds a client that waits for the reply to a command.
    pub(super) fn add(&mut self, worker: Option<String>, reply: ReplyTo) -> ClientId {
        let client = self.new_client();
        self.clients.insert(client, (worker, reply));
        client
    }

    /// Removes a client that is to be answered, with the worker that its command concerns.
    pub(super) fn take(&mut self, client: ClientId) -> Option<(Option<String>, ReplyTo)> {
        self.clients.remove(&client)
    }

    /// Removes disconnected clients, to make room for others.
    pub(super) fn take_closed(&mut self) -> Vec<ClientId> {
        let closed = self.clients.extract_if(.., |_, (_, reply)| reply.is_closed());
        closed.map(|(client, _)| client).collect()
    }

    /// Adds a client that waits until this generation of the API has replayed the event.
    pub(super) fn add_replay(&mut self, seq: Seq, api: Generation, reply: ReplyTo) {
        self.replays.retain(|(.., reply)| !reply.is_closed());
        self.replays.push((seq, api, reply));
    }

    /// Removes the clients that wait for the replay of this event.
    pub(super) fn take_replays(&mut self, seq: Seq) -> Vec<ReplyTo> {
        self.replays.extract_if(.., |(waits_for, ..)| *waits_for == seq).map(|(.., reply)| reply).collect()
    }

    /// Removes the clients that wait for a replay by this generation of the API.
    pub(super) fn take_replays_by(&mut self, api: Generation) -> Vec<ReplyTo> {
        self.replays.extract_if(.., |(_, by, _)| *by == api).map(|(.., reply)| reply).collect()
    }
}

//! Starts and drains the HTTP server without losing a request.
//!
//! It uses hyper directly. `axum::serve` has no header timeout and no bounded stop. `axum-server`
//! - drops a connection that it accepts at the moment of its graceful stop, which would lose a request when one
//!   generation replaces another;
//! - limits connections only after it has accepted them. Here, excess connections wait in the backlog, for this
//!   generation or the next.

use super::{
    acceptor::{Acceptor, ServerPhase},
    conn_limits::ConnLimits,
    limits::Limits,
    listener::Listener,
    service::ApiService,
};
use bulkhead_proto::{wire::control::FromWorker, worker::pipe::Sender};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle},
};

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    service: Arc<ApiService>,
    conn_limits: Arc<ConnLimits>,
    /// The acceptor and each connection hold a receiver: the channel closes when the last of them has ended.
    phase: watch::Sender<ServerPhase>,
    accept_task: JoinHandle<()>,
}

impl Server {
    /// Starts to accept connections and to serve them.
    pub(crate) fn start(listener: Listener, service: ApiService, limits: Limits) -> Self {
        let service = Arc::new(service);
        let (phase, receiver) = watch::channel(ServerPhase::Serving);
        let acceptor = Acceptor::new(listener, Arc::clone(&service), limits, receiver);
        let conn_limits = Arc::clone(&acceptor.conn_limits);
        Self { service, conn_limits, phase, accept_task: tokio::spawn(acceptor.run()) }
    }

    /// Answers a ping of the supervisor on the threads that serve requests, so that there is no answer if these are
    /// stuck.
    pub(crate) fn answer_ping(&self, number: u64, out: Arc<Sender<FromWorker>>) {
        let conn_limits = Arc::clone(&self.conn_limits);
        drop(tokio::spawn(async move { conn_limits.answer_ping(number, out) }));
    }

    /// Resolves when the accept task ends, which only a panic can cause.
    pub(crate) async fn accept_failed(&mut self) -> JoinError {
        loop {
            if let Err(error) = (&mut self.accept_task).await {
                return error;
            }
        }
    }

    /// Stops accepting, finishes the requests in flight, and returns when all connections have ended or `timeout` has
    /// passed. Returns how many connections were left.
    pub(crate) async fn drain(self, timeout: Duration) -> usize {
        self.service.start_draining();
        // An error means that no receiver is left, which is the goal.
        let _ = self.phase.send(ServerPhase::Draining);
        let _ = tokio::time::timeout(timeout, self.phase.closed()).await;
        self.phase.receiver_count()
    }
}

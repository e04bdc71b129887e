//! A load generator: clients that post events while a test restarts or changes the service.

use crate::machine::{Machine, client};
use bulkhead_tests::http::RequestError;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

/// Clients that post at the same time.
const CLIENTS: usize = 4;

/// Clients that post until [`LoadGenerator::stop_and_check`].
pub(crate) struct LoadGenerator {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl LoadGenerator {
    /// Starts the clients. Each event uses a new connection, since a closed socket would refuse only new connections.
    pub(crate) fn start(machine: &Machine) -> Self {
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..CLIENTS)
            .map(|_| {
                let (stop, accepted) = (Arc::clone(&stop), Arc::clone(&accepted));
                machine.spawn_in_network(move || {
                    while !stop.load(Ordering::Relaxed) {
                        post();
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Self { stop, accepted, clients }
    }

    /// The number of accepted events.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Waits until 50 more events are accepted.
    pub(crate) fn wait_for_progress(&self, machine: &Machine) {
        let target = self.accepted() + 50;
        machine.wait_until("50 more events to be accepted", || {
            assert!(!self.clients.iter().any(JoinHandle::is_finished), "a client failed");
            self.accepted() >= target
        });
    }

    /// Stops the clients and checks that each accepted event was counted once.
    pub(crate) fn stop_and_check(self, machine: &Machine) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
        machine.wait_until("all accepted events to be committed", || {
            machine.get_json("/v1/stats")["pending"] == 0
        });
        let counted = &machine.get_json("/v1/series/load")["count"];
        assert_eq!(
            *counted,
            self.accepted.load(Ordering::Relaxed),
            "the number of counted events differs from the number of accepted events"
        );
    }
}

/// Posts an event. The connection must not be refused, and the response must be 202.
fn post() {
    match client().post_events(r#"{"series":"load","value":1}"#) {
        Ok(response) => assert_eq!(response.status, 202, "{response:?}"),
        Err(RequestError::Refused) => panic!("a connection was refused"),
        Err(RequestError::Broken(reason)) => panic!("a request has no response: {reason}"),
    }
}

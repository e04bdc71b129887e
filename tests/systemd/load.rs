//! Clients that go on posting events while things happen to the service.

use crate::machine::{Machine, client};
use bulkhead_tests::http::Failure;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

/// So many post at once.
const CLIENTS: usize = 4;

/// They post until they are told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins; each event comes over a connection of its own, for these are what a closed socket would refuse.
    pub(crate) fn on(machine: &Machine) -> Self {
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..CLIENTS)
            .map(|_| {
                let (stop, accepted) = (Arc::clone(&stop), Arc::clone(&accepted));
                machine.inside(move || {
                    while !stop.load(Ordering::Relaxed) {
                        post();
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Self { stop, accepted, clients }
    }

    /// How many events were accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Waits until a good many more were accepted.
    pub(crate) fn goes_on(&self, machine: &Machine) {
        let wanted = self.accepted() + 50;
        machine.until("further events to be accepted", || {
            assert!(!self.clients.iter().any(JoinHandle::is_finished), "a client has failed");
            self.accepted() >= wanted
        });
    }

    /// Ends it, and sees that each accepted event was counted once.
    pub(crate) fn end(self, machine: &Machine) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
        machine.until("all accepted events to be committed", || machine.json("/v1/stats")["pending"] == 0);
        let counted = &machine.json("/v1/series/load")["count"];
        assert_eq!(*counted, self.accepted.load(Ordering::Relaxed), "accepted, and counted");
    }
}

/// Every request is answered, and none is refused.
fn post() {
    match client().post_events(r#"{"series":"load","value":1}"#) {
        Ok(answer) => assert_eq!(answer.status, 202, "{answer:?}"),
        Err(Failure::Refused) => panic!("a connection was refused"),
        Err(Failure::Broken(why)) => panic!("a request was not answered: {why}"),
    }
}

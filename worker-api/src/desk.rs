//! Requests to the supervisor, and their answers.

use crate::problem::{Kind, Problem};
use bulkhead_proto::{
    wire::control::{FromWorker, Request, RequestOutcome},
    worker::pipe::{Sender, Sent},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// How long an answer is waited for. The supervisor answers in microseconds, if it is not stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many requests may wait for answers: a pipe holds 16 packets, each way.
const MAX_WAITING: usize = 8;

/// Where handlers leave requests for the supervisor.
#[derive(Debug)]
pub(crate) struct Desk {
    out: Arc<Sender<FromWorker>>,
    next: AtomicU64,
    used: AtomicBool,
    waiting: Mutex<HashMap<u64, oneshot::Sender<RequestOutcome>>>,
}

impl Desk {
    pub(crate) fn new(out: Arc<Sender<FromWorker>>) -> Self {
        Self { out, next: AtomicU64::new(1), used: AtomicBool::new(false), waiting: Mutex::default() }
    }

    /// Asks the supervisor, and waits a bounded time for what it says.
    ///
    /// # Errors
    /// When it does not answer, does not know, or refuses.
    pub(crate) async fn ask(&self, request: Request) -> Result<(), Problem> {
        self.used.store(true, Ordering::Relaxed);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket { desk: self, id };
        let answer = self.enter(id)?;
        match self.out.send(&FromWorker::Request { id, request }) {
            Ok(Sent::Done) => {}
            Ok(Sent::Full) => {
                return Err(unavailable("the supervisor does not read its control pipe; try again later"));
            }
            Ok(Sent::Closed) => return Err(unavailable("the supervisor is gone")),
            Err(error) => return Err(Problem::new(Kind::Internal, error.to_string())),
        }
        let outcome = timeout(PATIENCE, answer).await;
        drop(ticket);
        match outcome {
            Ok(Ok(RequestOutcome::Done)) => Ok(()),
            Ok(Ok(RequestOutcome::NotFound(why))) => Err(Problem::new(Kind::NotFound, why)),
            Ok(Ok(RequestOutcome::Conflict(why))) => Err(Problem::new(Kind::Conflict, why)),
            Ok(Err(_)) | Err(_) => {
                Err(unavailable("the supervisor did not answer; whether it acted is not known"))
            }
        }
    }

    fn enter(&self, id: u64) -> Result<oneshot::Receiver<RequestOutcome>, Problem> {
        let mut waiting = self.waiting();
        if waiting.len() >= MAX_WAITING {
            return Err(unavailable("too many requests to the supervisor are waiting; try again later"));
        }
        let (sender, answer) = oneshot::channel();
        waiting.insert(id, sender);
        Ok(answer)
    }

    /// Passes an answer on to who waits for it, if somebody still does.
    pub(crate) fn answer(&self, id: u64, outcome: RequestOutcome) {
        let waiter = self.waiting().remove(&id);
        if let Some(waiter) = waiter {
            let _ = waiter.send(outcome);
        }
    }

    /// Whether any handler ever asked for anything.
    pub(crate) fn was_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<RequestOutcome>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(detail: &str) -> Problem {
    Problem::new(Kind::Unavailable, detail)
}

/// Takes a request off the desk when its handler leaves, cancelled or not.
struct Ticket<'d> {
    desk: &'d Desk,
    id: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.desk.waiting().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::{
        wire::fault::FaultKind,
        worker::pipe::{self, Received, Receiver},
    };

    fn desk() -> (Desk, Receiver<FromWorker>) {
        let (read, write) = pipe::pair().unwrap();
        let out = Sender::new(write);
        out.set_nonblocking(true).unwrap();
        (Desk::new(Arc::new(out)), Receiver::new(read))
    }

    fn request() -> Request {
        Request::Fault { worker: "analytics".into(), kind: FaultKind::Panic }
    }

    async fn ask_and_answer(outcome: RequestOutcome) -> Result<(), Kind> {
        let (desk, supervisor) = desk();
        let (asked, ()) = tokio::join!(desk.ask(request()), async {
            let Received::Frame(FromWorker::Request { id, request: Request::Fault { worker, .. } }) =
                supervisor.recv().unwrap()
            else {
                panic!("a request is expected")
            };
            assert_eq!(worker, "analytics");
            desk.answer(id + 1, RequestOutcome::Done);
            desk.answer(id, outcome);
        });
        asked.map_err(|problem| problem.kind())
    }

    #[tokio::test]
    async fn each_outcome_has_its_answer() {
        assert_eq!(ask_and_answer(RequestOutcome::Done).await, Ok(()));
        assert_eq!(ask_and_answer(RequestOutcome::NotFound("no".into())).await, Err(Kind::NotFound));
        assert_eq!(ask_and_answer(RequestOutcome::Conflict("no".into())).await, Err(Kind::Conflict));
    }

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_that_is_silent_or_gone_is_not_waited_for_for_ever() {
        let (desk, supervisor) = desk();
        assert_eq!(desk.ask(request()).await.unwrap_err().kind(), Kind::Unavailable);
        assert!(desk.waiting().is_empty());
        drop(supervisor);
        assert_eq!(desk.ask(request()).await.unwrap_err().kind(), Kind::Unavailable);
        assert!(desk.waiting().is_empty());
    }
}

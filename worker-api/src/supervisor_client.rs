//! Requests to the supervisor over the control pipe, and their outcomes.

use crate::http::problem::{Problem, ProblemKind};
use bulkhead_proto::{
    wire::control::{FromWorker, Request, RequestOutcome},
    worker::pipe::{Sender, Sent},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// How long a handler waits for an outcome. The supervisor answers within microseconds unless it is stopped.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The most requests that may be pending at once. A pipe holds 16 packets in each direction.
const MAX_PENDING: usize = 8;

/// Sends requests to the supervisor and matches outcomes to them by id.
#[derive(Debug)]
pub(crate) struct SupervisorClient {
    out: Arc<Sender<FromWorker>>,
    /// The id of the next request, from 1.
    next_id: AtomicU64,
    pending: Mutex<HashMap<u64, oneshot::Sender<RequestOutcome>>>,
}

impl SupervisorClient {
    pub(crate) fn new(out: Arc<Sender<FromWorker>>) -> Self {
        Self { out, next_id: AtomicU64::new(1), pending: Mutex::default() }
    }

    /// Sends a request to the supervisor and waits at most [`ANSWER_TIMEOUT`] for its outcome.
    ///
    /// # Errors
    /// When too many requests are pending, the supervisor does not answer, does not find the object, or refuses.
    pub(crate) async fn request(&self, request: Request) -> Result<(), Problem> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let pending = PendingRequest { client: self, id };
        let receiver = self.register(id)?;
        match self.out.send(&FromWorker::Request { id, request }) {
            Ok(Sent::Done) => {}
            Ok(Sent::Full) => {
                return Err(unavailable("the supervisor does not read its control pipe; try again later"));
            }
            Ok(Sent::Closed) => return Err(unavailable("the supervisor has closed its control pipe")),
            Err(error) => return Err(Problem::new(ProblemKind::Internal, error.to_string())),
        }
        let outcome = timeout(ANSWER_TIMEOUT, receiver).await;
        drop(pending);
        match outcome {
            Ok(Ok(RequestOutcome::Done)) => Ok(()),
            Ok(Ok(RequestOutcome::NotFound(reason))) => Err(Problem::new(ProblemKind::NotFound, reason)),
            Ok(Ok(RequestOutcome::Conflict(reason))) => Err(Problem::new(ProblemKind::Conflict, reason)),
            Ok(Err(_)) | Err(_) => Err(unavailable(
                "the supervisor did not answer in time; it may or may not have carried out the request",
            )),
        }
    }

    /// Sends a frame that gets no answer. Returns whether it was sent.
    pub(crate) fn notify(&self, frame: &FromWorker) -> bool {
        matches!(self.out.send(frame), Ok(Sent::Done))
    }

    fn register(&self, id: u64) -> Result<oneshot::Receiver<RequestOutcome>, Problem> {
        let mut pending = self.pending();
        if pending.len() >= MAX_PENDING {
            return Err(unavailable("too many requests to the supervisor are pending; try again later"));
        }
        let (sender, receiver) = oneshot::channel();
        pending.insert(id, sender);
        Ok(receiver)
    }

    /// Passes an outcome to the handler that waits for it. Ignores an outcome whose handler has left.
    pub(crate) fn complete(&self, id: u64, outcome: RequestOutcome) {
        let sender = self.pending().remove(&id);
        if let Some(sender) = sender {
            let _ = sender.send(outcome);
        }
    }

    /// Whether any handler has sent a request.
    pub(crate) fn was_used(&self) -> bool {
        self.next_id.load(Ordering::Relaxed) > 1
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<RequestOutcome>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(detail: &str) -> Problem {
    Problem::new(ProblemKind::Unavailable, detail)
}

/// Removes a request from the pending ones when its handler returns or is cancelled.
struct PendingRequest<'d> {
    client: &'d SupervisorClient,
    id: u64,
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        self.client.pending().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::{
        wire::fault::FaultKind,
        worker::pipe::{self, Received, Receiver},
    };

    fn client() -> (SupervisorClient, Receiver<FromWorker>) {
        let (read, write) = pipe::pair().unwrap();
        let out = Sender::new(write);
        out.set_nonblocking(true).unwrap();
        (SupervisorClient::new(Arc::new(out)), Receiver::new(read))
    }

    fn request() -> Request {
        Request::Fault { worker: "analytics".into(), kind: FaultKind::Panic }
    }

    async fn request_and_answer(outcome: RequestOutcome) -> Result<(), ProblemKind> {
        let (client, supervisor) = client();
        let (result, ()) = tokio::join!(client.request(request()), async {
            let Received::Frame(FromWorker::Request { id, request: Request::Fault { worker, .. } }) =
                supervisor.recv().unwrap()
            else {
                panic!("expected a request")
            };
            assert_eq!(worker, "analytics");
            client.complete(id + 1, RequestOutcome::Done);
            client.complete(id, outcome);
        });
        result.map_err(|problem| problem.kind())
    }

    #[tokio::test]
    async fn each_outcome_maps_to_its_problem_kind() {
        assert_eq!(request_and_answer(RequestOutcome::Done).await, Ok(()));
        assert_eq!(
            request_and_answer(RequestOutcome::NotFound("no".into())).await,
            Err(ProblemKind::NotFound)
        );
        assert_eq!(
            request_and_answer(RequestOutcome::Conflict("no".into())).await,
            Err(ProblemKind::Conflict)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_to_a_silent_or_closed_supervisor_fails_within_the_timeout() {
        let (client, supervisor) = client();
        assert_eq!(client.request(request()).await.unwrap_err().kind(), ProblemKind::Unavailable);
        assert!(client.pending().is_empty());
        drop(supervisor);
        assert_eq!(client.request(request()).await.unwrap_err().kind(), ProblemKind::Unavailable);
        assert!(client.pending().is_empty());
    }
}

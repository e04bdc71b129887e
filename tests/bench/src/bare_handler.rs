//! A bare axum handler that parses the same body and drops it. It shows what HTTP and JSON cost alone.

use axum::{Json, Router, http::StatusCode, routing::post};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    env, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, Stdio},
};

/// The argument with which this program runs as the bare handler.
pub(crate) const ARGUMENT: &str = "bare";

/// The number of threads of the API worker.
const THREADS: usize = 2;

/// The fields of an event, parsed in the same way. Only the types are checked.
#[derive(Deserialize)]
#[expect(dead_code, reason = "parsed and dropped")]
struct Event {
    series: String,
    value: f64,
    label: Option<String>,
    ts: Option<i64>,
    data: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Receipt {
    accepted: usize,
    first_seq: u64,
    last_seq: u64,
}

fn receipt(accepted: usize) -> (StatusCode, Json<Receipt>) {
    (StatusCode::ACCEPTED, Json(Receipt { accepted, first_seq: 1, last_seq: accepted as u64 }))
}

async fn one(Json(event): Json<Event>) -> (StatusCode, Json<Receipt>) {
    drop(event);
    receipt(1)
}

async fn many(Json(events): Json<Vec<Event>>) -> (StatusCode, Json<Receipt>) {
    receipt(events.len())
}

/// A running bare handler. It is killed when dropped.
pub(crate) struct BareHandler {
    child: Child,
    /// The address at which it serves.
    pub(crate) address: SocketAddr,
}

impl BareHandler {
    /// Starts a bare handler. Its listener is open from the start.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let mut command = Command::new(env::current_exe()?);
        command.arg(ARGUMENT).stdin(OwnedFd::from(listener)).stdout(Stdio::null());
        Ok(Self { child: command.spawn()?, address })
    }
}

impl Drop for BareHandler {
    fn drop(&mut self) {
        // The process may already have exited, so errors do not matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until the process is killed.
pub(crate) fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let router = Router::new().route("/one", post(one)).route("/many", post(many));
        Ok(axum::serve(listener, router).await?)
    })
}

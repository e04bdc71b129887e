//! A bare axum handler that parses the same body and drops it: what HTTP and JSON cost by themselves.

use axum::{Json, Router, http::StatusCode, routing::post};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    env, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, Stdio},
};

/// The argument that makes this program such a server.
pub(crate) const MARK: &str = "bare";

/// As many as the API worker has.
const THREADS: usize = 2;

/// The same fields as an event's, parsed as one would: nothing is checked beyond their types.
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

/// A running one. Dropping it ends it.
pub(crate) struct Bare {
    child: Child,
    /// Where it serves.
    pub(crate) address: SocketAddr,
}

impl Bare {
    /// Starts one; its listener is there from the first moment.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let mut command = Command::new(env::current_exe()?);
        command.arg(MARK).stdin(OwnedFd::from(listener)).stdout(Stdio::null());
        Ok(Self { child: command.spawn()?, address })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // No error matters here: it may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until it is ended.
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

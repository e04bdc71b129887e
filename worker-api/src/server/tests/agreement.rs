//! The framing and hyper see the same messages, byte by byte, whatever is sent, for as long as hyper does not give up.

use crate::server::framing::Framing;
use axum::{body::Body, extract::Request, response::Response};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use proptest::{prelude::*, sample::select, test_runner::Config};
use std::{cell::Cell, convert::Infallible, rc::Rc};
use tokio::{
    io::{AsyncWriteExt, duplex, sink, split},
    runtime, task,
};

/// What is sent begins with one of these: chance alone seldom comes so far.
const BEGINNINGS: &[&str] = &[
    "",
    "POST / HTTP/1.1\r\n",
    "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
];

/// And goes on with these.
const PARTS: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "POST / HTTP/1.1\n",
    "POST / HTTP/1.0\r\nconnection: keep-alive\r\n",
    "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
    "content-length: 2\r\n",
    "Content-Length:\t02 \n",
    "content-length: 3\r\n\r\n",
    "transfer-encoding: chunked\r\n",
    "Transfer-Encoding:gzip, Chunked\r\n\r\n",
    "transfer-encoding: identity\r\n",
    "transfer-encoding : chunked\r\n",
    "expect: 100-continue\r\n",
    "upgrade: x\r\n",
    "2\r\nab\r\n",
    "02 ;x=\"\r\nab\r\n",
    "0\r\n",
    "0\r\n\r\n",
    "a: b\r\n",
    "a:\r\n b\r\n",
    "a: b\n",
    "\r\n",
    "\n",
    "\r",
    "0",
    "ab",
];

/// Enough turns of the scheduler for hyper to do with a byte all that it can.
const TURNS: usize = 16;

/// Feeds both; says at which byte they disagree, if they do.
async fn disagreement(text: &str) -> Option<usize> {
    let whole = Rc::new(Cell::new(0));
    let counted = Rc::clone(&whole);
    let service = service_fn(move |request: Request<Incoming>| {
        let whole = Rc::clone(&counted);
        async move {
            if request.into_body().collect().await.is_ok() {
                whole.set(whole.get() + 1);
            }
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    });
    let (client, server) = duplex(1 << 16);
    let connection = task::spawn_local(http1::Builder::new().serve_connection(TokioIo::new(server), service));
    let (mut read, mut write) = split(client);
    task::spawn_local(async move { tokio::io::copy(&mut read, &mut sink()).await });
    let mut framing = Framing::new();
    for (place, byte) in text.bytes().enumerate() {
        let mut byte = [byte];
        framing.follow(&mut byte);
        let taken = write.write_all(&byte).await;
        for _ in 0..TURNS {
            task::yield_now().await;
        }
        if taken.is_err() || connection.is_finished() {
            return None;
        }
        if framing.messages() != whole.get() {
            return Some(place);
        }
    }
    None
}

proptest! {
    #![proptest_config(Config { cases: 2000, failure_persistence: None, ..Config::default() })]
    #[test]
    fn framing_and_hyper_agree_on_where_each_message_ends(
        beginning in select(BEGINNINGS),
        parts in prop::collection::vec(select(PARTS), 1..12),
    ) {
        let text = format!("{beginning}{}", parts.concat());
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        let place = task::LocalSet::new().block_on(&runtime, disagreement(&text));
        prop_assert_eq!(place, None, "{:?}", text);
    }
}

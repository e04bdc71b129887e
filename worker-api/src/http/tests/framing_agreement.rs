//! The framing and hyper find the same messages, byte by byte, for any input, as long as hyper accepts it.

use crate::http::framing::Framing;
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

/// Each input starts with one of these, because random parts seldom get this far.
const PREFIXES: &[&str] = &[
    "",
    "POST / HTTP/1.1\r\n",
    "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
];

/// The parts that follow.
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

/// Enough scheduler yields for hyper to process one byte completely.
const YIELDS_PER_BYTE: usize = 16;

/// Feeds both. Returns the offset of the byte at which they disagree, if any.
async fn first_disagreement(text: &str) -> Option<usize> {
    let received = Rc::new(Cell::new(0));
    let counter = Rc::clone(&received);
    let service = service_fn(move |request: Request<Incoming>| {
        let received = Rc::clone(&counter);
        async move {
            if request.into_body().collect().await.is_ok() {
                received.set(received.get() + 1);
            }
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    });
    let (client, server) = duplex(1 << 16);
    let connection = task::spawn_local(http1::Builder::new().serve_connection(TokioIo::new(server), service));
    let (mut read, mut write) = split(client);
    task::spawn_local(async move { tokio::io::copy(&mut read, &mut sink()).await });
    let mut framing = Framing::new();
    for (offset, byte) in text.bytes().enumerate() {
        let mut byte = [byte];
        framing.feed(&mut byte);
        let written = write.write_all(&byte).await;
        for _ in 0..YIELDS_PER_BYTE {
            task::yield_now().await;
        }
        if written.is_err() || connection.is_finished() {
            return None;
        }
        if framing.messages() != received.get() {
            return Some(offset);
        }
    }
    None
}

proptest! {
    #![proptest_config(Config { cases: 2000, failure_persistence: None, ..Config::default() })]
    #[test]
    fn framing_and_hyper_agree_on_the_end_of_each_message(
        prefix in select(PREFIXES),
        parts in prop::collection::vec(select(PARTS), 1..12),
    ) {
        let text = format!("{prefix}{}", parts.concat());
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        let offset = task::LocalSet::new().block_on(&runtime, first_disagreement(&text));
        prop_assert_eq!(offset, None, "{:?}", text);
    }
}

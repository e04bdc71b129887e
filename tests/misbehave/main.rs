//! A worker that misbehaves on purpose. Its first argument names the mode. Tests run it in place of the API, the analysis
//! or a plain worker, and check the supervisor and the other workers.
#![forbid(unsafe_code)]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "it stands in for broken programs: if it fails, its test fails"
)]

mod allocate_forever;
mod bad_deploy;
mod bad_statistics;
mod control_pipes;
mod corrupt_memory;
mod flood_output;
mod forge_generation;
mod hang;
mod huge_panic;
mod panic_outside_apply;

use bulkhead_proto::{
    wire::{
        control::{FromWorker, MAX_FRAME, PROTOCOL, Request, ToWorker},
        fault::FaultKind,
    },
    worker::{fds::InheritedFds, pipe::Received},
};
use control_pipes::{ControlPipes, hello, park_forever};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mode = std::env::args().nth(1).unwrap_or_default();
    if mode == "flood-output" {
        flood_output::flood();
    }
    if mode == "panic-with-huge-output" {
        return huge_panic::run();
    }
    if mode == "panic-outside-apply" {
        return bulkhead_worker_analytics::run(panic_outside_apply::PanicOutsideApply);
    }
    if mode == "bad-deploy=changed-state" {
        return bulkhead_worker_analytics::run(bad_deploy::ChangedState);
    }
    if let Some(flaw) = mode.strip_prefix("bad-deploy=") {
        return bulkhead_worker_analytics::run(bad_deploy::BadDeploy(bad_deploy::Flaw::parse(flaw).unwrap()));
    }
    if let Some(flaw) = mode.strip_prefix("bad-statistics=") {
        let flaw = bad_deploy::Flaw::parse(flaw).unwrap();
        return bulkhead_worker_analytics::run(bad_statistics::BadStatistics(flaw));
    }
    if mode == "apply-slowly" {
        return bulkhead_worker_analytics::run(hang::SlowAnalysis);
    }
    if mode == "allocate-forever" {
        return bulkhead_worker_analytics::run(allocate_forever::AllocateForever);
    }
    let mut fds = InheritedFds::from_env().unwrap();
    let pipes = ControlPipes::take(&mut fds);
    match mode.as_str() {
        "send-nothing" => {}
        "never-accept" => {
            let pipes = pipes.wait_for_activation();
            while let Ok(Received::Frame(frame)) = pipes.from.recv() {
                if let ToWorker::Ping(number) = frame {
                    pipes.send_frame(&FromWorker::Pong { number, accept_polls: 0, busy: false });
                }
            }
        }
        "ignore-all-frames" => {
            let _open = pipes.wait_for_activation();
            park_forever()
        }
        "spin"
        | "deadlock"
        | "freeze"
        | "progress-without-commit"
        | "claim-seqs-beyond-ring"
        | "claim-seqs-backwards"
        | "stay-parked" => hang::hang(&mode, pipes.wait_for_activation(), &mut fds),
        "send-only-hello" => pipes.send_frame(&hello(PROTOCOL)),
        "send-other-protocol-version" => pipes.send_frame(&hello(PROTOCOL + 1)),
        "send-ready-before-hello" => pipes.send_frame(&FromWorker::Ready),
        "send-hello-twice" => {
            [hello(PROTOCOL), hello(PROTOCOL)].iter().for_each(|frame| pipes.send_frame(frame));
        }
        "send-half-a-frame" => pipes.send_bytes(&[0]),
        "send-garbage-when-active" => pipes.wait_for_activation().send_bytes(&[0xff; 700]),
        // The kernel splits the bytes into packets of MAX_FRAME bytes.
        "send-too-much-when-active" => pipes.wait_for_activation().send_bytes(&[0; 4 * MAX_FRAME]),
        "send-forbidden-request" => pipes.wait_for_activation().send_frame(&request()),
        "close-all-pipes-when-active" => pipes.wait_for_activation().close_all(),
        "corrupt-memory" => corrupt_memory::corrupt_forever(pipes.wait_for_activation(), fds),
        "forge-generation" => {
            forge_generation::commit(&pipes.wait_for_activation(), fds);
            return ExitCode::SUCCESS;
        }
        "corrupt-memory-and-die" => corrupt_memory::corrupt_and_die(pipes.wait_for_activation(), fds),
        other => panic!("unknown mode: {other:?}"),
    }
    park_forever()
}

fn request() -> FromWorker {
    let request = Request::Fault { worker: "api".to_owned(), kind: FaultKind::Kill };
    FromWorker::Request { id: 1, request }
}

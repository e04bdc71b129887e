//! The supervisor's log, as far as it is judged.

use crate::records::{Records, Told};

/// Behind this word and a kind, the detail of a death that was commanded says how it came.
const COMMANDED: &str = "fault ";

/// What everybody dies of in the end.
const STOP: &str = "the supervisor is stopping";

/// How a SIGKILL is told. It needs nobody who carries it out, and so may come to one that is only starting.
pub(super) const KILLS: [&str; 2] = ["SIGKILL", "SIGKILL, before it was activated"];

/// A line that tells of a death.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death<'a> {
    /// Which line it is.
    pub place: usize,
    /// When it was read.
    pub at: u64,
    pub worker: &'a str,
    pub generation: u64,
    pub cause: &'a str,
    pub detail: &'a str,
    pub seq: Option<u64>,
    /// Its number.
    pub crash: u64,
    /// It was part of the orderly stop at the end.
    pub stopped: bool,
}

impl Told {
    pub(super) fn text(&self, field: &str) -> &str {
        self.line[field].as_str().unwrap_or_default()
    }

    pub(super) fn number(&self, field: &str) -> Option<u64> {
        self.line[field].as_u64()
    }

    pub(super) fn is(&self, event: &str) -> bool {
        self.text("event_name") == event
    }

    pub(super) fn tells(&self, event: &str, worker: &str) -> bool {
        self.is(event) && self.text("worker") == worker
    }
}

impl<'a> Death<'a> {
    /// Somebody had asked for it, so that no event is charged.
    pub(super) fn is_requested(&self) -> bool {
        self.cause == "requested"
    }

    /// By SIGKILL, whoever sent it.
    pub(super) fn is_kill(&self) -> bool {
        self.cause == "signal" && KILLS.contains(&self.detail)
    }

    /// The kind of the fault that was commanded, and how it came, if it was one.
    pub(super) fn command(&self) -> Option<(&'a str, &'a str)> {
        self.detail.strip_prefix(COMMANDED).filter(|_| self.is_requested())?.split_once(": ")
    }
}

/// All deaths, in the order in which they are told.
pub(super) fn deaths(records: &Records) -> Vec<Death<'_>> {
    let (mut deaths, mut stopping) = (Vec::new(), false);
    for (place, told) in records.story.iter().enumerate() {
        stopping |= told.is("supervisor_stopping");
        if told.is("worker_died") {
            let (cause, detail) = (told.text("cause"), told.text("detail"));
            deaths.push(Death {
                place,
                at: told.at,
                worker: told.text("worker"),
                generation: told.number("generation").unwrap_or_default(),
                cause,
                detail,
                seq: told.number("seq"),
                crash: told.number("crash").unwrap_or_default(),
                stopped: stopping && cause == "requested" && detail.starts_with(STOP),
            });
        }
    }
    deaths
}

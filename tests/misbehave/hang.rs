//! An analysis that makes no progress, in several ways, and one that is only slow.

use crate::control_pipes::{ControlPipes, park_forever};
use bulkhead_proto::{
    shm::{
        cursor::{self, Activity},
        segment::{Kind, ReadWrite},
        wake,
    },
    wire::{event::Event, fault::FaultKind, ids::Seq},
    worker::{
        fault,
        fds::{FdName, InheritedFds},
        settings::Settings,
    },
};
use bulkhead_worker_analytics::Analysis;
use serde::{Deserialize, Serialize};
use std::{
    hint,
    sync::{Barrier, Mutex},
    thread,
    time::Duration,
};

/// The interval at which false progress is published.
const CLAIM_INTERVAL: Duration = Duration::from_millis(5);

/// One more than the greatest seq that fits the in-flight word of the cursor page.
const SEQ_END: u64 = 1 << 62;

/// A seq beyond the end of any ring.
const BEYOND_RING: u64 = 1 << 40;

/// Takes over the cursor page and makes no progress in the way that `mode` names. The pipes stay open.
pub(crate) fn hang(mode: &str, _pipes: ControlPipes, fds: &mut InheritedFds) -> ! {
    let page = ReadWrite::map(fds.take(FdName::Cursor).unwrap(), Kind::Cursor).unwrap();
    cursor::take_over(&page, Settings::from_env().unwrap().generation, Seq(0));
    cursor::set_in_flight(&page, Activity::Apply, Seq(1));
    match mode {
        "spin" => loop {
            hint::spin_loop();
        },
        "deadlock" => deadlock(),
        "freeze" => fault::execute(FaultKind::Freeze),
        "progress-without-commit" => claim(&page, 1..SEQ_END),
        "claim-seqs-beyond-ring" => claim(&page, BEYOND_RING..SEQ_END),
        "claim-seqs-backwards" => claim(&page, (0..SEQ_END).rev()),
        "stay-parked" => wake::prepare_wait(&page),
        other => panic!("unknown way to hang: {other:?}"),
    }
    park_forever()
}

/// Publishes one seq after the other as in flight.
fn claim(page: &ReadWrite, seqs: impl Iterator<Item = u64>) {
    for seq in seqs {
        thread::sleep(CLAIM_INTERVAL);
        cursor::set_in_flight(page, Activity::Apply, Seq(seq));
    }
}

/// Two threads, each waiting for the lock that the other holds.
fn deadlock() {
    let (one, other, both) = (Mutex::new(()), Mutex::new(()), Barrier::new(2));
    let take = |first: &Mutex<()>, second: &Mutex<()>| {
        let _first = first.lock();
        both.wait();
        let _second = second.lock();
    };
    thread::scope(|scope| {
        scope.spawn(|| take(&other, &one));
        take(&one, &other);
    });
}

/// An analysis that sleeps for each event. The event's value is the time in milliseconds.
pub(crate) struct SlowAnalysis;

/// The number of events.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Count(u64);

impl Analysis for SlowAnalysis {
    type State = Count;
    const NAME: &'static str = "slow";
    const VERSION: u32 = 1;

    fn apply(&self, state: &mut Count, event: &Event<'_>) {
        thread::sleep(Duration::from_secs_f64(event.value.unwrap_or_default() / 1e3));
        state.0 += 1;
    }

    fn render<'a>(&'a self, series: &'a str, state: &'a Count) -> impl Serialize + 'a {
        serde_json::json!({ "series": series, "count": state.0 })
    }
}

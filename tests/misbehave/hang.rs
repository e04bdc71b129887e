//! Ways of an analysis to get nowhere, and one to be merely slow.

use crate::Supervisor;
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
use bulkhead_worker_analytics::{Analysis, Decode, Encode, bincode};
use std::{
    hint,
    sync::{Barrier, Mutex},
    thread,
    time::Duration,
};

/// How often one that seems to move on does so.
const PACE: Duration = Duration::from_millis(5);

/// Behind the last seq that fits the word for what is in hand.
const MOST: u64 = 1 << 62;

/// Further than any ring goes.
const AHEAD: u64 = 1 << 40;

/// Takes its page over, and gets nowhere in the way of that name, with its pipes open.
pub(crate) fn for_ever(way: &str, _supervisor: Supervisor, fds: &mut InheritedFds) -> ! {
    let page = ReadWrite::map(fds.take(FdName::Cursor).unwrap(), Kind::Cursor).unwrap();
    cursor::take_over(&page, Settings::from_env().unwrap().generation, Seq(0));
    cursor::set_in_flight(&page, Activity::Apply, Seq(1));
    match way {
        "spins" => loop {
            hint::spin_loop();
        },
        "deadlocks" => deadlock(),
        "freezes" => fault::execute(FaultKind::Freeze),
        "drips" => claim(&page, 1..MOST),
        "runs-ahead" => claim(&page, AHEAD..MOST),
        "runs-backwards" => claim(&page, (0..MOST).rev()),
        "stays-parked" => wake::prepare_wait(&page),
        other => panic!("no such way to hang: {other:?}"),
    }
    crate::for_ever()
}

/// Claims to have one event after the other in hand.
fn claim(page: &ReadWrite, seqs: impl Iterator<Item = u64>) {
    for seq in seqs {
        thread::sleep(PACE);
        cursor::set_in_flight(page, Activity::Apply, Seq(seq));
    }
}

/// Two threads, each waiting for what the other holds.
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

/// An analysis that takes as many milliseconds for an event as its value says.
pub(crate) struct Slow;

/// How many events there were.
#[derive(Default, Encode, Decode)]
#[bincode(crate = "bincode")]
pub(crate) struct Count(u64);

impl Analysis for Slow {
    type State = Count;
    const NAME: &'static str = "slow";
    const VERSION: u32 = 1;

    fn apply(&self, state: &mut Count, event: &Event<'_>) {
        thread::sleep(Duration::from_secs_f64(event.value / 1e3));
        state.0 += 1;
    }

    fn render<'a>(&'a self, series: &'a str, state: &'a Count) -> impl serde::Serialize + 'a {
        serde_json::json!({ "series": series, "count": state.0 })
    }
}

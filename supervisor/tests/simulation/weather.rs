//! What kind of run a seed is, and what kind of process each generation is.

use crate::{
    prng::Prng,
    watched::{Manner, driest},
};
use bulkhead_supervisor::core::{ExitStatus, Policy};
use std::time::Duration;

/// How bad a run is, in percent of the generations or the moments concerned.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Cannot be spawned.
    pub(crate) unborn: u64,
    /// Starts slowly, not at all, or in another protocol.
    pub(crate) bad_start: u64,
    /// Dies by itself.
    pub(crate) mortal: u64,
    /// Says what it may not.
    pub(crate) liar: u64,
    /// Does not leave when asked, by any means.
    pub(crate) stubborn: u64,
    /// An event that the analysis cannot survive turns up.
    pub(crate) poison: u64,
    /// An event that is to be set aside cannot be stored, or only slowly.
    pub(crate) bad_disk: u64,
    /// Milliseconds between an operator's commands, on average.
    pub(crate) commands_every: u64,
    /// Milliseconds between kills from outside, on average.
    pub(crate) kills_every: u64,
    /// Hangs, or works in another way that is none.
    pub(crate) hangs: u64,
    /// What counts as a hang, in milliseconds.
    pub(crate) hang_timeout: u64,
    /// The clock jumps.
    pub(crate) jumps: bool,
}

const NEVER: u64 = 1_000_000;

impl Weather {
    pub(crate) fn draw(prng: &mut Prng) -> Self {
        let calm = Self {
            unborn: 0,
            bad_start: 2,
            mortal: 5,
            liar: 0,
            stubborn: 2,
            poison: 0,
            bad_disk: 5,
            commands_every: 15_000,
            kills_every: NEVER,
            hangs: 3,
            hang_timeout: *prng.pick(&[400, 1_000, 1_000, 5_000]),
            jumps: prng.percent(20),
        };
        match prng.below(9) {
            0 => calm,
            1 => Self { unborn: 25, bad_start: 30, ..calm },
            2 => Self { mortal: 90, commands_every: NEVER, ..calm },
            3 => Self { liar: 40, mortal: 20, ..calm },
            4 => Self { stubborn: 60, commands_every: 1_500, ..calm },
            5 => Self { poison: 300, bad_disk: 20, kills_every: 3_000, ..calm },
            6 => Self { mortal: 0, commands_every: 60_000, kills_every: 150, ..calm },
            7 => Self { mortal: 0, hangs: 80, commands_every: 5_000, ..calm },
            _ => Self {
                unborn: 5,
                bad_start: 15,
                mortal: 30,
                liar: 10,
                stubborn: 25,
                poison: 60,
                bad_disk: 40,
                commands_every: 700,
                kills_every: 2_000,
                hangs: 20,
                hang_timeout: calm.hang_timeout,
                jumps: true,
            },
        }
    }
}

pub(crate) fn policy(prng: &mut Prng) -> Policy {
    let mut millis = |from: &[u64]| Duration::from_millis(*prng.pick(from));
    Policy {
        initial: millis(&[0, 0, 0, 10, 1_000]),
        max: millis(&[0, 50, 1_000, 10_000]),
        period: millis(&[5_000, 30_000, 60_000]),
        limit: u32::try_from(prng.between(1, 10)).expect("at most ten"),
        starts: u32::try_from(prng.between(1, 3)).expect("at most three"),
        max_attempts: u32::try_from(prng.between(1, 4)).expect("at most four"),
        faults: prng.percent(90),
    }
}

/// The character of one process. Spans in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Temper {
    /// From spawn to hello; never, if it is mute.
    pub(crate) hello: Option<u64>,
    /// From hello to ready.
    pub(crate) ready: Option<u64>,
    /// Another protocol than the supervisor's.
    pub(crate) foreign: bool,
    /// Dies by itself at that age in that way.
    pub(crate) death: Option<(u64, ExitStatus)>,
    /// Says something wrong at that age.
    pub(crate) lie: Option<u64>,
    /// From `Drain` to its end.
    pub(crate) drain: Option<u64>,
    /// From SIGTERM to its end.
    pub(crate) term: Option<u64>,
    /// From SIGKILL to its end: much, if it is stuck in the kernel.
    pub(crate) kill: u64,
    /// Obeys an order to die.
    pub(crate) obeys_faults: bool,
    /// From SIGABRT to its end, if it heeds it.
    pub(crate) abort: Option<u64>,
    /// How it gets on with its work.
    pub(crate) manner: Manner,
    /// Of a hundred milliseconds, it gets so many.
    pub(crate) share: u64,
}

impl Temper {
    pub(crate) fn honest(prng: &mut Prng) -> Self {
        Self {
            hello: Some(prng.below(30)),
            ready: Some(prng.below(300)),
            foreign: false,
            death: None,
            lie: None,
            drain: Some(prng.below(90)),
            term: Some(prng.below(90)),
            kill: prng.between(1, 5),
            obeys_faults: true,
            abort: Some(prng.below(300)),
            manner: Manner::Brisk,
            share: 100,
        }
    }

    pub(crate) fn draw(prng: &mut Prng, weather: &Weather) -> Self {
        let mut temper = Self::honest(prng);
        if prng.percent(weather.bad_start) {
            match prng.below(5) {
                0 => temper.hello = None,
                1 => temper.ready = None,
                2 => temper.foreign = true,
                3 => temper.ready = Some(prng.between(5_000, 15_000)),
                _ => temper.death = Some((prng.below(200), ExitStatus::Code(78))),
            }
        }
        if prng.percent(weather.mortal) {
            let age = if prng.percent(70) { prng.below(400) } else { prng.below(20_000) };
            temper.death = Some((age, any_exit(prng)));
        }
        if prng.percent(weather.hangs) {
            let timeout = weather.hang_timeout;
            temper.manner = match prng.below(7) {
                0 => Manner::Brisk,
                1 => Manner::Slow(prng.between(timeout / 2, timeout - 1)),
                2 => Manner::Drips,
                3 => Manner::Backwards,
                4 => Manner::Commits(driest(timeout) * prng.between(1, 5)),
                _ => Manner::Hangs(prng.below(8_000)),
            };
            temper.share = *prng.pick(&[100, 100, 50, 10, 2]);
        }
        temper.lie = prng.percent(weather.liar).then(|| prng.below(2_000));
        if prng.percent(weather.stubborn) {
            temper.drain = prng.percent(30).then(|| prng.between(500, 8_000));
            temper.term = prng.percent(40).then(|| prng.between(200, 3_000));
            temper.kill = if prng.percent(20) { prng.between(4_000, 40_000) } else { temper.kill };
            temper.obeys_faults = prng.percent(50);
            temper.abort = temper.abort.filter(|_| prng.percent(50));
        }
        temper
    }
}

/// Any way to die but the one that says "wrong configuration".
pub(crate) fn any_exit(prng: &mut Prng) -> ExitStatus {
    match prng.below(6) {
        0 => ExitStatus::Code(0),
        1 => ExitStatus::Code(1),
        2 => ExitStatus::Code(101),
        3 => ExitStatus::Signal { number: 6, core: false },
        4 => ExitStatus::Signal { number: 9, core: false },
        _ => ExitStatus::Signal { number: 11, core: true },
    }
}

//! The fault profile of a run, and the behaviour of each process in it. Both are drawn from the seed.

use crate::{
    prng::Prng,
    progress::{WorkPattern, commit_timeout},
};
use bulkhead_supervisor::core::{ExitStatus, Policy};
use std::time::Duration;

/// The probability of each fault in a run, in percent of the generations or of the occasions concerned, and
/// the intervals between commands and kills.
#[derive(Clone, Debug)]
pub(crate) struct FaultProfile {
    /// The process cannot be spawned.
    pub(crate) spawn_fails: u64,
    /// The process starts slowly, does not start, or uses another protocol version.
    pub(crate) start_fails: u64,
    /// The process dies at a random age.
    pub(crate) dies: u64,
    /// The process violates the protocol.
    pub(crate) breaks_protocol: u64,
    /// The process ignores requests to stop and signals, or reacts slowly.
    pub(crate) ignores_stop: u64,
    /// The API accepts an event that the analysis cannot survive. In tenths of a percent.
    pub(crate) poison: u64,
    /// A command or a reload starts a program of the analysis that does not survive some or all events.
    pub(crate) wrong_program: u64,
    /// An event cannot be stored in quarantine, or only slowly.
    pub(crate) disk_fails: u64,
    /// The mean interval between commands, in milliseconds.
    pub(crate) mean_command_interval: u64,
    /// The mean interval between kills from outside, in milliseconds.
    pub(crate) mean_kill_interval: u64,
    /// The process hangs, or works in a way that is similar to a hang.
    pub(crate) hangs: u64,
    /// The supervisor's `hang_timeout`, in milliseconds.
    pub(crate) hang_timeout: u64,
    /// The clocks of the supervisor jump.
    pub(crate) clock_jumps: bool,
}

const NEVER_MS: u64 = 1_000_000;

impl FaultProfile {
    pub(crate) fn draw(prng: &mut Prng) -> Self {
        let baseline = Self {
            spawn_fails: 0,
            start_fails: 2,
            dies: 5,
            breaks_protocol: 0,
            ignores_stop: 2,
            poison: 0,
            wrong_program: 0,
            disk_fails: 5,
            mean_command_interval: 15_000,
            mean_kill_interval: NEVER_MS,
            hangs: 3,
            hang_timeout: *prng.pick(&[400, 1_000, 1_000, 5_000]),
            clock_jumps: prng.percent(20),
        };
        match prng.below(10) {
            0 => baseline,
            1 => Self { spawn_fails: 25, start_fails: 30, ..baseline },
            2 => Self { dies: 90, mean_command_interval: NEVER_MS, ..baseline },
            3 => Self { breaks_protocol: 40, dies: 20, ..baseline },
            4 => Self { ignores_stop: 60, mean_command_interval: 1_500, ..baseline },
            5 => Self { poison: 300, disk_fails: 20, mean_kill_interval: 3_000, ..baseline },
            6 => Self { dies: 0, mean_command_interval: 60_000, mean_kill_interval: 150, ..baseline },
            8 => Self { dies: 0, hangs: 0, wrong_program: 80, mean_command_interval: 20_000, ..baseline },
            7 => Self { dies: 0, hangs: 80, mean_command_interval: 5_000, ..baseline },
            _ => Self {
                spawn_fails: 5,
                start_fails: 15,
                dies: 30,
                breaks_protocol: 10,
                ignores_stop: 25,
                poison: 60,
                wrong_program: 20,
                disk_fails: 40,
                mean_command_interval: 700,
                mean_kill_interval: 2_000,
                hangs: 20,
                hang_timeout: baseline.hang_timeout,
                clock_jumps: true,
            },
        }
    }
}

pub(crate) fn random_policy(prng: &mut Prng) -> Policy {
    let mut random_millis = |from: &[u64]| Duration::from_millis(*prng.pick(from));
    Policy {
        initial: random_millis(&[0, 0, 0, 10, 1_000]),
        max: random_millis(&[0, 50, 1_000, 10_000]),
        period: random_millis(&[5_000, 30_000, 60_000]),
        limit: u32::try_from(prng.between(1, 10)).expect("at most ten"),
        starts: u32::try_from(prng.between(1, 3)).expect("at most three"),
        max_attempts: u32::try_from(prng.between(1, 4)).expect("at most four"),
        faults: prng.percent(90),
        brake: *prng.pick(&[None, Some(1), Some(10), Some(10), Some(50)]),
        standby: prng.percent(50),
    }
}

/// The behaviour of one process. Times are in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct ProcessProfile {
    /// From spawn to `Hello`; `None`: the process never sends one.
    pub(crate) hello: Option<u64>,
    /// From `Hello` to `Ready`; `None`: never.
    pub(crate) ready: Option<u64>,
    /// The process announces another protocol version than the supervisor's.
    pub(crate) wrong_protocol: bool,
    /// The age at which the process dies, and how.
    pub(crate) death: Option<(u64, ExitStatus)>,
    /// The age at which the process violates the protocol.
    pub(crate) protocol_violation: Option<u64>,
    /// From `Drain` to the exit; `None`: the process ignores it.
    pub(crate) on_drain: Option<u64>,
    /// From SIGTERM to the exit; `None`: the process ignores it.
    pub(crate) on_sigterm: Option<u64>,
    /// From SIGKILL to the exit. It is long if the process is blocked in the kernel.
    pub(crate) on_sigkill: u64,
    /// The process executes the faults that it is ordered to execute.
    pub(crate) executes_faults: bool,
    /// From SIGABRT to the exit; `None`: the process ignores it.
    pub(crate) on_sigabrt: Option<u64>,
    /// How the process makes progress.
    pub(crate) pattern: WorkPattern,
    /// The share of CPU time that the process gets, in percent.
    pub(crate) cpu_percent: u64,
}

impl ProcessProfile {
    pub(crate) fn honest(prng: &mut Prng) -> Self {
        Self {
            hello: Some(prng.below(30)),
            ready: Some(prng.below(300)),
            wrong_protocol: false,
            death: None,
            protocol_violation: None,
            on_drain: Some(prng.below(90)),
            on_sigterm: Some(prng.below(90)),
            on_sigkill: prng.between(1, 5),
            executes_faults: true,
            on_sigabrt: Some(prng.below(300)),
            pattern: WorkPattern::Steady,
            cpu_percent: 100,
        }
    }

    pub(crate) fn draw(prng: &mut Prng, fault_profile: &FaultProfile) -> Self {
        let mut profile = Self::honest(prng);
        if prng.percent(fault_profile.start_fails) {
            match prng.below(5) {
                0 => profile.hello = None,
                1 => profile.ready = None,
                2 => profile.wrong_protocol = true,
                3 => profile.ready = Some(prng.between(5_000, 15_000)),
                _ => profile.death = Some((prng.below(200), ExitStatus::Code(78))),
            }
        }
        if prng.percent(fault_profile.dies) {
            let age = if prng.percent(70) { prng.below(400) } else { prng.below(20_000) };
            profile.death = Some((age, random_exit(prng)));
        }
        if prng.percent(fault_profile.hangs) {
            let timeout = fault_profile.hang_timeout;
            profile.pattern = match prng.below(7) {
                0 => WorkPattern::Steady,
                1 => WorkPattern::SlowEvents(prng.between(timeout / 2, timeout - 1)),
                2 => WorkPattern::NeverCommits,
                3 => WorkPattern::Regresses,
                4 => WorkPattern::SlowCommits(commit_timeout(timeout) * prng.between(1, 5)),
                _ => WorkPattern::HangsAt(prng.below(8_000)),
            };
            profile.cpu_percent = *prng.pick(&[100, 100, 50, 10, 2]);
        }
        profile.protocol_violation = prng.percent(fault_profile.breaks_protocol).then(|| prng.below(2_000));
        if prng.percent(fault_profile.ignores_stop) {
            profile.on_drain = prng.percent(30).then(|| prng.between(500, 8_000));
            profile.on_sigterm = prng.percent(40).then(|| prng.between(200, 3_000));
            profile.on_sigkill =
                if prng.percent(20) { prng.between(4_000, 40_000) } else { profile.on_sigkill };
            profile.executes_faults = prng.percent(50);
            profile.on_sigabrt = profile.on_sigabrt.filter(|_| prng.percent(50));
        }
        profile
    }
}

/// A random exit status, other than the one for a configuration error.
pub(crate) fn random_exit(prng: &mut Prng) -> ExitStatus {
    match prng.below(6) {
        0 => ExitStatus::Code(0),
        1 => ExitStatus::Code(1),
        2 => ExitStatus::Code(101),
        3 => ExitStatus::Signal { number: 6, core: false },
        4 => ExitStatus::Signal { number: 9, core: false },
        _ => ExitStatus::Signal { number: 11, core: true },
    }
}

//! What the threads of a process are doing, and what they had of the machine.
//!
//! From files of `/proc/PID/task` that take no lock of the process's memory, so that one that is stuck there holds nobody up.

use bulkhead_proto::wire::text::cut;
use rustix::process::Pid;
use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

/// So many threads are looked at, the oldest first: the main one among them.
const MOST: usize = 64;

/// The longest description of a thread, in bytes.
const LONGEST: usize = 128;

/// The threads of a process at one moment, by their numbers.
#[derive(Debug)]
pub(super) struct Sample {
    at: Instant,
    threads: BTreeMap<i32, Thread>,
}

/// One thread. Times since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thread {
    /// It runs, or waits for a processor.
    runnable: bool,
    ran: Duration,
    /// Waited for a processor; the wait that goes on is not counted yet.
    waited: Duration,
}

/// Looks at the threads of a process that was not reaped yet.
pub(super) fn sample(pid: Pid) -> Sample {
    let read = |tid: &i32| {
        // A thread's name may be no text.
        let file = |name| fs::read(format!("/proc/{pid}/task/{tid}/{name}")).ok().map(|bytes| text(&bytes));
        Some((*tid, Thread::parse(&file("stat")?, &file("schedstat")?)?))
    };
    let at = Instant::now();
    Sample { at, threads: tids(pid).iter().filter_map(read).collect() }
}

/// A line on each thread: its name, its state (proc_pid_stat(5)), and where in the kernel it sleeps.
pub(super) fn describe(pid: Pid) -> Vec<String> {
    let line = |tid: &i32| {
        let file = |name| fs::read(format!("/proc/{pid}/task/{tid}/{name}")).unwrap_or_default();
        describe_one(&text(&file("comm")), &text(&file("stat")), &text(&file("wchan")))
    };
    tids(pid).iter().map(line).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn tids(pid: Pid) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).take(MOST).collect()
}

/// The state in a line of proc_pid_stat(5): behind the name, in which anything may stand.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

fn describe_one(name: &str, stat: &str, sleeps_in: &str) -> String {
    let state = state(stat).unwrap_or('?');
    // The kernel says "0" where it sleeps nowhere, or does not tell.
    let place = if matches!(sleeps_in, "" | "0") { String::new() } else { format!(" in {sleeps_in}") };
    cut(&format!("{} {state}{place}", name.escape_debug()), LONGEST).to_owned()
}

impl Thread {
    fn parse(stat: &str, schedstat: &str) -> Option<Self> {
        // The third is how often it got a processor.
        let mut spans = schedstat.split_ascii_whitespace().map(|word| word.parse().ok());
        let mut span = || spans.next()?.map(Duration::from_nanos);
        let (ran, waited) = (span()?, span()?);
        // A kernel that keeps no such figures shows zeros for all: no thread has run that never got a processor.
        (!span()?.is_zero()).then_some(Self { runnable: state(stat)? == 'R', ran, waited })
    }
}

impl Sample {
    /// How long the process could have worked since an earlier moment. A thread that is runnable now may have waited for a
    /// processor all the time: then what the busiest thread got is all that is certain. Otherwise it had all the time that
    /// no thread waited.
    pub(super) fn had_since(&self, before: &Self) -> Duration {
        let passed = self.at.saturating_duration_since(before.at);
        let most = |of: fn(&Thread) -> Duration| {
            let gained = self.threads.iter().map(|(tid, thread)| {
                of(thread).saturating_sub(before.threads.get(tid).map(of).unwrap_or_default())
            });
            gained.max().unwrap_or_default()
        };
        if self.threads.values().any(|thread| thread.runnable) {
            passed.min(most(|thread| thread.ran))
        } else {
            passed.saturating_sub(most(|thread| thread.waited))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLEEPS: &str = "7 (a) R (b)) S 1 7 7 0 -1 4194304 96 0 0 0 0 0";
    const RUNS: &str = "7 (main) R 1 7 7 0 -1 4194304 96 0 0 0 0 0";

    /// A sample of threads that ran and waited so many milliseconds, at so many milliseconds.
    fn sample_at(zero: Instant, at: u64, threads: &[(&str, u64, u64)]) -> Sample {
        let parse = |(tid, (stat, ran, waited)): (i32, &(&str, u64, u64))| {
            let schedstat = format!("{} {} 17\n", ran * 1_000_000, waited * 1_000_000);
            (tid, Thread::parse(stat, &schedstat).unwrap())
        };
        let threads = (1..).zip(threads).map(parse).collect();
        Sample { at: zero + Duration::from_millis(at), threads }
    }

    fn had(before: &[(&str, u64, u64)], after: &[(&str, u64, u64)]) -> u128 {
        let zero = Instant::now();
        sample_at(zero, 100, after).had_since(&sample_at(zero, 0, before)).as_millis()
    }

    #[test]
    fn one_that_sleeps_had_all_the_time() {
        assert_eq!(had(&[(SLEEPS, 5, 7)], &[(SLEEPS, 5, 7)]), 100);
    }

    #[test]
    fn what_any_thread_waited_for_a_processor_is_taken_off() {
        assert_eq!(had(&[(SLEEPS, 5, 7), (SLEEPS, 0, 0)], &[(SLEEPS, 5, 9), (SLEEPS, 3, 60)]), 40);
    }

    #[test]
    fn one_that_spins_had_what_it_got() {
        assert_eq!(had(&[(RUNS, 5, 7)], &[(RUNS, 95, 7)]), 90);
    }

    #[test]
    fn one_that_still_waits_for_a_processor_had_nothing() {
        assert_eq!(had(&[(RUNS, 5, 7)], &[(RUNS, 5, 7)]), 0);
    }

    #[test]
    fn a_thread_that_is_new_had_what_it_has() {
        assert_eq!(had(&[(SLEEPS, 5, 7)], &[(SLEEPS, 5, 7), (RUNS, 30, 0)]), 30);
    }

    #[test]
    fn never_more_than_has_passed() {
        assert_eq!(had(&[(RUNS, 0, 0)], &[(RUNS, 500, 0)]), 100);
        assert_eq!(had(&[(SLEEPS, 0, 0)], &[(SLEEPS, 0, 500)]), 0);
    }

    #[test]
    fn without_figures_it_is_taken_to_have_had_all_the_time() {
        assert_eq!(had(&[], &[]), 100);
        assert_eq!(Thread::parse(RUNS, "0 0 0\n"), None, "a kernel that keeps none");
    }

    #[test]
    fn a_thread_is_described_whatever_its_name() {
        assert_eq!(
            describe_one("a) R \u{1b}[2J", SLEEPS, "futex_wait_queue"),
            "a) R \\u{1b}[2J S in futex_wait_queue"
        );
        assert_eq!(describe_one("main", RUNS, "0"), "main R");
    }

    #[test]
    fn a_thread_whose_name_is_no_text_is_looked_at_as_well() {
        use std::{sync::mpsc::channel, thread};
        let ((tell, told), (done, wait)) = (channel(), channel::<()>());
        let named = thread::spawn(move || {
            // Names are cut at 15 bytes, here in the midst of a letter.
            fs::write("/proc/thread-self/comm", "fourteen bytesü").unwrap();
            tell.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            let _ = wait.recv();
        });
        let tid = told.recv().unwrap();
        let sample = sample(rustix::process::getpid());
        assert!(sample.threads.contains_key(&tid), "{sample:?}");
        drop(done);
        named.join().unwrap();
    }

    #[test]
    fn the_threads_of_a_living_process_are_found() {
        let pid = rustix::process::getpid();
        let lines = describe(pid);
        assert!(lines.len() > 1, "{lines:?}");
        let before = sample(pid);
        assert_eq!(before.threads.len(), lines.len());
        assert!(sample(pid).had_since(&before) <= before.at.elapsed());
    }
}

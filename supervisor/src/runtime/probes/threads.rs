//! What the threads of a process are doing, and how much processor time they had.
//!
//! Read from files in `/proc/PID/task` that take no lock of the process's memory map, so a process stuck
//! there blocks no reader.

use bulkhead_proto::wire::text::cut;
use rustix::process::Pid;
use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

/// Maximum number of threads that are read, oldest first; the main thread is among them.
const MAX_THREADS: usize = 64;

/// Maximum length of the description of a thread, in bytes.
const MAX_DESCRIPTION: usize = 128;

/// The threads of a process at one moment, by thread id.
#[derive(Debug)]
pub(in crate::runtime) struct Sample {
    at: Instant,
    threads: BTreeMap<i32, Thread>,
}

/// One thread. Durations count from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thread {
    /// It runs, or waits for a processor.
    runnable: bool,
    ran: Duration,
    /// Time spent waiting for a processor, without the wait in progress.
    waited: Duration,
}

/// Samples the threads of a process that is not reaped yet.
pub(in crate::runtime) fn sample(pid: Pid) -> Sample {
    let read = |tid: &i32| {
        // The name of a thread need not be UTF-8.
        let file = |name| fs::read(format!("/proc/{pid}/task/{tid}/{name}")).ok().map(|bytes| text(&bytes));
        Some((*tid, Thread::parse(&file("stat")?, &file("schedstat")?)?))
    };
    let at = Instant::now();
    Sample { at, threads: tids(pid).iter().filter_map(read).collect() }
}

/// One line for each thread: its name, its state (proc_pid_stat(5)), and the kernel function in which it
/// sleeps.
pub(in crate::runtime) fn describe(pid: Pid) -> Vec<String> {
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
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).take(MAX_THREADS).collect()
}

/// The state in a line of proc_pid_stat(5): after the name, which may contain anything.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

fn describe_one(name: &str, stat: &str, sleeps_in: &str) -> String {
    let state = state(stat).unwrap_or('?');
    // The kernel shows "0" for a thread that does not sleep, or if it hides the function.
    let place = if matches!(sleeps_in, "" | "0") { String::new() } else { format!(" in {sleeps_in}") };
    cut(&format!("{} {state}{place}", name.escape_debug()), MAX_DESCRIPTION).to_owned()
}

impl Thread {
    fn parse(stat: &str, schedstat: &str) -> Option<Self> {
        // The third number is how often the thread got a processor.
        let mut spans = schedstat.split_ascii_whitespace().map(|word| word.parse().ok());
        let mut span = || spans.next()?.map(Duration::from_nanos);
        let (ran, waited) = (span()?, span()?);
        // A kernel without these statistics shows zeros for all threads. A thread that exists has run.
        (!span()?.is_zero()).then_some(Self { runnable: state(stat)? == 'R', ran, waited })
    }
}

impl Sample {
    /// How long the process could have worked since an earlier sample. A thread that is runnable now may have
    /// waited for a processor all the time; then only the time of the busiest thread is certain. Otherwise
    /// the process had all the time in which no thread waited.
    pub(in crate::runtime) fn cpu_available_since(&self, before: &Self) -> Duration {
        let passed = self.at.saturating_duration_since(before.at);
        let max_increase = |of: fn(&Thread) -> Duration| {
            let increases = self.threads.iter().map(|(tid, thread)| {
                of(thread).saturating_sub(before.threads.get(tid).map(of).unwrap_or_default())
            });
            increases.max().unwrap_or_default()
        };
        if self.threads.values().any(|thread| thread.runnable) {
            passed.min(max_increase(|thread| thread.ran))
        } else {
            passed.saturating_sub(max_increase(|thread| thread.waited))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLEEPS: &str = "7 (a) R (b)) S 1 7 7 0 -1 4194304 96 0 0 0 0 0";
    const RUNS: &str = "7 (main) R 1 7 7 0 -1 4194304 96 0 0 0 0 0";

    /// A sample of threads that ran and waited for these numbers of milliseconds.
    fn sample_at(zero: Instant, at: u64, threads: &[(&str, u64, u64)]) -> Sample {
        let parse = |(tid, (stat, ran, waited)): (i32, &(&str, u64, u64))| {
            let schedstat = format!("{} {} 17\n", ran * 1_000_000, waited * 1_000_000);
            (tid, Thread::parse(stat, &schedstat).unwrap())
        };
        let threads = (1..).zip(threads).map(parse).collect();
        Sample { at: zero + Duration::from_millis(at), threads }
    }

    fn cpu_available(before: &[(&str, u64, u64)], after: &[(&str, u64, u64)]) -> u128 {
        let zero = Instant::now();
        sample_at(zero, 100, after).cpu_available_since(&sample_at(zero, 0, before)).as_millis()
    }

    #[test]
    fn a_sleeping_process_had_all_the_time() {
        assert_eq!(cpu_available(&[(SLEEPS, 5, 7)], &[(SLEEPS, 5, 7)]), 100);
    }

    #[test]
    fn time_spent_waiting_for_a_processor_is_subtracted() {
        assert_eq!(cpu_available(&[(SLEEPS, 5, 7), (SLEEPS, 0, 0)], &[(SLEEPS, 5, 9), (SLEEPS, 3, 60)]), 40);
    }

    #[test]
    fn a_spinning_process_had_the_time_it_ran() {
        assert_eq!(cpu_available(&[(RUNS, 5, 7)], &[(RUNS, 95, 7)]), 90);
    }

    #[test]
    fn a_process_that_still_waits_for_a_processor_had_nothing() {
        assert_eq!(cpu_available(&[(RUNS, 5, 7)], &[(RUNS, 5, 7)]), 0);
    }

    #[test]
    fn a_new_thread_counts_from_its_start() {
        assert_eq!(cpu_available(&[(SLEEPS, 5, 7)], &[(SLEEPS, 5, 7), (RUNS, 30, 0)]), 30);
    }

    #[test]
    fn the_available_time_is_at_most_the_time_passed() {
        assert_eq!(cpu_available(&[(RUNS, 0, 0)], &[(RUNS, 500, 0)]), 100);
        assert_eq!(cpu_available(&[(SLEEPS, 0, 0)], &[(SLEEPS, 0, 500)]), 0);
    }

    #[test]
    fn without_statistics_all_the_time_counts_as_available() {
        assert_eq!(cpu_available(&[], &[]), 100);
        assert_eq!(Thread::parse(RUNS, "0 0 0\n"), None, "a kernel that keeps none");
    }

    #[test]
    fn a_thread_with_any_name_is_described() {
        assert_eq!(
            describe_one("a) R \u{1b}[2J", SLEEPS, "futex_wait_queue"),
            "a) R \\u{1b}[2J S in futex_wait_queue"
        );
        assert_eq!(describe_one("main", RUNS, "0"), "main R");
    }

    #[test]
    fn a_thread_whose_name_is_not_utf8_is_sampled() {
        use std::{sync::mpsc::channel, thread};
        let ((sender, tids_sent), (done, wait)) = (channel(), channel::<()>());
        let named = thread::spawn(move || {
            // Names are cut at 15 bytes, here in the middle of a character.
            fs::write("/proc/thread-self/comm", "fourteen bytesü").unwrap();
            sender.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            let _ = wait.recv();
        });
        let tid = tids_sent.recv().unwrap();
        let sample = sample(rustix::process::getpid());
        assert!(sample.threads.contains_key(&tid), "{sample:?}");
        drop(done);
        named.join().unwrap();
    }

    #[test]
    fn the_threads_of_a_running_process_are_found() {
        let pid = rustix::process::getpid();
        let lines = describe(pid);
        assert!(lines.len() > 1, "{lines:?}");
        let before = sample(pid);
        assert_eq!(before.threads.len(), lines.len());
        assert!(sample(pid).cpu_available_since(&before) <= before.at.elapsed());
    }
}

//! What the threads of a process are doing, and how much processor time they had.
//!
//! Read from files in `/proc/PID/task` that take no lock of the process's memory map, so a process stuck
//! there blocks no reader.

use bulkhead_proto::wire::text::cut;
use procfs::process::{Process, Schedstat, Task};
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
    let read = |task: Task| Some((task.tid, Thread::new(task.stat().ok()?.state, &task.schedstat().ok()?)?));
    Sample { at: Instant::now(), threads: tasks(pid).filter_map(read).collect() }
}

/// One line for each thread: its name, its state (proc_pid_stat(5)), and the kernel function in which it
/// sleeps.
pub(in crate::runtime) fn describe(pid: Pid) -> Vec<String> {
    let line = |task: Task| {
        let (name, state) = task.stat().map_or_else(|_| (String::new(), '?'), |stat| (stat.comm, stat.state));
        let wchan = fs::read_to_string(format!("/proc/{pid}/task/{}/wchan", task.tid)).unwrap_or_default();
        describe_one(&name, state, &wchan)
    };
    tasks(pid).map(line).collect()
}

fn describe_one(name: &str, state: char, wchan: &str) -> String {
    // The kernel shows "0" for a thread that does not sleep, or if it hides the function.
    let place = if matches!(wchan, "" | "0") { String::new() } else { format!(" in {wchan}") };
    cut(&format!("{} {state}{place}", name.escape_debug()), MAX_DESCRIPTION).to_owned()
}

/// The command name of a process; empty if it has ended.
pub(in crate::runtime) fn command_name(pid: i32) -> String {
    Process::new(pid).and_then(|process| process.stat()).map(|stat| stat.comm).unwrap_or_default()
}

/// The threads that are read; none if the process has ended.
fn tasks(pid: Pid) -> impl Iterator<Item = Task> {
    let tasks = Process::new(pid.as_raw_pid()).and_then(|process| process.tasks());
    tasks.into_iter().flatten().flatten().take(MAX_THREADS)
}

impl Thread {
    /// `None` if the kernel keeps no statistics: it then shows zeros for all threads. A thread that exists has
    /// run.
    fn new(state: char, spans: &Schedstat) -> Option<Self> {
        (spans.pcount > 0).then_some(Self {
            runnable: state == 'R',
            ran: Duration::from_nanos(spans.sum_exec_runtime),
            waited: Duration::from_nanos(spans.run_delay),
        })
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
    use std::sync::mpsc::channel;

    const SLEEPS: char = 'S';
    const RUNS: char = 'R';

    fn thread(state: char, ran_ms: u64, waited_ms: u64, pcount: u64) -> Option<Thread> {
        let (sum_exec_runtime, run_delay) = (ran_ms * 1_000_000, waited_ms * 1_000_000);
        Thread::new(state, &Schedstat { sum_exec_runtime, run_delay, pcount })
    }

    /// A sample of threads that ran and waited for these numbers of milliseconds.
    fn sample_at(zero: Instant, at: u64, threads: &[(char, u64, u64)]) -> Sample {
        let threads = threads.iter().map(|(state, ran, waited)| thread(*state, *ran, *waited, 17).unwrap());
        Sample { at: zero + Duration::from_millis(at), threads: (1..).zip(threads).collect() }
    }

    fn cpu_available(before: &[(char, u64, u64)], after: &[(char, u64, u64)]) -> u128 {
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
        assert_eq!(thread(RUNS, 0, 0, 0), None, "a kernel that keeps none");
    }

    #[test]
    fn a_description_is_printable_and_says_where_a_thread_sleeps() {
        assert_eq!(
            describe_one("a) R \u{1b}[2J", SLEEPS, "futex_wait_queue"),
            "a) R \\u{1b}[2J S in futex_wait_queue"
        );
        assert_eq!(describe_one("main", RUNS, "0"), "main R");
    }

    #[test]
    fn a_thread_with_any_name_is_sampled_and_described() {
        // Names are cut at 15 bytes: the second one in the middle of a character.
        for (name, described) in [("a) R (b", "a) R (b "), ("fourteen bytesü", "fourteen bytes\u{fffd} ")] {
            let ((sender, tids_sent), (done, wait)) = (channel(), channel::<()>());
            let named = std::thread::spawn(move || {
                fs::write("/proc/thread-self/comm", name).unwrap();
                sender.send(rustix::thread::gettid().as_raw_pid()).unwrap();
                let _ = wait.recv();
            });
            let (pid, tid) = (rustix::process::getpid(), tids_sent.recv().unwrap());
            assert!(sample(pid).threads.contains_key(&tid), "{name}");
            let lines = describe(pid);
            assert!(lines.iter().any(|line| line.starts_with(described)), "{lines:?}");
            drop(done);
            named.join().unwrap();
        }
    }

    #[test]
    fn the_threads_of_a_running_process_are_found() {
        let pid = rustix::process::getpid();
        let lines = describe(pid);
        assert!(lines.len() > 1, "{lines:?}");
        // Other tests of this process start and end threads, so the numbers of two reads may differ.
        let before = sample(pid);
        assert!(before.threads.contains_key(&rustix::thread::gettid().as_raw_pid()));
        assert!(sample(pid).cpu_available_since(&before) <= before.at.elapsed());
    }
}

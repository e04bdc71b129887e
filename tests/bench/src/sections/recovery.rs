//! From SIGKILL to the successor's first commit, beside what the kernel alone takes, and a bare restart.

use crate::{
    Plan,
    figures::{Rounds, percentile},
    machine::{line_ns, ns},
    report::{Aim, Column, Findings, Row, Target},
};
use anyhow::{Context, ensure};
use bulkhead_proto::{
    shm::{
        segment::{Kind, ReadOnly},
        table::{CommitRecord, TableReader},
    },
    wire::ids::Seq,
};
use bulkhead_tests::{Bulkhead, Fixture};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How many deaths make up a round: enough for a p99 over all rounds.
const KILLS: usize = 30;

/// The commit is looked for so often.
const GLANCE: Duration = Duration::from_micros(20);

/// A successor that takes longer has broken down.
const BOUND: Duration = Duration::from_secs(20);

/// So many events are analysed before the first kill, so that there is state to come back with.
const BEFORE: usize = 2_000;

/// They belong to so many series.
const SERIES: usize = 200;

/// One death and what followed, in ms since the SIGKILL.
#[derive(Clone, Copy)]
struct Death {
    /// The kernel said that the process is gone.
    gone: f64,
    /// The successor committed an event (ours), or wrote its first byte (the bare restart).
    back: f64,
}

/// The state table of a running service, found among the supervisor's fds.
fn table_of(supervisor: i32) -> anyhow::Result<TableReader<ReadOnly>> {
    for entry in fs::read_dir(format!("/proc/{supervisor}/fd"))? {
        let path = entry?.path();
        let target = fs::read_link(&path).unwrap_or_default();
        if target.to_string_lossy().starts_with("/memfd:bulkhead-state") {
            return Ok(TableReader::new(ReadOnly::map(File::open(path)?, Kind::State)?));
        }
    }
    anyhow::bail!("the supervisor holds no state table")
}

fn pidfd(pid: i32) -> anyhow::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).context("no pid")?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn wait_until_gone(pidfd: &OwnedFd) -> anyhow::Result<()> {
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], None)?;
    Ok(())
}

fn ms(duration: Duration) -> f64 {
    ns(duration) / 1e6
}

/// Waits for a commit that holds; records that do not verify are none.
fn wait_for(
    table: &TableReader<ReadOnly>,
    holds: impl Fn(&CommitRecord) -> bool,
) -> anyhow::Result<CommitRecord> {
    let start = Instant::now();
    loop {
        if let Some(record) = table.record().filter(&holds) {
            return Ok(record);
        }
        ensure!(start.elapsed() < BOUND, "no commit in {} s", BOUND.as_secs());
        thread::sleep(GLANCE);
    }
}

/// A connection of our own: no client library's habits are measured along.
struct Client(TcpStream);

impl Client {
    fn connect(bulkhead: &Bulkhead) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(bulkhead.address())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(BOUND))?;
        Ok(Self(stream))
    }

    /// Posts events. Gives the last one's seq.
    fn post(&mut self, events: usize) -> anyhow::Result<Seq> {
        let event = |n: usize| format!(r#"{{"series":"recovery-{}","value":{n}}}"#, n % SERIES);
        let body = format!("[{}]", (0..events).map(event).collect::<Vec<_>>().join(","));
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.write_all((head + &body).as_bytes())?;
        // The answer is far shorter than this, and arrives whole.
        let mut answer = [0; 2048];
        let length = self.0.read(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer[..length]);
        let last =
            answer.split_once("\"last_seq\":").and_then(|(_, rest)| rest.strip_suffix('}')?.parse().ok());
        last.map(Seq).with_context(|| format!("the events were not accepted: {answer}"))
    }
}

/// So long a generation lives before it is killed: the supervisor keeps two starts of one worker 20 ms apart, whatever they
/// die of (`step::policy::START_SPACING`), and that is not what is measured here.
const LIFE: Duration = Duration::from_millis(30);

/// Kills the analysis while it has nothing to do, gives its successor an event, and waits for its commit.
fn kill(bulkhead: &Bulkhead, table: &TableReader<ReadOnly>, client: &mut Client) -> anyhow::Result<Death> {
    let before = table.record().context("the commit record does not verify")?;
    let pidfd = pidfd(bulkhead.worker_pid("analytics"))?;
    let mut story = bulkhead.log().from_now();
    thread::sleep(LIFE);
    let start = Instant::now();
    pidfd_send_signal(&pidfd, Signal::KILL)?;
    let (gone, back) = thread::scope(|scope| -> anyhow::Result<_> {
        let event = scope.spawn(|| client.post(1));
        wait_until_gone(&pidfd)?;
        let gone = start.elapsed();
        let record = wait_for(table, |record| record.generation > before.generation)?;
        let back = start.elapsed();
        let seq = event.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
        ensure!(record.seq <= seq && record.analysed > before.analysed, "the state did not come back");
        wait_for(table, |record| record.seq == seq)?;
        Ok((gone, back))
    })?;
    story.wait_for_worker("worker_activated", "analytics");
    Ok(Death { gone: ms(gone), back: ms(back) })
}

/// Kills a program that sleeps and starts, once it is gone, another whose first byte tells that it runs.
fn bare_restart() -> anyhow::Result<Death> {
    let mut sleeper = Killed(Command::new("sleep").arg("60").stdin(Stdio::null()).spawn()?);
    let pidfd = pidfd(i32::try_from(sleeper.0.id())?)?;
    let start = Instant::now();
    pidfd_send_signal(&pidfd, Signal::KILL)?;
    wait_until_gone(&pidfd)?;
    let gone = start.elapsed();
    sleeper.0.wait()?;
    let mut next = Killed(Command::new("/bin/echo").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let mut out = next.0.stdout.take().context("echo has no output")?;
    out.read_exact(&mut [0])?;
    Ok(Death { gone: ms(gone), back: ms(start.elapsed()) })
}

/// A child that does not outlive its handle.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // No error matters here: it may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the rows say of deaths.
const FACES: [fn(&Death) -> f64; 3] =
    [|death| death.gone, |death| death.back - death.gone, |death| death.back];

fn note(row: &mut Row, deaths: &[Death], line: f64) {
    for (number, face) in FACES.iter().enumerate() {
        let figures: Vec<f64> = deaths.iter().map(face).collect();
        for (half, percent) in [50, 99].into_iter().enumerate() {
            row.note(2 * number + half, percentile(&figures, percent).unwrap_or(f64::NAN), line);
        }
    }
}

/// SIGKILL to the first commit.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Findings> {
    let bulkhead = Fixture::new("").start();
    let table = table_of(bulkhead.pid())?;
    let mut client = Client::connect(&bulkhead)?;
    let last = client.post(BEFORE)?;
    wait_for(&table, |record| record.seq == last)?;
    let mut rows = vec![Row::of("bulkhead, first commit", 6), Row::of("bare restart, first byte", 6)];
    for _ in 0..plan.rounds {
        let line = line_ns()?;
        let ours =
            (0..KILLS).map(|_| kill(&bulkhead, &table, &mut client)).collect::<anyhow::Result<Vec<_>>>()?;
        let bare = (0..KILLS).map(|_| bare_restart()).collect::<anyhow::Result<Vec<_>>>()?;
        for (row, deaths) in rows.iter_mut().zip([ours, bare]) {
            note(row, &deaths, line);
        }
    }
    let found = |column: usize| rows[0].cells.get(column)?.as_ref().and_then(Rounds::median);
    let targets = [
        ("pidfd readable to first commit, p50", 2, 1.0),
        ("the same, p99", 3, 5.0),
        ("SIGKILL to first commit, p50", 4, 4.0),
    ]
    .map(|(what, column, aim)| Target {
        what: what.to_owned(),
        aim: Aim::AtMost(aim),
        found: found(column),
        unit: "ms",
    });
    let columns = ["gone p50", "gone p99", "from there p50", "from there p99", "in all p50", "in all p99"];
    Ok(Findings {
        name: "recovery",
        title: format!(
            "From SIGKILL, ms; {KILLS} deaths a round, a ring of 64 MiB; gone: the pidfd is readable (the kernel's part)"
        ),
        columns: columns.map(|name| Column { name, digits: 2 }).into(),
        rows,
        targets: targets.into(),
        remarks: Vec::new(),
    })
}

//! From SIGKILL to the successor's first commit, next to the kernel's share and to a bare restart.

use crate::{
    Plan,
    machine::{cache_line_ns, ns},
    report::{Bound, Column, Row, SectionResult, Target},
    stats::{RoundValues, percentile},
};
use anyhow::{Context, ensure};
use bulkhead_proto::{
    shm::{
        segment::{Kind, ReadOnly},
        table::{CommitRecord, TableReader},
    },
    wire::ids::Seq,
};
use bulkhead_tests::{Bulkhead, Fixture, log::LogReader};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    ops::Range,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The number of deaths in a round: enough for a p99 over all rounds.
const KILLS: usize = 30;

/// The interval at which the commit is checked.
const POLL_INTERVAL: Duration = Duration::from_micros(20);

/// The time limit for a successor.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// The numbers of series that have a state before the first kill.
const COUNTS: [u32; 3] = [100, 60_000, 1_000_000];

/// The number of events in a request.
const BATCH: u32 = 10_000;

/// One death and the recovery, in milliseconds since the SIGKILL.
#[derive(Clone, Copy)]
struct Death {
    /// The kernel reported that the process is gone.
    gone: f64,
    /// The successor committed an event (Bulkhead), or wrote its first byte (bare restart).
    recovered: f64,
}

/// The state table of a running service with this `max_series`, found among the supervisor's fds.
fn table_of(supervisor: i32, max_series: u32) -> anyhow::Result<TableReader<ReadOnly>> {
    for entry in fs::read_dir(format!("/proc/{supervisor}/fd"))? {
        let path = entry?.path();
        let target = fs::read_link(&path).unwrap_or_default();
        if target.to_string_lossy().starts_with("/memfd:bulkhead-state") {
            return Ok(TableReader::new(ReadOnly::map(File::open(path)?, Kind::State)?, max_series + 1));
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

/// Waits for a commit that satisfies `holds`. Records that do not verify are ignored.
fn wait_for_commit(
    table: &TableReader<ReadOnly>,
    holds: impl Fn(&CommitRecord) -> bool,
) -> anyhow::Result<CommitRecord> {
    let start = Instant::now();
    loop {
        if let Some(record) = table.record().filter(&holds) {
            return Ok(record);
        }
        ensure!(start.elapsed() < TIME_LIMIT, "no commit in {} s", TIME_LIMIT.as_secs());
        thread::sleep(POLL_INTERVAL);
    }
}

/// A plain connection, so that no client library is measured.
struct Client(TcpStream);

impl Client {
    fn connect(bulkhead: &Bulkhead) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(bulkhead.address())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIME_LIMIT))?;
        Ok(Self(stream))
    }

    /// Posts one event for each of these series. Returns the seq of the last one.
    fn post(&mut self, series: Range<u32>) -> anyhow::Result<Seq> {
        let event = |n: u32| format!(r#"{{"series":"recovery-{n}","value":{n}}}"#);
        let body = format!("[{}]", series.map(event).collect::<Vec<_>>().join(","));
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.write_all((head + &body).as_bytes())?;
        // The answer is far shorter than the buffer and arrives in one piece.
        let mut answer = [0; 2048];
        let length = self.0.read(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer[..length]);
        let last =
            answer.split_once("\"last_seq\":").and_then(|(_, rest)| rest.strip_suffix('}')?.parse().ok());
        last.map(Seq).with_context(|| format!("the events were not accepted: {answer}"))
    }
}

/// The uptime of each generation before its kill. The supervisor keeps two starts of one worker 20 ms apart,
/// whatever the cause of the death (its policy's `START_SPACING`); this spacing is not to be measured.
const MIN_UPTIME: Duration = Duration::from_millis(30);

/// A service whose analysis is killed. It stops when it is dropped.
struct Service {
    _bulkhead: Bulkhead,
    table: TableReader<ReadOnly>,
    client: Client,
    log: LogReader,
    has_standby: bool,
}

impl Service {
    /// A service with the states of this number of series.
    fn start(count: u32, has_standby: bool) -> anyhow::Result<Self> {
        let config =
            format!("[analytics]\nstandby = {has_standby}\nmax_series = {count}\nmemory_limit = \"4GiB\"\n");
        let bulkhead = Fixture::new(&config).start();
        let table = table_of(bulkhead.pid(), count)?;
        let mut client = Client::connect(&bulkhead)?;
        for start in (0..count).step_by(BATCH as usize) {
            let last = client.post(start..(start + BATCH).min(count))?;
            wait_for_commit(&table, |record| record.seq == last)?;
        }
        let log = bulkhead.log().from_start();
        Ok(Self { _bulkhead: bulkhead, table, client, log, has_standby })
    }

    /// The pid of the active generation, once its standby, if it has one, is ready.
    fn active(&mut self) -> i32 {
        let active = self.log.wait_for_worker("worker_activated", "analytics");
        if self.has_standby {
            self.log.clone().wait_for_worker("worker_ready", "analytics");
        }
        active.pid()
    }
}

/// Kills the idle analysis, posts an event for its successor, and waits for the commit.
fn kill_analysis(service: &mut Service) -> anyhow::Result<Death> {
    let pidfd = pidfd(service.active())?;
    let Service { table, client, .. } = service;
    let before = table.record().context("the commit record does not verify")?;
    thread::sleep(MIN_UPTIME);
    let start = Instant::now();
    pidfd_send_signal(&pidfd, Signal::KILL)?;
    let (gone, recovered) = thread::scope(|scope| -> anyhow::Result<_> {
        let event = scope.spawn(|| client.post(0..1));
        wait_until_gone(&pidfd)?;
        let gone = start.elapsed();
        let record = wait_for_commit(table, |record| record.generation > before.generation)?;
        let recovered = start.elapsed();
        let seq = event.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
        ensure!(record.seq <= seq && record.analysed > before.analysed, "the state was not recovered");
        wait_for_commit(table, |record| record.seq == seq)?;
        Ok((gone, recovered))
    })?;
    Ok(Death { gone: ms(gone), recovered: ms(recovered) })
}

/// Kills a sleeping program. When it is gone, starts another one, whose first byte shows that it runs.
fn bare_restart() -> anyhow::Result<Death> {
    let mut sleeper = KillOnDrop(Command::new("sleep").arg("60").stdin(Stdio::null()).spawn()?);
    let pidfd = pidfd(i32::try_from(sleeper.0.id())?)?;
    let start = Instant::now();
    pidfd_send_signal(&pidfd, Signal::KILL)?;
    wait_until_gone(&pidfd)?;
    let gone = start.elapsed();
    sleeper.0.wait()?;
    let mut echo = KillOnDrop(Command::new("/bin/echo").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let mut out = echo.0.stdout.take().context("echo has no output")?;
    out.read_exact(&mut [0])?;
    Ok(Death { gone: ms(gone), recovered: ms(start.elapsed()) })
}

/// A child that is killed when dropped.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // The process may already have exited, so errors do not matter.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The intervals in the table.
const INTERVALS: [fn(&Death) -> f64; 3] =
    [|death| death.gone, |death| death.recovered - death.gone, |death| death.recovered];

fn record(row: &mut Row, deaths: &[Death], cache_line: f64) {
    for (number, interval) in INTERVALS.iter().enumerate() {
        let values: Vec<f64> = deaths.iter().map(interval).collect();
        for (half, percent) in [50, 99].into_iter().enumerate() {
            row.record(2 * number + half, percentile(&values, percent).unwrap_or(f64::NAN), cache_line);
        }
    }
}

/// Measures one service.
fn measure_service(plan: &Plan, row: &mut Row, count: u32, has_standby: bool) -> anyhow::Result<()> {
    let mut service = Service::start(count, has_standby)?;
    for _ in 0..plan.rounds {
        let cache_line = cache_line_ns()?;
        let deaths = (0..KILLS).map(|_| kill_analysis(&mut service)).collect::<anyhow::Result<Vec<_>>>()?;
        record(row, &deaths, cache_line);
    }
    Ok(())
}

/// The targets of a service with a standby. The kernel's part is the floor of the whole time.
fn targets_of(row: &Row, count: u32) -> [Target; 3] {
    let found = |column: usize| row.cells.get(column)?.as_ref().and_then(RoundValues::median);
    let above_floor = found(4).zip(found(0)).map(|(total, gone)| total - gone);
    [
        ("pidfd readable to first commit, p50", 1.0, found(2)),
        ("the same, p99", 5.0, found(3)),
        ("SIGKILL to first commit, p50, above the kernel's part", 1.0, above_floor),
    ]
    .map(|(what, bound, found)| Target {
        what: format!("{count} series: {what}"),
        bound: Bound::AtMost(bound),
        found,
        unit: "ms",
    })
}

/// Measures the time from SIGKILL to the first commit.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<SectionResult> {
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for count in COUNTS {
        let mut pair = [true, false].map(|has_standby| {
            let name = format!("{count} series, {} a standby", if has_standby { "with" } else { "without" });
            (Row::of(&name, 6), has_standby)
        });
        for (row, has_standby) in &mut pair {
            measure_service(plan, row, count, *has_standby)?;
        }
        targets.extend(targets_of(&pair[0].0, count));
        rows.extend(pair.map(|(row, _)| row));
    }
    let mut bare = Row::of("bare restart, first byte", 6);
    for _ in 0..plan.rounds {
        let deaths = (0..KILLS).map(|_| bare_restart()).collect::<anyhow::Result<Vec<_>>>()?;
        record(&mut bare, &deaths, cache_line_ns()?);
    }
    rows.push(bare);
    let columns = ["gone p50", "gone p99", "from gone p50", "from gone p99", "total p50", "total p99"];
    Ok(SectionResult {
        name: "recovery",
        title: format!(
            "From SIGKILL, ms; {KILLS} deaths a round, a ring of 64 MiB; gone: the pidfd is readable (the kernel's part)"
        ),
        columns: columns.map(|name| Column { name, digits: 2 }).into(),
        rows,
        targets,
        remarks: Vec::new(),
    })
}

//! Metrics of this host, read from /proc (proc(5)).

use procfs::{
    CpuPressure, CpuTime, Current, CurrentSI, DiskStats, IoPressure, KernelStats, Meminfo, MemoryPressure,
    ProcResult,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// The unit of /proc/diskstats. It does not depend on the sector size of the disk.
const SECTOR_BYTES: u64 = 512;

/// Prefixes of devices that are left out: their traffic is also counted for another device, or is not disk
/// traffic.
const IGNORED_DISKS: [&str; 2] = ["loop", "ram"];

/// One event, as `POST /v1/events` accepts it.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Event {
    series: &'static str,
    value: f64,
    label: String,
}

/// The counters of the host at one moment.
pub(crate) struct Sample {
    cpus: Vec<CpuTime>,
    memory: Meminfo,
    /// Sectors read and written, by device name.
    disks: BTreeMap<String, (u64, u64)>,
    /// By resource, the percentage of the last ten seconds in which some task waited for it. Empty on a
    /// kernel without PSI.
    pressure: Vec<(&'static str, f32)>,
}

impl Sample {
    pub(crate) fn read() -> ProcResult<Self> {
        let disks = DiskStats::current()?.0.into_iter();
        let disks = disks.filter(|disk| !IGNORED_DISKS.iter().any(|prefix| disk.name.starts_with(prefix)));
        let pressure = [
            ("cpu", CpuPressure::current().map(|pressure| pressure.some.avg10)),
            ("memory", MemoryPressure::current().map(|pressure| pressure.some.avg10)),
            ("io", IoPressure::current().map(|pressure| pressure.some.avg10)),
        ];
        Ok(Self {
            cpus: KernelStats::current()?.cpu_time,
            memory: Meminfo::current()?,
            disks: disks.map(|disk| (disk.name, (disk.sectors_read, disk.sectors_written))).collect(),
            pressure: pressure.into_iter().filter_map(|(kind, avg)| Some((kind, avg.ok()?))).collect(),
        })
    }

    /// The events for the interval from `previous` to this sample.
    pub(crate) fn events_since(&self, previous: &Self) -> Vec<Event> {
        let mut events = Vec::new();
        for (number, (now, previous)) in self.cpus.iter().zip(&previous.cpus).enumerate() {
            push_cpu_events(&mut events, &format!("cpu{number}"), now, previous);
        }
        let available = self.memory.mem_available.unwrap_or(self.memory.mem_free);
        let used = self.memory.mem_total.saturating_sub(available);
        events.push(event("host.memory.used_bytes", used as f64, "used"));
        events.push(event("host.memory.available_bytes", available as f64, "available"));
        for (name, now) in &self.disks {
            let Some(previous) = previous.disks.get(name) else { continue };
            let bytes = |now: u64, previous: u64| (now.saturating_sub(previous) * SECTOR_BYTES) as f64;
            events.push(event("host.disk.read_bytes", bytes(now.0, previous.0), name));
            events.push(event("host.disk.written_bytes", bytes(now.1, previous.1), name));
        }
        for (kind, percent) in &self.pressure {
            events.push(event("host.pressure.some_percent", (*percent).into(), kind));
        }
        events
    }
}

fn event(series: &'static str, value: f64, label: &str) -> Event {
    Event { series, value, label: label.to_owned() }
}

fn push_cpu_events(events: &mut Vec<Event>, label: &str, now: &CpuTime, previous: &CpuTime) {
    // User time already includes guest time.
    let by_kind = |cpu: &CpuTime| {
        let system = cpu.system + cpu.irq.unwrap_or(0) + cpu.softirq.unwrap_or(0);
        let waiting = cpu.iowait.unwrap_or(0) + cpu.steal.unwrap_or(0);
        [cpu.user + cpu.nice, system, waiting, cpu.idle]
    };
    let (now, previous) = (by_kind(now), by_kind(previous));
    let elapsed: Vec<_> =
        now.iter().zip(previous).map(|(now, previous)| now.saturating_sub(previous)).collect();
    let total = elapsed.iter().sum::<u64>();
    if total == 0 {
        return;
    }
    let series = ["host.cpu.user_percent", "host.cpu.system_percent", "host.cpu.waiting_percent"];
    for (series, ticks) in series.into_iter().zip(elapsed) {
        events.push(event(series, 100.0 * ticks as f64 / total as f64, label));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_this_host_is_an_event_that_the_api_accepts() {
        let sample = Sample::read().unwrap();
        for event in sample.events_since(&sample) {
            assert!(event.series.starts_with("host.") && event.value.is_finite(), "{event:?}");
            assert!(!event.label.is_empty());
        }
    }

    #[test]
    fn memory_is_in_every_sample() {
        let sample = Sample::read().unwrap();
        let events = sample.events_since(&sample);
        let used = events.iter().find(|event| event.series == "host.memory.used_bytes").unwrap();
        assert!(used.value > 0.0);
    }
}

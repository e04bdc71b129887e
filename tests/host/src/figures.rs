//! Figures of this host, from /proc (proc(5)); procfs parses it.

use procfs::{
    CpuPressure, CpuTime, Current, CurrentSI, DiskStats, IoPressure, KernelStats, Meminfo, MemoryPressure,
    ProcResult,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// /proc/diskstats counts in these, whatever the disk's own sectors are.
const SECTOR_BYTES: u64 = 512;

/// Devices that show another device's traffic again, or none.
const NO_DISKS: [&str; 2] = ["loop", "ram"];

/// One event, as `POST /v1/events` takes it.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Event {
    series: &'static str,
    value: f64,
    label: String,
}

/// The counters of one moment.
pub(crate) struct Figures {
    cpus: Vec<CpuTime>,
    memory: Meminfo,
    /// Sectors read and written, by device.
    disks: BTreeMap<String, (u64, u64)>,
    /// Percent of the last ten seconds in which some task waited for it; none where the kernel does not say.
    pressure: Vec<(&'static str, f32)>,
}

impl Figures {
    pub(crate) fn read() -> ProcResult<Self> {
        let disks = DiskStats::current()?.0.into_iter();
        let disks = disks.filter(|disk| !NO_DISKS.iter().any(|other| disk.name.starts_with(other)));
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

    /// What happened since an earlier moment, as events.
    pub(crate) fn since(&self, before: &Self) -> Vec<Event> {
        let mut events = Vec::new();
        for (number, (now, before)) in self.cpus.iter().zip(&before.cpus).enumerate() {
            cpu(&mut events, &format!("cpu{number}"), now, before);
        }
        let available = self.memory.mem_available.unwrap_or(self.memory.mem_free);
        let used = self.memory.mem_total.saturating_sub(available);
        events.push(event("host.memory.used_bytes", used as f64, "used"));
        events.push(event("host.memory.available_bytes", available as f64, "available"));
        for (name, now) in &self.disks {
            let Some(before) = before.disks.get(name) else { continue };
            let bytes = |now: u64, before: u64| (now.saturating_sub(before) * SECTOR_BYTES) as f64;
            events.push(event("host.disk.read_bytes", bytes(now.0, before.0), name));
            events.push(event("host.disk.written_bytes", bytes(now.1, before.1), name));
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

fn cpu(events: &mut Vec<Event>, label: &str, now: &CpuTime, before: &CpuTime) {
    // Guest time is part of user time already.
    let kinds = |cpu: &CpuTime| {
        let system = cpu.system + cpu.irq.unwrap_or(0) + cpu.softirq.unwrap_or(0);
        let waiting = cpu.iowait.unwrap_or(0) + cpu.steal.unwrap_or(0);
        [cpu.user + cpu.nice, system, waiting, cpu.idle]
    };
    let (now, before) = (kinds(now), kinds(before));
    let spent: Vec<_> = now.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect();
    let all = spent.iter().sum::<u64>();
    if all == 0 {
        return;
    }
    let series = ["host.cpu.user_percent", "host.cpu.system_percent", "host.cpu.waiting_percent"];
    for (series, ticks) in series.into_iter().zip(spent) {
        events.push(event(series, 100.0 * ticks as f64 / all as f64, label));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_of_this_host_is_an_event_that_the_api_accepts() {
        let figures = Figures::read().unwrap();
        for event in figures.since(&figures) {
            assert!(event.series.starts_with("host.") && event.value.is_finite(), "{event:?}");
            assert!(!event.label.is_empty());
        }
    }

    #[test]
    fn memory_is_told_at_every_moment() {
        let figures = Figures::read().unwrap();
        let events = figures.since(&figures);
        let used = events.iter().find(|event| event.series == "host.memory.used_bytes").unwrap();
        assert!(used.value > 0.0);
    }
}

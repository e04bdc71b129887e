//! Writes the seeds of the fuzz targets: `cargo run -p bulkhead-hostile --example seeds`.
//!
//! There is one seed per word that a reader relies on and per way to corrupt it, and one valid encoding of
//! each value that is decoded.

use bulkhead_hostile::targets::ALL;
use bulkhead_proto::wire::{
    codec,
    control::{FromWorker, Isolation, PROTOCOL, RecoveryHints, Request, RequestOutcome, ToWorker, Trial},
    event::{Event, Removal},
    fault::FaultKind,
    ids::Seq,
};
use std::{error::Error, fs, path::Path};

type Seeds = Vec<(String, Vec<u8>)>;

/// The input bytes that corrupt one word: the part, the word, the way.
fn corrupt(part: u16, word: u16, way: u8) -> Vec<u8> {
    [&part.to_le_bytes()[..], &word.to_le_bytes(), &[way, 3]].concat()
}

/// Corrupts each word in each of the ways. `first` are the bytes that the target reads before that.
fn words(first: &[u8], part: u16, words: &[(&str, u16)]) -> Seeds {
    let one = |(name, word): &(&str, u16)| {
        [2, 5].map(|way| (format!("{name}-{way}"), [first, &corrupt(part, *word, way)].concat()))
    };
    let mut seeds: Seeds = words.iter().flat_map(one).collect();
    let all = words.iter().flat_map(|(_, word)| corrupt(part, *word, 5));
    seeds.push(("all".to_owned(), first.iter().copied().chain(all).collect()));
    seeds
}

fn frames() -> Result<Seeds, Box<dyn Error>> {
    let mut seeds = Seeds::new();
    let mut buffer = [0; 4096];
    let to_worker = [
        ToWorker::Activate(RecoveryHints::default()),
        ToWorker::Activate(RecoveryHints {
            suspects: vec![Seq(7)],
            skip: vec![Seq(8), Seq(9)],
            proven_until: Seq(8),
            single_commit_until: Seq(40),
            isolated: vec![Isolation { series: "bad".to_owned(), until: Seq(50) }],
            watched: vec!["watched".to_owned()],
            trial: Some(Trial { after: Seq(9), target: Seq(12) }),
        }),
        ToWorker::Drain,
        ToWorker::Fault(FaultKind::Segv),
        ToWorker::Answer { id: 300, outcome: RequestOutcome::Conflict("parked".to_owned()) },
    ];
    for (number, frame) in to_worker.iter().enumerate() {
        let length = codec::encode(frame, &mut buffer)?;
        seeds.push((format!("to-worker-{number}"), buffer[..length].to_vec()));
    }
    let text = || "text".to_owned();
    let from_worker = [
        FromWorker::Hello { protocol: PROTOCOL, build: text() },
        FromWorker::Ready,
        FromWorker::Panicked { message: text(), location: text(), thread: text() },
        FromWorker::Backtrace { frames: vec![1, 1 << 20] },
        FromWorker::Request { id: 1, request: Request::Fault { worker: text(), kind: FaultKind::Kill } },
        FromWorker::SeqMark(1 << 40),
    ];
    for (number, frame) in from_worker.iter().enumerate() {
        let length = codec::encode(frame, &mut buffer)?;
        seeds.push((format!("from-worker-{number}"), buffer[..length].to_vec()));
    }
    let (series, label, data) = ("ATL", Some(""), Some("[1]"));
    let value = Some(-1.5);
    let event = Event { series, value, ts_ms: 1, arrived_ms: 2, label, data, request_id: Some("r") };
    let mut bytes = Vec::new();
    event.encode(&mut bytes)?;
    seeds.push(("event".to_owned(), bytes));
    let mut bytes = Vec::new();
    Event { value: None, ..event }.encode(&mut bytes)?;
    seeds.push(("event-without-value".to_owned(), bytes));
    let mut bytes = Vec::new();
    Removal { series, arrived_ms: 2, request_id: Some("r") }.encode(&mut bytes)?;
    seeds.push(("removal".to_owned(), bytes));
    Ok(seeds)
}

/// Each frame as one packet: its length, then its bytes.
fn packets(frames: &Seeds) -> Seeds {
    let packet = |frame: &[u8]| [&u16::try_from(frame.len()).unwrap_or(0).to_le_bytes(), frame].concat();
    let mut seeds: Seeds = frames.iter().map(|(name, frame)| (name.clone(), packet(frame))).collect();
    let all = frames.iter().flat_map(|(_, frame)| packet(frame));
    seeds.push(("all".to_owned(), all.collect()));
    seeds
}

fn snapshots() -> Seeds {
    // Four series and three events; then each number of the head is corrupted.
    let honest = [1, 4, 0, 3, 0];
    let corrupted = |number: usize, way: u8| {
        let mut seed = honest.to_vec();
        seed.resize(honest.len() + number, 0);
        seed.push(way);
        (format!("head-{number}-{way}"), seed)
    };
    let mut seeds: Seeds = (0..9).flat_map(|number| [2, 4].map(|way| corrupted(number, way))).collect();
    seeds.push(("honest".to_owned(), honest.to_vec()));
    seeds.push(("magic".to_owned(), b"\0bulkhead snap 01".to_vec()));
    seeds
}

fn seeds(target: &str) -> Result<Seeds, Box<dyn Error>> {
    let memory = target.strip_suffix("_concurrent").unwrap_or(target);
    Ok(match memory {
        "consumer" => {
            let page = [("flip", 0), ("head", 1), ("next-seq", 2), ("head-2", 4), ("next-seq-2", 5)];
            let mut seeds = words(&[7], 1, &page);
            // The parts after the ring and the page are the heads of the pending records.
            for record in [0, 5, 13] {
                let heads = words(&[7], 2 + record, &[("head", 0), ("seq", 1)]);
                seeds.extend(heads.into_iter().map(|(name, seed)| (format!("record-{record}-{name}"), seed)));
            }
            seeds
        }
        "state" => {
            let front =
                [("commit", 0), ("record", 8), ("record-2", 24), ("hash", 64), ("tag", 70), ("tag-2", 73)];
            let mut seeds = words(&[1], 0, &front);
            seeds.extend(words(&[0], 2, &[("body", 0), ("body-tag", 1), ("body-text", 4), ("body-2", 65)]));
            seeds
        }
        "cursor" => {
            words(&[1], 0, &[("in-flight", 0), ("read", 1), ("epoch", 8), ("seal", 16), ("panic-record", 17)])
        }
        "seqlock" => {
            let mut seeds = words(&[1], 0, &[("version", 0), ("slot", 8), ("seal", 9), ("value", 10)]);
            seeds.extend(words(&[1], 1, &[("slot-2", 0), ("seal-2", 1), ("value-2", 2)]));
            seeds
        }
        "frames" if memory == target => frames()?,
        "frames" => packets(&frames()?),
        "snapshot" => snapshots(),
        _ => Seeds::new(),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/fuzz/corpus");
    for target in ALL {
        let folder = corpus.join(target.name);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in seeds(target.name)? {
            fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}

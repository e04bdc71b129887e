//! Frames, events and boards as bytes: decoded to what encodes to the same again, or refused.

use crate::input::Input;
use bincode::{Decode, Encode};
use bulkhead_proto::{
    shm::cursor::PanicRecord,
    wire::{
        codec,
        control::{FromWorker, MAX_FRAME, ToWorker},
        event::{Event, MAX_DATA, MAX_LABEL, MAX_REQUEST_ID, MAX_SERIES},
        status::Status,
    },
    worker::pipe::{self, Received, Receiver},
};
use std::{fmt::Debug, fs::File, io::Write as _, thread};

/// Decodes the same bytes as everything that comes as bytes.
pub(super) fn alone(bytes: &[u8]) {
    twice::<ToWorker>(bytes);
    twice::<FromWorker>(bytes);
    twice::<PanicRecord>(bytes);
    twice::<Status>(bytes);
    event(bytes);
}

/// What was decoded is a value like any other: it can be encoded, and comes back.
fn twice<T: Encode + Decode<()> + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(value) = codec::decode::<T>(bytes) else { return };
    assert!(codec::decode::<T>(&[bytes, &[0]].concat()).is_err(), "a byte behind {value:?} was accepted");
    // Every integer's form on the wire is at most nine bytes long, and none is shorter than one.
    let mut again = vec![0; 16 * bytes.len() + 64];
    let length = codec::encode(&value, &mut again).expect("what was decoded can be encoded");
    assert!(length <= bytes.len(), "{length} bytes came of {}: {value:?}", bytes.len());
    assert_eq!(codec::decode::<T>(&again[..length]).expect("what was encoded can be decoded"), value);
}

fn event(bytes: &[u8]) {
    let Ok(event) = Event::decode(bytes) else { return };
    assert!(event.value.is_finite() && (1..=MAX_SERIES).contains(&event.series.len()));
    assert!(event.label.is_none_or(|label| label.len() <= MAX_LABEL));
    assert!(event.data.is_none_or(|data| data.len() <= MAX_DATA));
    assert!(event.request_id.is_none_or(|id| id.len() <= MAX_REQUEST_ID));
    let mut again = Vec::new();
    event.encode(&mut again).expect("what was decoded can be encoded");
    assert!(again.len() <= bytes.len());
    assert_eq!(Event::decode(&again).expect("what was encoded can be decoded"), event);
}

/// A second thread writes packets of any bytes into a pipe; each is one frame or one error, and the reader never loses its
/// place among them.
pub(super) fn beside(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut packets = Vec::new();
    while !input.is_empty() && packets.len() < 64 {
        let packet = input.bytes(MAX_FRAME);
        // Nothing is written for an empty packet.
        packets.extend((!packet.is_empty()).then_some(packet));
    }
    let (read, write) = pipe::pair().expect("a pipe");
    let receiver = Receiver::<FromWorker>::new(read);
    thread::scope(|scope| {
        let packets = &packets;
        let writer = scope.spawn(move || {
            let mut write = File::from(write);
            // One write is one packet: in packet mode, none is written in part.
            packets
                .iter()
                .for_each(|packet| assert_eq!(write.write(packet).expect("a reader"), packet.len()));
        });
        for packet in packets {
            let wanted = codec::decode::<FromWorker>(packet).ok();
            match receiver.recv() {
                Ok(Received::Frame(frame)) => assert_eq!(Some(frame), wanted),
                Ok(Received::Empty | Received::Closed) => panic!("a packet was lost"),
                Err(_) => assert_eq!(wanted, None),
            }
        }
        assert!(matches!(receiver.recv(), Ok(Received::Closed)));
        writer.join().expect("it wrote everything");
    });
}

//! Frames, events and published values as bytes: they decode to a value that encodes to the same bytes again,
//! or are refused.

use crate::input::Input;
use bincode::{Decode, Encode};
use bulkhead_proto::{
    shm::cursor::PanicRecord,
    wire::{
        codec,
        control::{FromWorker, MAX_FRAME, ToWorker},
        event::{
            Event, EventError, Input as Decoded, MAX_DATA, MAX_LABEL, MAX_REQUEST_ID, MAX_SERIES, Removal,
        },
        status::Status,
    },
    worker::pipe::{self, Received, Receiver},
};
use std::{fmt::Debug, fs::File, io::Write as _, thread};

/// Decodes the same bytes as every type that is received as bytes.
pub(super) fn alone(bytes: &[u8]) {
    check_reencodes::<ToWorker>(bytes);
    check_reencodes::<FromWorker>(bytes);
    check_reencodes::<PanicRecord>(bytes);
    check_reencodes::<Status>(bytes);
    event(bytes);
}

/// A decoded value can be encoded, and decodes to the same value again.
fn check_reencodes<T: Encode + Decode<()> + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(value) = codec::decode::<T>(bytes) else { return };
    assert!(codec::decode::<T>(&[bytes, &[0]].concat()).is_err(), "a byte after {value:?} was accepted");
    // An encoded integer takes one to nine bytes.
    let mut again = vec![0; 16 * bytes.len() + 64];
    let length = codec::encode(&value, &mut again).expect("a decoded value can be encoded");
    assert!(length <= bytes.len(), "{} bytes of input became {length} bytes: {value:?}", bytes.len());
    assert_eq!(codec::decode::<T>(&again[..length]).expect("an encoded value can be decoded"), value);
}

fn event(bytes: &[u8]) {
    let event = match Decoded::decode(bytes) {
        Ok(Decoded::Event(event)) => event,
        Ok(Decoded::Removal(removal)) => return check_removal(bytes, removal),
        Err(_) => return,
    };
    assert!(event.value.map_or(event.data.is_some(), f64::is_finite));
    assert!((1..=MAX_SERIES).contains(&event.series.len()));
    assert!(event.label.is_none_or(|label| label.len() <= MAX_LABEL));
    assert!(event.data.is_none_or(|data| data.len() <= MAX_DATA));
    assert!(event.request_id.is_none_or(|id| id.len() <= MAX_REQUEST_ID));
    let mut again = Vec::new();
    event.encode(&mut again).expect("a decoded value can be encoded");
    assert!(again.len() <= bytes.len());
    assert_eq!(Event::decode(&again).expect("an encoded value can be decoded"), event);
}

fn check_removal(bytes: &[u8], removal: Removal<'_>) {
    assert_eq!(Event::decode(bytes), Err(EventError::Removal));
    assert!((1..=MAX_SERIES).contains(&removal.series.len()));
    assert!(removal.request_id.is_none_or(|id| id.len() <= MAX_REQUEST_ID));
    let mut again = Vec::new();
    removal.encode(&mut again).expect("a decoded value can be encoded");
    assert_eq!(Decoded::decode(&again).expect("an encoded value can be decoded"), Decoded::Removal(removal));
}

/// A second thread writes packets of any bytes into a pipe. Each packet is one frame or one error, and the
/// reader stays in step with the packets.
pub(super) fn concurrent(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut packets = Vec::new();
    while !input.is_empty() && packets.len() < 64 {
        let packet = input.bytes(MAX_FRAME);
        // No packet is written for empty bytes.
        packets.extend((!packet.is_empty()).then_some(packet));
    }
    let (read, write) = pipe::pair().expect("a pipe");
    let receiver = Receiver::<FromWorker>::new(read);
    thread::scope(|scope| {
        let packets = &packets;
        let writer = scope.spawn(move || {
            let mut write = File::from(write);
            // One write is one packet: packet mode never writes a part.
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
        writer.join().expect("the writer thread does not panic");
    });
}

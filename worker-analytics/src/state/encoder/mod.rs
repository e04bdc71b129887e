//! The encoder. Its bytes are those of `rmp_serde::Serializer` with names of fields, human-readable.
//!
//! That one was not taken because it stores `Some(None)` and `Some(())` as `None`, nests deeper than its decoder reads,
//! and believes a wrong length. A check before it would serialise each state twice.

mod serializer;

use super::StateError;
use rmp::encode;
use serde::{Serialize, ser::Error as _};
use std::fmt::{Debug, Display};

/// The most levels of nested values, as in `serde_json`. Each level takes stack.
pub(super) const MAX_DEPTH: usize = 128;

/// Stands between the path of a value and the value, in a [`trace`].
pub(super) const IS: &str = " = ";

/// The name of each element of a sequence in a path. All have the same one: the order of a `HashSet` does not matter.
const ELEMENT: &str = "[]";

/// Encodes a state into a buffer, in place of what the buffer holds.
///
/// Types such as an IP address are stored as text, as in JSON. Inside `flatten` and untagged enums, serde reads them in
/// that form only.
///
/// # Errors
/// If MessagePack cannot hold the state, with the path of the field.
pub fn encode(state: &impl Serialize, into: &mut Vec<u8>) -> Result<(), StateError> {
    into.clear();
    let mut encoder = Encoder { bytes: std::mem::take(into), ..Encoder::default() };
    let encoded = encoder.encode(state);
    *into = encoder.bytes;
    encoded.map_err(|error| trace(state).err().unwrap_or(error))
}

/// Encodes a state once more, with a trace, which takes longer. Returns every value in the state with its path, sorted.
pub(super) fn trace(state: &impl Serialize) -> Result<Vec<String>, StateError> {
    let mut encoder = Encoder { trace: Some(Trace::default()), ..Encoder::default() };
    encoder.encode(state)?;
    let mut values = encoder.trace.unwrap_or_default().values;
    values.sort_unstable();
    Ok(values)
}

/// Encodes one state.
#[derive(Default)]
struct Encoder {
    bytes: Vec<u8>,
    depth: usize,
    /// Takes as long as the encoding itself, so it is kept only to explain an error.
    trace: Option<Trace>,
}

/// Where the encoder is, and what it has encoded.
#[derive(Default)]
struct Trace {
    path: String,
    /// The path and the text of each value.
    values: Vec<String>,
}

/// How a value is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// As nil, as `None` is stored.
    Nil,
    /// As something else.
    Content,
}

/// Why the encoder stopped. It stopped at the path of its trace.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

impl serde::ser::Error for Refused {
    fn custom<T: Display>(reason: T) -> Self {
        Self(reason.to_string())
    }
}

impl Encoder {
    /// Encodes a state. An error has a path if there is a trace.
    fn encode(&mut self, state: &(impl Serialize + ?Sized)) -> Result<(), StateError> {
        state.serialize(&mut *self).map(drop).map_err(|Refused(reason)| {
            let field = self.trace.as_mut().map(|trace| std::mem::take(&mut trace.path)).unwrap_or_default();
            StateError { field, reason }
        })
    }

    /// Notes that a value was written.
    fn noted<E: Display>(
        &mut self,
        written: Result<(), E>,
        value: impl Debug,
        stored: Stored,
    ) -> Result<Stored, Refused> {
        if let Some(trace) = &mut self.trace {
            trace.values.push(format!("{}{IS}{value:?}", trace.path));
        }
        written.map(|()| stored).map_err(Refused::custom)
    }

    /// Encodes a value inside another one. After an error, the path stays where it is.
    fn inner(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<Stored, Refused> {
        if self.depth == MAX_DEPTH {
            return Err(Refused(format!("nested more than {MAX_DEPTH} levels deep")));
        }
        let outer = self.descend(name);
        self.depth += 1;
        let stored = value.serialize(&mut *self)?;
        self.depth -= 1;
        self.ascend(outer);
        Ok(stored)
    }

    /// Appends a name to the path. Returns the former length of the path.
    fn descend(&mut self, name: &str) -> usize {
        let Some(Trace { path, .. }) = &mut self.trace else { return 0 };
        let outer = path.len();
        if !path.is_empty() && !name.is_empty() && name != ELEMENT {
            path.push('.');
        }
        path.push_str(name);
        outer
    }

    fn ascend(&mut self, outer: usize) {
        if let Some(Trace { path, .. }) = &mut self.trace {
            path.truncate(outer);
        }
    }

    /// Begins a value with parts, of which the length is known or not.
    fn parts(
        &mut self,
        kind: Kind,
        variant: Option<&str>,
        length: Option<usize>,
    ) -> Result<Parts<'_>, Refused> {
        let outer = self.descend(variant.unwrap_or_default());
        if let Some(variant) = variant {
            self.variant(variant)?;
        }
        let start = self.bytes.len();
        if let Some(length) = length {
            kind.write_length(&mut self.bytes, length)?;
        }
        Ok(Parts { encoder: self, kind, outer, start, length, number: 0, key: String::new() })
    }

    fn variant(&mut self, name: &str) -> Result<(), Refused> {
        encode::write_map_len(&mut self.bytes, 1).map_err(Refused::custom)?;
        encode::write_str(&mut self.bytes, name).map_err(Refused::custom)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Array,
    Map,
}

impl Kind {
    fn write_length(self, into: &mut Vec<u8>, length: usize) -> Result<(), Refused> {
        let length = u32::try_from(length).map_err(Refused::custom)?;
        let written = match self {
            Self::Array => encode::write_array_len(into, length),
            Self::Map => encode::write_map_len(into, length),
        };
        written.map(drop).map_err(Refused::custom)
    }
}

/// A value that has parts: a sequence, a tuple, a map or a struct.
struct Parts<'e> {
    encoder: &'e mut Encoder,
    kind: Kind,
    /// The length of the path outside.
    outer: usize,
    /// Where the value starts in the bytes.
    start: usize,
    /// The number of parts that serde gave before the first one.
    length: Option<usize>,
    /// The parts so far.
    number: usize,
    /// The text of the key of a map's next value, for the path.
    key: String,
}

impl Parts<'_> {
    fn part(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), Refused> {
        self.number += 1;
        self.encoder.inner(name, value).map(drop)
    }

    fn element(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Refused> {
        self.part(ELEMENT, value)
    }

    fn field(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Result<(), Refused> {
        encode::write_str(&mut self.encoder.bytes, name).map_err(Refused::custom)?;
        self.part(name, value)
    }

    fn finish(self) -> Result<Stored, Refused> {
        let Self { encoder, number, .. } = self;
        match self.length {
            Some(length) if length == number => {}
            Some(length) => {
                return Err(Refused(format!("its `Serialize` announces {length} parts and gives {number}")));
            }
            None => {
                let mut header = Vec::new();
                self.kind.write_length(&mut header, number)?;
                encoder.bytes.splice(self.start..self.start, header);
            }
        }
        if number == 0 {
            encoder.noted(Ok::<_, Refused>(()), format_args!("empty"), Stored::Content)?;
        }
        encoder.ascend(self.outer);
        Ok(Stored::Content)
    }
}

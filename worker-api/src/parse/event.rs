//! Deserializes one event object, and an array of them.

use super::{
    batch::{BatchParser, ErrorLocation},
    scalar::{BoundedText, FiniteNumber, OptionalBoundedText, Timestamp, check_data_bounds},
};
use bulkhead_proto::wire::{
    event::{Event, MAX_LABEL, MAX_SERIES},
    fault::FaultKind,
    series::{FAULT_PREFIX, RESERVED_PREFIX},
    text::cut,
};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// The most bytes of an unknown field's name that an error quotes.
const MAX_QUOTED: usize = 64;

/// An array of events.
pub(super) struct EventArray<'i, 'r, 's, S>(pub(super) &'i mut BatchParser<'r, 's, S>);

/// One event object.
pub(super) struct EventObject<'i, 'r, 's, S>(pub(super) &'i mut BatchParser<'r, 's, S>);

impl<'de, S: FnMut(&Event<'_>)> DeserializeSeed<'de> for EventArray<'_, '_, '_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, S: FnMut(&Event<'_>)> Visitor<'de> for EventArray<'_, '_, '_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        while events.next_element_seed(EventObject(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

impl<'de, S: FnMut(&Event<'_>)> DeserializeSeed<'de> for EventObject<'_, '_, '_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.0.location.index = Some(self.0.count);
        from.deserialize_map(self)
    }
}

impl<'de, S: FnMut(&Event<'_>)> Visitor<'de> for EventObject<'_, '_, '_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an event: an object with \"series\", \"value\" and optionally \"label\", \"ts\", \"data\"",
        )
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let BatchParser { context, sink, count, location } = self.0;
        let mut fields = Fields::default();
        while let Some(field) = map.next_key_seed(FieldName(location))? {
            location.known_field = Some(field.name());
            fields.read(field, &mut map)?;
            location.known_field = None;
        }
        let series = require_field(fields.series.as_deref(), Field::Series, location)?;
        let value = require_field(fields.value, Field::Value, location)?;
        if series.starts_with(RESERVED_PREFIX) {
            location.known_field = Some(Field::Series.name());
            check_reserved_series(series, context.faults).map_err(Error::custom)?;
        }
        sink(&Event {
            series,
            value,
            ts_ms: fields.ts_ms.unwrap_or(context.arrived_ms),
            arrived_ms: context.arrived_ms,
            label: fields.label.as_deref(),
            data: fields.data,
            request_id: context.request_id,
        });
        *count += 1;
        *location = ErrorLocation::default();
        Ok(())
    }
}

fn require_field<T, E: Error>(found: Option<T>, field: Field, location: &mut ErrorLocation) -> Result<T, E> {
    found.ok_or_else(|| {
        location.known_field = Some(field.name());
        E::missing_field(field.name())
    })
}

/// Checks a series whose name has the reserved prefix.
///
/// # Errors
/// When clients may not append to this series: why, and what to do.
pub(crate) fn check_reserved_series(series: &str, faults: bool) -> Result<(), String> {
    let Some(kind) = series.strip_prefix(FAULT_PREFIX) else {
        return Err(format!(
            "series names that start with {RESERVED_PREFIX:?} are reserved: choose another name"
        ));
    };
    kind.parse::<FaultKind>().map_err(|unknown| unknown.to_string())?;
    if faults {
        Ok(())
    } else {
        Err(format!(
            "series {series:?} induces a fault, and faults are not enabled: set `enabled = true` under [faults]"
        ))
    }
}

/// The fields of an event object that have been read.
#[derive(Default)]
struct Fields<'de> {
    seen: u8,
    series: Option<Cow<'de, str>>,
    value: Option<f64>,
    label: Option<Cow<'de, str>>,
    ts_ms: Option<i64>,
    data: Option<&'de str>,
}

impl<'de> Fields<'de> {
    fn read<A: MapAccess<'de>>(&mut self, field: Field, map: &mut A) -> Result<(), A::Error> {
        let bit = 1 << (field as u8);
        if self.seen & bit != 0 {
            return Err(Error::duplicate_field(field.name()));
        }
        self.seen |= bit;
        match field {
            Field::Series => {
                self.series = Some(map.next_value_seed(BoundedText { min: 1, max: MAX_SERIES })?);
            }
            Field::Value => self.value = Some(map.next_value_seed(FiniteNumber)?),
            Field::Label => self.label = map.next_value_seed(OptionalBoundedText { max: MAX_LABEL })?,
            Field::Ts => self.ts_ms = map.next_value_seed(Timestamp)?,
            Field::Data => {
                let text = map.next_value::<&RawValue>()?.get();
                self.data = Some(check_data_bounds(text).map_err(Error::custom)?);
            }
        }
        Ok(())
    }
}

/// The fields of an event.
#[derive(Clone, Copy)]
enum Field {
    Series,
    Value,
    Label,
    Ts,
    Data,
}

const NAMES: [&str; 5] = ["series", "value", "label", "ts", "data"];

impl Field {
    const fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// Reads a field's name and records an unknown one in the location.
struct FieldName<'p>(&'p mut ErrorLocation);

impl<'de> DeserializeSeed<'de> for FieldName<'_> {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Field, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldName<'_> {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Field, E> {
        match name {
            "series" => Ok(Field::Series),
            "value" => Ok(Field::Value),
            "label" => Ok(Field::Label),
            "ts" => Ok(Field::Ts),
            "data" => Ok(Field::Data),
            unknown => {
                let quoted = cut(unknown, MAX_QUOTED);
                self.0.field = Some(quoted.to_owned());
                Err(E::unknown_field(quoted, &NAMES))
            }
        }
    }
}

//! One event, and a sequence of them, as serde sees them.

use super::{
    Intake, Place,
    scalar::{Finite, OptionalText, Text, Timestamp, bounded_data},
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

/// The longest part of an unknown field's name that is quoted back, in bytes.
const MAX_QUOTED: usize = 64;

/// An array of events.
pub(super) struct Sequence<'i, 'r, 's, S>(pub(super) &'i mut Intake<'r, 's, S>);

/// One event object.
pub(super) struct OneEvent<'i, 'r, 's, S>(pub(super) &'i mut Intake<'r, 's, S>);

impl<'de, S: FnMut(&Event<'_>)> DeserializeSeed<'de> for Sequence<'_, '_, '_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, S: FnMut(&Event<'_>)> Visitor<'de> for Sequence<'_, '_, '_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        while events.next_element_seed(OneEvent(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

impl<'de, S: FnMut(&Event<'_>)> DeserializeSeed<'de> for OneEvent<'_, '_, '_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.0.place.index = Some(self.0.count);
        from.deserialize_map(self)
    }
}

impl<'de, S: FnMut(&Event<'_>)> Visitor<'de> for OneEvent<'_, '_, '_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an event: an object with \"series\", \"value\" and optionally \"label\", \"ts\", \"data\"",
        )
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Intake { rules, sink, count, place } = self.0;
        let mut fields = Fields::default();
        while let Some(field) = map.next_key_seed(FieldName(place))? {
            place.known = Some(field.name());
            fields.read(field, &mut map)?;
            place.known = None;
        }
        let series = require(fields.series.as_deref(), Field::Series, place)?;
        let value = require(fields.value, Field::Value, place)?;
        if series.starts_with(RESERVED_PREFIX) {
            place.known = Some(Field::Series.name());
            admit_reserved(series, rules.faults).map_err(Error::custom)?;
        }
        sink(&Event {
            series,
            value,
            ts_ms: fields.ts_ms.unwrap_or(rules.arrived_ms),
            arrived_ms: rules.arrived_ms,
            label: fields.label.as_deref(),
            data: fields.data,
            request_id: rules.request_id,
        });
        *count += 1;
        *place = Place::default();
        Ok(())
    }
}

fn require<T, E: Error>(found: Option<T>, field: Field, place: &mut Place) -> Result<T, E> {
    found.ok_or_else(|| {
        place.known = Some(field.name());
        E::missing_field(field.name())
    })
}

/// Whether a series whose name is reserved may come from outside.
///
/// # Errors
/// Why not, and what to do.
pub(crate) fn admit_reserved(series: &str, faults: bool) -> Result<(), String> {
    let Some(kind) = series.strip_prefix(FAULT_PREFIX) else {
        return Err(format!("series that begin with {RESERVED_PREFIX:?} are reserved: choose another name"));
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

/// What an event object said so far.
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
            Field::Series => self.series = Some(map.next_value_seed(Text { least: 1, most: MAX_SERIES })?),
            Field::Value => self.value = Some(map.next_value_seed(Finite)?),
            Field::Label => self.label = map.next_value_seed(OptionalText { most: MAX_LABEL })?,
            Field::Ts => self.ts_ms = map.next_value_seed(Timestamp)?,
            Field::Data => {
                let text = map.next_value::<&RawValue>()?.get();
                self.data = Some(bounded_data(text).map_err(Error::custom)?);
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

/// Reads a field's name; an unknown one is noted in the place.
struct FieldName<'p>(&'p mut Place);

impl<'de> DeserializeSeed<'de> for FieldName<'_> {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Field, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldName<'_> {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
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

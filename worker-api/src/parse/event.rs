//! Deserializes one event object, and an array of them.

use super::{
    batch::{BatchParser, ErrorLocation},
    scalar::{BoundedText, FiniteNumber, UnixMs, check_data_bounds},
};
use bulkhead_proto::wire::{
    event::{Event, EventError, MAX_LABEL, MAX_SERIES},
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

impl<'de, S: FnMut(&Event<'_>) -> Result<(), EventError>> Visitor<'de> for EventArray<'_, '_, '_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        while events.next_element_seed(EventObject(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

impl<'de, S: FnMut(&Event<'_>) -> Result<(), EventError>> DeserializeSeed<'de>
    for EventObject<'_, '_, '_, S>
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.0.location.index = Some(self.0.count);
        from.deserialize_map(self)
    }
}

impl<'de, S: FnMut(&Event<'_>) -> Result<(), EventError>> Visitor<'de> for EventObject<'_, '_, '_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an event: an object with \"series\", \"value\" or \"data\", and optionally \"label\", \"ts\"",
        )
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let BatchParser { context, sink, count, location } = self.0;
        let mut fields = Fields::default();
        while let Some(BoundedText(name)) = map.next_key::<FieldName<'de>>()? {
            fields.read(&name, &mut map, context.max_data, location)?;
            location.field = None;
        }
        let series = fields.series.as_deref().ok_or_else(|| {
            location.field = Some("series".into());
            Error::missing_field("series")
        })?;
        if fields.value.is_none() && fields.data.is_none_or(|data| data == "null") {
            location.field = Some("value".into());
            return Err(Error::custom(
                "missing field `value`; only an event with data may be without a value",
            ));
        }
        if series.starts_with(RESERVED_PREFIX) {
            location.field = Some("series".into());
            check_reserved_series(series, context.faults).map_err(Error::custom)?;
        }
        // The parser has checked the same bounds. An error shows a difference between the two.
        sink(&Event {
            series,
            value: fields.value,
            ts_ms: fields.ts_ms.unwrap_or(context.arrived_ms),
            arrived_ms: context.arrived_ms,
            label: fields.label.as_deref(),
            data: fields.data,
            request_id: context.request_id,
        })
        .map_err(Error::custom)?;
        *count += 1;
        *location = ErrorLocation::default();
        Ok(())
    }
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

const FIELDS: [&str; 5] = ["series", "value", "label", "ts", "data"];

/// The name of a field, which may be unknown.
type FieldName<'de> = BoundedText<'de, 0, { usize::MAX }>;

/// The fields of an event object that have been read.
#[derive(Default)]
struct Fields<'de> {
    /// One bit for each of [`FIELDS`].
    seen: u8,
    series: Option<Cow<'de, str>>,
    value: Option<f64>,
    label: Option<Cow<'de, str>>,
    ts_ms: Option<i64>,
    data: Option<&'de str>,
}

impl<'de> Fields<'de> {
    /// Reads the value of a field. `location` keeps the name of the field.
    fn read<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
        max_data: usize,
        location: &mut ErrorLocation,
    ) -> Result<(), A::Error> {
        let Some(index) = FIELDS.iter().position(|field| *field == name) else {
            let quoted = cut(name, MAX_QUOTED);
            location.field = Some(quoted.to_owned().into());
            return Err(Error::unknown_field(quoted, &FIELDS));
        };
        let name = FIELDS[index];
        location.field = Some(name.into());
        if self.seen & 1 << index != 0 {
            return Err(Error::duplicate_field(name));
        }
        self.seen |= 1 << index;
        match name {
            "series" => self.series = Some(map.next_value::<BoundedText<'de, 1, MAX_SERIES>>()?.0),
            "value" => self.value = map.next_value::<Option<FiniteNumber>>()?.map(|number| number.0),
            "label" => {
                let label = map.next_value::<Option<BoundedText<'de, 0, MAX_LABEL>>>()?;
                self.label = label.map(|label| label.0);
            }
            "ts" => self.ts_ms = map.next_value::<Option<UnixMs>>()?.map(|ts| ts.0),
            _ => {
                let text = map.next_value::<&RawValue>()?.get();
                self.data = Some(check_data_bounds(text, max_data).map_err(Error::custom)?);
            }
        }
        Ok(())
    }
}

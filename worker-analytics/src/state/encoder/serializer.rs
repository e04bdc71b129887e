//! The encoder as a serializer of serde: one function for each kind of value.

use super::{Encoder, IS, Kind, Parts, Refused, Stored, Trace};
use rmp::encode;
use serde::{
    Serialize, Serializer,
    ser::{
        Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

macro_rules! scalars {
    ($($function:ident($value:ident: $type:ty) $write:ident($($argument:expr)?);)*) => {$(
        fn $function(self, $value: $type) -> Result<Stored, Refused> {
            let written = encode::$write(&mut self.bytes $(, $argument)?).map(drop);
            self.noted(written, $value, Stored::Content)
        }
    )*};
}

impl<'e> Serializer for &'e mut Encoder {
    type Ok = Stored;
    type Error = Refused;
    type SerializeSeq = Parts<'e>;
    type SerializeTuple = Parts<'e>;
    type SerializeTupleStruct = Parts<'e>;
    type SerializeTupleVariant = Parts<'e>;
    type SerializeMap = Parts<'e>;
    type SerializeStruct = Parts<'e>;
    type SerializeStructVariant = Parts<'e>;

    scalars! {
        serialize_bool(value: bool) write_bool(value);
        serialize_i8(value: i8) write_sint(value.into());
        serialize_i16(value: i16) write_sint(value.into());
        serialize_i32(value: i32) write_sint(value.into());
        serialize_i64(value: i64) write_sint(value);
        serialize_i128(value: i128) write_bin(&value.to_be_bytes());
        serialize_u8(value: u8) write_uint(value.into());
        serialize_u16(value: u16) write_uint(value.into());
        serialize_u32(value: u32) write_uint(value.into());
        serialize_u64(value: u64) write_uint(value);
        serialize_u128(value: u128) write_bin(&value.to_be_bytes());
        serialize_f32(value: f32) write_f32(value);
        serialize_f64(value: f64) write_f64(value);
        serialize_char(value: char) write_str(value.encode_utf8(&mut [0; 4]));
        serialize_str(value: &str) write_str(value);
        serialize_bytes(value: &[u8]) write_bin(value);
        serialize_unit_struct(_name: &'static str) write_array_len(0);
    }

    fn serialize_none(self) -> Result<Stored, Refused> {
        self.serialize_unit()
    }

    fn serialize_unit(self) -> Result<Stored, Refused> {
        let written = encode::write_nil(&mut self.bytes);
        self.noted(written, (), Stored::Nil)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Stored, Refused> {
        match self.inner("", value)? {
            Stored::Nil => Err(Refused::custom(
                "`Some` of a value without content, such as `None` or `()`, would be read as `None`; use an enum",
            )),
            Stored::Content => Ok(Stored::Content),
        }
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Stored, Refused> {
        self.inner("", value)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<Stored, Refused> {
        self.serialize_str(name)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<Stored, Refused> {
        self.variant(name)?;
        self.inner(name, value).map(|_| Stored::Content)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Parts<'e>, Refused> {
        self.parts(Kind::Array, None, length)
    }

    fn serialize_tuple(self, length: usize) -> Result<Parts<'e>, Refused> {
        self.parts(Kind::Array, None, Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Parts<'e>, Refused> {
        self.parts(Kind::Array, None, Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        length: usize,
    ) -> Result<Parts<'e>, Refused> {
        self.parts(Kind::Array, Some(name), Some(length))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Parts<'e>, Refused> {
        self.parts(Kind::Map, None, length)
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Parts<'e>, Refused> {
        self.parts(Kind::Map, None, Some(length))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        length: usize,
    ) -> Result<Parts<'e>, Refused> {
        self.parts(Kind::Map, Some(name), Some(length))
    }
}

macro_rules! parts {
    ($($trait:ident: $function:ident$(($name:ident))? => $part:ident;)*) => {$(
        impl $trait for Parts<'_> {
            type Ok = Stored;
            type Error = Refused;

            fn $function<T: Serialize + ?Sized>(
                &mut self,
                $($name: &'static str,)?
                value: &T,
            ) -> Result<(), Refused> {
                self.$part($($name,)? value)
            }

            fn end(self) -> Result<Stored, Refused> {
                self.finish()
            }
        }
    )*};
}

parts! {
    SerializeSeq: serialize_element => element;
    SerializeTuple: serialize_element => element;
    SerializeTupleStruct: serialize_field => element;
    SerializeTupleVariant: serialize_field => element;
    SerializeStruct: serialize_field(name) => field;
    SerializeStructVariant: serialize_field(name) => field;
}

impl SerializeMap for Parts<'_> {
    type Ok = Stored;
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        if self.encoder.trace.is_some() {
            let mut encoder = Encoder { trace: Some(Trace::default()), ..Encoder::default() };
            key.serialize(&mut encoder)?;
            self.key = encoder.trace.unwrap_or_default().values.join(",").replace(IS, "");
        }
        key.serialize(&mut *self.encoder).map(drop)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        let key = std::mem::take(&mut self.key);
        self.part(&key, value)
    }

    fn end(self) -> Result<Stored, Refused> {
        self.finish()
    }
}

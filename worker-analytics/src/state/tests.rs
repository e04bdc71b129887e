//! What MessagePack can hold, what it cannot, and what is read from any bytes.

use super::*;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Debug,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

fn encoded(state: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(state, &mut bytes).unwrap();
    bytes
}

/// Checks that a value is stored and read as itself.
fn survives<S: Serialize + DeserializeOwned + PartialEq + Debug>(state: S) {
    let bytes = encoded(&state);
    let mut expected = Vec::new();
    state
        .serialize(&mut rmp_serde::Serializer::new(&mut expected).with_struct_map().with_human_readable())
        .unwrap();
    assert_eq!(bytes, expected, "differs from rmp-serde");
    assert_eq!(verify(&state, &bytes), Ok(()));
    assert_eq!(decode::<S>(&bytes), Ok(state));
}

/// The text with which a state is refused, when it is encoded or when it is read again.
fn refusal<S: Serialize + DeserializeOwned>(state: &S) -> String {
    let mut bytes = Vec::new();
    encode(state, &mut bytes).and_then(|()| verify(state, &bytes)).unwrap_err().to_string()
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
struct Newtype<T>(T);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
struct Unit;

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
enum Tagged {
    Unit,
    Newtype(Box<Tagged>),
    Tuple(u8, String),
    Struct { inner: Option<Box<Tagged>> },
}

#[derive(PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum InternallyTagged {
    Unit,
    Struct { at: IpAddr, big: u64 },
}

#[derive(PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    At(IpAddr),
    List(Vec<u8>),
}

#[derive(PartialEq, Debug, Serialize, Deserialize)]
struct Flattened {
    own: u32,
    #[serde(flatten)]
    inner: Newtype<Inner>,
    #[serde(flatten)]
    rest: HashMap<String, Untagged>,
}

#[derive(PartialEq, Debug, Serialize, Deserialize)]
struct Inner {
    at: IpAddr,
    list: Option<Vec<Option<u64>>>,
}

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn values_of_every_kind_survive() {
    survives((u64::MAX, i64::MIN, u128::MAX, i128::MIN));
    survives((i8::MIN, u8::MAX, 'ß', "text".to_owned(), true));
    survives((f32::MIN_POSITIVE, f64::MAX, f64::INFINITY, 5e-324));
    survives(((), Unit, Newtype(Newtype(7)), [1_u8; 32], Duration::MAX));
    survives((None::<u8>, Some(0), Some(Unit), Some(Some(1)), Some(Vec::<()>::new()), vec![(), ()]));
    survives(HashMap::from([((1, -1), Newtype(2.5)), ((2, 0), Newtype(0.0))]));
    survives(BTreeMap::from([(Tagged::Unit, 1), (Tagged::Tuple(1, "a".to_owned()), 2)]));
    survives(BTreeMap::from([(None, 1), (Some(3), 2)]));
    survives((0..1000).collect::<HashSet<u32>>());
    survives(vec![
        Tagged::Newtype(Box::new(Tagged::Newtype(Box::new(Tagged::Unit)))),
        Tagged::Struct { inner: Some(Box::new(Tagged::Struct { inner: None })) },
        Tagged::Tuple(1, String::new()),
    ]);
    survives(vec![InternallyTagged::Unit, InternallyTagged::Struct { at: LOCALHOST, big: u64::MAX }]);
    survives(vec![Untagged::Number(-1), Untagged::At(LOCALHOST), Untagged::List(vec![0, 255])]);
    survives(Flattened {
        own: 1,
        inner: Newtype(Inner { at: LOCALHOST, list: Some(vec![None, Some(1)]) }),
        rest: HashMap::from([
            ("x".to_owned(), Untagged::Number(1)),
            ("y".to_owned(), Untagged::At(LOCALHOST)),
        ]),
    });
}

#[test]
fn not_a_number_survives() {
    let decoded: [f64; 2] = decode(&encoded(&[f64::NAN, -0.0])).unwrap();
    assert!(decoded[0].is_nan() && decoded[1].is_sign_negative());
    assert_eq!(verify(&f64::NAN, &encoded(&f64::NAN)), Ok(()));
}

/// Programs in other languages read the same bytes: names of fields and variants are text, numbers and text have
/// MessagePack's own types.
#[test]
fn the_encoding_is_messagepack_with_names() {
    #[derive(Serialize)]
    struct State {
        count: u64,
        mean: f64,
        last: Option<Newtype<u8>>,
        kinds: (Tagged, Tagged),
    }
    let kinds = (Tagged::Unit, Tagged::Struct { inner: None });
    let bytes = encoded(&State { count: 300, mean: 0.5, last: None, kinds });
    let expected = b"\x84\xa5count\xcd\x01\x2c\xa4mean\xcb\x3f\xe0\0\0\0\0\0\0\xa4last\xc0\
        \xa5kinds\x92\xa4Unit\x81\xa6Struct\x81\xa5inner\xc0";
    assert_eq!(bytes, expected);
}

#[test]
fn some_of_nothing_is_refused_with_the_path_of_the_field() {
    #[derive(Default, Serialize, Deserialize)]
    struct State {
        plain: u8,
        double: Option<Option<u8>>,
        unit: Option<()>,
        list: Vec<Option<Newtype<()>>>,
        map: BTreeMap<String, Kind>,
    }
    #[derive(Serialize, Deserialize)]
    enum Kind {
        Deep { at: (u8, Option<Option<u8>>) },
    }
    let text =
        "`Some` of a value without content, such as `None` or `()`, would be read as `None`; use an enum";
    let map = BTreeMap::from([("key".to_owned(), Kind::Deep { at: (0, Some(None)) })]);
    for (field, state) in [
        ("double", State { double: Some(None), ..State::default() }),
        ("unit", State { unit: Some(()), ..State::default() }),
        ("list[]", State { list: vec![None, Some(Newtype(()))], ..State::default() }),
        ("map.\"key\".Deep.at[]", State { map, ..State::default() }),
    ] {
        assert_eq!(refusal(&state), format!("field `{field}`: {text}"));
    }
    assert_eq!(refusal(&Some(())), text);
}

#[test]
fn a_state_is_nested_as_deep_as_it_can_be_read_and_no_deeper() {
    #[derive(Serialize, Deserialize)]
    struct Chain {
        next: Option<Box<Chain>>,
    }
    let chain =
        |length| (1..length).fold(Chain { next: None }, |next, _| Chain { next: Some(Box::new(next)) });
    assert_eq!(verify(&chain(64), &encoded(&chain(64))), Ok(()));
    let refused = refusal(&chain(65));
    assert!(
        refused.starts_with("field `next.next.") && refused.ends_with("nested more than 128 levels deep")
    );
    assert!(refused.len() < 300, "{refused}");
    let nested = |depth| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    survives(nested(128));
    assert_eq!(
        refusal(&nested(129)),
        format!("field `{}`: nested more than 128 levels deep", "[]".repeat(100))
    );
}

#[test]
fn fields_that_are_not_read_as_they_were_stored_are_refused() {
    const ZERO: fn(&u8) -> bool = |number| *number == 0;
    fn seven() -> u8 {
        7
    }
    #[derive(Default, Serialize, Deserialize)]
    #[expect(dead_code, reason = "the field is never stored")]
    struct Skipped {
        other: u8,
        #[serde(skip_serializing)]
        never_stored: u8,
    }
    #[derive(Default, Serialize, Deserialize)]
    struct State {
        inner: Vec<OtherDefault>,
    }
    #[derive(Default, Serialize, Deserialize)]
    struct OtherDefault {
        other: u8,
        #[serde(skip_serializing_if = "is_zero", default = "seven")]
        number: u8,
    }
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_zero(number: &u8) -> bool {
        ZERO(number)
    }
    assert_eq!(refusal(&Skipped::default()), "missing field `never_stored`");
    let state = State { inner: vec![OtherDefault { other: 2, number: 1 }, OtherDefault::default()] };
    assert_eq!(refusal(&state), "field `inner[].number`: 7 is new after the state was stored and read again");
    // A field of this name exists already.
    let clash = HashMap::from([("own".to_owned(), Untagged::Number(1))]);
    let clash = Flattened { own: 1, inner: Newtype(Inner { at: LOCALHOST, list: None }), rest: clash };
    assert_eq!(refusal(&clash), "duplicate field `own`");
    // 128-bit numbers cannot be read within an enum without a tag.
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Big {
        Number(u128),
    }
    assert_eq!(
        refusal(&(1, Big::Number(1))),
        "field `[1]`: data did not match any variant of untagged enum Big"
    );
}

#[test]
fn a_field_can_be_added_and_removed_and_a_variant_is_known_by_its_name() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        count: u64,
        removed: Option<Inner>,
        kind: OldKind,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum OldKind {
        A,
        B(u8),
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        #[serde(default)]
        added: f64,
        kind: NewKind,
        count: u64,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum NewKind {
        Added,
        B(u8),
        A,
    }
    let old = Old { count: 3, removed: Some(Inner { at: LOCALHOST, list: None }), kind: OldKind::B(1) };
    assert_eq!(decode(&encoded(&old)), Ok(New { added: 0.0, kind: NewKind::B(1), count: 3 }));
    // An older program reads what a newer one stored.
    let new = New { added: 1.0, kind: NewKind::A, count: 4 };
    assert_eq!(decode(&encoded(&new)), Ok(Old { count: 4, removed: None, kind: OldKind::A }));
    let unknown = decode::<Old>(&encoded(&New { kind: NewKind::Added, ..new })).unwrap_err().to_string();
    assert_eq!(unknown, "field `kind`: unknown variant `Added`, expected `A` or `B`");
}

#[test]
fn an_error_of_decoding_has_the_path_of_the_field() {
    let bytes = encoded(&json!({ "at": "127.0.0.1", "list": [1, null, "x"] }));
    let error = decode::<Inner>(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "field `list[2]`: wrong msgpack marker FixStr(1)");
    let error = decode::<Inner>(&encoded(&json!({ "at": "127.0.0.1" }))).map(|inner| inner.list);
    assert_eq!(error, Ok(None));
    assert_eq!(decode::<Inner>(&encoded(&json!({}))).unwrap_err().to_string(), "missing field `at`");
    assert_eq!(decode::<u8>(&[1, 2, 3]).unwrap_err().to_string(), "2 extra bytes after the state");
}

#[test]
fn claimed_lengths_and_depths_neither_allocate_nor_overflow_the_stack() {
    let claims: [&[u8]; 5] = [
        b"\xdd\xff\xff\xff\xff\x01",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xffx",
        b"\xc6\xff\xff\xff\xff",
        b"",
    ];
    for bytes in claims.into_iter().chain([&[0x91; 60_000][..], &[0x81; 60_000]]) {
        assert!(decode::<Vec<u64>>(bytes).is_err());
        assert!(decode::<serde_json::Value>(bytes).is_err());
        assert!(decode::<BTreeMap<String, Tagged>>(bytes).is_err());
        assert!(decode::<Flattened>(bytes).is_err());
        assert!(decode::<Untagged>(bytes).is_err());
        assert!(decode::<Tagged>(bytes).is_err());
    }
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode::<Flattened>(&bytes);
        let _ = decode::<Vec<Tagged>>(&bytes);
        let _ = decode::<(u128, [u8; 3], char, Option<Option<Untagged>>)>(&bytes);
    }
}

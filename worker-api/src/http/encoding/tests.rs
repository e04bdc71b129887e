use super::*;
use crate::http::body::BodyMemory;
use axum::http::HeaderValue;
use flate2::{Compression, write::GzEncoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

const TEXT: &[u8] = br#"[{"series":"a","value":1},{"series":"a","value":1},{"series":"a","value":1}]"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

fn decode_within(encoding: Encoding, body: &[u8], max_bytes: u64) -> Result<Bytes, (ProblemKind, String)> {
    let memory = BodyMemory::new(max_bytes);
    encoding
        .decode(&Bytes::copy_from_slice(body), max_bytes, &mut memory.reservation())
        .map_err(|problem| (problem.kind(), problem.detail().to_owned()))
}

fn decode(encoding: Encoding, body: &[u8]) -> Result<Bytes, ProblemKind> {
    decode_within(encoding, body, 1 << 20).map_err(|(kind, _)| kind)
}

type Encode = fn(&[u8]) -> Vec<u8>;

const BOTH: [(Encoding, Encode); 2] = [(Encoding::Gzip, gzip), (Encoding::Zstd, zstd)];

#[test]
fn a_compressed_body_is_decompressed() {
    let long = b"0123456789".repeat(50_000);
    for (encoding, encode) in BOTH {
        for text in [TEXT, &long, b""] {
            assert_eq!(decode(encoding, &encode(text)).unwrap(), text, "{encoding}");
        }
    }
}

#[test]
fn concatenated_members_and_frames_are_one_body() {
    for (encoding, encode) in BOTH {
        let (first, second) = TEXT.split_at(30);
        assert_eq!(decode(encoding, &[encode(first), encode(second)].concat()).unwrap(), TEXT, "{encoding}");
    }
    let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc";
    assert_eq!(decode(Encoding::Zstd, &[skippable, &zstd(TEXT)[..], skippable].concat()).unwrap(), TEXT);
}

#[test]
fn a_body_that_ends_early_or_is_corrupt_is_refused() {
    for (encoding, encode) in BOTH {
        let body = encode(TEXT);
        for length in 1..body.len() {
            assert_eq!(
                decode(encoding, &body[..length]),
                Err(ProblemKind::BrokenBody),
                "{encoding} {length}"
            );
        }
        for garbage in [&b"x"[..], b"\0\0\0\0\0\0\0\0"] {
            let followed = [&body, garbage].concat();
            assert_eq!(decode(encoding, &followed), Err(ProblemKind::BrokenBody), "{encoding} {garbage:?}");
        }
        assert_eq!(decode(encoding, TEXT), Err(ProblemKind::BrokenBody));
        let last = body.len() - 1;
        let mut wrong = body;
        wrong[last] ^= 1;
        assert_eq!(decode(encoding, &wrong), Err(ProblemKind::BrokenBody), "{encoding}: a wrong checksum");
        let text = decode_within(encoding, &wrong[..10], 100).unwrap_err().1;
        assert!(text.starts_with(&format!("the body is not a complete {encoding} stream: ")), "{text}");
    }
}

#[test]
fn a_decompressed_body_has_the_limit_of_any_other() {
    for (encoding, encode) in BOTH {
        let body = encode(TEXT);
        let most = TEXT.len() as u64;
        assert_eq!(decode_within(encoding, &body, most).unwrap(), TEXT);
        assert_eq!(decode_within(encoding, &body, most - 1).unwrap_err().0, ProblemKind::BodyTooLarge);
    }
}

#[test]
fn a_body_that_would_become_huge_is_refused_at_the_limit() {
    let bomb = gzip(&vec![b' '; 32 << 20]);
    assert!(bomb.len() < 64 << 10);
    let memory = BodyMemory::new(0);
    let mut reservation = memory.reservation();
    let body = Bytes::from(bomb);
    let mut output = Output {
        bytes: Vec::new(),
        compressed: body.len(),
        max_bytes: 1 << 20,
        reservation: &mut reservation,
        refusal: None,
    };
    io::copy(&mut MultiGzDecoder::new(&body[..]), &mut output).unwrap_err();
    assert_eq!(output.refusal.unwrap().kind(), ProblemKind::BodyTooLarge);
    assert!(output.bytes.len() <= 1 << 20);
}

#[test]
fn a_decompressed_body_counts_against_the_memory_of_large_bodies() {
    let body = Bytes::from(gzip(&vec![b' '; 1 << 20]));
    let memory = BodyMemory::new(0);
    let mut others = memory.reservation();
    others.grow_to(64 << 20).unwrap();
    let problem = Encoding::Gzip.decode(&body, 4 << 20, &mut memory.reservation()).unwrap_err();
    assert_eq!(problem.kind(), ProblemKind::Unavailable);
    drop(others);
    assert!(Encoding::Gzip.decode(&body, 4 << 20, &mut memory.reservation()).is_ok());
}

#[test]
fn a_zstd_window_beyond_8_mib_is_refused_before_it_is_allocated() {
    // Magic number, no content size, a window of 2 GiB, one empty last block.
    let frame = |window| [0x28, 0xb5, 0x2f, 0xfd, 0x00, window, 0x01, 0x00, 0x00];
    assert_eq!(decode(Encoding::Zstd, &frame(13 << 3)).unwrap(), "");
    assert_eq!(decode(Encoding::Zstd, &frame(14 << 3)), Err(ProblemKind::BrokenBody));
}

fn announced(values: &[&'static str]) -> Result<Option<Encoding>, String> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
    }
    Encoding::announced(&headers).map_err(|problem| problem.detail().to_owned())
}

#[test]
fn one_known_encoding_is_accepted_and_identity_is_none() {
    for none in [&[][..], &["identity"], &["Identity, identity"], &[""]] {
        assert_eq!(announced(none), Ok(None), "{none:?}");
    }
    for gzip in [&["gzip"][..], &["GZIP"], &["x-gzip"], &["identity, gzip"], &["identity", " gzip ,"]] {
        assert_eq!(announced(gzip), Ok(Some(Encoding::Gzip)), "{gzip:?}");
    }
    assert_eq!(announced(&["zstd"]), Ok(Some(Encoding::Zstd)));
    for (other, text) in
        [("br", "\"br\""), ("deflate", "deflate"), ("gzip, zstd", "several"), ("gzip, gzip", "several")]
    {
        let detail = announced(&[other]).unwrap_err();
        assert!(detail.contains(text), "{detail}");
    }
    assert!(announced(&["gzip", "gzip"]).is_err());
}

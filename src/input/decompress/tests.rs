//! Packed data whole, in members, cut off, damaged.

use super::*;
use std::io::{Cursor, Write};

const COMPRESSIONS: [Compression; 4] = [
    Compression::Gzip,
    Compression::Bzip2,
    Compression::Zstd,
    Compression::Xz,
];

pub(in crate::input) fn pack_all(data: &[u8]) -> [Vec<u8>; 4] {
    COMPRESSIONS.map(|compression| pack(compression, data))
}

fn pack(compression: Compression, data: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            // As the zstd program does.
            encoder.include_checksum(true).unwrap();
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// Gives its bytes in pieces of at most so many, as a pipe may.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len().min(self.1);
        self.0.read(&mut into[..length])
    }
}

/// What can be unpacked, and how it ends.
fn unpack(packed: &[u8], piece: usize) -> (Vec<u8>, io::Result<()>) {
    let mut all = Vec::new();
    let mut unpack = match Decompressor::new(Pieces(packed, piece)) {
        Ok(unpack) => unpack,
        Err(error) => return (all, Err(error)),
    };
    let mut room = [0; 1000];
    loop {
        match unpack.read(&mut room) {
            Ok(0) => return (all, Ok(())),
            Ok(read) => all.extend_from_slice(&room[..read]),
            Err(error) => {
                assert_eq!(
                    unpack.read(&mut room).unwrap(),
                    0,
                    "nothing comes after an error"
                );
                return (all, Err(error));
            }
        }
    }
}

#[track_caller]
fn assert_unpacks(packed: &[u8], want: &[u8]) {
    for piece in [1, 7, usize::MAX] {
        let (all, end) = unpack(packed, piece);
        end.unwrap();
        assert!(all == want, "{} bytes, wanted {}", all.len(), want.len());
    }
}

/// Lines that no packer can make much smaller.
fn log() -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 16
    };
    (0..12_000)
        .flat_map(|_| format!("{:x} {:x}\n", next(), next()).into_bytes())
        .collect()
}

#[test]
fn what_is_not_packed_is_as_it_is() {
    for plain in [
        "",
        "a",
        "B",
        "BZ",
        "BZh",
        "BZhx",
        "P",
        "P*",
        "P*M",
        "(",
        "203.0.113.9 - -\n",
        "\x1f",
        "\x1fx",
    ] {
        assert_unpacks(plain.as_bytes(), plain.as_bytes());
    }
    assert_unpacks(b"\xfd7zXZ", b"\xfd7zXZ");
    assert_unpacks(&log(), &log());
}

#[test]
fn telling_the_compression_waits_for_no_more_bytes_than_it_takes() {
    struct Waiting;
    impl Read for Waiting {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("a pipe would wait here");
        }
    }
    for begun in ["a", "B\n", "BZ\n", "BZhx", "PX", "\x1f\u{0}", "BZh9", "(x"] {
        Decompressor::new(Pieces(begun.as_bytes(), 1).chain(Waiting)).unwrap();
    }
}

#[test]
fn every_compression_is_told_by_its_first_bytes() {
    for packed in pack_all(&log()) {
        assert_unpacks(&packed, &log());
    }
    for packed in pack_all(b"") {
        assert_unpacks(&packed, b"");
    }
}

#[test]
fn several_members_are_read_even_of_different_compressions() {
    let mut mixed = Vec::new();
    for compression in COMPRESSIONS {
        let members = [
            pack(compression, b"one\n"),
            pack(compression, b""),
            pack(compression, b"two\n"),
        ]
        .concat();
        assert_unpacks(&members, b"one\ntwo\n");
        mixed.extend(members);
    }
    assert_unpacks(&mixed, &b"one\ntwo\n".repeat(4));
}

#[test]
fn zstd_frames_to_be_passed_over_are() {
    let skipped = b"\x5a\x2a\x4d\x18\x05\0\0\0hello";
    let packed = pack(Compression::Zstd, b"one\n");
    assert_unpacks(
        &[skipped.as_slice(), &packed, skipped, &packed].concat(),
        b"one\none\n",
    );
}

#[test]
fn zero_bytes_after_a_member_are_passed_over() {
    for compression in COMPRESSIONS {
        let packed = pack(compression, b"one\n");
        assert_unpacks(&[&packed, [0; 700].as_slice()].concat(), b"one\n");
        assert_unpacks(
            &[&packed, [0; 512].as_slice(), &packed].concat(),
            b"one\none\n",
        );
    }
}

#[test]
fn what_was_cut_off_gives_its_beginning_and_says_so() {
    let log = log();
    for compression in COMPRESSIONS {
        let packed = pack(compression, &log);
        for cut in (6..packed.len())
            .step_by(packed.len() / 97)
            .chain([packed.len() - 1])
        {
            let (all, end) = unpack(&packed[..cut], 4096);
            let error = end.unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::UnexpectedEof,
                "{compression} at {cut}: {error}"
            );
            assert!(error.to_string().contains("truncated"), "{error}");
            assert!(log.starts_with(&all), "{compression} at {cut}");
            if cut == packed.len() - 1 {
                assert!(
                    all.len() > log.len() / 2,
                    "{compression}: {} of {}",
                    all.len(),
                    log.len()
                );
            }
        }
    }
}

#[test]
fn a_cut_second_member_keeps_the_first() {
    for compression in COMPRESSIONS {
        let packed = pack(compression, b"one\n");
        for cut in 6..packed.len() {
            let (all, end) = unpack(&[&packed, &packed[..cut]].concat(), 4096);
            assert!(all.starts_with(b"one\n"));
            assert_eq!(
                end.unwrap_err().kind(),
                ErrorKind::UnexpectedEof,
                "{compression} at {cut}"
            );
        }
    }
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let log = log();
    for compression in COMPRESSIONS {
        let packed = pack(compression, &log);
        let mut errors = 0;
        for at in (0..packed.len()).step_by(packed.len() / 61) {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x55;
            let (_, end) = unpack(&damaged, 4096);
            if let Err(error) = end {
                errors += 1;
                assert!(
                    matches!(
                        error.kind(),
                        ErrorKind::InvalidData | ErrorKind::UnexpectedEof
                    ),
                    "{error}"
                );
            }
        }
        assert!(errors > 50, "{compression}: {errors}");
    }
}

#[test]
fn text_after_a_member_is_an_error() {
    for compression in COMPRESSIONS {
        let (all, end) = unpack(
            &[&pack(compression, b"one\n"), b"two\n".as_slice()].concat(),
            4096,
        );
        assert_eq!(all, b"one\n");
        assert_eq!(end.unwrap_err().kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn data_that_asks_for_too_much_memory_is_refused() {
    // A frame whose header claims a window of 2 GiB.
    let (all, end) = unpack(b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", 4096);
    assert!(all.is_empty());
    assert!(end.unwrap_err().to_string().contains("memory"));
}

#[test]
fn only_a_plain_log_can_be_begun_in_the_middle() {
    let mut plain = Decompressor::new(Cursor::new(b"one\nBZh9\n".to_vec())).unwrap();
    assert_eq!(plain.seek_if_plain(4).unwrap(), 4);
    let mut rest = String::new();
    plain.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "BZh9\n");

    let mut packed =
        Decompressor::new(Cursor::new(pack(Compression::Gzip, b"one\ntwo\n"))).unwrap();
    assert_eq!(packed.seek_if_plain(4).unwrap(), 0);
    rest.clear();
    packed.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "one\ntwo\n");
}

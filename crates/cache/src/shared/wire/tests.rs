use tenantry_core::TenantId;

use super::*;

fn slot() -> Slot {
    Slot {
        tenant: TenantId::from_u128(0x0190_b5a4_8f2e_7c3d_9a61_4f0e_5d2c_1b7a).unwrap(),
        kind: "name".into(),
        schema: 3,
        key: "7".into(),
        tags: Box::default(),
    }
}

fn with(format: Format) -> Encoding {
    Encoding {
        format,
        ..Encoding::default()
    }
}

fn written(value: &str, encoding: Encoding) -> Vec<u8> {
    write(&slot(), Some(&value), Duration::ZERO, encoding)
        .unwrap()
        .0
}

fn read_back(slot: &Slot, bytes: &[u8]) -> Result<Option<String>, Damage> {
    read(slot, bytes)?
        .value(Encoding::default().most)
        .map(|(value, _)| value)
}

/// Gives bytes a checksum that is theirs.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len() - 4);
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

/// Returns what stands before the value of each.
fn head(flags: u8, took: [u8; 4]) -> Vec<u8> {
    let mut bytes = b"TnC1".to_vec();
    bytes.push(flags);
    bytes.extend(took);
    bytes.extend(b"\x00\x00\x00\x03");
    bytes.extend([
        0x01, 0x90, 0xb5, 0xa4, 0x8f, 0x2e, 0x7c, 0x3d, 0x9a, 0x61, 0x4f, 0x0e, 0x5d, 0x2c, 0x1b,
        0x7a,
    ]);
    bytes.extend(b"\x00\x00\x00\x04name\x00\x00\x00\x017");
    bytes
}

/// As they were written once, they are read for ever.
#[test]
fn the_bytes_stay_what_they_are() {
    let formats: &[(Format, u8, &[u8], [u8; 4])] = &[
        (Format::Postcard, 0x00, b"\x03Ada", [0x89, 0x0c, 0xae, 0x8a]),
        (Format::Json, 0x10, b"\"Ada\"", [0x5c, 0x3e, 0xb4, 0x7b]),
        #[cfg(feature = "message-pack")]
        (
            Format::MessagePack,
            0x20,
            b"\xa3Ada",
            [0xe2, 0x0b, 0x65, 0x53],
        ),
    ];
    for (format, flags, value, sum) in formats {
        let took = Duration::from_millis(258);
        let (ada, length) = write(&slot(), Some(&"Ada"), took, with(*format)).unwrap();
        let expected = [&head(*flags, [0, 0, 1, 2]), *value, sum].concat();
        assert_eq!(ada, expected, "{format:?}");
        assert_eq!(length, value.len());
        assert_eq!(read_back(&slot(), &expected), Ok(Some("Ada".to_owned())));
        assert_eq!(read(&slot(), &expected).unwrap().took, took);
        let (none, _) = write::<String>(&slot(), None, Duration::MAX, with(*format)).unwrap();
        let sum = [0x3d, 0x51, 0x72, 0x33];
        assert_eq!(none, [head(0x01, [255; 4]), sum.to_vec()].concat());
        assert_eq!(read_back(&slot(), &none), Ok(None));
    }
}

#[test]
fn whatever_is_cut_or_altered_is_told() {
    for format in format::ALL {
        let bytes = written("Ada", with(*format));
        for length in 0..bytes.len() {
            assert_eq!(read(&slot(), &bytes[..length]), Err(Damage::Unreadable));
        }
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[place] ^= 1 << bit;
                assert_eq!(read(&slot(), &altered), Err(Damage::Unreadable));
            }
        }
    }
}

/// What is to come: another version, another flag, another format.
#[test]
fn what_another_version_has_written_is_left_to_it() {
    let bytes = written("Ada", Encoding::default());
    for (place, byte) in [(3, b'2'), (4, 0b0000_0100), (4, 0b0000_1000), (4, 0xf0)] {
        let mut newer = bytes.clone();
        newer[place] = byte;
        assert_eq!(read_back(&slot(), &sealed(newer)), Err(Damage::Foreign));
    }
    let mut other = bytes;
    other[0] = b'X';
    assert_eq!(read_back(&slot(), &sealed(other)), Err(Damage::Unreadable));
}

#[test]
fn what_lies_under_another_key_is_told() {
    let bytes = written("Ada", Encoding::default());
    let others = [
        Slot {
            tenant: TenantId::generate(),
            ..slot()
        },
        Slot {
            kind: "nam".into(),
            ..slot()
        },
        Slot {
            key: "77".into(),
            ..slot()
        },
        Slot {
            schema: 4,
            ..slot()
        },
    ];
    for other in others {
        assert_eq!(read(&other, &bytes), Err(Damage::Misplaced));
    }
}

#[test]
fn of_another_type_it_is_nothing() {
    let bytes = written("Ada", Encoding::default());
    let read = read(&slot(), &bytes).unwrap();
    assert_eq!(read.value::<(u64, u64, u64)>(100), Err(Damage::Foreign));
}

#[test]
fn no_more_is_written_or_read_than_allowed() {
    let encoding = Encoding {
        most: 10,
        ..Encoding::default()
    };
    let bytes = written("123456789", encoding);
    assert_eq!(
        write(&slot(), Some(&"1234567890"), Duration::ZERO, encoding),
        Err(Unwritten::Oversized(11))
    );
    let read = read(&slot(), &bytes).unwrap();
    assert_eq!(read.value::<String>(9), Err(Damage::Oversized));
    assert_eq!(read.value::<String>(10).unwrap().1, 10);
}

#[cfg(feature = "zstd")]
mod compressed {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_large_takes_less_room() {
        let large = "Ada ".repeat(1_000);
        for format in format::ALL {
            let bytes = written(&large, with(*format));
            assert!(bytes.len() < 200, "{format:?}: {}", bytes.len());
            assert_eq!(bytes[4], format.number() << 4 | COMPRESSED);
            assert_eq!(read_back(&slot(), &bytes), Ok(Some(large.clone())));
            let (_, length) = read(&slot(), &bytes)
                .unwrap()
                .value::<String>(9_000)
                .unwrap();
            assert!(length >= large.len(), "as many as it has in the process");
            let none = Encoding {
                compress_above: usize::MAX,
                ..with(*format)
            };
            assert!(written(&large, none).len() > large.len());
        }
        let brief = written(&"x".repeat(2_000), Encoding::default());
        assert_eq!(brief[4], 0);
    }

    /// Whatever the library writes in later versions, this is read for ever.
    #[test]
    fn the_bytes_stay_what_they_are() {
        let frame = include_bytes!("fixtures/ada.zst");
        let mut bytes = head(COMPRESSED, [0; 4]);
        bytes.extend(frame);
        bytes.extend([0; 4]);
        let ada = "Ada ".repeat(1_000);
        assert_eq!(read_back(&slot(), &sealed(bytes)), Ok(Some(ada)));
    }

    #[test]
    fn whatever_is_cut_or_altered_is_told() {
        let bytes = written(&"Ada ".repeat(1_000), Encoding::default());
        for length in 0..bytes.len() {
            assert_eq!(read(&slot(), &bytes[..length]), Err(Damage::Unreadable));
        }
        // Also where the checksum has been made to fit.
        let start = head(0, [0; 4]).len();
        for place in start..bytes.len() - 4 {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[place] ^= 1 << bit;
                let read = read_back(&slot(), &sealed(altered));
                assert!(read.is_err() || read.is_ok_and(|it| it.is_some()));
            }
        }
    }

    /// A few bytes that would be very many.
    #[test]
    fn a_bomb_is_not_undone() {
        let bomb = zstd::bulk::compress(&vec![b'x'; 100_000_000], 1).unwrap();
        assert!(bomb.len() < 10_000);
        let seal = |frame: &[u8]| {
            let mut bytes = head(COMPRESSED, [0; 4]);
            bytes.extend(frame);
            bytes.extend([0; 4]);
            sealed(bytes)
        };
        assert_eq!(read_back(&slot(), &seal(&bomb)), Err(Damage::Oversized));
        // One that says less than it is, and one that does not say.
        let mut lying = bomb;
        lying[6..10].copy_from_slice(&100_u32.to_le_bytes());
        assert_eq!(zstd::decompressed_size(&lying), Some(100));
        assert_eq!(read_back(&slot(), &seal(&lying)), Err(Damage::Unreadable));
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        for _ in 0..100 {
            encoder.write_all(&[b'x'; 1_000]).unwrap();
            encoder.flush().unwrap();
        }
        let mut silent = encoder.finish().unwrap();
        assert_eq!(zstd::decompressed_size(&silent), None);
        assert_eq!(read_back(&slot(), &seal(&silent)), Err(Damage::Unreadable));
        silent.clear();
        assert_eq!(read_back(&slot(), &seal(&silent)), Err(Damage::Unreadable));
    }
}

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How values are written where other processes read them.
///
/// Who reads a value sees by the value how it was written, so that processes with different formats
/// read each other's, as long as each has the features for both.
///
/// # Examples
///
/// ```
/// use tenantry_cache::{CachePolicy, Format};
///
/// let policy = CachePolicy::default().with_format(Format::Postcard);
/// # let _ = policy;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Format {
    /// The shortest and the fastest. Fields stand one after another without their names: whenever they
    /// change, the [schema](crate::CacheKind::with_schema) is another one. No value that is read by
    /// looking at it (`serde(untagged)`, `serde(flatten)`, `serde_json::Value`) can be read back.
    #[default]
    Postcard,
    /// JSON: with names, and to be read by anybody. A field that was added and has a
    /// default (`serde(default)`) is no other schema.
    Json,
    /// MessagePack with names, feature `message-pack`: as JSON, in fewer bytes.
    #[cfg(feature = "message-pack")]
    MessagePack,
}

#[cfg(test)]
pub(super) const ALL: &[Format] = &[
    Format::Postcard,
    Format::Json,
    #[cfg(feature = "message-pack")]
    Format::MessagePack,
];

/// How deep what is read may be nested, as it is for JSON.
#[cfg(feature = "message-pack")]
const DEEPEST: usize = 128;

impl Format {
    /// Returns the number that stands in values: it is never given to another format.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Postcard => 0,
            Self::Json => 1,
            #[cfg(feature = "message-pack")]
            Self::MessagePack => 2,
        }
    }

    /// Returns the format of a number, if this process has it.
    pub(super) const fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Postcard),
            1 => Some(Self::Json),
            #[cfg(feature = "message-pack")]
            2 => Some(Self::MessagePack),
            _ => None,
        }
    }

    /// Writes a value, if it is one that can be written.
    pub(super) fn write<T: Serialize>(self, value: &T) -> Option<Vec<u8>> {
        match self {
            Self::Postcard => postcard::to_allocvec(value).ok(),
            Self::Json => serde_json::to_vec(value).ok(),
            #[cfg(feature = "message-pack")]
            Self::MessagePack => rmp_serde::to_vec_named(value).ok(),
        }
    }

    /// Reads a value, if the bytes are one of this type and nothing else.
    pub(super) fn read<T: DeserializeOwned>(self, bytes: &[u8]) -> Option<T> {
        match self {
            Self::Postcard => match postcard::take_from_bytes(bytes) {
                Ok((value, [])) => Some(value),
                _ => None,
            },
            Self::Json => serde_json::from_slice(bytes).ok(),
            #[cfg(feature = "message-pack")]
            Self::MessagePack => {
                let mut reader = rmp_serde::Deserializer::new(std::io::Cursor::new(bytes));
                reader.set_max_depth(DEEPEST);
                let value = T::deserialize(&mut reader).ok()?;
                let is_all = usize::try_from(reader.position()) == Ok(bytes.len());
                is_all.then_some(value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Before {
        name: String,
        age: u8,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct After {
        age: u8,
        #[serde(default)]
        mail: Option<String>,
        name: String,
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for format in ALL {
            assert_eq!(Format::of(format.number()), Some(*format));
            let ada = (7_u8, "Ada".to_owned(), Some(1.5_f64), vec![1_u64, 2]);
            let mut bytes = format.write(&ada).unwrap();
            assert_eq!(format.read(&bytes), Some(ada), "{format:?}");
            assert_eq!(format.read::<(u8, Before)>(&bytes), None, "{format:?}");
            bytes.push(b'1');
            let more = format.read::<(u8, String, Option<f64>, Vec<u64>)>(&bytes);
            assert_eq!(more, None, "{format:?}: something is left");
        }
        assert_eq!(Format::of(15), None);
    }

    /// As they were written once, they are read for ever.
    #[test]
    fn the_bytes_of_a_struct_stay_what_they_are() {
        let bytes: &[(Format, &[u8])] = &[
            (Format::Postcard, b"\x03Ada\x24"),
            (Format::Json, br#"{"name":"Ada","age":36}"#),
            #[cfg(feature = "message-pack")]
            (Format::MessagePack, b"\x82\xa4name\xa3Ada\xa3age\x24"),
        ];
        let ada = Before {
            name: "Ada".to_owned(),
            age: 36,
        };
        for (format, bytes) in bytes {
            assert_eq!(format.write(&ada).as_deref(), Some(*bytes), "{format:?}");
            assert_eq!(format.read::<Before>(bytes).as_ref(), Some(&ada));
        }
    }

    #[test]
    fn with_names_a_field_may_be_added_and_moved() {
        let ada = Before {
            name: "Ada".to_owned(),
            age: 36,
        };
        for format in ALL.iter().filter(|it| **it != Format::Postcard) {
            let bytes = format.write(&ada).unwrap();
            let read: After = format.read(&bytes).unwrap();
            assert_eq!((&*read.name, read.age, &read.mail), ("Ada", 36, &None));
            // And left out again, by who has not been rolled out yet.
            let bytes = format.write(&read).unwrap();
            assert_eq!(format.read::<Before>(&bytes).as_ref(), Some(&ada));
        }
    }

    #[cfg(feature = "message-pack")]
    #[test]
    fn what_is_nested_without_end_is_refused() {
        #[derive(Deserialize)]
        struct Nested(#[allow(dead_code, reason = "it is never made")] Vec<Self>);
        assert!(
            Format::MessagePack
                .read::<Nested>(&[0x91; 100_000])
                .is_none()
        );
    }
}

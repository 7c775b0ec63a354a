//! The messages of a client, read as they pass: bytes go in as they come, messages come out.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use std::mem;

/// The longest text that is kept to be read. What is longer passes all the same.
pub(super) const LONGEST_TEXT: usize = 256 * 1024;

/// The longest value of an argument that is kept; a UUID takes 16 bytes, as text 36.
const LONGEST_VALUE: usize = 64;

/// The longest name of a prepared statement that is kept.
const LONGEST_NAME: usize = 1024;

/// What a client asks for, as far as the witness cares.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Runs a text of one statement or several.
    Query(Text),
    /// Keeps a statement under a name.
    Parse { name: Vec<u8>, text: Text },
    /// Gives a kept statement its arguments, to be run.
    Bind {
        statement: Vec<u8>,
        arguments: Arguments,
    },
    /// Forgets a kept statement.
    Close { statement: Vec<u8> },
    /// Ends what was sent since the last of its kind; outside a transaction, the implicit one.
    Sync,
}

/// The text of a statement, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    Whole(String),
    TooLong,
    NotUtf8,
}

/// The arguments of a statement, the short ones kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    formats: Vec<u8>,
    values: Vec<Value>,
}

#[derive(Debug, PartialEq, Eq)]
enum Value {
    Null,
    Short(Vec<u8>),
    Long,
}

impl Arguments {
    /// Returns the argument `$number` and whether it is in binary form, if it was kept.
    pub(super) fn get(&self, number: usize) -> Option<(&[u8], bool)> {
        let index = number.checked_sub(1)?;
        let Value::Short(bytes) = self.values.get(index)? else {
            return None;
        };
        // One format code stands for all arguments, none for text.
        let codes: Vec<bool> = self.formats.chunks(2).map(|code| code == [0, 1]).collect();
        let is_binary = match codes.as_slice() {
            [] => false,
            [one] => *one,
            many => many.get(index).copied().unwrap_or_default(),
        };
        Some((bytes, is_binary))
    }
}

/// Reads the messages of one client, from its start-up on.
#[derive(Debug, Default)]
pub(super) struct Frontend {
    state: State,
}

#[derive(Debug)]
enum State {
    /// The type and the length of a message: five bytes.
    Header(Vec<u8>),
    Kept(Kept),
    Bind(Bind),
    Passing {
        left: usize,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Header(Vec::with_capacity(5))
    }
}

impl Frontend {
    /// Takes bytes from the front of `input` up to the end of the next message that matters;
    /// returns `None` when the input is used up.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Option<Message> {
        loop {
            match &mut self.state {
                State::Header(header) => {
                    fill(header, 5, input);
                    let [kind, length @ ..] = *<&[u8; 5]>::try_from(header.as_slice()).ok()?;
                    let left = (u32::from_be_bytes(length) as usize).saturating_sub(4);
                    self.state = State::of(kind, left);
                }
                State::Kept(kept) => {
                    if !kept.read(input) {
                        return None;
                    }
                    if let State::Kept(kept) = mem::take(&mut self.state)
                        && let Some(message) = kept.message()
                    {
                        return Some(message);
                    }
                }
                State::Bind(bind) => {
                    if !bind.read(input) {
                        return None;
                    }
                    if let State::Bind(bind) = mem::take(&mut self.state) {
                        return Some(bind.message());
                    }
                }
                State::Passing { left } => {
                    *left -= take(*left, input).len();
                    if *left > 0 {
                        return None;
                    }
                    self.state = State::default();
                }
            }
        }
    }
}

impl State {
    const fn of(kind: u8, left: usize) -> Self {
        match kind {
            b'Q' | b'P' | b'C' | b'S' => Self::Kept(Kept {
                kind,
                left,
                bytes: Vec::new(),
            }),
            b'B' => Self::Bind(Bind::new(left)),
            _ => Self::Passing { left },
        }
    }
}

/// A message that is kept as a whole, up to a limit.
#[derive(Debug)]
struct Kept {
    kind: u8,
    left: usize,
    bytes: Vec<u8>,
}

impl Kept {
    /// Returns whether the message is complete.
    fn read(&mut self, input: &mut &[u8]) -> bool {
        let bytes = take(self.left, input);
        self.left -= bytes.len();
        let room = (LONGEST_TEXT + LONGEST_NAME).saturating_sub(self.bytes.len());
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.left == 0
    }

    fn message(self) -> Option<Message> {
        let mut parts = self
            .bytes
            .splitn(if self.kind == b'P' { 3 } else { 2 }, |b| *b == 0);
        match self.kind {
            b'Q' => {
                let text = parts.next()?;
                Some(Message::Query(Text::of(text, parts.next().is_some())))
            }
            b'P' => {
                let name = parts.next()?.to_vec();
                let text = parts.next().unwrap_or_default();
                let text = Text::of(text, parts.next().is_some());
                Some(Message::Parse { name, text })
            }
            b'C' => match parts.next()?.split_first()? {
                (b'S', name) => Some(Message::Close {
                    statement: name.to_vec(),
                }),
                _ => None,
            },
            _ => Some(Message::Sync),
        }
    }
}

impl Text {
    fn of(bytes: &[u8], is_whole: bool) -> Self {
        if !is_whole || bytes.len() > LONGEST_TEXT {
            return Self::TooLong;
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Whole(text.to_owned()),
            Err(_) => Self::NotUtf8,
        }
    }
}

/// A `Bind`, of which nothing long is kept: an argument may have a gigabyte.
#[derive(Debug)]
struct Bind {
    left: usize,
    field: Field,
    /// The part of the field that is there.
    scratch: Vec<u8>,
    statement: Vec<u8>,
    arguments: Arguments,
    /// How many arguments are still to come.
    awaited: usize,
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Portal,
    Statement,
    FormatCount,
    Formats(usize),
    ValueCount,
    Length,
    Value { left: usize, is_short: bool },
    Rest,
}

impl Bind {
    const fn new(left: usize) -> Self {
        Self {
            left,
            field: Field::Portal,
            scratch: Vec::new(),
            statement: Vec::new(),
            arguments: Arguments {
                formats: Vec::new(),
                values: Vec::new(),
            },
            awaited: 0,
        }
    }

    /// Returns whether the message is complete.
    fn read(&mut self, input: &mut &[u8]) -> bool {
        let mut bytes = take(self.left, input);
        self.left -= bytes.len();
        while self.step(&mut bytes) {}
        self.left == 0
    }

    /// Reads on by one field; returns false when the bytes do not reach to its end.
    fn step(&mut self, bytes: &mut &[u8]) -> bool {
        match self.field {
            Field::Portal => {
                let Some(end) = bytes.iter().position(|byte| *byte == 0) else {
                    *bytes = &[];
                    return false;
                };
                take(end + 1, bytes);
                self.field = Field::Statement;
            }
            Field::Statement => {
                let end = bytes.iter().position(|byte| *byte == 0);
                let name = take(end.unwrap_or(bytes.len()), bytes);
                let room = LONGEST_NAME.saturating_sub(self.statement.len());
                self.statement.extend(&name[..name.len().min(room)]);
                if end.is_none() {
                    return false;
                }
                take(1, bytes);
                self.field = Field::FormatCount;
            }
            Field::FormatCount => {
                let Some(count) = self.number::<2>(bytes) else {
                    return false;
                };
                self.field = Field::Formats(usize::from(u16::from_be_bytes(count)));
            }
            Field::Formats(count) => {
                if !fill(&mut self.arguments.formats, 2 * count, bytes) {
                    return false;
                }
                self.field = Field::ValueCount;
            }
            Field::ValueCount => {
                let Some(count) = self.number::<2>(bytes) else {
                    return false;
                };
                self.awaited = usize::from(u16::from_be_bytes(count));
                self.next_value();
            }
            Field::Length => {
                let Some(length) = self.number::<4>(bytes) else {
                    return false;
                };
                match usize::try_from(i32::from_be_bytes(length)) {
                    Ok(left) => {
                        let is_short = left <= LONGEST_VALUE;
                        self.arguments.values.push(if is_short {
                            Value::Short(Vec::with_capacity(left))
                        } else {
                            Value::Long
                        });
                        self.field = Field::Value { left, is_short };
                    }
                    Err(_) => {
                        self.arguments.values.push(Value::Null);
                        self.next_value();
                    }
                }
            }
            Field::Value { left, is_short } => {
                let part = take(left, bytes);
                if is_short && let Some(Value::Short(value)) = self.arguments.values.last_mut() {
                    value.extend_from_slice(part);
                }
                let left = left - part.len();
                self.field = Field::Value { left, is_short };
                if left > 0 {
                    return false;
                }
                self.next_value();
            }
            Field::Rest => {
                *bytes = &[];
                return false;
            }
        }
        true
    }

    fn next_value(&mut self) {
        self.field = match self.awaited.checked_sub(1) {
            Some(awaited) => {
                self.awaited = awaited;
                Field::Length
            }
            None => Field::Rest,
        };
    }

    fn number<const N: usize>(&mut self, bytes: &mut &[u8]) -> Option<[u8; N]> {
        if !fill(&mut self.scratch, N, bytes) {
            return None;
        }
        let number = <[u8; N]>::try_from(self.scratch.as_slice()).ok();
        self.scratch.clear();
        number
    }

    fn message(self) -> Message {
        Message::Bind {
            statement: self.statement,
            arguments: self.arguments,
        }
    }
}

/// Takes at most `length` bytes from the front.
fn take<'a>(length: usize, input: &mut &'a [u8]) -> &'a [u8] {
    let (front, rest) = input.split_at(length.min(input.len()));
    *input = rest;
    front
}

/// Fills up to `length` bytes; returns whether they are all there.
fn fill(target: &mut Vec<u8>, length: usize, input: &mut &[u8]) -> bool {
    let missing = length.saturating_sub(target.len());
    target.extend_from_slice(take(missing, input));
    target.len() == length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], length.to_be_bytes().as_slice(), body].concat()
    }

    fn bind(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = b"portal\0name\0\0\x01\0\x01".to_vec();
        body.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
        for value in values {
            match value {
                None => body.extend((-1_i32).to_be_bytes()),
                Some(bytes) => {
                    body.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
                    body.extend(*bytes);
                }
            }
        }
        body.extend(b"\0\x01\0\x01");
        framed(b'B', &body)
    }

    fn read(frontend: &mut Frontend, mut bytes: &[u8]) -> Vec<Message> {
        std::iter::from_fn(|| frontend.next(&mut bytes)).collect()
    }

    fn story() -> Vec<u8> {
        [
            framed(b'Q', b"BEGIN\0"),
            framed(b'p', b"a password"),
            framed(b'P', b"name\0select $1\0\0\x01\0\0\x0b\x86"),
            framed(b'D', b"Sname\0"),
            bind(&[Some(&[7; 16]), None, Some(&[1; 100]), Some(b"")]),
            framed(b'E', b"portal\0\0\0\0\0"),
            framed(b'S', b""),
            framed(b'd', &[b'Q'; 1000]),
            framed(b'C', b"Sname\0"),
            framed(b'C', b"Pportal\0"),
            framed(b'X', b""),
        ]
        .concat()
    }

    #[test]
    fn messages_are_the_same_wherever_they_are_split() {
        let story = story();
        let whole = read(&mut Frontend::default(), &story);
        assert_eq!(whole.len(), 5, "{whole:?}");
        for split in 0..=story.len() {
            let mut frontend = Frontend::default();
            let mut messages = read(&mut frontend, &story[..split]);
            messages.extend(read(&mut frontend, &story[split..]));
            assert_eq!(messages, whole, "split at {split}");
        }
        let mut frontend = Frontend::default();
        let bytes = story.chunks(1);
        let messages: Vec<Message> = bytes.flat_map(|byte| read(&mut frontend, byte)).collect();
        assert_eq!(messages, whole);
    }

    #[test]
    fn short_arguments_are_kept_and_long_ones_are_not() {
        let messages = read(&mut Frontend::default(), &story());
        let Message::Bind { arguments, .. } = &messages[2] else {
            panic!("{messages:?}");
        };
        assert_eq!(arguments.get(1), Some(([7; 16].as_slice(), true)));
        assert_eq!(arguments.get(4), Some((b"".as_slice(), true)));
        for number in [0, 2, 3, 5] {
            assert_eq!(arguments.get(number), None, "${number}");
        }
    }

    #[test]
    fn what_is_behind_a_huge_argument_is_kept() {
        let mut frontend = Frontend::default();
        let huge = vec![1; 3_000_000];
        let message = bind(&[Some(&huge), Some(b"behind")]);
        let messages: Vec<Message> = message
            .chunks(10_007)
            .flat_map(|chunk| read(&mut frontend, chunk))
            .collect();
        let [Message::Bind { arguments, .. }] = messages.as_slice() else {
            panic!("one message");
        };
        assert_eq!(arguments.get(2), Some((b"behind".as_slice(), true)));
    }

    #[test]
    fn a_text_beyond_the_limit_is_told_of_and_what_follows_is_read() {
        let mut long = vec![b' '; 2 * LONGEST_TEXT];
        long.push(0);
        let bytes = [
            framed(b'Q', &long),
            framed(b'Q', b"\xff\0"),
            framed(b'Q', b"x\0"),
        ];
        assert_eq!(
            read(&mut Frontend::default(), &bytes.concat()),
            [
                Message::Query(Text::TooLong),
                Message::Query(Text::NotUtf8),
                Message::Query(Text::Whole("x".to_owned())),
            ]
        );
    }

    #[test]
    fn nonsense_ends_no_reader() {
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for start in 0..256 {
            read(&mut Frontend::default(), &bytes[start..]);
        }
        read(&mut Frontend::default(), &framed(b'B', b"\0\0\0\x09"));
    }
}

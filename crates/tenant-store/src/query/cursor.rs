use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _, NaiveDate};
use hmac::{Hmac, Mac as _};
use rust_decimal::Decimal;
use sha2::{Digest as _, Sha256};
use tenantry_core::{Error, ErrorKind, Result, TenantId};
use uuid::Uuid;

use super::{Deleted, Direction, Expression};
use crate::value::{ColumnType, Value};

/// A place in a list, to hand to a client and to continue at.
///
/// It is opaque and bound to the tenant, the aggregate, the filter and the sort of the query that
/// gave it: used anywhere else it answers `InvalidCursor`. It holds the sort values of one row, in
/// plain: do not sort by what the holder of the cursor may not see.
///
/// # Examples
///
/// ```
/// use tenantry_store::Cursor;
///
/// let from_client = Cursor::from("AQAx");
/// assert_eq!(from_client.to_string(), "AQAx");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor(String);

impl Cursor {
    /// Takes a cursor as a client sent it back; it is checked when a query uses it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text to send to a client: letters, digits, `-` and `_`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Cursor {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Cursor {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl FromStr for Cursor {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

impl serde::Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// What a cursor says once it is opened: go on behind, or in front of, these sort values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bookmark {
    pub(crate) backward: bool,
    /// Whether a row with these very values belongs to the page.
    pub(crate) inclusive: bool,
    pub(crate) values: Vec<Value>,
}

impl Bookmark {
    pub(crate) const fn behind(backward: bool, values: Vec<Value>) -> Self {
        Self {
            backward,
            inclusive: false,
            values,
        }
    }

    /// Returns the place from which the other direction goes on, without a gap.
    pub(crate) fn turned(&self) -> Self {
        Self {
            backward: !self.backward,
            inclusive: !self.inclusive,
            values: self.values.clone(),
        }
    }
}

/// What a cursor is bound to.
pub(crate) struct QueryIdentity {
    tenant: [u8; TAG],
    query: [u8; TAG],
}

const FORMAT: u8 = 1;
const BACKWARD: u8 = 1;
const INCLUSIVE: u8 = 2;
const TAG: usize = 8;
const SEAL: usize = 16;
const HEAD: usize = 2 + 2 * TAG;

impl QueryIdentity {
    pub(crate) fn new(
        tenant: TenantId,
        table: &str,
        filter: &Expression,
        deleted: Deleted,
        sort: &[(usize, Direction)],
    ) -> Self {
        let digest = Digester::of_list(table, filter, deleted, sort);
        Self {
            tenant: shorten(&Sha256::digest(tenant.as_uuid().as_bytes())),
            query: shorten(&digest.0.finalize()),
        }
    }

    pub(crate) fn seal(&self, key: &[u8], bookmark: &Bookmark) -> Cursor {
        let mut bytes = Vec::with_capacity(HEAD + SEAL + 32 * bookmark.values.len());
        bytes.push(FORMAT);
        let backward = if bookmark.backward { BACKWARD } else { 0 };
        let inclusive = if bookmark.inclusive { INCLUSIVE } else { 0 };
        bytes.push(backward | inclusive);
        bytes.extend_from_slice(&self.tenant);
        bytes.extend_from_slice(&self.query);
        for value in &bookmark.values {
            encode(value, &mut bytes);
        }
        let seal = seal_of(key, &bytes);
        bytes.extend_from_slice(&seal);
        Cursor(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Opens a cursor that must hold a value for each of `columns`.
    pub(crate) fn open(
        &self,
        key: &[u8],
        cursor: &Cursor,
        columns: &[ColumnType],
    ) -> Result<Bookmark> {
        let altered = || invalid("it was altered or cut: ask for the first page again");
        let bytes = URL_SAFE_NO_PAD.decode(&cursor.0).map_err(|_| altered())?;
        if bytes.len() < HEAD + SEAL {
            return Err(altered());
        }
        let (sealed, seal) = bytes.split_at(bytes.len() - SEAL);
        let mut mac = mac(key);
        mac.update(sealed);
        mac.verify_truncated_left(seal).map_err(|_| altered())?;
        if sealed[0] != FORMAT {
            return Err(invalid(
                "another release wrote it: ask for the first page again",
            ));
        }
        if sealed[2..2 + TAG] != self.tenant {
            return Err(invalid("it was given to another tenant"));
        }
        if sealed[2 + TAG..HEAD] != self.query {
            return Err(invalid(
                "it belongs to another table, filter or sort: repeat the query that gave it",
            ));
        }
        let mut rest = &sealed[HEAD..];
        let mut values = Vec::with_capacity(columns.len());
        for column in columns {
            values.push(decode(*column, &mut rest).ok_or_else(altered)?);
        }
        if !rest.is_empty() {
            return Err(altered());
        }
        Ok(Bookmark {
            backward: sealed[1] & BACKWARD != 0,
            inclusive: sealed[1] & INCLUSIVE != 0,
            values,
        })
    }
}

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidCursor, "list")
        .with_subject("cursor")
        .with_detail(detail)
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length (RFC 2104, section 2).
    Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

fn seal_of(key: &[u8], bytes: &[u8]) -> [u8; SEAL] {
    let mut mac = mac(key);
    mac.update(bytes);
    shorten(&mac.finalize().into_bytes())
}

fn shorten<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut short = [0; N];
    short.copy_from_slice(&digest[..N]);
    short
}

/// Returns what tells one page of one list from all others.
pub(crate) fn digest_of_page(
    table: &str,
    filter: &Expression,
    deleted: Deleted,
    sort: &[(usize, Direction)],
    limit: u32,
    cursor: Option<&str>,
) -> [u8; 32] {
    let mut digest = Digester::of_list(table, filter, deleted, sort);
    digest.0.update(limit.to_be_bytes());
    digest.number(usize::from(cursor.is_some()));
    digest.bytes(cursor.unwrap_or_default().as_bytes());
    digest.0.finalize().into()
}

/// Feeds a digest so that no two queries give the same bytes: every part tells its length.
struct Digester(Sha256);

impl Digester {
    fn of_list(
        table: &str,
        filter: &Expression,
        deleted: Deleted,
        sort: &[(usize, Direction)],
    ) -> Self {
        let mut digest = Self(Sha256::new());
        digest.bytes(table.as_bytes());
        digest.number(match deleted {
            Deleted::Exclude => 0,
            Deleted::Include => 1,
            Deleted::Only => 2,
        });
        digest.expression(filter);
        digest.number(sort.len());
        for (column, direction) in sort {
            digest.number(*column);
            digest.number(usize::from(*direction == Direction::Descending));
        }
        digest
    }

    fn number(&mut self, number: usize) {
        self.0.update((number as u64).to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    fn value(&mut self, value: &Value) {
        let mut bytes = Vec::new();
        encode(value, &mut bytes);
        self.bytes(&bytes);
    }

    fn expression(&mut self, expression: &Expression) {
        match expression {
            Expression::All => self.number(0),
            Expression::Compare {
                column,
                comparison,
                value,
            } => {
                self.number(1);
                self.number(*column);
                self.number(*comparison as usize);
                self.value(value);
            }
            Expression::OneOf { column, values } => {
                self.number(2);
                self.number(*column);
                self.number(values.len());
                values.iter().for_each(|value| self.value(value));
            }
            Expression::IsNull { column } => {
                self.number(3);
                self.number(*column);
            }
            Expression::StartsWith { column, prefix } => {
                self.number(4);
                self.number(*column);
                self.value(prefix);
            }
            Expression::And(all) => {
                self.number(5);
                self.number(all.len());
                all.iter().for_each(|inner| self.expression(inner));
            }
            Expression::Or(any) => {
                self.number(6);
                self.number(any.len());
                any.iter().for_each(|inner| self.expression(inner));
            }
            Expression::Not(inner) => {
                self.number(7);
                self.expression(inner);
            }
        }
    }
}

const ABSENT: u8 = 0;
const PRESENT: u8 = 1;

/// Writes one byte that tells NULL from a value, then the value; the type stands in the query.
fn encode(value: &Value, bytes: &mut Vec<u8>) {
    bytes.push(if value.is_null() { ABSENT } else { PRESENT });
    match value {
        Value::Null(_) => {}
        Value::Bool(value) => bytes.push(u8::from(*value)),
        Value::Int16(value) => bytes.extend_from_slice(&value.to_be_bytes()),
        Value::Int32(value) => bytes.extend_from_slice(&value.to_be_bytes()),
        Value::Int64(value) => bytes.extend_from_slice(&value.to_be_bytes()),
        Value::Float64(value) => bytes.extend_from_slice(&value.to_bits().to_be_bytes()),
        Value::Text(value) | Value::Json(value) => encode_bytes(value.as_bytes(), bytes),
        Value::Bytes(value) => encode_bytes(value, bytes),
        Value::Uuid(value) => bytes.extend_from_slice(value.as_bytes()),
        Value::Timestamp(value) => {
            bytes.extend_from_slice(&value.timestamp_micros().to_be_bytes());
        }
        Value::Date(value) => {
            bytes.extend_from_slice(&value.num_days_from_ce().to_be_bytes());
        }
        Value::Decimal(value) => bytes.extend_from_slice(&value.serialize()),
    }
}

fn encode_bytes(value: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(value.len() as u64).to_be_bytes());
    bytes.extend_from_slice(value);
}

fn decode(column: ColumnType, rest: &mut &[u8]) -> Option<Value> {
    let [presence] = take(rest)?;
    if presence == ABSENT {
        return Some(Value::Null(column));
    }
    Some(match column {
        ColumnType::Bool => {
            let [value] = take(rest)?;
            Value::Bool(value != 0)
        }
        ColumnType::Int16 => Value::Int16(i16::from_be_bytes(take(rest)?)),
        ColumnType::Int32 => Value::Int32(i32::from_be_bytes(take(rest)?)),
        ColumnType::Int64 => Value::Int64(i64::from_be_bytes(take(rest)?)),
        ColumnType::Float64 => Value::Float64(f64::from_bits(u64::from_be_bytes(take(rest)?))),
        ColumnType::Text => Value::Text(decode_text(rest)?),
        ColumnType::Json => Value::Json(decode_text(rest)?),
        ColumnType::Bytes => Value::Bytes(decode_bytes(rest)?.to_vec()),
        ColumnType::Uuid => Value::Uuid(Uuid::from_bytes(take(rest)?)),
        ColumnType::Timestamp => Value::Timestamp(DateTime::from_timestamp_micros(
            i64::from_be_bytes(take(rest)?),
        )?),
        ColumnType::Date => Value::Date(NaiveDate::from_num_days_from_ce_opt(i32::from_be_bytes(
            take(rest)?,
        ))?),
        ColumnType::Decimal => Value::Decimal(Decimal::deserialize(take(rest)?)),
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn decode_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u64::from_be_bytes(take(rest)?)).ok()?;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn decode_text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(decode_bytes(rest)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Comparison;

    const KEY: &[u8] = b"test";

    fn identity(tenant: u128, filter: &Expression, sort: &[(usize, Direction)]) -> QueryIdentity {
        let tenant = TenantId::new(Uuid::from_u128(tenant)).unwrap();
        QueryIdentity::new(tenant, "invoices", filter, Deleted::Exclude, sort)
    }

    fn bookmark() -> Bookmark {
        Bookmark {
            backward: true,
            inclusive: true,
            values: vec![
                Value::Text("π".into()),
                Value::Null(ColumnType::Int64),
                Value::Uuid(Uuid::from_u128(7)),
            ],
        }
    }

    const TYPES: &[ColumnType] = &[ColumnType::Text, ColumnType::Int64, ColumnType::Uuid];

    #[test]
    fn a_cursor_opens_where_it_was_sealed() {
        let query = identity(1, &Expression::All, &[(0, Direction::Ascending)]);
        let cursor = query.seal(KEY, &bookmark());
        assert_eq!(query.open(KEY, &cursor, TYPES).unwrap(), bookmark());
    }

    #[test]
    fn a_cursor_opens_nowhere_else() {
        let sort = [(0, Direction::Ascending)];
        let cursor = identity(1, &Expression::All, &sort).seal(KEY, &bookmark());
        let filter = Expression::Compare {
            column: 0,
            comparison: Comparison::Equal,
            value: Value::Int64(1),
        };
        let others = [
            identity(2, &Expression::All, &sort),
            identity(1, &filter, &sort),
            identity(1, &Expression::All, &[(0, Direction::Descending)]),
            identity(1, &Expression::All, &[(1, Direction::Ascending)]),
        ];
        for other in others {
            let error = other.open(KEY, &cursor, TYPES).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidCursor);
        }
    }

    #[test]
    fn every_altered_bit_is_seen() {
        let query = identity(1, &Expression::All, &[]);
        let bytes = URL_SAFE_NO_PAD
            .decode(query.seal(KEY, &bookmark()).as_str())
            .unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let cursor = Cursor::new(URL_SAFE_NO_PAD.encode(altered));
            assert!(query.open(KEY, &cursor, TYPES).is_err(), "bit {bit}");
        }
        for junk in ["", "A", "*", "AAAA", "\u{0}", "日本"] {
            assert!(
                query.open(KEY, &Cursor::new(junk), TYPES).is_err(),
                "{junk:?}"
            );
        }
    }
}

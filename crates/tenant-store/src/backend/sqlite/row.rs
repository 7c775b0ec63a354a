use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sqlx::{Decode, Row as _, Sqlite, TypeInfo as _, ValueRef as _};
use uuid::Uuid;

use crate::value::{Row, ValueError};

const OTHER_TYPE: ValueError =
    ValueError::new("holds another type in the database than in the struct");

/// A row as the driver gives it. SQLite has types of values, not of columns: each is looked at.
pub(super) struct SqliteRow(pub(super) sqlx::sqlite::SqliteRow);

impl SqliteRow {
    fn get<'r, T>(&'r self, index: usize, types: &[&str]) -> Result<Option<T>, ValueError>
    where
        T: Decode<'r, Sqlite>,
    {
        let value = self
            .0
            .try_get_raw(index)
            .map_err(|_| OTHER_TYPE.at(index))?;
        if value.is_null() {
            return Ok(None);
        }
        if !types.contains(&value.type_info().name()) {
            return Err(OTHER_TYPE.at(index));
        }
        T::decode(value).map(Some).map_err(|_| OTHER_TYPE.at(index))
    }
}

const INTEGER: &[&str] = &["INTEGER", "BOOLEAN"];
const REAL: &[&str] = &["REAL"];
const TEXT: &[&str] = &["TEXT", "DATETIME", "DATE", "TIME"];
const BLOB: &[&str] = &["BLOB"];

impl Row for SqliteRow {
    fn bool(&self, index: usize) -> Result<Option<bool>, ValueError> {
        match self.integer(index)? {
            None => Ok(None),
            Some(0) => Ok(Some(false)),
            Some(1) => Ok(Some(true)),
            Some(_) => Err(OTHER_TYPE.at(index)),
        }
    }

    fn integer(&self, index: usize) -> Result<Option<i64>, ValueError> {
        self.get(index, INTEGER)
    }

    fn float64(&self, index: usize) -> Result<Option<f64>, ValueError> {
        self.get(index, REAL)
    }

    fn text(&self, index: usize) -> Result<Option<&str>, ValueError> {
        self.get(index, TEXT)
    }

    fn bytes(&self, index: usize) -> Result<Option<&[u8]>, ValueError> {
        self.get(index, BLOB)
    }

    fn uuid(&self, index: usize) -> Result<Option<Uuid>, ValueError> {
        self.bytes(index)?
            .map(|bytes| Uuid::from_slice(bytes).map_err(|_| OTHER_TYPE.at(index)))
            .transpose()
    }

    fn timestamp(&self, index: usize) -> Result<Option<DateTime<Utc>>, ValueError> {
        self.text(index)?
            .map(|text| {
                DateTime::parse_from_rfc3339(text)
                    .map(|moment| moment.with_timezone(&Utc))
                    .map_err(|_| OTHER_TYPE.at(index))
            })
            .transpose()
    }

    fn date(&self, index: usize) -> Result<Option<NaiveDate>, ValueError> {
        self.text(index)?
            .map(|text| date(text).ok_or(OTHER_TYPE.at(index)))
            .transpose()
    }

    fn decimal(&self, index: usize) -> Result<Option<Decimal>, ValueError> {
        self.text(index)?
            .map(|text| text.parse().map_err(|_| OTHER_TYPE.at(index)))
            .transpose()
    }

    fn json(&self, index: usize) -> Result<Option<&str>, ValueError> {
        self.text(index)
    }
}

/// Reads `2013-01-31` and no other spelling of that day: texts compare as they stand.
fn date(text: &str) -> Option<NaiveDate> {
    let number = |digits: &str| {
        let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        all_digits.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let is_in_form =
        text.is_ascii() && text.len() == 10 && &text[4..5] == "-" && &text[7..8] == "-";
    if !is_in_form {
        return None;
    }
    let (year, month, day) = (
        number(&text[..4])?,
        number(&text[5..7])?,
        number(&text[8..])?,
    );
    NaiveDate::from_ymd_opt(year.into(), month.into(), day.into())
}

#[cfg(test)]
mod tests {
    use super::{NaiveDate, date};

    #[test]
    fn date_has_one_spelling() {
        assert_eq!(date("2012-02-29"), NaiveDate::from_ymd_opt(2012, 2, 29));
        assert_eq!(date("0001-01-01"), NaiveDate::from_ymd_opt(1, 1, 1));
        for text in [
            "",
            "2013-1-31",
            "2013-01-31 ",
            " 2013-01-3",
            "+013-01-31",
            "-013-01-31",
            "2013/01/31",
            "2013-02-29",
            "2013-13-01",
            "2013-00-10",
            "2013-01-00",
            "20130131",
            "2013-01-31T00:00",
            "12013-01-31",
            "2013-0é-1",
            "infinity",
        ] {
            assert_eq!(date(text), None, "{text:?}");
        }
    }
}

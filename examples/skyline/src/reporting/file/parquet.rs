//! Columns, for whoever reckons with many of them.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use tenantry::{Error, ErrorKind, Result};

use super::Format;
use crate::reporting::DelayFact;

const SCHEMA: &str = "message delays {
    required int32 flight;
    required binary origin (STRING);
    required binary destination (STRING);
    required int64 planned (TIMESTAMP(MILLIS,true));
    required int32 minutes;
}";

/// A file that is written group by group of its rows.
pub(super) struct Parquet(SerializedFileWriter<Vec<u8>>);

impl Parquet {
    pub(super) fn new() -> Result<Self> {
        let schema = parse_message_type(SCHEMA).map_err(unwritten)?;
        let properties = Arc::new(WriterProperties::builder().build());
        let writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), properties);
        Ok(Self(writer.map_err(unwritten)?))
    }

    fn write_group(&mut self, facts: &[DelayFact]) -> Result<()> {
        let text = |text: &String| ByteArray::from(text.as_str());
        let numbers: Vec<_> = facts.iter().map(|fact| fact.number).collect();
        let origins: Vec<_> = facts.iter().map(|fact| text(&fact.origin)).collect();
        let destinations: Vec<_> = facts.iter().map(|fact| text(&fact.destination)).collect();
        let planned = facts
            .iter()
            .map(|fact| fact.scheduled_departure.timestamp_millis());
        let planned: Vec<_> = planned.collect();
        let minutes: Vec<_> = facts.iter().map(|fact| fact.minutes).collect();

        let mut group = self.0.next_row_group().map_err(unwritten)?;
        column::<Int32Type>(&mut group, &numbers)?;
        column::<ByteArrayType>(&mut group, &origins)?;
        column::<ByteArrayType>(&mut group, &destinations)?;
        column::<Int64Type>(&mut group, &planned)?;
        column::<Int32Type>(&mut group, &minutes)?;
        group.close().map_err(unwritten)?;
        Ok(())
    }
}

impl Format for Parquet {
    fn page(&mut self, facts: &[DelayFact]) -> Result<Bytes> {
        if !facts.is_empty() {
            self.write_group(facts)?;
        }
        self.0.flush().map_err(unwritten)?;
        // What is taken away here the writer has counted.
        Ok(mem::take(self.0.inner_mut()).into())
    }

    /// Returns where all groups are.
    fn end(self) -> Result<Bytes> {
        Ok(self.0.into_inner().map_err(unwritten)?.into())
    }
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
) -> Result<()> {
    let column = group.next_column().map_err(unwritten)?;
    let mut column = column.ok_or_else(|| unwritten("there are fewer columns"))?;
    let written = column.typed::<T>().write_batch(values, None, None);
    written.map_err(unwritten)?;
    column.close().map_err(unwritten)
}

fn unwritten(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Unexpected, "write report").with_source(cause)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::RowAccessor as _;
    use tenantry::prelude::Version;
    use uuid::Uuid;

    use super::*;

    fn fact(minutes: i32) -> DelayFact {
        DelayFact {
            id: Uuid::now_v7(),
            number: minutes * 2,
            origin: "JFK".to_owned(),
            destination: format!("D{}", minutes % 7),
            scheduled_departure: DateTime::from_timestamp(i64::from(minutes) * 60, 0).unwrap(),
            minutes,
            version: Version::NEW,
        }
    }

    /// Returns the whole of a file whose pages are taken away as they are done, and how much was taken at once at most.
    fn written(pages: &[Vec<DelayFact>]) -> (Bytes, usize) {
        let mut parquet = Parquet::new().unwrap();
        let pages = pages.iter().map(|page| parquet.page(page).unwrap());
        let mut taken: Vec<_> = pages.collect();
        taken.push(parquet.end().unwrap());
        let most = taken.iter().map(Bytes::len).max().unwrap();
        (taken.concat().into(), most)
    }

    #[test]
    fn pages_are_read_again_as_they_were() {
        let page = |from: i32| (from..from + 1_000).map(fact).collect::<Vec<_>>();
        let pages = [page(0), page(1_000), page(2_000)];
        let (file, most) = written(&pages);
        assert!(most < file.len() / 2, "{most} of {}", file.len());
        let reader = SerializedFileReader::new(file).unwrap();
        assert_eq!(reader.num_row_groups(), 3);
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().collect();
        assert_eq!(rows.len(), 3_000);
        for (row, fact) in rows.into_iter().zip(pages.iter().flatten()) {
            let row = row.unwrap();
            assert_eq!(row.get_int(0).unwrap(), fact.number);
            assert_eq!(row.get_string(1).unwrap(), &fact.origin);
            assert_eq!(row.get_string(2).unwrap(), &fact.destination);
            let planned = row.get_timestamp_millis(3).unwrap();
            assert_eq!(planned, fact.scheduled_departure.timestamp_millis());
            assert_eq!(row.get_int(4).unwrap(), fact.minutes);
        }
    }

    #[test]
    fn a_report_without_delays_is_a_file_without_rows() {
        let (file, _) = written(&[Vec::new()]);
        let reader = SerializedFileReader::new(file).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
    }
}

use super::{ColumnType, ColumnValue, Row, ValueError, ValueSink};

const OUT_OF_RANGE: ValueError = ValueError::new("holds a number out of the field's range");

/// Integers travel in the narrowest signed column that holds them all.
macro_rules! integer {
    ($($type:ty => $column:ident, $write:ident;)*) => {$(
        impl ColumnValue for $type {
            type Operand = Self;
            const TYPE: ColumnType = ColumnType::$column;

            fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
                sink.$write((*self).into())
            }

            fn read_nullable(row: &dyn Row, index: usize) -> Result<Option<Self>, ValueError> {
                row.integer(index)?
                    .map(|value| Self::try_from(value).map_err(|_| OUT_OF_RANGE))
                    .transpose()
            }
        }
    )*};
}

integer! {
    i8 => Int16, int16;
    i16 => Int16, int16;
    i32 => Int32, int32;
    i64 => Int64, int64;
    u8 => Int16, int16;
    u16 => Int32, int32;
    u32 => Int64, int64;
}

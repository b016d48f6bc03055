//! Tables as Arrow batches and Parquet files. Text goes in as it is, as into JSON: neither
//! is for a terminal to read.

use std::{
    io::{self, Write},
    sync::Arc,
};

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{BooleanBuilder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder},
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::{ParquetError, Result},
    file::properties::WriterProperties,
};

use super::{Column, Rows, Table};
use crate::model::fields::{Kind, Value, holders_text};

/// Rows that are handed on at once.
const BATCH: usize = 8_192;
/// Rows of a Parquet row group: what a writer holds in memory, and a reader may skip.
const ROW_GROUP: usize = 65_536;
/// All times are in it.
const ZONE: &str = "UTC";

/// The columns of a table, each with its unit and what it says.
#[must_use]
pub fn schema(table: Table) -> SchemaRef {
    let columns = table.columns();
    // What is said of a whole table would be of two in a join, which confuses DataFusion.
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn field(column: &Column) -> Field {
    let kind = match column.kind {
        Kind::Boolean => DataType::Boolean,
        Kind::Integer => DataType::Int64,
        Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into())),
        Kind::Text | Kind::History | Kind::Holders => DataType::Utf8,
    };
    let unit = column.unit.map(|unit| ("unit", unit.name()));
    let about = unit.into_iter().chain([("description", column.help)]);
    let about = about.map(|(name, text)| (name.to_owned(), text.to_owned()));
    Field::new(column.name, kind, column.may_miss).with_metadata(about.collect())
}

enum Builder {
    Boolean(BooleanBuilder),
    Integer(Int64Builder),
    Text(StringBuilder),
    Time(TimestampMicrosecondBuilder),
}

impl Builder {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Boolean => Self::Boolean(BooleanBuilder::new()),
            Kind::Integer => Self::Integer(Int64Builder::new()),
            Kind::Time => Self::Time(TimestampMicrosecondBuilder::new().with_timezone(ZONE)),
            Kind::Text | Kind::History | Kind::Holders => Self::Text(StringBuilder::new()),
        }
    }

    /// A value of another kind than the column's is left out; there is none.
    fn push(&mut self, value: Value<'_>) {
        match self {
            Self::Boolean(builder) => builder.append_option(match value {
                Value::Bool(truth) => Some(truth),
                _ => None,
            }),
            Self::Integer(builder) => builder.append_option(match value {
                Value::Int(number) => Some(number),
                // Nothing counts as far, but a hostile kernel.
                Value::Uint(number) => Some(i64::try_from(number).unwrap_or(i64::MAX)),
                _ => None,
            }),
            Self::Time(builder) => builder.append_option(match value {
                Value::Time(at) => Some(at.as_microsecond()),
                _ => None,
            }),
            Self::Text(builder) => match value {
                Value::Text(text) => builder.append_value(text),
                Value::Untrusted(text) => builder.append_value(text.raw()),
                Value::Holders(holders) => builder.append_value(holders_text(holders)),
                _ => builder.append_null(),
            },
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
        }
    }
}

/// The rows that make the next batch.
struct Batch {
    schema: SchemaRef,
    builders: Vec<Builder>,
    rows: usize,
}

impl Batch {
    fn new(table: Table) -> Self {
        let columns = table.columns();
        Self {
            schema: schema(table),
            builders: columns.iter().map(|c| Builder::new(c.kind)).collect(),
            rows: 0,
        }
    }

    /// The batch that the row completes, if it does.
    fn row(
        &mut self,
        values: &mut dyn Iterator<Item = Value<'_>>,
    ) -> std::result::Result<Option<RecordBatch>, ArrowError> {
        for (builder, value) in self.builders.iter_mut().zip(values) {
            builder.push(value);
        }
        self.rows += 1;
        (self.rows >= BATCH).then(|| self.take()).transpose()
    }

    fn take(&mut self) -> std::result::Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let arrays = self.builders.iter_mut().map(Builder::finish);
        RecordBatch::try_new(Arc::clone(&self.schema), arrays.collect())
    }
}

/// A table in memory.
pub struct Batches {
    next: Batch,
    all: Vec<RecordBatch>,
}

impl Batches {
    /// Without a row.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self {
            next: Batch::new(table),
            all: Vec::new(),
        }
    }

    /// All rows, in at least one batch.
    ///
    /// # Errors
    /// Where a column lacks a value that it must have, which is a defect of ours.
    pub fn finish(mut self) -> io::Result<Vec<RecordBatch>> {
        let last = self.next.take().map_err(io::Error::other)?;
        self.all.push(last);
        Ok(self.all)
    }
}

impl Rows for Batches {
    fn row(&mut self, values: &mut dyn Iterator<Item = Value<'_>>) -> io::Result<()> {
        let full = self.next.row(values).map_err(io::Error::other)?;
        self.all.extend(full);
        Ok(())
    }
}

/// A table as a Parquet file.
pub(super) struct ParquetTable<W: Write + Send> {
    next: Batch,
    writer: ArrowWriter<W>,
}

impl<W: Write + Send> ParquetTable<W> {
    /// Without a row.
    ///
    /// # Errors
    /// As `out` fails.
    pub(super) fn new(table: Table, out: W) -> io::Result<Self> {
        let next = Batch::new(table);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .set_created_by(concat!("tcpleak ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let schema = Arc::clone(&next.schema);
        let writer = ArrowWriter::try_new(out, schema, Some(properties));
        Ok(Self {
            next,
            writer: as_io(writer)?,
        })
    }

    /// What it was written to, once the rest is there.
    ///
    /// # Errors
    /// As that fails.
    pub(super) fn finish(mut self) -> io::Result<W> {
        let last = self.next.take().map_err(io::Error::other)?;
        as_io(self.writer.write(&last))?;
        as_io(self.writer.into_inner())
    }
}

impl<W: Write + Send> Rows for ParquetTable<W> {
    fn row(&mut self, values: &mut dyn Iterator<Item = Value<'_>>) -> io::Result<()> {
        match self.next.row(values).map_err(io::Error::other)? {
            Some(full) => as_io(self.writer.write(&full)),
            None => Ok(()),
        }
    }
}

/// The error of the file, where it is that.
fn as_io<T>(result: Result<T>) -> io::Result<T> {
    result.map_err(|error| match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(io) => *io,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    })
}

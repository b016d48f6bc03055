//! A table in the form that was asked for.

use std::io::{self, Write};

#[cfg(feature = "tables")]
use super::ParquetTable;
use super::{CsvTable, JsonlTable, Rows, Table, TableFormat};
use crate::model::fields::Value;

/// A table, written to `W`.
pub struct TableFile<W: Write + Send> {
    form: Form<W>,
    rows: u64,
}

enum Form<W: Write + Send> {
    Csv(CsvTable<W>),
    Jsonl(JsonlTable<W>),
    #[cfg(feature = "tables")]
    Parquet(Box<ParquetTable<W>>),
}

impl<W: Write + Send> TableFile<W> {
    /// Without a row.
    ///
    /// # Errors
    /// As `out` fails; for Parquet without the feature `tables`.
    pub fn new(table: Table, format: TableFormat, out: W) -> io::Result<Self> {
        let form = match format {
            TableFormat::Csv => Form::Csv(CsvTable::new(table, out)?),
            TableFormat::Jsonl => Form::Jsonl(JsonlTable::new(table, out)),
            #[cfg(feature = "tables")]
            TableFormat::Parquet => Form::Parquet(Box::new(ParquetTable::new(table, out)?)),
            #[cfg(not(feature = "tables"))]
            TableFormat::Parquet => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { form, rows: 0 })
    }

    /// What it was written to, once all is there; and how many rows that is.
    ///
    /// # Errors
    /// As that fails.
    pub fn finish(self) -> io::Result<(W, u64)> {
        let out = match self.form {
            Form::Csv(csv) => csv.into_inner(),
            Form::Jsonl(jsonl) => jsonl.into_inner(),
            #[cfg(feature = "tables")]
            Form::Parquet(parquet) => parquet.finish()?,
        };
        Ok((out, self.rows))
    }
}

impl<W: Write + Send> Rows for TableFile<W> {
    fn row(&mut self, values: &mut dyn Iterator<Item = Value<'_>>) -> io::Result<()> {
        self.rows += 1;
        match &mut self.form {
            Form::Csv(csv) => csv.row(values),
            Form::Jsonl(jsonl) => jsonl.row(values),
            #[cfg(feature = "tables")]
            Form::Parquet(parquet) => parquet.row(values),
        }
    }
}

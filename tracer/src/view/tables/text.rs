//! Tables as text: CSV and JSON lines.

use std::io::{self, Write};

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{Column, Rows, Table};
use crate::{
    model::fields::{Value, holders_text},
    view::{csv, json},
};

/// A table as CSV, with a header.
pub(super) struct CsvTable<W> {
    out: W,
}

impl<W: Write> CsvTable<W> {
    /// Begins with the names of its columns.
    ///
    /// # Errors
    /// As `out` fails.
    pub(super) fn new(table: Table, mut out: W) -> io::Result<Self> {
        csv::record(&mut out, table.columns().iter().map(|column| column.name))?;
        Ok(Self { out })
    }

    /// What it was written to.
    pub(super) fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write> Rows for CsvTable<W> {
    fn row(&mut self, values: &mut dyn Iterator<Item = Value<'_>>) -> io::Result<()> {
        csv::record(&mut self.out, values.map(csv::cell))
    }
}

/// A table as JSON objects, one a line.
pub(super) struct JsonlTable<W> {
    columns: Vec<Column>,
    out: W,
}

impl<W: Write> JsonlTable<W> {
    /// Without a row.
    pub(super) fn new(table: Table, out: W) -> Self {
        let columns = table.columns();
        Self { columns, out }
    }

    /// What it was written to.
    pub(super) fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write> Rows for JsonlTable<W> {
    fn row(&mut self, values: &mut dyn Iterator<Item = Value<'_>>) -> io::Result<()> {
        let values: Vec<Value<'_>> = values.collect();
        let row = Object {
            columns: &self.columns,
            values: &values,
        };
        json::line(&mut self.out, &row)
    }
}

struct Object<'a> {
    columns: &'a [Column],
    values: &'a [Value<'a>],
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for (column, value) in self.columns.iter().zip(self.values) {
            match value {
                Value::Holders(holders) => {
                    map.serialize_entry(column.name, &holders_text(holders))?;
                }
                value => map.serialize_entry(column.name, value)?,
            }
        }
        map.end()
    }
}

//! A recording as tables: for databases and data frames, and to be queried.

use std::io;

use anyhow::Result;

use crate::model::{
    connection::Connection,
    fields::Value,
    report::Group,
    tables::{Place, Sink},
};

#[cfg(feature = "query")]
mod answer;
#[cfg(feature = "tables")]
mod arrow;
mod catalog;
mod file;
mod rows;
mod text;

#[cfg(feature = "query")]
pub use self::answer::answer;
#[cfg(feature = "tables")]
pub use self::arrow::{Batches, schema};
pub use self::{
    catalog::{catalog, document},
    file::TableFile,
    rows::Table,
};
#[cfg(feature = "tables")]
use arrow::ParquetTable;
use rows::{Column, MORE, More, SITE, Site, TRANSITION, VERDICT, scalars, transitions, values};
use text::{CsvTable, JsonlTable};

/// How to write the files of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TableFormat {
    /// Apache Parquet
    Parquet,
    /// Comma-separated values with a header
    Csv,
    /// One JSON object a line
    Jsonl,
}

impl TableFormat {
    /// What the names of its files end in.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// Takes the rows of one table.
pub trait Rows {
    /// Takes one: a value for each of the table's columns.
    ///
    /// # Errors
    /// As it cannot be written.
    fn row(&mut self, values: &mut dyn Iterator<Item = Value<'_>>) -> io::Result<()>;
}

/// A place for the rows of each table.
#[derive(Debug)]
pub struct Tables<T> {
    tables: Vec<(Table, T)>,
}

impl<T> Tables<T> {
    /// Each made by `make`.
    ///
    /// # Errors
    /// As it fails.
    pub fn new(mut make: impl FnMut(Table) -> Result<T>) -> Result<Self> {
        let tables = Table::ALL.iter();
        let tables = tables.map(|&table| Ok((table, make(table)?)));
        Ok(Self {
            tables: tables.collect::<Result<_>>()?,
        })
    }

    /// What was made.
    pub fn into_tables(self) -> impl Iterator<Item = (Table, T)> {
        self.tables.into_iter()
    }
}

impl<T: Rows> Tables<T> {
    fn put<'a>(&mut self, table: Table, row: impl Iterator<Item = Value<'a>>) -> Result<()> {
        let mut row = row;
        let found = self.tables.iter_mut().find(|(each, _)| *each == table);
        found.map_or(Ok(()), |(_, rows)| Ok(rows.row(&mut row)?))
    }
}

impl<T: Rows> Sink for Tables<T> {
    fn connection(
        &mut self,
        connection: &Connection,
        is_open: bool,
        place: Option<&Place>,
    ) -> Result<()> {
        for transition in transitions(connection) {
            self.put(Table::Transitions, values(TRANSITION, &transition))?;
        }
        let place = place.cloned();
        let more = More { is_open, place };
        let row = values(scalars(), connection).chain(values(MORE, &more));
        self.put(Table::Connections, row)
    }

    fn site(&mut self, site_no: u32, group: Group) -> Result<()> {
        let site = Site::new(site_no, group)?;
        self.put(Table::Sites, values(SITE, &site))?;
        self.put(Table::Verdicts, values(VERDICT, &site))
    }
}

#[cfg(test)]
pub(super) mod tests;

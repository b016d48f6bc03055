//! What a query came to. No text in it is trusted, as any may be what a process chose.

use std::io::{self, Write};

use arrow_array::{Array, RecordBatch, cast::AsArray, types};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use comfy_table::{Cell, CellAlignment};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use textwrap::core::display_width;

use crate::{
    model::untrusted::Untrusted,
    view::{
        Format, Style, csv, json,
        table::{self, MISSING},
        text::{Page, count},
    },
};

/// Columns that would fold to less than this are none: each row is told on lines of its own.
const LEAST: usize = 24;

/// Writes the rows that a query gave.
///
/// # Errors
/// As `out` fails; where a value has no text.
pub fn answer(
    out: &mut dyn Write,
    schema: &SchemaRef,
    batches: &[RecordBatch],
    format: Format,
    style: Style,
) -> io::Result<()> {
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| &**field.name())
        .collect();
    let mut rows = Vec::new();
    for batch in batches {
        rows.extend(rows_of(batch).map_err(io::Error::other)?);
    }
    match format {
        Format::Table => people(&mut Page::new(out, style), &names, &rows),
        Format::Json => {
            let rows: Vec<_> = rows.iter().map(|row| Object(&names, row)).collect();
            json::document(out, &rows)
        }
        Format::Jsonl => rows
            .iter()
            .try_for_each(|row| json::line(out, &Object(&names, row))),
        Format::Csv => {
            csv::record(out, names.iter().map(csv::text))?;
            rows.iter()
                .try_for_each(|row| csv::record(out, row.iter().map(Datum::cell)))
        }
    }
}

/// A value of whatever type SQL gives.
#[derive(Clone, Debug)]
enum Datum {
    Missing,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Time(Timestamp),
    Text(Untrusted),
}

impl Datum {
    const fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Uint(_) | Self::Float(_))
    }

    fn cell(&self) -> String {
        match self {
            Self::Missing => String::new(),
            Self::Bool(truth) => truth.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Uint(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Time(at) => json::time(*at),
            Self::Text(text) => csv::text(text),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Missing => MISSING.to_owned(),
            Self::Text(text) => text.to_string(),
            other => other.cell(),
        }
    }
}

impl Serialize for Datum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Missing => serializer.serialize_none(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Uint(number) => serializer.serialize_u64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Time(at) => serializer.serialize_str(&json::time(*at)),
            Self::Text(text) => serializer.serialize_str(text.raw()),
        }
    }
}

struct Object<'a>(&'a [&'a str], &'a [Datum]);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0.iter().zip(self.1) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn rows_of(batch: &RecordBatch) -> Result<Vec<Vec<Datum>>, ArrowError> {
    let mut rows = vec![Vec::with_capacity(batch.num_columns()); batch.num_rows()];
    for column in batch.columns() {
        for (row, datum) in rows.iter_mut().zip(data(column)?) {
            row.push(datum);
        }
    }
    Ok(rows)
}

fn data(column: &dyn Array) -> Result<Vec<Datum>, ArrowError> {
    let options = FormatOptions::default();
    let text = ArrayFormatter::try_new(column, &options)?;
    let at = |row: usize| match column.data_type() {
        DataType::Boolean => Ok(Datum::Bool(column.as_boolean().value(row))),
        DataType::Int64 => Ok(Datum::Int(
            column.as_primitive::<types::Int64Type>().value(row),
        )),
        DataType::Int32 => {
            let number = column.as_primitive::<types::Int32Type>().value(row);
            Ok(Datum::Int(number.into()))
        }
        DataType::UInt64 => Ok(Datum::Uint(
            column.as_primitive::<types::UInt64Type>().value(row),
        )),
        DataType::Float64 => Ok(Datum::Float(
            column.as_primitive::<types::Float64Type>().value(row),
        )),
        DataType::Timestamp(unit, _) => {
            let instant = match unit {
                TimeUnit::Second => Timestamp::from_second(
                    column
                        .as_primitive::<types::TimestampSecondType>()
                        .value(row),
                ),
                TimeUnit::Millisecond => Timestamp::from_millisecond(
                    column
                        .as_primitive::<types::TimestampMillisecondType>()
                        .value(row),
                ),
                TimeUnit::Microsecond => Timestamp::from_microsecond(
                    column
                        .as_primitive::<types::TimestampMicrosecondType>()
                        .value(row),
                ),
                TimeUnit::Nanosecond => Timestamp::from_nanosecond(
                    column
                        .as_primitive::<types::TimestampNanosecondType>()
                        .value(row)
                        .into(),
                ),
            };
            instant.map_or_else(|_| words(&text, row), |at| Ok(Datum::Time(at)))
        }
        _ => words(&text, row),
    };
    (0..column.len())
        .map(|row| match column.is_null(row) {
            true => Ok(Datum::Missing),
            false => at(row),
        })
        .collect()
}

fn words(text: &ArrayFormatter<'_>, row: usize) -> Result<Datum, ArrowError> {
    let text = text.value(row).try_to_string()?;
    Ok(Datum::Text(Untrusted::from(text.as_str())))
}

/// A table; where that would fold to shreds, each row on lines of its own.
fn people(page: &mut Page<'_>, names: &[&str], rows: &[Vec<Datum>]) -> io::Result<()> {
    let names: Vec<String> = names
        .iter()
        .map(|&name| Untrusted::from(name).to_string())
        .collect();
    let shown: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(Datum::shown).collect())
        .collect();
    let widest = |column: usize| {
        let cells = shown.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|cell| display_width(cell));
        widths
            .max()
            .unwrap_or(0)
            .max(names.get(column).map_or(0, |name| display_width(name)))
    };
    let least = (0..names.len()).map(|column| widest(column).min(LEAST) + 2);
    if least.sum::<usize>() <= page.style.width + 2 {
        let mut table = table::empty(page.style, names.iter().map(String::as_str));
        for row in &shown {
            table.add_row(row.iter().map(Cell::new));
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            if rows.iter().any(|row| row[index].is_number()) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table::lines(page.out, 0, &table)?;
    } else {
        let room = names.iter().map(|name| display_width(name)).max();
        let room = room.unwrap_or(0).min(page.style.width / 2);
        for (number, row) in (1..).zip(&shown) {
            page.text(format_args!("row {number}"))?;
            for (name, cell) in names.iter().zip(row) {
                page.labelled(&format!("  {name:room$}  "), cell)?;
            }
        }
    }
    page.blank()?;
    page.text(format_args!("{}.", count(rows.len() as u64, "row")))
}

//! What goes into Arrow and Parquet comes out again.

use std::collections::HashMap;

use arrow_array::{Array as _, RecordBatch, cast::AsArray as _};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;
use parquet::{
    arrow::arrow_reader::ParquetRecordBatchReaderBuilder,
    basic::Compression,
    file::reader::{FileReader as _, SerializedFileReader},
};
use proptest::prelude::*;
use serde_json::Value;

use super::{Table, TableFormat, fixture, text, written};
use crate::{
    model::{
        connection::Connection,
        fields::{FIELDS, Unit},
        untrusted::Untrusted,
    },
    tcp::State,
    view::{
        Format,
        hostile::{HOSTILE, assert_tame},
        tables::{answer, schema},
        tests::NARROW,
    },
};

fn read(bytes: Vec<u8>) -> (Vec<RecordBatch>, usize) {
    let bytes = Bytes::from(bytes);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
    let groups = reader.metadata().num_row_groups();
    let batches = reader.build().expect("Parquet");
    (batches.map(|batch| batch.expect("rows")).collect(), groups)
}

/// The rows as JSON objects, as `query --format jsonl` writes them.
fn objects(table: Table, batches: &[RecordBatch]) -> Vec<Value> {
    let lines = text(|out| answer(out, &schema(table), batches, Format::Jsonl, NARROW));
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn assert_parquet_is_jsonl(connections: &[Connection], name: &str) {
    let parquet = written(connections, Some(name), TableFormat::Parquet);
    let jsonl = written(connections, Some(name), TableFormat::Jsonl);
    for ((table, parquet), (_, jsonl)) in parquet.into_iter().zip(jsonl) {
        let jsonl = String::from_utf8(jsonl).expect("views write UTF-8");
        let expected: Vec<Value> = jsonl
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(objects(table, &read(parquet).0), expected, "{table}");
    }
}

#[test]
fn columns_are_what_the_registry_says() {
    let schema = schema(Table::Connections);
    let of = |name| schema.field_with_name(name).expect("a column");
    assert_eq!(of("tx_bytes").data_type(), &DataType::Int64);
    assert_eq!(of("comm").data_type(), &DataType::Utf8);
    assert_eq!(of("is_open").data_type(), &DataType::Boolean);
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert_eq!(of("opened_at").data_type(), &time);
    assert!(of("opened_at").is_nullable() && !of("id").is_nullable());
    for field in FIELDS.iter().filter(|field| field.name != "history") {
        let about: &HashMap<_, _> = of(field.name).metadata();
        assert_eq!(
            about.get("description").map(String::as_str),
            Some(field.help)
        );
        let unit = field.unit.map(Unit::name);
        assert_eq!(about.get("unit").map(String::as_str), unit);
    }
}

#[test]
fn a_file_of_no_rows_has_its_columns() {
    for (table, bytes) in written(&[], None, TableFormat::Parquet) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes));
        assert_eq!(*reader.expect("Parquet").schema(), schema(table));
    }
}

#[test]
fn row_groups_are_bounded_and_packed() {
    let history = vec![(State::Established, fixture::noon(0)); 7];
    let connection = Connection {
        history,
        ..fixture::connections("app").swap_remove(0)
    };
    let many = vec![connection; 10_000];
    let tables = written(&many, None, TableFormat::Parquet);
    let (_, bytes) = tables
        .into_iter()
        .find(|(table, _)| *table == Table::Transitions)
        .expect("is there");
    let file = SerializedFileReader::new(Bytes::from(bytes)).expect("Parquet");
    let groups = file.metadata().row_groups();
    let rows: Vec<_> = groups.iter().map(|group| group.num_rows()).collect();
    assert_eq!(rows, [65_536, 70_000 - 65_536]);
    for column in groups.iter().flat_map(|group| group.columns()) {
        assert!(matches!(column.compression(), Compression::ZSTD(_)));
    }
}

#[test]
fn a_number_that_is_too_large_is_the_largest() {
    let connection = Connection {
        tx_bytes: u64::MAX,
        ..fixture::connections("app").swap_remove(0)
    };
    let tables = written(&[connection], None, TableFormat::Parquet);
    let (_, bytes) = tables.into_iter().next().expect("connections");
    let batch = read(bytes).0.swap_remove(0);
    let sent = batch.column_by_name("tx_bytes").expect("a column");
    assert_eq!(
        sent.as_primitive::<arrow_array::types::Int64Type>()
            .value(0),
        i64::MAX
    );
    assert_eq!(sent.null_count(), 0);
}

#[test]
fn hostile_text_goes_into_parquet_as_it_is_and_nowhere_else() {
    for name in HOSTILE {
        let tables = written(
            &fixture::connections(name),
            Some(name),
            TableFormat::Parquet,
        );
        for (table, bytes) in tables {
            let batches = read(bytes).0;
            let rows = objects(table, &batches);
            for (column, row) in [("comm", 0), ("owner_comm", 0)] {
                if let Some(comm) = rows[row].get(column) {
                    assert_eq!(comm, name, "{table}");
                }
            }
            for format in [Format::Table, Format::Json, Format::Jsonl, Format::Csv] {
                let told = text(|out| answer(out, &schema(table), &batches, format, NARROW));
                let lines = told.matches('\n').count();
                assert_tame(&told, lines, &format!("{name:?} in {format:?}"));
            }
        }
    }
}

#[test]
fn an_answer_fits_a_terminal() {
    for (table, bytes) in written(
        &fixture::connections("app"),
        Some("app"),
        TableFormat::Parquet,
    ) {
        let batches = read(bytes).0;
        let told = text(|out| answer(out, &schema(table), &batches, Format::Table, NARROW));
        for line in told.lines() {
            assert!(line.chars().count() <= NARROW.width, "{table}: {line}");
        }
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert!(told.ends_with(&format!("\n{rows} rows.\n")), "{told}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn parquet_says_what_json_says(
        comm: Option<String>,
        bytes: Vec<u8>,
        fd: Option<i32>,
        sent in 0..=i64::MAX as u64,
        age: Option<u32>,
        us in 0..4_000_000_000_000_i64,
    ) {
        let connection = Connection {
            comm: comm.as_deref().map(Untrusted::from),
            opener_comm: Some(Untrusted::from_bytes(&bytes)),
            fd,
            tx_bytes: sent,
            age_ms: age.map(u64::from),
            opened_at: Some(jiff::Timestamp::from_microsecond(us * 400).expect("in range")),
            ..fixture::connections("").swap_remove(0)
        };
        assert_parquet_is_jsonl(&[connection], comm.as_deref().unwrap_or("app"));
    }
}

use super::{Table, TableFile, TableFormat, Tables, catalog};
use crate::{
    model::{
        connection::Connection,
        fields::{FIELDS, Kind},
        tables::Sink as _,
    },
    view::{
        fixture,
        tests::{NARROW, text},
    },
};

/// Every table in that form, with these connections, open and ended, and the sites of a
/// report in which `name` stands for what a process chose.
pub(crate) fn written(
    connections: &[Connection],
    name: Option<&str>,
    format: TableFormat,
) -> Vec<(Table, Vec<u8>)> {
    let mut tables = Tables::new(|table| Ok(TableFile::new(table, format, Vec::new())?))
        .expect("a Vec takes all");
    for (index, connection) in connections.iter().enumerate() {
        let told = tables.connection(connection, index % 2 == 0, None);
        told.expect("a Vec takes all");
    }
    let groups = name.map(|name| fixture::leaks(name).groups);
    for (site_no, group) in (1..).zip(groups.into_iter().flatten()) {
        tables.site(site_no, group).expect("a Vec takes all");
    }
    let finished = tables.into_tables().map(|(table, file)| {
        let (bytes, _) = file.finish().expect("a Vec takes all");
        (table, bytes)
    });
    finished.collect()
}

/// The same as text.
pub(crate) fn texts(name: &str, format: TableFormat) -> Vec<String> {
    written(&fixture::connections(name), Some(name), format)
        .into_iter()
        .map(|(_, bytes)| String::from_utf8(bytes).expect("views write UTF-8"))
        .collect()
}

#[test]
fn connections_have_every_field_but_what_is_a_table() {
    let columns = Table::Connections.columns();
    let names = columns.iter().map(|column| column.name);
    let fields = FIELDS.iter().filter(|field| field.kind.0 != Kind::History);
    let fields = fields.map(|field| field.name);
    let more = ["is_open", "site_no", "site", "verdict"];
    assert_eq!(
        names.collect::<Vec<_>>(),
        fields.chain(more).collect::<Vec<_>>()
    );
    let history = FIELDS.iter().filter(|field| field.kind.0 == Kind::History);
    assert_eq!(history.count(), 1, "the transitions");
}

#[test]
fn no_two_columns_of_a_table_have_one_name_and_each_says_what_it_is() {
    for table in Table::ALL {
        let mut names: Vec<_> = table.columns().iter().map(|column| column.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{table}");
        assert!(table.columns().iter().all(|column| !column.help.is_empty()));
    }
}

#[test]
fn nothing_gives_tables_without_rows() {
    for (table, bytes) in written(&[], None, TableFormat::Csv) {
        let text = String::from_utf8(bytes).expect("views write UTF-8");
        let names: Vec<_> = table.columns().iter().map(|column| column.name).collect();
        assert_eq!(text, format!("{}\n", names.join(",")));
    }
    let jsonl = written(&[], None, TableFormat::Jsonl);
    assert!(jsonl.iter().all(|(_, bytes)| bytes.is_empty()));
}

#[test]
fn the_catalog_fits_a_terminal() {
    let list = text(|out| catalog(out, NARROW));
    for line in list.lines() {
        assert!(line.chars().count() <= NARROW.width, "{line}");
    }
    for table in Table::ALL {
        assert!(list.contains(&format!(
            "\n{}",
            table.help().split(' ').next().expect("words")
        )));
        let columns = table.columns();
        assert!(columns.iter().all(|column| list.contains(column.name)));
    }
}

#[cfg(feature = "query")]
mod arrow;

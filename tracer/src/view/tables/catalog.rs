//! What the tables hold: for `query --list`, and for `docs/tables.md`.

use std::io::{self, Write};

use super::{Column, Table};
use crate::{
    model::fields::{Kind, Unit},
    view::{
        Style, table,
        text::{Colour, Page},
    },
};

/// The type of a column in words.
const fn kind(column: &Column) -> &'static str {
    match column.kind {
        Kind::Boolean => "boolean",
        Kind::Integer => "integer",
        Kind::Time => "time",
        Kind::Text | Kind::History | Kind::Holders => "text",
    }
}

fn unit(column: &Column) -> &'static str {
    column.unit.map_or("", Unit::name)
}

/// Lists the tables and their columns.
///
/// # Errors
/// As `out` fails.
pub fn catalog(out: &mut dyn Write, style: Style) -> io::Result<()> {
    let page = &mut Page::new(out, style);
    for (index, &each) in Table::ALL.iter().enumerate() {
        if index > 0 {
            page.blank()?;
        }
        page.coloured(Colour::Blue, each.name())?;
        page.text(each.help())?;
        let mut rows = table::empty(page.style, ["COLUMN", "TYPE", "UNIT", "MEANING"]);
        for column in each.columns() {
            rows.add_row([column.name, kind(&column), unit(&column), column.help]);
        }
        table::lines(page.out, 0, &rows)?;
    }
    Ok(())
}

/// The same as Markdown: what `docs/tables.md` must hold.
#[must_use]
pub fn document() -> String {
    let mut text = String::new();
    for table in Table::ALL {
        text += &format!("## `{table}`\n\n{}\n\n", table.help());
        text += "| column | type | unit | meaning |\n| --- | --- | --- | --- |\n";
        for column in table.columns() {
            let null = if column.may_miss { ", or null" } else { "" };
            let (name, help) = (column.name, column.help.replace('|', "\\|"));
            let (kind, unit) = (kind(&column), unit(&column));
            text += &format!("| `{name}` | {kind}{null} | {unit} | {help} |\n");
        }
        text.push('\n');
    }
    text
}

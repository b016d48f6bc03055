//! `tcpleak query`: a recording's tables, asked by SQL.

use anyhow::Result;

use super::{Outcome, args::QueryArgs, output::Sink};
use crate::view;

/// Answers.
pub(super) fn run(args: &QueryArgs) -> Result<Outcome> {
    let mut sink = Sink::open(&args.output)?;
    match (&args.from, &args.sql) {
        (Some(from), Some(sql)) => ask(args, from, sql, &mut sink)?,
        _ => {
            let style = sink.style();
            let mut out = sink.writer()?;
            view::catalog(&mut *out, style)?;
            out.flush()?;
        }
    }
    Ok(Outcome::Fine)
}

#[cfg(not(feature = "query"))]
fn ask(_: &QueryArgs, _: &std::path::Path, _: &str, _: &mut Sink) -> Result<()> {
    anyhow::bail!(
        "this tcpleak was built without the feature `query`: build it with `cargo build --release \
         --features query`, or use `tcpleak export --format csv` and another program"
    )
}

#[cfg(feature = "query")]
use engine::ask;

/// The database. It holds what the recording tells, and knows no files.
#[cfg(feature = "query")]
mod engine {
    use std::{collections::BTreeSet, path::Path, sync::Arc};

    use anyhow::{Result, anyhow};
    use datafusion::{
        common::SchemaError,
        datasource::MemTable,
        error::DataFusionError,
        execution::context::SQLOptions,
        prelude::{SessionConfig, SessionContext},
    };

    use super::super::{args::QueryArgs, export::Recorded, output::Sink, runtime, selection};
    use crate::view::{self, Batches, Table, Tables};

    pub(super) fn ask(args: &QueryArgs, from: &Path, sql: &str, sink: &mut Sink) -> Result<()> {
        let recorded = Recorded::read(from, selection(&args.selection, false)?)?;
        let tables = recorded.tell(Tables::new(|table| Ok(Batches::new(table)))?)?;
        // One thread answers, and in the same order each time.
        let config = SessionConfig::new()
            .with_target_partitions(1)
            .with_information_schema(true);
        let context = SessionContext::new_with_config(config);
        for (table, batches) in tables.into_tables() {
            let rows = MemTable::try_new(view::schema(table), vec![batches.finish()?])?;
            context.register_table(table.name(), Arc::new(rows))?;
        }
        let (schema, batches) = runtime()?.block_on(async {
            let only_read = SQLOptions::new()
                .with_allow_ddl(false)
                .with_allow_dml(false)
                .with_allow_statements(false);
            let asked = context.sql_with_options(sql, only_read).await;
            let asked = asked.map_err(|error| wrong(&error))?;
            let schema = Arc::clone(asked.schema().inner());
            let batches = asked.collect().await.map_err(|error| wrong(&error))?;
            Ok::<_, anyhow::Error>((schema, batches))
        })?;
        let style = sink.style();
        let mut out = sink.writer()?;
        view::answer(&mut *out, &schema, &batches, args.output.format, style)?;
        Ok(out.flush()?)
    }

    /// In one line: what is wrong, and what there is.
    fn wrong(error: &DataFusionError) -> anyhow::Error {
        let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let first = error.iter().next().unwrap_or(error);
        match first.find_root() {
            DataFusionError::SchemaError(schema, _) => match &**schema {
                SchemaError::FieldNotFound {
                    field,
                    valid_fields,
                } => {
                    let there: BTreeSet<&str> = valid_fields.iter().map(|c| &*c.name).collect();
                    let there: Vec<_> = there.into_iter().collect();
                    anyhow!("no column {}; there are {}", field.name, there.join(", "))
                }
                other => anyhow!("{other}"),
            },
            DataFusionError::SQL(error, _) => anyhow!("{error}"),
            DataFusionError::Plan(what) => {
                let table = what.strip_prefix("table '");
                let table = table.and_then(|rest| rest.split_once("' not found"));
                let refused = what.split_once(" not supported: ");
                match (table, refused) {
                    (Some((path, _)), _) => {
                        let tables: Vec<_> = Table::ALL.iter().map(|table| table.name()).collect();
                        let name = path.rsplit('.').next().unwrap_or(path);
                        anyhow!("no table {name}; there are {}", tables.join(", "))
                    }
                    (_, Some((_, what))) => {
                        anyhow!("a query can only read: use SELECT, not {what}")
                    }
                    _ => anyhow!(line(what)),
                }
            }
            other => anyhow!(line(&other.strip_backtrace())),
        }
        .context("cannot answer this (tcpleak query --list tells what there is)")
    }
}

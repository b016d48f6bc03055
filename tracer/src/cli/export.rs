//! `tcpleak export`: a recording as files of tables.

use std::{
    fs,
    io::{self, BufWriter, ErrorKind, IntoInnerError, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use tempfile::NamedTempFile;

use super::{
    Outcome,
    args::ExportArgs,
    leaks,
    output::Sink,
    replay::{self, Listener, say_flaws},
    runtime, say, selection,
};
use crate::{
    model::{
        report::Leaks,
        tables::{self, Teller},
    },
    selection::Selection,
    store::replay::Replay,
    view::{Rows, Table, TableFile, TableFormat, Tables},
};

/// Writes a file for each table.
pub(super) fn run(args: &ExportArgs) -> Result<Outcome> {
    if args.format == TableFormat::Parquet && !cfg!(feature = "tables") {
        bail!(
            "this tcpleak was built without the feature `tables`, which Parquet needs: use --format \
             csv or jsonl, or build it with `cargo build --release --features tables`"
        );
    }
    let recorded = Recorded::read(&args.from, selection(&args.selection, false)?)?;
    let folder = Folder::open(&args.output, args.format)?;
    let loss = recorded.report.loss;
    let tables = recorded.tell(Tables::new(|table| folder.begin(table))?)?;
    // Nothing is there before everything is.
    let written: Vec<_> = tables
        .into_tables()
        .map(|(table, file)| {
            let (out, rows) = file.finish()?;
            let file = out.into_inner().map_err(IntoInnerError::into_error)?;
            Ok((folder.path(table), file, rows))
        })
        .collect::<Result<_>>()?;
    let mut out = Sink::Stdout.writer()?;
    for (path, file, rows) in written {
        file.persist_noclobber(&path)
            .map_err(|failed| not_there(failed.error, &path))?;
        writeln!(out, "{}: {rows} rows", path.display())?;
    }
    out.flush()?;
    say(&format!(
        "{} records lost, {} connections repaired",
        loss.events_lost, loss.repaired
    ));
    Ok(Outcome::Fine)
}

/// A recording, read once for what it comes to. What ended is told when it is read again:
/// then it is known where it belongs, and none of it has to be kept.
pub(super) struct Recorded {
    path: PathBuf,
    selection: Selection,
    report: Leaks,
}

impl Recorded {
    /// Reads it.
    ///
    /// # Errors
    /// As [`Replay::open`]; at Ctrl-C.
    pub(super) fn read(path: &Path, selection: Selection) -> Result<Self> {
        let mut replay = Replay::open(path, false, selection.clone())?;
        all(&mut replay, &mut ())?;
        say_flaws(&replay);
        Ok(Self {
            path: path.to_owned(),
            selection,
            report: leaks::report(&replay.course),
        })
    }

    /// Tells its rows.
    ///
    /// # Errors
    /// As [`Self::read`]; and as `tables` fail.
    pub(super) fn tell<T: Rows>(self, tables: Tables<T>) -> Result<Tables<T>> {
        let mut replay = Replay::open(&self.path, false, self.selection)?;
        let mut teller = Teller::new(&replay.course, &self.report, tables);
        all(&mut replay, &mut teller)?;
        teller.finish(&replay.course, self.report)
    }
}

/// Tells all of it, or nothing.
fn all(replay: &mut Replay, listener: &mut impl Listener) -> Result<()> {
    if !runtime()?.block_on(replay::read(replay, false, listener))? {
        bail!("stopped by Ctrl-C; nothing is written");
    }
    Ok(())
}

impl<S: tables::Sink> Listener for Teller<S> {}

/// Where the files go.
struct Folder {
    path: PathBuf,
    format: TableFormat,
}

impl Folder {
    fn open(path: &Path, format: TableFormat) -> Result<Self> {
        fs::create_dir_all(path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                anyhow::anyhow!(
                    "{} is no folder: name one with -o, which need not exist",
                    path.display()
                )
            }
            _ => anyhow::Error::new(error)
                .context(format!("cannot make the folder {}", path.display())),
        })?;
        let folder = Self {
            path: path.to_owned(),
            format,
        };
        for &table in Table::ALL {
            let path = folder.path(table);
            if path.symlink_metadata().is_ok() {
                return Err(is_there(&path));
            }
        }
        Ok(folder)
    }

    fn path(&self, table: Table) -> PathBuf {
        self.path
            .join(format!("{table}.{}", self.format.extension()))
    }

    fn begin(&self, table: Table) -> Result<TableFile<BufWriter<NamedTempFile>>> {
        let file = tempfile::Builder::new()
            .prefix(&format!(".{table}."))
            .suffix(".part")
            .tempfile_in(&self.path)
            .with_context(|| format!("cannot write to {}", self.path.display()))?;
        Ok(TableFile::new(table, self.format, BufWriter::new(file))?)
    }
}

fn is_there(path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "{} is there already: remove it, or name another folder with -o",
        path.display()
    )
}

fn not_there(error: io::Error, path: &Path) -> anyhow::Error {
    match error.kind() {
        ErrorKind::AlreadyExists => is_there(path),
        _ => anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
    }
}

//! Where output goes: a terminal, a pipe, or a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::args::OutputArgs;
use crate::{store::disk::keep_recording, view::Style};

/// Width where output does not go to a terminal, in columns.
const PIPE_WIDTH: usize = 120;
/// Wider than any line, in columns.
const UNBROKEN: usize = 1_000;
/// Width of a terminal that does not say, in columns.
const TERMINAL_WIDTH: usize = 80;

/// An opened output.
pub(super) enum Sink {
    /// Standard output.
    Stdout,
    /// Standard error, where standard output is another program's.
    Stderr,
    /// A file, emptied at the first write, and its name.
    File(Option<File>, PathBuf),
}

impl Sink {
    /// Opens the file that `--output` names, before any work is done: one that
    /// cannot be written is known now. What it holds stays until there is
    /// something to put in its place.
    ///
    /// # Errors
    /// In one line.
    pub(super) fn open(args: &OutputArgs) -> Result<Self> {
        match &args.output {
            None => Ok(Self::Stdout),
            Some(path) => Self::file(path),
        }
    }

    /// As [`Sink::open`], of one path. A recording is not written over.
    ///
    /// # Errors
    /// In one line.
    pub(super) fn file(path: &Path) -> Result<Self> {
        keep_recording(path)?;
        let file = open(path).with_context(|| format!("cannot write to {}", path.display()))?;
        Ok(Self::File(Some(file), path.to_owned()))
    }

    /// Writes a whole document to it.
    ///
    /// # Errors
    /// As it fails.
    pub(super) fn write(
        &mut self,
        document: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut out = self.writer()?;
        document(&mut *out)?;
        out.flush()
    }

    /// The stream to write to.
    ///
    /// # Errors
    /// Where the file cannot be emptied.
    pub(super) fn writer(&mut self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match self {
            Self::Stdout => named(io::stdout(), "the output".to_owned()),
            Self::Stderr => named(io::stderr(), "the output".to_owned()),
            Self::File(file, path) => match file.take() {
                Some(file) => {
                    // A pipe or device has no length.
                    if file.metadata()?.is_file() {
                        file.set_len(0)?;
                    }
                    named(file, path.display().to_string())
                }
                None => Box::new(io::sink()),
            },
        })
    }

    /// As [`Sink::style`], of lines that are searched: none is broken but on a terminal.
    pub(super) fn style_of_lines(&self) -> Style {
        let style = self.style();
        Style {
            width: match self.is_terminal() {
                true => style.width,
                false => UNBROKEN,
            },
            ..style
        }
    }

    fn is_terminal(&self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
            Self::File(..) => false,
        }
    }

    /// How text is to be laid out there.
    pub(super) fn style(&self) -> Style {
        let is_terminal = self.is_terminal();
        let wants_color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Style {
            width: if is_terminal {
                terminal_width(self)
            } else {
                PIPE_WIDTH
            },
            color: is_terminal && wants_color,
        }
    }
}

/// A stream whose errors say what failed: it is called by the second.
struct Named<W>(W, String);

impl<W> Named<W> {
    /// The kind stays: it tells a closed pipe from a full disk, and what to retry.
    fn name(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("cannot write {}: {error}", self.1))
    }
}

impl<W: Write> Write for Named<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(|error| self.name(&error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(|error| self.name(&error))
    }
}

fn named(stream: impl Write + Send + 'static, called: String) -> Box<dyn Write + Send> {
    Box::new(BufWriter::new(Named(stream, called)))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn terminal_width(sink: &Sink) -> usize {
    let terminal = match sink {
        Sink::Stderr => console::Term::stderr(),
        Sink::Stdout | Sink::File(..) => console::Term::stdout(),
    };
    let (_, columns) = terminal.size_checked().unwrap_or((0, 0));
    match usize::from(columns) {
        0 => TERMINAL_WIDTH,
        columns => columns,
    }
}

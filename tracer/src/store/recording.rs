//! Reads a recording: a file, or a folder of rotated ones. I/O.

use std::{
    collections::VecDeque,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    block::{Kind, VERSION},
    blocks::{Blocks, Piece},
    disk,
    item::{Item, Start, items},
};
use crate::course::entry::Entry;

/// What a recording does not hold, though it was written or should have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    /// Places where bytes are damaged.
    pub damaged: u64,
    /// Bytes there.
    pub bytes: u64,
    /// Blocks that are missing.
    pub missing: u64,
}

/// A part of what the trace learned.
#[derive(Debug)]
pub struct Part {
    /// Something is missing before it.
    pub is_after_hole: bool,
    /// Items of the course, or facts.
    pub payload: Vec<u8>,
}

/// A recording that is being read.
pub struct Recording {
    path: PathBuf,
    /// The file that is being read, and those that follow.
    file: PathBuf,
    files: VecDeque<PathBuf>,
    blocks: Blocks<File>,
    may_grow: bool,
    /// The number of the next block; `None` before the first.
    expected: Option<u64>,
    is_after_hole: bool,
    /// What holds for all of it.
    pub start: Start,
    /// What is missing so far.
    pub holes: Holes,
}

impl Recording {
    /// Finds its files and its start. `may_grow`: it is still being written.
    ///
    /// # Errors
    /// Where it cannot be read, is none, or one of a later version.
    pub fn open(path: &Path, may_grow: bool) -> Result<Self> {
        let mut files = files(path)?;
        let start = ahead(&files, Kind::Start, Start::decode)?;
        let Some(start) = start else {
            bail!(
                "{} is no recording: it holds no whole block of one; `tcpleak record -o FILE` \
                 makes one",
                path.display()
            );
        };
        let file = files.pop_front().context("no file")?;
        Ok(Self {
            path: path.to_owned(),
            blocks: Blocks::new(open(&file)?, may_grow),
            file,
            files,
            may_grow,
            expected: None,
            is_after_hole: false,
            start,
            holes: Holes::default(),
        })
    }

    /// Names and processes, from anywhere in it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn facts(&self, mut learn: impl FnMut(&Entry)) -> Result<()> {
        let mut files = VecDeque::from([self.file.clone()]);
        files.extend(self.files.iter().cloned());
        ahead(&files, Kind::Facts, |payload| {
            for item in items(payload) {
                if let Ok(Item::Entry(entry @ (Entry::Name(..) | Entry::Owner(..)))) = item {
                    learn(&entry);
                }
            }
            None::<()>
        })?;
        Ok(())
    }

    /// The next part; `None` at the end, which may be none later if the recording is
    /// still being written.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn next_part(&mut self) -> Result<Option<Part>> {
        let may_grow = self.may_grow;
        let wants = |kind| kind == Kind::Course || (may_grow && kind == Kind::Facts);
        loop {
            let piece = self.blocks.next(wants);
            match piece.with_context(|| format!("cannot read {}", self.file.display()))? {
                Some(Piece::Damaged(bytes)) => {
                    self.holes.damaged += u64::from(!self.is_after_hole);
                    self.holes.bytes += bytes;
                    self.is_after_hole = true;
                }
                Some(Piece::Newer(version)) => bail!(newer(&self.file, version)),
                Some(Piece::Skipped(sequence)) => {
                    self.count(sequence);
                }
                Some(Piece::Block(_, sequence, payload)) => {
                    if self.count(sequence) {
                        return Ok(Some(Part {
                            is_after_hole: std::mem::take(&mut self.is_after_hole),
                            payload,
                        }));
                    }
                }
                None => {
                    if !self.next_file()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Counts a block. False where it is out of order, and so of another recording.
    fn count(&mut self, sequence: u64) -> bool {
        let expected = *self.expected.get_or_insert(sequence);
        let Some(missing) = sequence.checked_sub(expected) else {
            return false;
        };
        self.holes.missing += missing;
        self.is_after_hole |= missing > 0;
        self.expected = sequence.checked_add(1);
        true
    }

    fn next_file(&mut self) -> Result<bool> {
        if self.files.is_empty() && self.may_grow && self.path.is_dir() {
            let file = &self.file;
            self.files = files(&self.path)?;
            self.files.retain(|other| other > file);
        }
        let Some(next) = self.files.pop_front() else {
            return Ok(false);
        };
        self.blocks = Blocks::new(open(&next)?, self.may_grow);
        self.file = next;
        Ok(true)
    }
}

/// The files of a recording, oldest first.
fn files(path: &Path) -> Result<VecDeque<PathBuf>> {
    let cannot = || format!("cannot read {}", path.display());
    if !fs::metadata(path).with_context(cannot)?.is_dir() {
        return Ok(VecDeque::from([path.to_owned()]));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(cannot)? {
        let file = entry.with_context(cannot)?.path();
        if disk::is_recording(&file) {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!(
            "{} holds no recording: no file ends in .{}",
            path.display(),
            disk::EXTENSION
        );
    }
    files.sort();
    Ok(files.into())
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Looks through all blocks of one kind until `look` finds something.
fn ahead<T>(
    files: &VecDeque<PathBuf>,
    kind: Kind,
    mut look: impl FnMut(&[u8]) -> Option<T>,
) -> Result<Option<T>> {
    for file in files {
        let mut blocks = Blocks::new(open(file)?, false);
        loop {
            let piece = blocks.next(|of| of == kind);
            match piece.with_context(|| format!("cannot read {}", file.display()))? {
                Some(Piece::Block(_, _, payload)) => {
                    if let Some(found) = look(&payload) {
                        return Ok(Some(found));
                    }
                }
                Some(Piece::Newer(version)) => bail!(newer(file, version)),
                Some(Piece::Skipped(_) | Piece::Damaged(_)) => {}
                None => break,
            }
        }
    }
    Ok(None)
}

fn newer(path: &Path, version: u8) -> String {
    format!(
        "{} is in form {version} of a later tcpleak; this one reads up to {VERSION}: install that, \
         or read it where it was made",
        path.display()
    )
}

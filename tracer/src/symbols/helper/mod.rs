//! The helper: a process of our own that reads symbols out of other people's files.
//!
//! Those files may be made to exhaust memory, to take for ever, or to exploit a
//! parser. So the collector reads none: it hands each file over, opened, to this
//! process, which can do nothing but read it and answer, and whose end costs names.

use std::{
    collections::hash_map::Entry,
    fs::File,
    io::{IoSlice, IoSliceMut, Write as _},
    mem::MaybeUninit,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt as _, MetadataExt as _},
    },
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use blazesym::symbolize::{
    CodeInfo, Input, Sym, Symbolized, Symbolizer,
    source::{Elf, Source},
};
use rustc_hash::FxHashMap;
use rustix::{
    fs::{MemfdFlags, memfd_create},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags,
        recvmsg, sendmsg,
    },
};

use super::protocol::{Answer, Kind, MAX_MESSAGE, Name, Question, Walk, Walked};

mod go;
pub mod perf_map;
pub mod sandbox;
pub mod unwind;

use go::GoTable;
use unwind::Tables;

/// Files that are kept, read and indexed. A helper that has met more ends, and
/// the collector starts another.
const MAX_KEPT: usize = 48;

/// The largest perf map that is read, in bytes.
pub const MAX_PERF_MAP: u64 = 64 << 20;

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;

/// Answers questions that come in on standard input until it is closed.
///
/// # Errors
/// Where this process cannot be shut in, or the collector is not to be understood.
pub fn run() -> Result<()> {
    sandbox::enter()?;
    let socket = std::io::stdin();
    let mut reader = Reader::new();
    let mut message = vec![0; MAX_MESSAGE];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut message)];
        let received = recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        if received.bytes == 0 {
            return Ok(());
        }
        let mut files = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => files.collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        let file = File::from(files.next().context("a question without a file")?);
        let answer = match Question::decode(&message[..received.bytes])? {
            Question::Names { kind, addresses } => {
                // A file that cannot be read has no names.
                let names = reader.names(&file, kind, &addresses);
                let names = names.unwrap_or_else(|_| vec![Vec::new(); addresses.len()]);
                Answer { names }.encode()
            }
            Question::Walk(walk) => reader.walk(&file, &walk)?.encode(),
        };
        let nothing = &mut SendAncillaryBuffer::default();
        sendmsg(
            &socket,
            &[IoSlice::new(&answer)],
            nothing,
            SendFlags::NOSIGNAL,
        )?;
        if reader.copies.len().max(reader.tables.len()) > MAX_KEPT {
            return Ok(());
        }
    }
}

/// What tells one file, and one state of it, from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileId {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl FileId {
    fn of(file: &File) -> Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// Reads names out of files, and how their code is unwound.
struct Reader {
    symbolizer: Symbolizer,
    copies: FxHashMap<FileId, Option<File>>,
    /// The tables of Go programs that have no symbols.
    go: FxHashMap<FileId, Option<GoTable>>,
    tables: FxHashMap<FileId, Option<Tables>>,
}

impl Reader {
    fn new() -> Self {
        // Nothing can be opened there.
        let nowhere: Option<[&str; 0]> = Some([]);
        Self {
            symbolizer: Symbolizer::builder().set_debug_dirs(nowhere).build(),
            copies: FxHashMap::default(),
            go: FxHashMap::default(),
            tables: FxHashMap::default(),
        }
    }

    /// Where the file has no tables for that, or cannot be read, it says nothing.
    fn walk(&mut self, file: &File, walk: &Walk) -> Result<Walked> {
        let tables = match self.tables.entry(FileId::of(file)?) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Tables::read(file.try_clone()?).ok()),
        };
        Ok(match tables {
            Some(tables) => tables.walk(walk),
            None => Walked {
                callers: Vec::new(),
                registers: walk.registers,
                is_whole: false,
            },
        })
    }

    fn names(&mut self, file: &File, kind: Kind, addresses: &[u64]) -> Result<Vec<Vec<Name>>> {
        match kind {
            Kind::Elf => self.elf(file, addresses),
            Kind::PerfMap => {
                let size = file.metadata()?.len();
                ensure!(size <= MAX_PERF_MAP, "a perf map of {size} bytes");
                let mut text = vec![0; usize::try_from(size)?];
                let mut len = 0;
                while len < text.len() {
                    match file.read_at(&mut text[len..], u64::try_from(len)?)? {
                        // It has been cut short meanwhile.
                        0 => break,
                        read => len += read,
                    }
                }
                Ok(perf_map::names(&text[..len], addresses))
            }
        }
    }

    fn elf(&mut self, file: &File, offsets: &[u64]) -> Result<Vec<Vec<Name>>> {
        let id = FileId::of(file)?;
        let copy = self.copies.entry(id).or_insert_with(|| copy_of(file).ok());
        let copy = copy.as_ref().context("a file that cannot be read")?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd()));
        let mut elf = Elf::new(path);
        let found = self.look_up(&elf, offsets);
        // A file whose debug information cannot be read, or is kept apart, may have
        // symbols all the same.
        elf.debug_syms = false;
        let without = |(names, &offset): (Vec<Name>, &u64)| match names.is_empty() {
            true => self
                .look_up(&elf, &[offset])
                .into_iter()
                .flatten()
                .collect(),
            false => names,
        };
        let mut names: Vec<_> = found.into_iter().zip(offsets).map(without).collect();
        if names.iter().all(Vec::is_empty) {
            let read = || GoTable::read(file.try_clone().ok()?).ok();
            if let Some(table) = self.go.entry(id).or_insert_with(read) {
                let found = offsets.iter().map(|&offset| table.name(offset));
                names = found.map(|name| name.into_iter().collect()).collect();
            }
        }
        Ok(names)
    }

    fn look_up(&self, elf: &Elf, offsets: &[u64]) -> Vec<Vec<Name>> {
        let source = Source::Elf(elf.clone());
        let found = self
            .symbolizer
            .symbolize(&source, Input::FileOffset(offsets));
        found.map_or_else(
            |_| vec![Vec::new(); offsets.len()],
            |found| found.into_iter().map(names_of).collect(),
        )
    }
}

/// A copy in memory, of a file that its owner may change or cut short at any time:
/// reading a mapping of that would end in a signal.
fn copy_of(file: &File) -> Result<File> {
    let size = file.metadata()?.len();
    ensure!(size <= sandbox::MAX_FILE_BYTES, "a file of {size} bytes");
    let mut copy = File::from(memfd_create("module", MemfdFlags::CLOEXEC)?);
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        let read = file.read_at(&mut chunk, at)?;
        if read == 0 {
            break;
        }
        copy.write_all(&chunk[..read])?;
        at += u64::try_from(read)?;
    }
    Ok(copy)
}

/// The functions at an address, innermost first.
fn names_of(found: Symbolized<'_>) -> Vec<Name> {
    let Symbolized::Sym(Sym {
        name,
        offset,
        code_info,
        inlined,
        ..
    }) = found
    else {
        return Vec::new();
    };
    let name_of = |function: &str, offset: Option<usize>, code: Option<&CodeInfo<'_>>| Name {
        function: function.to_owned(),
        offset: offset.and_then(|offset| u64::try_from(offset).ok()),
        file: code.map(|code| code.file.to_string_lossy().into_owned()),
        line: code.and_then(|code| code.line),
    };
    // `inlined` goes from the outermost to the innermost.
    let inner = inlined.iter().rev();
    let inner = inner.map(|inner| name_of(&inner.name, None, inner.code_info.as_ref()));
    inner
        .chain([name_of(&name, Some(offset), code_info.as_deref())])
        .collect()
}

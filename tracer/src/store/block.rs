//! Blocks: the frames of a recording. Pure.
//!
//! A recording is a sequence of blocks, each whole or lost by itself. The form is
//! described in docs/recording.md.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use bytes::{Buf as _, BufMut as _};
use thiserror::Error;

/// What a block begins with: a byte that is no text, so that no text holds it.
pub const MAGIC: [u8; 4] = *b"\xB7TCL";

/// The version of the form that is written, and the newest that is read.
pub const VERSION: u8 = 1;

/// Bytes of a block before its payload.
pub const HEADER: usize = 32;

/// Bytes of payload, as stored and as unpacked: a snapshot of 1,000,000 sockets takes
/// some 80 MB. A length past it is not believed.
pub const MAX_PAYLOAD: usize = 128 << 20;

/// How hard it is packed: the fastest level that is not one of the negative ones.
const LEVEL: i32 = 1;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// What holds for the whole trace, and how it stands.
    Start = 1,
    /// Names of call stacks, and processes.
    Facts = 2,
    /// What the trace learned, in order.
    Course = 3,
}

/// Why a block is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// Its payload is not what was written.
    #[error("its checksum does not match")]
    Checksum,
    /// Its payload does not unpack to the length that it names.
    #[error("it does not unpack")]
    Packing,
    /// What it holds is not framed.
    #[error("its contents are not framed")]
    Framing,
}

/// What a block's header says, once its checksum has been found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the form.
    pub version: u8,
    /// What it holds; `None` for a kind of later versions.
    pub kind: Option<Kind>,
    /// Its number in the trace; one is missing where numbers are.
    pub sequence: u64,
    /// Bytes of payload, as stored.
    pub stored: usize,
    /// Bytes of payload, unpacked.
    pub len: usize,
    checksum: u32,
}

/// A block as it is written.
///
/// # Errors
/// Where it cannot be packed, for want of memory.
pub fn seal(kind: Kind, sequence: u64, payload: &[u8]) -> std::io::Result<Vec<u8>> {
    let packed = zstd::bulk::compress(payload, LEVEL)?;
    let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let mut block = Vec::with_capacity(HEADER + packed.len());
    block.put_slice(&MAGIC);
    block.put_slice(&[VERSION, kind as u8, 0, 0]);
    block.put_u64_le(sequence);
    block.put_u32_le(len(packed.len()));
    block.put_u32_le(len(payload.len()));
    block.put_u32_le(crc32fast::hash(&packed));
    block.put_u32_le(crc32fast::hash(&block));
    block.put_slice(&packed);
    Ok(block)
}

/// What a search for the next block came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It begins after so many bytes, which are none.
    Block(usize, Header),
    /// So many bytes are none; what follows may be one, if more bytes come.
    Perhaps(usize),
}

/// Looks for the next block.
#[must_use]
pub fn find(bytes: &[u8]) -> Found {
    let mut from = 0;
    loop {
        let at = from + first_magic(&bytes[from..]);
        match bytes.get(at..at + HEADER) {
            None => return Found::Perhaps(at),
            Some(header) => match read(header) {
                Some(header) => return Found::Block(at, header),
                None => from = at + 1,
            },
        }
    }
}

/// Where the magic begins, or may begin if more bytes come.
fn first_magic(bytes: &[u8]) -> usize {
    let begins = |rest: &[u8]| {
        let len = rest.len().min(MAGIC.len());
        rest[..len] == MAGIC[..len]
    };
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|&byte| byte == MAGIC[0]) {
        at += next;
        if begins(&bytes[at..]) {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

/// Reads a header; `None` where it is none.
fn read(header: &[u8]) -> Option<Header> {
    let (mut bytes, mut checksum) = header.split_at_checked(HEADER - 4)?;
    if checksum.try_get_u32_le() != Ok(crc32fast::hash(bytes)) {
        return None;
    }
    bytes.advance(MAGIC.len());
    let version = bytes.get_u8();
    let kind = match bytes.get_u8() {
        1 => Some(Kind::Start),
        2 => Some(Kind::Facts),
        3 => Some(Kind::Course),
        _ => None,
    };
    bytes.advance(2);
    let sequence = bytes.get_u64_le();
    let mut len = || usize::try_from(bytes.get_u32_le()).ok();
    let (stored, len) = (len()?, len()?);
    let is_believed = stored <= MAX_PAYLOAD && len <= MAX_PAYLOAD;
    is_believed.then(|| Header {
        version,
        kind,
        sequence,
        stored,
        len,
        checksum: bytes.get_u32_le(),
    })
}

/// Unpacks what was stored behind `header`.
///
/// # Errors
/// [`Damage`] where it is not what was written.
pub fn open(header: &Header, stored: &[u8]) -> Result<Vec<u8>, Damage> {
    if crc32fast::hash(stored) != header.checksum {
        return Err(Damage::Checksum);
    }
    match zstd::bulk::decompress(stored, header.len) {
        Ok(payload) if payload.len() == header.len => Ok(payload),
        _ => Err(Damage::Packing),
    }
}

//! From bytes to blocks, over whatever is damaged. No file is opened here.

use std::io::{self, Read};

use super::block::{self, Found, Header, Kind, VERSION};

/// Bytes asked for at once.
const CHUNK: u64 = 1 << 20;

/// What comes next in a recording.
#[derive(Debug)]
pub enum Piece {
    /// A block.
    Block(Kind, u64, Vec<u8>),
    /// A block that this version has no name for, or that was not asked for.
    Skipped(u64),
    /// So many bytes are no block, or a damaged one.
    Damaged(u64),
    /// A block in a form of later versions.
    Newer(u8),
}

/// The blocks of a stream of bytes.
pub struct Blocks<R> {
    from: R,
    /// Read, and not handed on yet from `at` on.
    buffer: Vec<u8>,
    at: usize,
    may_grow: bool,
}

impl<R: Read> Blocks<R> {
    /// From the first byte on. `may_grow`: the end is not the last of it.
    pub fn new(from: R, may_grow: bool) -> Self {
        Self {
            from,
            buffer: Vec::new(),
            at: 0,
            may_grow,
        }
    }

    /// The next piece; `None` at the end, or where what was read last is not all of a
    /// block and more may come. `wants` says which kinds are unpacked.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn next(&mut self, wants: impl Fn(Kind) -> bool) -> io::Result<Option<Piece>> {
        loop {
            match block::find(&self.buffer[self.at..]) {
                Found::Block(0, header) => {
                    let len = block::HEADER + header.stored;
                    if self.buffer.len() - self.at >= len {
                        return Ok(Some(self.block(&header, len, wants)));
                    }
                }
                Found::Block(skip @ 1.., _) | Found::Perhaps(skip @ 1..) => {
                    return Ok(Some(self.damaged(skip)));
                }
                Found::Perhaps(0) => {}
            }
            if !self.fill()? {
                let rest = self.buffer.len() - self.at;
                return Ok((rest > 0 && !self.may_grow).then(|| self.damaged(rest)));
            }
        }
    }

    fn block(&mut self, header: &Header, len: usize, wants: impl Fn(Kind) -> bool) -> Piece {
        if header.version > VERSION {
            return Piece::Newer(header.version);
        }
        let stored = &self.buffer[self.at + block::HEADER..self.at + len];
        let piece = match header.kind.filter(|&kind| wants(kind)) {
            None => Piece::Skipped(header.sequence),
            Some(kind) => match block::open(header, stored) {
                Ok(payload) => Piece::Block(kind, header.sequence, payload),
                Err(_) => return self.damaged(len),
            },
        };
        self.at += len;
        piece
    }

    fn damaged(&mut self, len: usize) -> Piece {
        self.at += len;
        Piece::Damaged(len as u64)
    }

    /// Reads more. False where there is none.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let chunk = &mut (&mut self.from).take(CHUNK);
        Ok(chunk.read_to_end(&mut self.buffer)? > 0)
    }
}

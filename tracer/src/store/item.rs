//! Items: what a block's payload holds. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use bytes::{Buf as _, BufMut as _};
use serde::{Deserialize, Serialize};
use tracer_common::event::FoldRecord;
use zerocopy::IntoBytes as _;

use super::block::Damage;
use crate::{
    course::entry::{Entry, Setup, Standing},
    decode::{
        DecodeError, StackId,
        fold::{self, Parts, Story, Whence},
    },
    model::untrusted::Untrusted,
};

/// What a block of kind `Start` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// What holds for the whole trace.
    pub setup: Setup,
    /// How it stood when this was written.
    pub standing: Standing,
    /// The version of tcpleak that writes it.
    pub version: Untrusted,
    /// Its command line.
    pub command: Vec<Untrusted>,
}

impl Start {
    /// As it is stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Into memory, of types that know their lengths: nothing there can fail.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// From what was stored; `None` where that is none.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        postcard::from_bytes(payload).ok()
    }
}

/// One thing that a trace learned.
#[derive(Debug)]
pub enum Item<'a> {
    /// A record of the kernel's, and the stack that it names.
    Record(&'a [u8], Option<StackId>),
    /// Anything else.
    Entry(Entry),
    /// An entry that this version does not know.
    Unknown,
}

const RECORD: u8 = 0;
const ENTRY: u8 = 1;

/// Appends a record.
pub fn push_record(payload: &mut Vec<u8>, record: &[u8], stack: Option<StackId>) {
    payload.push(RECORD);
    push_len(payload, record.len());
    payload.put_u32_le(stack.map_or(0, StackId::number));
    payload.put_slice(record);
}

/// Appends an entry.
pub fn push_entry(payload: &mut Vec<u8>, entry: &Entry) {
    let at = payload.len();
    payload.push(ENTRY);
    push_len(payload, 0);
    let body = payload.len();
    // As above.
    if postcard::to_extend(entry, Appender(payload)).is_err() {
        payload.truncate(at);
        return;
    }
    let len = u32::try_from(payload.len() - body).unwrap_or(u32::MAX);
    payload[at + 1..body].copy_from_slice(&len.to_le_bytes());
}

struct Appender<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Appender<'_> {
    fn extend<T: IntoIterator<Item = u8>>(&mut self, bytes: T) {
        self.0.extend(bytes);
    }
}

fn push_len(payload: &mut Vec<u8>, len: usize) {
    payload.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
}

/// The items of a payload, in order, until one is not framed.
pub fn items(payload: &[u8]) -> impl Iterator<Item = Result<Item<'_>, Damage>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let item = next(&mut rest).ok_or(Damage::Framing);
        if item.is_err() {
            rest = &[];
        }
        Some(item)
    })
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<Item<'a>> {
    let tag = rest.try_get_u8().ok()?;
    let len = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    match tag {
        RECORD => {
            let stack = StackId::from_number(rest.try_get_u32_le().ok()?);
            Some(Item::Record(rest.split_off(..len)?, stack))
        }
        ENTRY => {
            let entry = postcard::from_bytes(rest.split_off(..len)?);
            Some(entry.map_or(Item::Unknown, Item::Entry))
        }
        _ => None,
    }
}

/// Set beside the parts in a recording where the record was read in the map.
const FROM_MAP: Parts = 1 << 15;
const _: () = assert!(fold::PARTS < 15);

/// Bytes of a record in a recording: after it, which of its parts were new.
pub const RECORDED: usize = size_of::<FoldRecord>() + size_of::<Parts>();

/// A record as it is recorded.
#[must_use]
pub fn to_recorded(record: &FoldRecord, parts: Parts, whence: Whence) -> [u8; RECORDED] {
    let mut bytes = [0; RECORDED];
    let (head, tail) = bytes.split_at_mut(size_of::<FoldRecord>());
    head.copy_from_slice(record.as_bytes());
    let from_map = match whence {
        Whence::Ring => 0,
        Whence::Map => FROM_MAP,
    };
    tail.copy_from_slice(&(parts | from_map).to_le_bytes());
    bytes
}

/// What a record tells that was recorded; `None` of one of another kind.
///
/// # Errors
/// [`DecodeError`] where it is not what the kernel side writes.
#[must_use]
pub fn from_recorded(bytes: &[u8]) -> Option<Result<(Story, Whence), DecodeError>> {
    let record = fold::record(bytes)?;
    let parts = bytes[size_of::<FoldRecord>()..].first_chunk().copied();
    let parts = parts.map(Parts::from_le_bytes);
    let parts = parts.ok_or(DecodeError::Short { len: bytes.len() });
    Some(parts.and_then(|parts| {
        let whence = match parts & FROM_MAP {
            0 => Whence::Ring,
            _ => Whence::Map,
        };
        Ok((Story::of(&record, parts & !FROM_MAP)?, whence))
    }))
}

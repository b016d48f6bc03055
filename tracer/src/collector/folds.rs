//! Connections that the kernel side folds: some are read from the ring, once they have
//! ended, and the others from its map.

use anyhow::Result;
use tracer_common::config::FOLD_FREE_NS;
use zerocopy::IntoBytes as _;

use super::hearing::Hearing;
use crate::{
    clock::BootTime,
    course::Observer,
    decode::{
        fold::{self, Folded, Whence},
        is_exit,
    },
    load::Folds,
};

/// What is so old, in milliseconds, has been told as a whole.
const FREE_MS: u64 = FOLD_FREE_NS / 1_000_000;

/// Reads them.
pub(super) struct FoldReader {
    map: Folds,
    folded: Folded,
    /// Records of processes that have ended, while connections of theirs may be folded
    /// still.
    exits: Vec<Vec<u8>>,
}

impl FoldReader {
    pub(super) fn new(map: Folds) -> Self {
        Self {
            map,
            folded: Folded::default(),
            exits: Vec::new(),
        }
    }

    /// Tells of a record from the ring. That a process has ended is put off until those in
    /// the map have been told.
    pub(super) fn record(&mut self, bytes: &[u8], hearing: &mut Hearing<impl Observer>) {
        let Some(record) = fold::record(bytes) else {
            return match is_exit(bytes) {
                true => self.exits.push(bytes.to_vec()),
                false => hearing.record(bytes),
            };
        };
        match self.folded.ends(&record) {
            Ok(story) => hearing.story(&record, story, Whence::Ring),
            // Nor can it be once it is recorded.
            Err(_) => hearing.record(record.as_bytes()),
        }
    }

    /// Tells of those in the map that were born before the first time what happened before
    /// the second. The ring has been read up to now.
    ///
    /// # Errors
    /// Where the kernel refuses to read the map.
    pub(super) fn look(
        &mut self,
        (born, until): (BootTime, BootTime),
        hearing: &mut Hearing<impl Observer>,
    ) -> Result<()> {
        let old = until.minus_ms(FREE_MS);
        let mut left = Vec::new();
        self.map.each(|record| {
            let at = BootTime::from_ns(record.header.ts_ns);
            if at > born {
                return;
            }
            match self.folded.looks(record, until) {
                Ok(story) if !story.is_empty() => hearing.story(record, story, Whence::Map),
                Ok(_) if at < old => left.push(record.header.sock),
                _ => {}
            }
        })?;
        self.map.take_out(&left, |sock| self.folded.forget(sock))?;
        self.folded.end_looks();
        for exit in self.exits.drain(..) {
            hearing.record(&exit);
        }
        Ok(())
    }
}

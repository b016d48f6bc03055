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
        exited_at,
        fold::{self, Folded, Whence},
    },
    load::Folds,
};

/// What is so old, in milliseconds, has been told as a whole.
const FREE_MS: u64 = FOLD_FREE_NS / 1_000_000;

/// Reads them.
pub(super) struct FoldReader {
    map: Folds,
    folded: Folded,
    /// Records of processes that have ended, and when: connections that they opened before
    /// may be folded still.
    exits: Vec<(BootTime, Vec<u8>)>,
}

impl FoldReader {
    pub(super) fn new(map: Folds) -> Self {
        Self {
            map,
            folded: Folded::default(),
            exits: Vec::new(),
        }
    }

    /// Tells of a record from the ring. That a process has ended is put off until those that
    /// it may have opened have been told.
    pub(super) fn record(&mut self, bytes: &[u8], hearing: &mut Hearing<impl Observer>) {
        let Some(record) = fold::record(bytes) else {
            return match exited_at(bytes) {
                Some(at) => self.exits.push((at, bytes.to_vec())),
                None => hearing.record(bytes),
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
            let at = fold::born(record);
            let is_old = at < old;
            if at > born {
                return;
            }
            if record.is_told != 0 {
                // Where the hook that told it could not take it out.
                left.extend(is_old.then_some(record.header.sock));
                return;
            }
            match self.folded.looks(record, until) {
                Ok(story) if !story.is_empty() => hearing.story(record, story, Whence::Map),
                Ok(_) if is_old => left.push(record.header.sock),
                _ => {}
            }
        })?;
        for sock in left {
            let record = self.map.take_out(sock)?;
            let Some(record) = record.filter(|record| record.is_told == 0) else {
                continue;
            };
            // It is another one where its program has connected it again meanwhile.
            if let Ok(story) = self.folded.ends(&record)
                && !story.is_empty()
            {
                hearing.story(&record, story, Whence::Map);
            }
        }
        self.folded.end_looks();
        let told = born.min(until);
        for (_, exit) in self.exits.extract_if(.., |(at, _)| *at <= told) {
            hearing.record(&exit);
        }
        Ok(())
    }
}

//! Connections that the kernel side folds: some are read from the ring, once they have
//! ended, and the others from its map.

use anyhow::Result;
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
        self.map.each(|record| {
            if BootTime::from_ns(record.header.ts_ns) <= born
                && let Some(story) = self.folded.looks(record, until)
            {
                hearing.story(record, story, Whence::Map);
            }
        })?;
        self.folded.end_looks();
        for exit in self.exits.drain(..) {
            hearing.record(&exit);
        }
        Ok(())
    }
}

//! Keeps what a trace learns, and hands it on in blocks.

use std::time::{Duration, Instant};

use anyhow::Result;
use tracer_common::event::FoldRecord;

use super::{
    block::Kind,
    disk::Disk,
    item::{self, Start},
};
use crate::{
    course::{
        Course,
        entry::{Entry, Standing},
    },
    decode::{
        StackId,
        fold::{Story, Whence},
    },
    model::untrusted::Untrusted,
};

/// A block is handed on when it holds so many bytes, or a second after the last.
const BLOCK: usize = 1 << 20;

/// How often the start is written again, so that a reader can begin there.
const STARTS: Duration = Duration::from_secs(60);

/// What an entry has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Nothing that concerns the trace.
    Nothing,
    /// Another file: it wants a snapshot, as nothing that came before is in it.
    File,
}

/// The near end of a recording that is being written.
pub struct Recorder {
    disk: Disk,
    start: Start,
    started: Instant,
    sequence: u64,
    facts: Vec<u8>,
    course: Vec<u8>,
}

impl Recorder {
    /// Records what `course` learns from now on.
    #[must_use]
    pub fn new(disk: Disk, course: &Course, command: Vec<Untrusted>) -> Self {
        let mut recorder = Self {
            disk,
            start: Start {
                setup: course.setup.clone(),
                standing: *course.standing(),
                version: Untrusted::from(env!("CARGO_PKG_VERSION")),
                command,
            },
            started: Instant::now(),
            sequence: 0,
            facts: Vec::new(),
            course: Vec::with_capacity(BLOCK),
        };
        // Twice: without one nothing can be read.
        recorder.push_start(course);
        recorder.push_start(course);
        recorder
    }

    /// Keeps a record and the stack that it names.
    pub fn record(&mut self, record: &[u8], stack: Option<StackId>) {
        item::push_record(&mut self.course, record, stack);
        if self.course.len() >= BLOCK {
            self.flush();
        }
    }

    /// Keeps what a record tells of a connection that is folded.
    pub fn story(&mut self, record: &FoldRecord, story: &Story, whence: Whence) {
        let bytes = item::to_recorded(record, story.parts(), whence);
        self.record(&bytes, story.stack());
    }

    /// Keeps an entry. `course` has not learned it yet.
    pub fn entry(&mut self, entry: &Entry, course: &Course) -> Begun {
        match entry {
            Entry::Name(..) | Entry::Owner(..) => item::push_entry(&mut self.facts, entry),
            _ => item::push_entry(&mut self.course, entry),
        }
        match entry {
            // Once a second; a crash loses no more.
            Entry::Tick(_) => {
                self.flush();
                if self.disk.is_next_file_due() {
                    self.begin_file(course);
                    return Begun::File;
                } else if self.started.elapsed() >= STARTS {
                    self.push_start(course);
                }
            }
            Entry::End => self.flush(),
            _ if self.course.len() >= BLOCK => self.flush(),
            _ => {}
        }
        Begun::Nothing
    }

    /// A file that can be read without the ones before.
    fn begin_file(&mut self, course: &Course) {
        self.disk.next_file();
        self.push_start(course);
        self.push_start(course);
        for fact in course.facts() {
            item::push_entry(&mut self.facts, &fact);
        }
        if let Some(shed) = course.shed() {
            item::push_entry(&mut self.course, &shed);
        }
        self.flush();
    }

    fn push_start(&mut self, course: &Course) {
        self.start.standing = Standing {
            // Some have been told since.
            told: course.told(),
            ..*course.standing()
        };
        self.started = Instant::now();
        self.push(Kind::Start, self.start.encode());
    }

    fn flush(&mut self) {
        for (kind, full) in [
            (Kind::Facts, std::mem::take(&mut self.facts)),
            (Kind::Course, std::mem::take(&mut self.course)),
        ] {
            if !full.is_empty() {
                self.push(kind, full);
            }
        }
        self.course.reserve(BLOCK);
    }

    fn push(&mut self, kind: Kind, payload: Vec<u8>) {
        self.disk.push(kind, self.sequence, payload);
        self.sequence += 1;
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// Where something is not.
    pub fn close(mut self) -> Result<()> {
        self.flush();
        self.disk.close()
    }
}

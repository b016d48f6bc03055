//! From a recording to its course: the same as the trace had. Opens no file.

use std::path::Path;

use anyhow::{Result, anyhow};

use super::{
    item::{Item, items},
    recording::{Part, Recording},
};
use crate::{
    clock::BootTime,
    course::{Course, Observer, entry::Entry},
    decode::{Event, decode},
    model::untrusted::spelled_out,
    selection::Selection,
};

/// A recording, and what it has told so far.
pub struct Replay {
    recording: Recording,
    /// What it has told.
    pub course: Course,
    /// Entries that this version does not know.
    unknown: u64,
    /// What happened later is not told.
    until: BootTime,
    is_done: bool,
}

impl Replay {
    /// Begins with its start and the facts of all of it.
    ///
    /// # Errors
    /// As [`Recording::open`]; and where none that are asked for are in it.
    pub fn open(path: &Path, may_grow: bool, selection: Selection) -> Result<Self> {
        let recording = Recording::open(path, may_grow)?;
        let start = &recording.start;
        let mut setup = start.setup.clone();
        let selection = selection.within(&setup.selection);
        let selection = selection.map_err(|why| anyhow!("{} {why}", path.display()))?;
        for sentence in &mut setup.blind {
            *sentence = spelled_out(sentence).into_owned();
        }
        let mut course = Course::new(setup, selection, start.standing);
        recording.facts(|fact| {
            // Nobody listens, so nothing fails.
            let _ = course.learn(fact, &mut ());
        })?;
        Ok(Self {
            recording,
            course,
            unknown: 0,
            until: BootTime::END,
            is_done: false,
        })
    }

    /// Whether it has come to that instant.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.is_done
    }

    /// Tells only what happened up to then.
    #[must_use]
    pub fn until(self, until: BootTime) -> Self {
        Self { until, ..self }
    }

    /// Tells the next part. False at the end, which may be none later if the recording
    /// is still being written.
    ///
    /// # Errors
    /// Where it cannot be read, or the observer fails.
    pub fn step(&mut self, observer: &mut impl Observer) -> Result<bool> {
        if self.is_done {
            return Ok(false);
        }
        let Some(part) = self.recording.next_part()? else {
            return Ok(false);
        };
        self.tell(&part, observer)?;
        observer.settle()?;
        Ok(true)
    }

    fn tell(&mut self, part: &Part, observer: &mut impl Observer) -> Result<()> {
        if part.is_after_hole {
            self.course.note_hole();
        }
        let told = tell(&mut self.course, &part.payload, self.until, observer)?;
        self.unknown += told.unknown;
        self.recording.holes.damaged += u64::from(told.is_torn);
        self.is_done = told.is_done;
        Ok(())
    }

    /// After the last part.
    ///
    /// # Errors
    /// Where the observer fails.
    pub fn finish(&mut self, observer: &mut impl Observer) -> Result<()> {
        if !self.course.is_over() {
            self.course.learn(&Entry::Settle, observer)?;
            self.course
                .learn(&Entry::Checkpoint(self.course.now()), observer)?;
        }
        observer.settle()
    }

    /// What is wrong with it, a sentence each.
    #[must_use]
    pub fn flaws(&self) -> Vec<String> {
        let holes = self.recording.holes;
        let mut flaws = Vec::new();
        if holes.damaged > 0 {
            flaws.push(format!(
                "what {} damaged bytes of the recording held, in {} places",
                holes.bytes, holes.damaged
            ));
        }
        if holes.missing > 0 {
            flaws.push(format!(
                "what {} blocks held that the recording lacks: its disk was full or too slow, or \
                 they are damaged",
                holes.missing
            ));
        }
        if self.unknown > 0 {
            flaws.push(format!(
                "{} entries of a later tcpleak, which this one does not know",
                self.unknown
            ));
        }
        if !self.course.is_over() && !self.is_done {
            flaws.push(format!(
                "what came after {}, where the recording was cut off",
                self.course.setup.clock.at(self.course.now())
            ));
        }
        flaws
    }
}

/// What came of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Entries that this version does not know.
    pub unknown: u64,
    /// Its items are not framed from some place on.
    pub is_torn: bool,
    /// What follows happened later than was asked for.
    pub is_done: bool,
}

/// Tells a course what a payload holds, up to `until`.
///
/// # Errors
/// Where the observer fails.
pub fn tell(
    course: &mut Course,
    payload: &[u8],
    until: BootTime,
    observer: &mut impl Observer,
) -> Result<Told> {
    let mut told = Told::default();
    for item in items(payload) {
        match item {
            Ok(Item::Record(record, stack)) => {
                let mut event = decode(record).ok();
                if event.is_some_and(|event| event.at() > until) {
                    // Others of that time come later than it.
                    continue;
                }
                if let Some(owner) = event.as_mut().and_then(Event::opener_mut) {
                    owner.stack = stack;
                }
                course.hear(event.as_ref(), observer)?;
            }
            Ok(Item::Entry(entry)) => {
                if entry.at().is_some_and(|at| at > until) {
                    told.is_done = true;
                    break;
                }
                course.learn(&entry, observer)?;
            }
            Ok(Item::Unknown) => told.unknown += 1,
            Err(_) => {
                course.note_hole();
                told.is_torn = true;
            }
        }
    }
    Ok(told)
}

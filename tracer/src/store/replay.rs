//! From a recording to its course: the same as the trace had. Opens no file.

use std::path::Path;

use anyhow::{Result, anyhow};
use tracer_common::config::FOLD_NS;

use super::{
    item::{Item, from_recorded, items},
    recording::{Part, Recording},
};
use crate::{
    clock::BootTime,
    course::{Course, Observer, entry::Entry},
    decode::{Event, StackId, decode},
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
    horizon: Horizon,
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
            horizon: Horizon::default(),
        })
    }

    /// Whether it has come to the instant that it is to tell up to.
    #[must_use]
    pub const fn has_come_there(&self) -> bool {
        self.horizon.is_past
    }

    /// Tells only what happened up to then.
    #[must_use]
    pub fn until(self, until: BootTime) -> Self {
        Self {
            horizon: Horizon::new(until),
            ..self
        }
    }

    /// Tells the next part. False at the end, which may be none later if the recording
    /// is still being written.
    ///
    /// # Errors
    /// Where it cannot be read, or the observer fails.
    pub fn step(&mut self, observer: &mut impl Observer) -> Result<bool> {
        let part = match self.horizon.is_done {
            true => None,
            false => self.recording.next_part()?,
        };
        let Some(part) = part else {
            let is_damaged = !self.flaws().is_empty();
            self.course.note_damage(is_damaged);
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
        let told = tell(&mut self.course, &part.payload, &mut self.horizon, observer)?;
        self.unknown += told.unknown;
        self.recording.holes.damaged += u64::from(told.is_torn);
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
        if !self.course.is_over() && !self.horizon.is_past {
            flaws.push(format!(
                "what came after {}, where the recording was cut off",
                self.course.setup.clock.at(self.course.now())
            ));
        }
        flaws
    }
}

/// How much later than it happened something may be told: a connection that is folded is
/// looked at in the second after its first.
const LATE_MS: u64 = 3 * FOLD_NS / 1_000_000;

/// Up to when a recording is told.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// What happened later is not told,
    until: BootTime,
    /// nor anything that was learned later: it has come there.
    is_past: bool,
    /// Nor does more of what happened before follow.
    is_done: bool,
}

impl Horizon {
    /// Up to this instant.
    #[must_use]
    pub const fn new(until: BootTime) -> Self {
        Self {
            until,
            is_past: false,
            is_done: false,
        }
    }
}

/// All of it.
impl Default for Horizon {
    fn default() -> Self {
        Self::new(BootTime::END)
    }
}

/// What came of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Entries that this version does not know.
    pub unknown: u64,
    /// Its items are not framed from some place on.
    pub is_torn: bool,
}

/// Tells a course what a payload holds, as far as that reaches.
///
/// # Errors
/// Where the observer fails.
pub fn tell(
    course: &mut Course,
    payload: &[u8],
    horizon: &mut Horizon,
    observer: &mut impl Observer,
) -> Result<Told> {
    let mut told = Told::default();
    for item in items(payload) {
        match item {
            Ok(Item::Record(record, stack)) => {
                hear(course, record, stack, horizon.until, observer)?;
            }
            Ok(Item::Entry(entry)) => {
                let at = entry.at();
                horizon.is_past |= at.is_some_and(|at| at > horizon.until);
                horizon.is_done |= at.is_some_and(|at| at.ms_since(horizon.until) > LATE_MS);
                if horizon.is_done {
                    break;
                }
                if !horizon.is_past {
                    course.learn(&entry, observer)?;
                }
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

/// Tells what a record says of what happened up to `until`.
fn hear(
    course: &mut Course,
    record: &[u8],
    stack: Option<StackId>,
    until: BootTime,
    observer: &mut impl Observer,
) -> Result<()> {
    if let Some(Ok((mut story, whence))) = from_recorded(record) {
        if let Some((_, owner)) = story.opener_mut() {
            owner.stack = stack;
        }
        story.end_at(until);
        return course.hear_story(story, whence, observer);
    }
    let mut event = decode(record).ok();
    if event.is_some_and(|event| event.at() > until) {
        course.note_record();
        return Ok(());
    }
    if let Some(owner) = event.as_mut().and_then(Event::opener_mut) {
        owner.stack = stack;
    }
    course.hear(event.as_ref(), observer)
}

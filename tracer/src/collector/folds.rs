//! Connections that the kernel side folds: some are read from the ring, once they have
//! ended, and the others from its map.

use anyhow::Result;
use tracer_common::event::FoldRecord;

use crate::{
    clock::BootTime,
    course::{Course, Observer},
    decode::{Event, chain, fold::Folded},
    load::Folds,
    symbols::Symbols,
    tcp::State,
};

/// Tells the course of them.
pub(super) struct FoldReader {
    map: Folds,
    folded: Folded,
    /// Processes that have ended, while connections of theirs may be folded still.
    exits: Vec<Event>,
}

impl FoldReader {
    pub(super) fn new(map: Folds) -> Self {
        Self {
            map,
            folded: Folded::default(),
            exits: Vec::new(),
        }
    }

    /// Tells of a record from the ring.
    ///
    /// # Errors
    /// Where the observer fails.
    pub(super) fn hear(
        &mut self,
        record: &FoldRecord,
        course: &mut Course,
        mut symbols: Option<&mut Symbols>,
        observer: &mut impl Observer,
    ) -> Result<()> {
        let Ok(story) = self.folded.ends(record) else {
            return course.hear(None, observer);
        };
        course.note_record();
        let passes = story.is_whole() && !observer.wants_all() && course.lets_pass(story.sock);
        let mut events = story.events().map(|mut event| {
            name(&mut event, record, symbols.as_deref_mut());
            event
        });
        if passes {
            course.passes(events);
            return Ok(());
        }
        events.try_for_each(|event| course.happens(&event, observer))
    }

    /// Puts off what an event from the ring says until those in the map have been told.
    /// False where it need not wait.
    pub(super) fn puts_off(&mut self, event: Option<&Event>) -> bool {
        let exit = event.filter(|event| matches!(event, Event::Exit { .. }));
        self.exits.extend(exit);
        exit.is_some()
    }

    /// Tells of those in the map that were born before the first time what happened before
    /// the second. The ring has been read up to now.
    ///
    /// # Errors
    /// Where the kernel refuses to read the map, or the observer fails.
    pub(super) fn look(
        &mut self,
        (born, until): (BootTime, BootTime),
        course: &mut Course,
        mut symbols: Option<&mut Symbols>,
        observer: &mut impl Observer,
    ) -> Result<()> {
        let mut outcome = Ok(());
        self.map.each(|record| {
            if BootTime::from_ns(record.header.ts_ns) > born {
                return;
            }
            for mut event in self.folded.looks(record, until) {
                name(&mut event, record, symbols.as_deref_mut());
                if outcome.is_ok() {
                    outcome = course.happens(&event, observer);
                }
            }
        })?;
        self.folded.end_looks();
        outcome?;
        let mut exits = self.exits.drain(..);
        exits.try_for_each(|exit| course.happens(&exit, observer))
    }
}

/// Has the call stack named that an event of a folded connection comes with.
fn name(event: &mut Event, record: &FoldRecord, symbols: Option<&mut Symbols>) {
    let opens = match event {
        Event::State { new, .. } => *new == State::SynSent,
        Event::Accept { .. } => true,
        _ => false,
    };
    if opens && let Some(symbols) = symbols {
        symbols.hear(event, chain::of_number(record.chain));
    }
}

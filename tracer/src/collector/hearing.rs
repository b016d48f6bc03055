//! Who hears what the kernel side says: its call stack is named, it is recorded, and the
//! course learns of it, in that order.

use anyhow::Result;
use tracer_common::event::FoldRecord;

use crate::{
    course::{Course, Observer},
    decode::{
        Event, chain, decode,
        fold::{Story, Whence},
    },
    store::recorder::Recorder,
    symbols::Symbols,
};

/// All that hear it.
pub(super) struct Hearing<'a, O> {
    pub(super) course: &'a mut Course,
    /// `None` where no stacks are taken.
    pub(super) symbols: Option<&'a mut Symbols>,
    /// `None` where nothing is recorded.
    pub(super) recorder: Option<&'a mut Recorder>,
    pub(super) observer: &'a mut O,
    /// Once the observer has failed the course learns no more. The recorder does.
    pub(super) outcome: Result<()>,
}

impl<O: Observer> Hearing<'_, O> {
    /// Of a record.
    pub(super) fn record(&mut self, record: &[u8]) {
        if let Some(copy) = chain::copy(record) {
            if let Some(symbols) = &mut self.symbols {
                symbols.hear_copy(copy);
            }
            return;
        }
        let mut event = decode(record).ok();
        if let (Some(symbols), Some(event)) = (&mut self.symbols, &mut event) {
            let at = event.at();
            if let Some(owner) = event.opener_mut() {
                symbols.hear(at, owner, chain::of(record));
            }
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.record(record, event.as_ref().and_then(Event::stack));
        }
        if self.outcome.is_ok() {
            self.outcome = self.course.hear(event.as_ref(), self.observer);
        }
    }

    /// Of what is new of a connection that is folded in this record.
    pub(super) fn story(&mut self, record: &FoldRecord, mut story: Story, whence: Whence) {
        if let (Some(symbols), Some((at, owner))) = (&mut self.symbols, story.opener_mut()) {
            symbols.hear(at, owner, chain::of_number(record.chain));
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.story(record, &story, whence);
        }
        if self.outcome.is_ok() {
            self.outcome = self.course.hear_story(story, whence, self.observer);
        }
    }
}

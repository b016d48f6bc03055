//! Connections whose first second comes in one record: the events that it stands for. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use arrayvec::ArrayVec;
use rustc_hash::FxHashMap;
use tracer_common::event::{FoldRecord, Header, PHASES, Phase, flag, kind, opened, phase, reset};

use super::{
    Circumstance, Comm, DecodeError, Event, NO_FD, ends, figures, how, owner, read, stack, state,
};
use crate::{clock::BootTime, tcp::State};

/// Events that a record stands for at most: open, connect, accept, close, and phases.
pub const PARTS: usize = 4 + PHASES;

/// After so many looks that did not show a connection its record has been read, or lost.
const FORGOTTEN_AFTER: u32 = 8;

/// A record of this kind; `None` of any other, or where it is too short.
#[must_use]
pub fn record(bytes: &[u8]) -> Option<FoldRecord> {
    let header: Header = read(bytes).ok()?;
    (header.kind == kind::FOLD)
        .then(|| read(bytes).ok())
        .flatten()
}

/// What has been told of connections that are folded still.
#[derive(Debug, Default)]
pub struct Folded {
    /// A bit for each part that has been told, and the look that showed it last.
    told: FxHashMap<u64, (u16, u32)>,
    looks: u32,
}

impl Folded {
    /// What a record tells that has not been told before, in order.
    ///
    /// # Errors
    /// [`DecodeError`] where it is not what the kernel side writes.
    pub fn ends(&mut self, record: &FoldRecord) -> Result<ArrayVec<Event, PARTS>, DecodeError> {
        let told = match self.told.is_empty() {
            true => 0,
            false => self
                .told
                .remove(&record.header.sock)
                .map_or(0, |told| told.0),
        };
        let parts = parts(record)?;
        let new = parts.into_iter().filter(|(bit, _)| told & bit == 0);
        Ok(new.map(|(_, event)| event).collect())
    }

    /// What a connection that is folded still has to tell, up to `until`. What happened
    /// after that may be written half.
    pub fn looks(&mut self, record: &FoldRecord, until: BootTime) -> ArrayVec<Event, PARTS> {
        // Half written, then: the next look, or its record, will do.
        let Ok(parts) = parts(record) else {
            return ArrayVec::new();
        };
        let (told, look) = self.told.entry(record.header.sock).or_default();
        *look = self.looks;
        let mut new = ArrayVec::new();
        for (bit, event) in parts {
            if *told & bit == 0 && event.at() <= until {
                *told |= bit;
                new.push(event);
            }
        }
        new
    }

    /// All that are folded have been looked at, and the ring was read before.
    pub fn end_looks(&mut self) {
        let now = self.looks;
        self.told
            .retain(|_, (_, look)| now.wrapping_sub(*look) < FORGOTTEN_AFTER);
        self.looks = now.wrapping_add(1);
    }
}

/// Each event with a bit of its own, in the order of time.
fn parts(record: &FoldRecord) -> Result<ArrayVec<(u16, Event), PARTS>, DecodeError> {
    let sock = record.header.sock;
    let ends = ends(&record.addresses)?;
    let owner = owner(
        &record.header,
        Comm(record.comm),
        record.fd,
        stack(record.stack)?,
    );
    let born = BootTime::from_ns(record.header.ts_ns);
    let mut parts = ArrayVec::new();
    if record.opened != opened::NOT {
        let event = Event::State {
            at: born,
            sock,
            ends,
            old: State::Close,
            new: State::SynSent,
            how: Circumstance::default(),
            task: owner,
        };
        parts.push((1, event));
    }
    if record.opened == opened::AND_RETURNED {
        let took = Duration::from_micros(record.latency_us.into());
        let event = Event::Connect {
            at: born + took,
            sock,
            errno: record.ret.saturating_neg().max(0),
            latency_ns: u64::from(record.latency_us) * 1_000,
        };
        parts.push((1 << 1, event));
    }
    if record.accepted_ns != 0 {
        let event = Event::Accept {
            at: BootTime::from_ns(record.accepted_ns),
            sock,
            ends,
            owner,
            state: State::Established,
        };
        parts.push((1 << 2, event));
    }
    if record.closed_ns != 0 {
        let event = Event::Close {
            at: BootTime::from_ns(record.closed_ns),
            sock,
            exiting: u32::from(record.closed_flags) & flag::EXITING != 0,
        };
        parts.push((1 << 3, event));
    }
    let nobody = super::owner(&record.header, Comm::default(), NO_FD, None);
    let phases = record.phases.iter().take(record.count.into());
    for (index, phase) in phases.enumerate() {
        let &Phase {
            ts_ns,
            value,
            old,
            new,
            flags,
            shutdown,
        } = phase;
        let at = BootTime::from_ns(ts_ns);
        let event = match old {
            phase::RESET => Event::Reset {
                at,
                sock,
                by_us: u32::from(new) == reset::SENT,
            },
            phase::TIME_WAIT => Event::TimeWait {
                at,
                sock,
                state: state(new.into())?,
                stays: Duration::from_millis(u64::try_from(value).unwrap_or(0)),
            },
            _ => {
                let new = state(new.into())?;
                Event::State {
                    at,
                    sock,
                    ends,
                    old: state(old.into())?,
                    new,
                    how: Circumstance {
                        figures: (new == State::Close).then(|| figures(&record.figures)),
                        ..how(new, flags.into(), shutdown.into(), value)
                    },
                    task: nobody,
                }
            }
        };
        parts.push((1 << (4 + index), event));
    }
    parts.sort_by_key(|(_, event)| event.at());
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_common::event::NO_STACK;
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;

    fn phase(ts_ns: u64, old: u8, new: u8) -> Phase {
        Phase {
            ts_ns,
            value: 0,
            old,
            new,
            flags: 0,
            shutdown: 0,
        }
    }

    /// Opened at 10 ms, connected at 15, established at 14, closed by us from 20 on.
    fn client() -> FoldRecord {
        const MS: u64 = 1_000_000;
        let mut record = FoldRecord::new_zeroed();
        record.header.ts_ns = 10 * MS;
        record.header.sock = 7;
        record.header.kind = kind::FOLD;
        record.header.pid = 100;
        record.addresses.family = 2;
        (record.fd, record.stack) = (3, NO_STACK);
        (record.opened, record.latency_us) = (opened::AND_RETURNED, 5_000);
        record.closed_ns = 20 * MS;
        record.figures.tx_bytes = 9;
        record.phases[0] = phase(14 * MS, 2, 1);
        record.phases[1] = phase(21 * MS, 1, 4);
        record.phases[2] = phase(22 * MS, phase::RESET, 1);
        record.phases[3] = phase(23 * MS, 4, 7);
        record.count = 4;
        record
    }

    /// Each by its time in milliseconds and its first word.
    fn told(events: &[Event]) -> Vec<String> {
        let name = |event: &Event| match event {
            Event::State { new, .. } => format!("{new:?}"),
            other => format!("{other:?}")
                .split(' ')
                .next()
                .map(str::to_owned)
                .unwrap_or_default(),
        };
        let line = |event: &Event| format!("{} {}", event.at().ns() / 1_000_000, name(event));
        events.iter().map(line).collect()
    }

    #[test]
    fn a_record_is_told_in_the_order_of_time() -> Result<(), DecodeError> {
        let events = Folded::default().ends(&client())?;
        let order = [
            "10 SynSent",
            "14 Established",
            "15 Connect",
            "20 Close",
            "21 FinWait1",
            "22 Reset",
            "23 Close",
        ];
        assert_eq!(told(&events), order);
        let Some(Event::State { how, .. }) = events.last() else {
            panic!("{events:?}");
        };
        assert_eq!(how.figures.map(|figures| figures.tx_bytes), Some(9));
        let Some(Event::State { task, .. }) = events.first() else {
            panic!("{events:?}");
        };
        assert_eq!((task.pid, task.fd), (100, Some(3)));
        Ok(())
    }

    #[test]
    fn what_was_looked_at_is_not_told_again() -> Result<(), DecodeError> {
        let mut folded = Folded::default();
        let at = |ms: u64| BootTime::from_ns(ms * 1_000_000);
        assert_eq!(
            told(&folded.looks(&client(), at(14))),
            ["10 SynSent", "14 Established"]
        );
        folded.end_looks();
        assert!(folded.looks(&client(), at(14)).is_empty());
        folded.end_looks();
        assert_eq!(folded.ends(&client())?.len(), 5);
        // It is forgotten then: this is another connection of the same socket.
        assert_eq!(folded.ends(&client())?.len(), 7);
        Ok(())
    }

    #[test]
    fn one_that_is_looked_at_no_more_is_forgotten() {
        let mut folded = Folded::default();
        folded.looks(&client(), BootTime::END);
        for _ in 0..=FORGOTTEN_AFTER {
            folded.end_looks();
        }
        assert!(folded.told.is_empty());
    }

    #[test]
    fn an_accepted_one_belongs_to_who_accepted_it() -> Result<(), DecodeError> {
        let mut record = client();
        record.opened = opened::NOT;
        record.accepted_ns = 19_000_000;
        record.phases[0] = phase(10_000_000, 10, 3);
        let events = Folded::default().ends(&record)?;
        assert_eq!(told(&events)[..2], ["10 SynRecv", "19 Accept"]);
        let Event::Accept { owner, .. } = events[1] else {
            panic!("{events:?}");
        };
        assert_eq!((owner.pid, owner.fd), (100, Some(3)));
        Ok(())
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, filled: [u8; 256], until: u64) {
            prop_assert!(record(&bytes).is_none_or(|_| bytes.len() >= size_of::<FoldRecord>()));
            let mut any = FoldRecord::new_zeroed();
            any.as_mut_bytes().copy_from_slice(&filled);
            let mut folded = Folded::default();
            let looked = folded.looks(&any, BootTime::from_ns(until)).len();
            prop_assert!(folded.ends(&any).map_or(0, |rest| rest.len()) + looked <= PARTS);
        }
    }
}

//! Connections whose first second comes in one record: the events that it stands for. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use arrayvec::ArrayVec;
use rustc_hash::FxHashMap;
use tracer_common::event::{
    FoldRecord, Header, PHASES, Phase, flag, is_freed_with, kind, opened, phase, reset,
};

use super::{
    Circumstance, Comm, DecodeError, Ends, Event, Figures, Owner, StackId, ends,
    event::has_connect_failed, figures, how, owner, read, stack, state,
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

/// Which parts of a [`Story`] are told, a bit for each.
pub type Parts = u16;

/// Where a record was read: in the ring, as all others are, or in the map, while its
/// connection is folded still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// The ring.
    Ring,
    /// The map.
    Map,
}

/// What has been told of connections that are folded still.
#[derive(Debug, Default)]
pub struct Folded {
    /// By socket; one that is connected again is another.
    told: FxHashMap<u64, Told>,
    looks: u32,
}

/// What has been told of one.
#[derive(Debug, Default)]
struct Told {
    /// When it was born.
    born: BootTime,
    parts: Parts,
    /// The look that showed it last.
    look: u32,
}

impl Folded {
    /// What a record tells that has not been told before, in order.
    ///
    /// # Errors
    /// [`DecodeError`] where it is not what the kernel side writes.
    pub fn ends(&mut self, record: &FoldRecord) -> Result<Story, DecodeError> {
        let known = (!self.told.is_empty()).then(|| self.told.remove(&record.header.sock));
        let known = known.flatten().filter(|told| told.born == born(record));
        Story::of(record, !known.map_or(0, |told| told.parts))
    }

    /// What is new of a connection that is folded still, up to `until`.
    ///
    /// # Errors
    /// [`DecodeError`] where what happened after that is written half: the next look, or its
    /// record, will do.
    pub fn looks(&mut self, record: &FoldRecord, until: BootTime) -> Result<Story, DecodeError> {
        let told = self.told.entry(record.header.sock).or_default();
        if told.born != born(record) {
            *told = Told {
                born: born(record),
                ..Told::default()
            };
        }
        told.look = self.looks;
        let mut story = Story::of(record, !told.parts)?;
        story.end_at(until);
        told.parts |= story.parts();
        Ok(story)
    }

    /// All that are folded have been looked at, and the ring was read before.
    pub fn end_looks(&mut self) {
        let now = self.looks;
        self.told
            .retain(|_, told| now.wrapping_sub(told.look) < FORGOTTEN_AFTER);
        self.looks = now.wrapping_add(1);
    }
}

/// When a connection was born that is folded.
#[must_use]
pub fn born(record: &FoldRecord) -> BootTime {
    BootTime::from_ns(record.header.ts_ns)
}

/// What a record stands for: all that its events are made of, once each.
pub struct Story {
    /// The socket's name.
    pub sock: u64,
    ends: Ends,
    owner: Owner,
    figures: Figures,
    /// By time.
    parts: ArrayVec<Part, PARTS>,
}

/// One event.
#[derive(Clone, Copy)]
struct Part {
    at: BootTime,
    /// Each has its own.
    bit: Parts,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Opens,
    ConnectReturns {
        errno: i32,
        latency_us: u32,
    },
    Accepted,
    LetGo {
        exiting: bool,
    },
    Reset {
        by_us: bool,
    },
    Lingers {
        state: State,
        stays_ms: u32,
    },
    Moves {
        old: State,
        new: State,
        flags: u8,
        shutdown: u8,
        error: i32,
    },
}

impl Story {
    /// Of these parts.
    ///
    /// # Errors
    /// [`DecodeError`] where the record is not what the kernel side writes.
    pub fn of(record: &FoldRecord, told: Parts) -> Result<Self, DecodeError> {
        let mut parts = ArrayVec::new();
        let mut add = |ns, bit, what| {
            let at = BootTime::from_ns(ns);
            if told & bit != 0 {
                parts.push(Part { at, bit, what });
            }
        };
        let born = record.header.ts_ns;
        if record.opened != opened::NOT {
            add(born, 1, What::Opens);
        }
        if record.opened == opened::AND_RETURNED {
            let latency_us = record.latency_us;
            let what = What::ConnectReturns {
                errno: record.ret.saturating_neg().max(0),
                latency_us,
            };
            add(born.saturating_add(us_to_ns(latency_us)), 1 << 1, what);
        }
        if record.accepted_ns != 0 {
            add(record.accepted_ns, 1 << 2, What::Accepted);
        }
        if record.closed_ns != 0 {
            let exiting = u32::from(record.closed_flags) & flag::EXITING != 0;
            add(record.closed_ns, 1 << 3, What::LetGo { exiting });
        }
        let phases = record.phases.iter().take(record.count.into());
        for (index, phase) in phases.enumerate() {
            add(phase.ts_ns, 1 << (4 + index), What::of(phase)?);
        }
        parts.sort_by_key(|part| part.at);
        Ok(Self {
            sock: record.header.sock,
            ends: ends(&record.addresses)?,
            owner: owner(
                &record.header,
                Comm(record.comm),
                record.fd,
                stack(record.stack)?,
            ),
            figures: figures(&record.figures),
            parts,
        })
    }

    /// Those that it has.
    #[must_use]
    pub fn parts(&self) -> Parts {
        self.parts.iter().fold(0, |all, part| all | part.bit)
    }

    /// Whether it tells nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Leaves out what happened later.
    pub fn end_at(&mut self, until: BootTime) {
        self.parts.retain(|part| part.at <= until);
    }

    /// The call stack that opened it, where that is a part of it.
    #[must_use]
    pub fn stack(&self) -> Option<StackId> {
        self.opened_at().and(self.owner.stack)
    }

    fn opened_at(&self) -> Option<BootTime> {
        let opens = |part: &&Part| matches!(part.what, What::Opens | What::Accepted);
        self.parts.iter().find(opens).map(|part| part.at)
    }

    /// Who opened it, and when, where that is a part of it.
    pub fn opener_mut(&mut self) -> Option<(BootTime, &mut Owner)> {
        self.opened_at().map(|at| (at, &mut self.owner))
    }

    /// Whether it is all that there is to say of a connection: it was opened, and ended
    /// without an error or a reset. Where something was told before, its opening was first.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let is_birth = |part: &Part| {
            matches!(
                part.what,
                What::Opens
                    | What::Moves {
                        old: State::Listen,
                        new: State::SynRecv,
                        ..
                    }
            )
        };
        let frees = |part: &Part| match part.what {
            What::Moves {
                new: State::Close,
                flags,
                error,
                ..
            } => is_freed_with(flags.into(), error),
            _ => false,
        };
        let is_ordinary = |part: &Part| match part.what {
            What::Moves { old, new, .. } => {
                new != State::Close && !matches!(old, State::Close | State::Listen)
            }
            What::ConnectReturns { errno, .. } => !has_connect_failed(errno),
            What::Reset { .. } => false,
            _ => true,
        };
        match self.parts.as_slice() {
            [first, others @ .., last] => {
                is_birth(first) && others.iter().all(is_ordinary) && frees(last)
            }
            _ => false,
        }
    }

    /// Its events, in order.
    pub fn events(self) -> impl Iterator<Item = Event> + use<> {
        let Self {
            sock,
            ends,
            owner,
            figures,
            parts,
        } = self;
        // Whose context a transition has says nothing of the connection.
        let nobody = Owner {
            comm: Comm::default(),
            fd: None,
            stack: None,
            ..owner
        };
        parts
            .into_iter()
            .map(move |Part { at, what, .. }| match what {
                What::Opens => Event::State {
                    at,
                    sock,
                    ends,
                    old: State::Close,
                    new: State::SynSent,
                    how: Circumstance::default(),
                    task: owner,
                },
                What::ConnectReturns { errno, latency_us } => Event::Connect {
                    at,
                    sock,
                    errno,
                    latency_ns: us_to_ns(latency_us),
                },
                What::Accepted => Event::Accept {
                    at,
                    sock,
                    ends,
                    owner,
                    state: State::Established,
                },
                What::LetGo { exiting } => Event::Close { at, sock, exiting },
                What::Reset { by_us } => Event::Reset { at, sock, by_us },
                What::Lingers { state, stays_ms } => Event::TimeWait {
                    at,
                    sock,
                    state,
                    stays: Duration::from_millis(stays_ms.into()),
                },
                What::Moves {
                    old,
                    new,
                    flags,
                    shutdown,
                    error,
                } => Event::State {
                    at,
                    sock,
                    ends,
                    old,
                    new,
                    how: Circumstance {
                        figures: (new == State::Close).then_some(figures),
                        ..how(new, flags.into(), shutdown.into(), error)
                    },
                    task: nobody,
                },
            })
    }
}

impl What {
    fn of(phase: &Phase) -> Result<Self, DecodeError> {
        let new = phase.new;
        Ok(match phase.old {
            phase::RESET => Self::Reset {
                by_us: u32::from(new) == reset::SENT,
            },
            phase::TIME_WAIT => Self::Lingers {
                state: state(new.into())?,
                stays_ms: u32::try_from(phase.value).unwrap_or(0),
            },
            old => Self::Moves {
                old: state(old.into())?,
                new: state(new.into())?,
                flags: phase.flags,
                shutdown: phase.shutdown,
                error: phase.value,
            },
        })
    }
}

fn us_to_ns(us: u32) -> u64 {
    u64::from(us) * 1_000
}

#[cfg(test)]
mod tests;

//! Tells the rows of tables while a recording is told. Pure.

use anyhow::Result;
use rustc_hash::FxHashMap;

use super::{Places, Sink};
use crate::{
    clock::{BootTime, WallClock},
    course::{Course, Observer, entry::Entry},
    model::{connection::Connection, report::Leaks, untrusted::Untrusted},
    selection::Selection,
    table::{Change, connection::Connection as Tracked, site::CallStack},
};

/// What a recording knows of code and of processes: all of it before it tells anything.
#[derive(Debug, Default)]
struct Names {
    codes: FxHashMap<CallStack, u64>,
    cgroups: FxHashMap<u32, Untrusted>,
}

impl Names {
    /// What `course` knows by now.
    fn of(course: &Course) -> Self {
        let mut names = Self::default();
        for fact in course.facts() {
            match fact {
                Entry::Name(stack, frames) => {
                    let code = frames.code();
                    names.codes.extend(code.map(|code| (stack, code)));
                }
                Entry::Owner(pid, owner) => {
                    names
                        .cgroups
                        .extend(owner.cgroup.map(|cgroup| (pid, cgroup)));
                }
                _ => {}
            }
        }
        names
    }
}

/// Listens to a course, and tells each connection once it has ended.
#[derive(Debug)]
pub struct Teller<S> {
    sink: S,
    selection: Selection,
    clock: WallClock,
    names: Names,
    places: Places,
}

impl<S: Sink> Teller<S> {
    /// Tells `sink` what `course` asks for of what it will learn; `report` is what the
    /// same comes to in the end.
    #[must_use]
    pub fn new(course: &Course, report: &Leaks, sink: S) -> Self {
        Self {
            sink,
            selection: course.selection.clone(),
            clock: course.setup.clock,
            names: Names::of(course),
            places: Places::new(report),
        }
    }

    fn wants(&self, connection: &Tracked) -> bool {
        let owner = connection.owner.as_ref();
        let cgroup = owner.and_then(|owner| self.names.cgroups.get(&owner.pid));
        self.selection.wants_connection(connection) && self.selection.matches_cgroup(cgroup)
    }

    fn tell(&mut self, tracked: &Tracked, at: BootTime, is_open: bool) -> Result<()> {
        if !self.wants(tracked) {
            return Ok(());
        }
        // An ended one grows no older.
        let at = tracked.end.at.filter(|_| !is_open).unwrap_or(at);
        let connection = Connection::new(tracked, &self.clock, at);
        let place = match is_open {
            true => self.places.of_open(&connection.id),
            false => {
                let opener = tracked.opener();
                let stack = opener.and_then(|opener| {
                    let pid = opener.pid;
                    opener.stack.map(|stack| CallStack { pid, stack })
                });
                let code = stack.and_then(|stack| self.names.codes.get(&stack));
                self.places.of_ended(tracked, code.copied())
            }
        };
        self.sink.connection(&connection, is_open, place)
    }

    /// Tells what is left once all is told, and the sites of `report`. Hands back where
    /// it all went.
    ///
    /// # Errors
    /// As the sink fails.
    pub fn finish(mut self, course: &Course, report: Leaks) -> Result<S> {
        let now = course.now();
        let mut left: Vec<(&Tracked, bool)> = course
            .table
            .ended()
            .map(|ended| (ended, false))
            .chain(course.table.open().map(|open| (open, true)))
            .collect();
        left.sort_by_key(|(tracked, is_open)| (*is_open, tracked.opened_at, tracked.id));
        for (tracked, is_open) in left {
            self.tell(tracked, now, is_open)?;
        }
        for (site_no, group) in (1..).zip(report.groups) {
            self.sink.site(site_no, group)?;
        }
        Ok(self.sink)
    }
}

impl<S: Sink> Observer for Teller<S> {
    fn change(&mut self, change: Change, at: BootTime, connection: &Tracked) -> Result<()> {
        match change {
            Change::Gone => self.tell(connection, at, false),
            _ => Ok(()),
        }
    }
}

//! Keeps what ends, and when payload moved, while a course is told. Pure.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use rustc_hash::FxHashMap;

use super::{Mark, MarkKind, Row, Site, Timeline, spans};
use crate::{
    clock::{BootTime, WallClock},
    course::{Course, Observer},
    decode::Comm,
    model::{
        assemble::site_id,
        connection::Connection,
        frame::{self, CallFrames, call_site},
        report::{Leaks, Loss},
        untrusted::Untrusted,
    },
    selection::Selection,
    table::{
        Change, Table,
        connection::{ConnId, Connection as Tracked},
        site::{CallStack, SiteKey},
    },
    tcp::Known,
};

/// Connections that ended and are kept, some 40 MB; those past it are counted.
const MAX_ENDED: usize = 100_000;

/// Of so many open connections it is kept when payload moved.
const MAX_MOVED: usize = 20_000;

/// Instants that are kept of one connection, the latest.
const MAX_INSTANTS: usize = 4_096;

/// Movements that are nearer to each other, in milliseconds, are one.
const APART_MS: u64 = 500;

/// Listens to a course.
#[derive(Debug)]
pub struct Keeper {
    selection: Selection,
    ended: Vec<Tracked>,
    left_out: u64,
    moved: FxHashMap<ConnId, Vec<BootTime>>,
    resent: FxHashMap<ConnId, Resent>,
    execs: FxHashMap<u32, Vec<BootTime>>,
    exits: FxHashMap<u32, BootTime>,
}

/// Segments of a connection that were sent again.
#[derive(Debug)]
struct Resent {
    /// So many by now.
    count: u32,
    /// When there were more than before.
    at: Vec<BootTime>,
}

impl Keeper {
    /// Keeps what `selection` asks for.
    #[must_use]
    pub fn new(selection: Selection) -> Self {
        Self {
            selection,
            ended: Vec::new(),
            left_out: 0,
            moved: FxHashMap::default(),
            resent: FxHashMap::default(),
            execs: FxHashMap::default(),
            exits: FxHashMap::default(),
        }
    }

    fn note_moved(&mut self, at: BootTime, connection: &Tracked) {
        let Some(idle_ms) = connection.idle_ms(at) else {
            return;
        };
        let is_full = self.moved.len() >= MAX_MOVED;
        if is_full && !self.moved.contains_key(&connection.id) {
            return;
        }
        let moved = at.minus_ms(idle_ms);
        let all = self.moved.entry(connection.id).or_default();
        if all
            .last()
            .is_none_or(|&last| moved.ms_since(last) >= APART_MS)
        {
            if all.len() >= MAX_INSTANTS {
                all.remove(0);
            }
            all.push(moved);
        }
    }

    fn note_resent(&mut self, at: BootTime, connection: &Tracked) {
        let count = connection.retransmits;
        let is_full = self.resent.len() >= MAX_MOVED;
        match self.resent.get_mut(&connection.id) {
            Some(resent) if count > resent.count => {
                resent.count = count;
                if resent.at.len() < MAX_INSTANTS {
                    resent.at.push(at);
                }
            }
            Some(_) => {}
            None if is_full || (count == 0 && connection.known == Known::Observed) => {}
            // What had been sent again when it was first looked at has no time.
            None => {
                let is_new = connection.known == Known::Observed;
                let at = if is_new { vec![at] } else { Vec::new() };
                self.resent.insert(connection.id, Resent { count, at });
            }
        }
    }

    /// All that it kept, and what is still open; with the verdicts of `report`.
    #[must_use]
    pub fn finish(mut self, course: &Course, report: &Leaks) -> Timeline {
        for connection in course.table.open() {
            if self.selection.wants_connection(connection) {
                self.note_resent(course.now(), connection);
            }
        }
        let setup = &course.setup;
        let window = (setup.clock.at(setup.from), setup.clock.at(course.now()));
        let mut verdicts: FxHashMap<&str, &'static str> = FxHashMap::default();
        for group in &report.groups {
            let ids = group.connections.iter().map(|connection| &*connection.id);
            verdicts.extend(ids.map(|id| (id, group.verdict.code)));
        }
        let mut sites: BTreeMap<(SiteKey, u64), Site> = BTreeMap::new();
        let open = course
            .table
            .open()
            .filter(|connection| self.selection.wants_connection(connection));
        let open = open.map(|connection| (connection, true));
        let ended = self.ended.iter().map(|connection| (connection, false));
        let is_in_cgroup = |tracked: &Tracked| {
            let owner = tracked.owner.and_then(|owner| course.owner(owner.pid));
            let cgroup = owner.and_then(|owner| owner.cgroup.as_ref());
            self.selection.matches_cgroup(cgroup)
        };
        let all = open.chain(ended);
        for (tracked, is_open) in all.filter(|(tracked, _)| is_in_cgroup(tracked)) {
            let stack = tracked.owner.and_then(|owner| {
                let stack = tracked.opener()?.stack?;
                Some(CallStack {
                    pid: owner.pid,
                    stack,
                })
            });
            let (pid, comm) = tracked
                .owner
                .map_or((0, Comm::default()), |owner| (owner.pid, owner.comm));
            let frames = stack.map(|stack| course.frames(stack));
            let code = frames.as_ref().and_then(CallFrames::code).unwrap_or(0);
            let key = SiteKey {
                stack: None,
                ..SiteKey::of(tracked, pid, comm)
            };
            let site = sites.entry((key, code)).or_insert_with(|| Site {
                id: site_id(
                    &key,
                    frames.as_ref().map(|stack| frame::code(&stack.frames)),
                ),
                pid: tracked.owner.map(|owner| owner.pid),
                comm: tracked
                    .owner
                    .map(|owner| Untrusted::from_bytes(owner.comm.bytes())),
                role: key.role,
                end: key.end,
                call_site: frames.and_then(|frames| {
                    let best = call_site(&frames.frames)?;
                    frames.frames.get(best).cloned()
                }),
                rows: Vec::new(),
            });
            let mut row = self.row(tracked, is_open, course, window);
            row.verdict = verdicts.get(&*row.connection.id).copied();
            site.rows.push(row);
        }
        let mut sites: Vec<Site> = sites.into_values().collect();
        for site in &mut sites {
            site.rows.sort_by(|a, b| {
                let key = |row: &Row| (row.connection.opened_at, row.connection.id.clone());
                key(a).cmp(&key(b))
            });
        }
        Timeline {
            host: setup.host.clone(),
            window,
            sites,
            left_out: self.left_out,
            loss: course.loss(),
        }
    }

    fn row(
        &self,
        tracked: &Tracked,
        is_open: bool,
        course: &Course,
        window: (Timestamp, Timestamp),
    ) -> Row {
        let clock = &course.setup.clock;
        let at = |at: BootTime| clock.at(at);
        let moved = self.moved.get(&tracked.id);
        let moved: Vec<Timestamp> = moved.into_iter().flatten().copied().map(at).collect();
        let connection = Connection::new(tracked, clock, course.now());
        Row {
            spans: spans(&connection, is_open, &moved, window),
            marks: self.marks(tracked, &connection, clock),
            connection,
            is_open,
            verdict: None,
        }
    }

    fn marks(&self, tracked: &Tracked, connection: &Connection, clock: &WallClock) -> Vec<Mark> {
        let pid = tracked.owner.map(|owner| owner.pid);
        let exit = pid.and_then(|pid| self.exits.get(&pid));
        let execs = pid.and_then(|pid| self.execs.get(&pid));
        let resent = self.resent.get(&tracked.id);
        let told = [
            (MarkKind::AppClose, connection.app_closed_at),
            (
                MarkKind::Reset,
                connection.reset_by.and(connection.closed_at),
            ),
        ];
        let told = told.into_iter();
        let mut marks: Vec<Mark> = told
            .filter_map(|(kind, at)| Some(Mark { kind, at: at? }))
            .collect();
        let mut add = |kind, all: &[BootTime]| {
            let all = all.iter().map(|&at| clock.at(at));
            marks.extend(all.map(|at| Mark { kind, at }));
        };
        add(
            MarkKind::Retransmit,
            resent.map_or(&[], |resent| &resent.at),
        );
        add(MarkKind::Exec, execs.map_or(&[], |execs| execs));
        add(MarkKind::Exit, exit.map_or(&[], std::slice::from_ref));
        marks.retain(|mark| {
            // What a process does is of no matter to what it does not have.
            let is_of_process = matches!(mark.kind, MarkKind::Exec | MarkKind::Exit);
            let begins = connection.opened_at;
            let ends = [connection.app_closed_at, connection.closed_at];
            let ends = ends.into_iter().flatten().min();
            !is_of_process
                || begins.is_none_or(|begins| begins <= mark.at)
                    && ends.is_none_or(|ends| mark.at <= ends)
        });
        marks.sort_by_key(|mark| mark.at);
        marks
    }
}

impl Observer for Keeper {
    fn change(&mut self, change: Change, at: BootTime, connection: &Tracked) -> Result<()> {
        if change == Change::Gone && self.selection.wants_connection(connection) {
            self.note_resent(at, connection);
            if self.ended.len() < MAX_ENDED {
                self.ended.push(connection.clone());
            } else {
                self.left_out += 1;
            }
        }
        Ok(())
    }

    fn exec(&mut self, at: BootTime, pid: u32) {
        if self.execs.len() < MAX_MOVED || self.execs.contains_key(&pid) {
            let all = self.execs.entry(pid).or_default();
            if all.len() < MAX_INSTANTS {
                all.push(at);
            }
        }
    }

    fn exit(&mut self, at: BootTime, pid: u32) {
        self.exits.insert(pid, at);
    }

    fn tick(&mut self, at: BootTime, table: &Table, _: Loss) -> Result<()> {
        for connection in table.open() {
            if self.selection.wants_connection(connection) {
                self.note_moved(at, connection);
                self.note_resent(at, connection);
            }
        }
        Ok(())
    }
}

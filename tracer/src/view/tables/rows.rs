//! The tables of a recording: their columns, once, for files, queries and documentation,
//! and their rows.

use std::io;

use jiff::Timestamp;

use crate::{
    diagnosis::{Fault, runtime::Runtime},
    model::{
        connection::Connection,
        fields::{FIELDS, Field, Kind, Unit, Value, fields},
        frame::Frame,
        report::Group,
        tables::Place,
        untrusted::Untrusted,
    },
    tcp::{State, named},
    view::json,
};

named! {
    /// A table.
    Table {
        /// A row for each connection.
        Connections = "connections",
        /// A row for each state that a connection entered.
        Transitions = "transitions",
        /// A row for each site of the report.
        Sites = "sites",
        /// A row for each verdict, of which every site has one.
        Verdicts = "verdicts",
    }
}

impl Table {
    /// What its rows are.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::Connections => {
                "A row for each connection, ended ones too; listeners are none. One that has \
                 ended is told as it was then, one that is open as it is at the end of the \
                 recording."
            }
            Self::Transitions => "A row for each state that a connection was seen to enter.",
            Self::Sites => {
                "A row for each site: the connections of one process, opened by one piece of \
                 code, to one end. In the order of `tcpleak leaks --all`, worst first."
            }
            Self::Verdicts => "A row for each site: what is said of it.",
        }
    }

    /// Its columns, in order.
    #[must_use]
    pub fn columns(self) -> Vec<Column> {
        match self {
            Self::Connections => scalars()
                .map(Column::of)
                .chain(MORE.iter().map(Column::of))
                .collect(),
            Self::Transitions => TRANSITION.iter().map(Column::of).collect(),
            Self::Sites => SITE.iter().map(Column::of).collect(),
            Self::Verdicts => VERDICT.iter().map(Column::of).collect(),
        }
    }
}

/// A column, whatever its rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What its values are; holders are written as text.
    pub kind: Kind,
    /// Whether a row may have none.
    pub may_miss: bool,
    /// What it counts, if it counts.
    pub unit: Option<Unit>,
    /// What it says.
    pub help: &'static str,
}

impl Column {
    fn of<R>(field: &Field<R>) -> Self {
        let (kind, may_miss) = field.kind;
        Self {
            name: field.name,
            kind,
            may_miss,
            unit: field.unit,
            help: field.help,
        }
    }
}

/// A value of the row for each of the fields.
pub(super) fn values<'a, R: 'static>(
    fields: impl IntoIterator<Item = &'static Field<R>>,
    row: &'a R,
) -> impl Iterator<Item = Value<'a>> {
    fields.into_iter().map(|field| (field.get)(row))
}

/// What `connections` adds to a connection's fields.
#[derive(Clone, Debug)]
pub(super) struct More {
    /// It has not ended.
    pub(super) is_open: bool,
    /// Where it belongs, if that is known.
    pub(super) place: Option<Place>,
}

pub(super) const MORE: &[Field<More>] = fields! {
    More;
    is_open: "whether it has not ended", |m| m.is_open;
    site_no: "number of its site in `sites`", |m| m.place.as_ref().map(|place| place.site_no);
    site: "the id of its site, the same in every run of the same program", |m| m.place.as_ref().map(|place| &place.site);
    verdict: "code of the verdict that speaks of it, if it is open", |m| m.place.as_ref().filter(|_| m.is_open).map(|place| place.verdict);
};

/// A connection's fields but for the history, which is a table of its own.
pub(super) fn scalars() -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().filter(|field| field.kind.0 != Kind::History)
}

/// A row of `transitions`.
#[derive(Clone, Debug)]
pub(super) struct Transition {
    /// The connection's id.
    pub(super) connection: String,
    /// From 1, in order.
    pub(super) number: u32,
    /// Entered.
    pub(super) state: State,
    /// When.
    pub(super) at: Timestamp,
}

/// Those of a connection.
pub(super) fn transitions(connection: &Connection) -> impl Iterator<Item = Transition> {
    let numbered = (1..).zip(&connection.history);
    numbered.map(|(number, &(state, at))| Transition {
        connection: connection.id.clone(),
        number,
        state,
        at,
    })
}

pub(super) const TRANSITION: &[Field<Transition>] = fields! {
    Transition;
    connection: "id of the connection", |t| &t.connection;
    number: "which of the connection's transitions, from 1", |t| t.number;
    state: "TCP state entered", |t| t.state;
    entered_at: "when it entered it", |t| t.at;
};

/// A row of `sites`, and of `verdicts`.
#[derive(Clone, Debug)]
pub(super) struct Site {
    site_no: u32,
    group: Group,
    /// Live ones by state, as JSON.
    states: String,
    /// The frame that names the code best.
    call_site: Option<Untrusted>,
    /// The call stack, as JSON.
    frames: String,
    /// What the verdict rests on, as JSON.
    evidence: String,
}

impl Site {
    pub(super) fn new(site_no: u32, group: Group) -> io::Result<Self> {
        let frames = group.site.frames.iter();
        let frames: Vec<_> = frames.map(Frame::text).collect();
        let frames: Vec<&str> = frames.iter().map(Untrusted::raw).collect();
        Ok(Self {
            site_no,
            states: json::text(&group.states)?,
            call_site: group.site.call_site().map(Frame::text),
            frames: json::text(&frames)?,
            evidence: json::text(&group.verdict.evidence)?,
            group,
        })
    }
}

pub(super) const SITE: &[Field<Site>] = fields! {
    Site;
    site_no: "its number, from 1, worst first", |s| s.site_no;
    site: "its id, the same in every run of the same program; processes of one program share it", |s| &s.group.site.id;
    owner_pid: "owner's process id; none for processes that have exited, grouped by name", |s| s.group.owner.pid;
    owner_comm: "owner's name", |s| s.group.owner.comm.as_ref();
    owner_exe: "path of the owner's program", |s| s.group.owner.exe.as_ref();
    owner_cgroup: "owner's control group", |s| s.group.owner.cgroup.as_ref();
    owner_container: "container id in the control group's path", |s| s.group.owner.container.as_ref();
    owner_processes: "how many processes it stands for", |s| s.group.owner.processes;
    owner_runtime: "what the owner runs on", |s| Some(s.group.owner.runtime).filter(|&runtime| runtime != Runtime::Unknown).map(Runtime::name);
    owner_fds_used: "file descriptors that the owner has in use", |s| s.group.owner.fds.map(|(used, _)| used);
    owner_fds_limit: "how many it may have", |s| s.group.owner.fds.map(|(_, limit)| limit);
    role: "client or server", |s| s.group.role.name();
    remote: "a client's other end; * for a server", |s| &s.group.remote;
    local_port: "a server's port; 0 for a client", |s| s.group.local_port;
    live: "connections open at the end", |s| s.group.live;
    opened: "connections opened during the recording", |s| s.group.opened;
    closed: "connections that ended", |s| s.group.closed;
    inherited: "connections from before the recording", |s| s.group.inherited;
    incomplete: "whether records were lost: `opened` and `closed` may be more", |s| s.group.incomplete;
    lingering_time_wait: "TIME_WAIT sockets that its ended connections left, at the end", |s| s.group.lingering.time_wait;
    lingering_fin_wait2: "orphans in FIN_WAIT2 that they left, at the end", |s| s.group.lingering.fin_wait2;
    lingering_until: "when the last of those expires", |s| s.group.lingering.until;
    oldest_age_ms Milliseconds: "age of the oldest live one; none if that was there before", |s| s.group.oldest_age_ms;
    states: "live ones by state, a JSON object", |s| &s.states;
    call_site: "the function that opened them", |s| s.call_site.as_ref();
    frames: "the call stack that opened them, innermost first, a JSON list", |s| &s.frames;
    cut_short: "whether the call stack goes on, but could not be followed", |s| s.group.site.cut_short;
    opened_before_start: "whether all were there before the recording", |s| s.group.site.opened_before_start;
};

pub(super) const VERDICT: &[Field<Site>] = fields! {
    Site;
    site_no: "number of its site in `sites`", |v| v.site_no;
    site: "the id of its site", |v| &v.group.site.id;
    code: "what is wrong, as in `tcpleak explain CODE`", |v| v.group.verdict.code;
    class: "leak, stuck, peer, churn, unknown or healthy", |v| v.group.verdict.class.name();
    confidence: "high, medium or low", |v| v.group.verdict.confidence.name();
    fault: "who must act: local-app, peer, network or config", |v| v.group.verdict.fault.map(Fault::name);
    why: "in plain words, with the numbers in it", |v| &v.group.verdict.why;
    fix: "what to do", |v| &v.group.verdict.fix;
    evidence: "what it rests on, a JSON list of facts and values", |v| &v.evidence;
    affected: "how many of the site's live connections it speaks of", |v| v.group.verdict.affected as u64;
};

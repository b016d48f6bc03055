//! `tcpleak ps`: a snapshot needs no eBPF, so it works without privileges, too.

use std::{cmp::Reverse, io::Write, path::Path};

use anyhow::{Result, bail};
use jiff::{SignedDuration, Timestamp};

use super::{Outcome, args::PsArgs, output::Sink, replay::say_flaws, selection, values};
use crate::{
    clock::{BootTime, WallClock},
    decode::Owner,
    enrich,
    model::{connection::Connection, report::Loss},
    reconcile::{Snapshot, connection_of},
    selection::Selection,
    snapshot::{Gatherer, clocks},
    store::replay::Replay,
    table::connection::Connection as Tracked,
    tcp::State,
    view,
};

/// A recording begins with a look at all sockets, which takes no longer.
const SETTLED: SignedDuration = SignedDuration::from_secs(2);

/// Lists what is open now, what a program has yet to end first.
pub(super) fn run(args: &PsArgs) -> Result<Outcome> {
    let mut sink = Sink::open(&args.output)?;
    let selection = selection(&args.selection, args.from.is_none())?;
    let Listing {
        mut tracked,
        clock,
        now,
        loss,
    } = match &args.from {
        Some(path) => then(args, path, selection)?,
        None => today(&selection)?,
    };
    tracked.sort_by_cached_key(|connection| {
        (
            urgency(connection.state),
            Reverse(connection.idle_ms(now)),
            connection.id,
        )
    });
    let rows: Vec<Connection> = tracked
        .iter()
        .map(|connection| Connection::new(connection, &clock, now))
        .collect();

    let mut out = sink.writer()?;
    view::ps(&mut *out, &rows, &loss, args.output.format, sink.style())?;
    out.flush()?;
    Ok(Outcome::Fine)
}

/// What was open at one instant.
struct Listing {
    tracked: Vec<Tracked>,
    clock: WallClock,
    now: BootTime,
    loss: Loss,
}

fn today(selection: &Selection) -> Result<Listing> {
    let snapshot = Gatherer::open()?.take()?;
    let listening = snapshot.listening();
    let subflows = snapshot.subflows(|_| ());
    let sockets = snapshot.latest().into_values().filter(|socket| {
        let ends = &socket.ends;
        !socket.is_unconnected()
            && !subflows.contains(&socket.cookie)
            && selection.matches_ends(*ends)
    });
    let connections = sockets.map(|socket| {
        let role = Snapshot::role_of(socket, &listening);
        connection_of(&snapshot, socket, role, |holder| {
            selection.prefers(holder.pid, holder.comm.bytes())
        })
    });
    let cgroup_of = |owner: Option<&Owner>| enrich::process(owner?.pid).cgroup;
    let is_wanted = |connection: &Tracked| {
        let owner = connection.owner.as_ref();
        selection.matches_owner(owner)
            && (selection.cgroup.is_none() || selection.matches_cgroup(cgroup_of(owner).as_ref()))
    };
    Ok(Listing {
        tracked: connections.filter(is_wanted).collect(),
        clock: clocks::wall_clock(),
        now: snapshot.ended,
        loss: Loss::default(),
    })
}

fn then(args: &PsArgs, path: &Path, selection: Selection) -> Result<Listing> {
    let mut replay = Replay::open(path, false, selection)?;
    let clock = replay.course.setup.clock;
    let begins = clock.at(replay.course.setup.from);
    let at = args.at.as_deref().map(|at| values::instant(at, begins));
    let at = at.transpose()?;
    if let Some(at) = at {
        if at < begins {
            bail!("the recording has nothing of {at}: it begins at {begins}");
        }
        replay = replay.until(end_of(at, clock));
    }
    while replay.step(&mut ())? {}
    if at.is_none() {
        replay.finish(&mut ())?;
    }
    say_flaws(&replay);
    let course = &replay.course;
    // Of what was recorded, too.
    let selection = &course.selection;
    let ends = clock.at(course.now());
    if !replay.has_come_there()
        && let Some(at) = at
        && at > ends
    {
        bail!("the recording has nothing of {at}: it goes from {begins} to {ends}");
    }
    if course.is_fresh() {
        bail!(
            "what was open then is not known yet: the recording begins at {begins}, and takes a \
             moment to see all; try --at {:.0}",
            begins + SETTLED
        );
    }
    let now = at.map_or(course.now(), |at| end_of(at, clock));
    let is_in_cgroup = |owner: Option<&Owner>| {
        let owner = owner.and_then(|owner| course.owner(owner.pid));
        selection.matches_cgroup(owner.and_then(|owner| owner.cgroup.as_ref()))
    };
    let open = course.table.open();
    let is_wanted = |connection: &&Tracked| {
        let owner = connection.owner.as_ref();
        selection.matches_ends(connection.ends())
            && selection.matches_owner(owner)
            && is_in_cgroup(owner)
    };
    Ok(Listing {
        tracked: open.filter(is_wanted).cloned().collect(),
        clock,
        now,
        loss: course.loss(),
    })
}

/// The last boot time that is told as `at`: times are cut to microseconds.
fn end_of(at: Timestamp, clock: WallClock) -> BootTime {
    BootTime::from_ns(clock.boot(at).ns().saturating_add(999))
}

/// The order of states in the list: those that wait for a program to act first,
/// those that pass by themselves last.
fn urgency(state: State) -> u8 {
    match state {
        State::CloseWait | State::Close => 0,
        State::FinWait2 => 1,
        State::SynSent => 2,
        State::FinWait1 | State::Closing | State::LastAck => 3,
        State::SynRecv | State::Established => 4,
        State::Listen => 5,
        State::TimeWait | State::NewSynRecv => 6,
    }
}

//! `tcpleak ps`: a snapshot needs no eBPF, so it works without privileges, too.

use std::{cmp::Reverse, io::Write};

use anyhow::Result;

use super::{Outcome, args::PsArgs, is_in_cgroup, output::Sink, selection};
use crate::{
    model::{connection::Connection, report::Loss},
    reconcile::{Snapshot, connection_of},
    snapshot::{Gatherer, clocks},
    table::connection::Connection as Tracked,
    tcp::State,
    view,
};

/// Lists what is open now, what a program has yet to end first.
pub(super) fn run(args: &PsArgs) -> Result<Outcome> {
    let mut sink = Sink::open(&args.output)?;
    let selection = selection(&args.selection)?;
    let snapshot = Gatherer::open()?.take()?;
    let clock = clocks::wall_clock();
    let listening = snapshot.listening();
    let subflows = snapshot.subflows(|_| ());

    let mut tracked: Vec<Tracked> = snapshot
        .sockets
        .iter()
        .filter(|socket| {
            let ends = &socket.ends;
            !socket.is_unconnected()
                && !subflows.contains(&socket.cookie)
                && selection.matches_ends(ends.local, ends.remote, ends.netns)
        })
        .map(|socket| {
            let role = Snapshot::role_of(socket, &listening);
            connection_of(&snapshot, socket, role, |holder| {
                selection.prefers(holder.pid, holder.comm.bytes())
            })
        })
        .filter(|connection| {
            let owner = connection.owner.as_ref();
            selection.matches_owner(owner)
                && is_in_cgroup(
                    args.selection.cgroup.as_deref(),
                    owner.map(|owner| owner.pid),
                )
        })
        .collect();
    let now = snapshot.ended;
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
    view::ps(
        &mut *out,
        &rows,
        &Loss::default(),
        args.output.format,
        sink.style(),
    )?;
    out.flush()?;
    Ok(Outcome::Fine)
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

//! `tcpleak leaks`

use std::{cell::RefCell, collections::HashMap, fs, net::SocketAddr, time::Duration};

use anyhow::Result;
use tokio::time::sleep;

use super::{
    Outcome,
    args::{FailOn, LeaksArgs},
    interrupted, is_closed_pipe, is_in_cgroup, load_options,
    outlet::Outlet,
    output::Sink,
    progress::Progress,
    runtime, say, say_ready, selection,
};
use crate::{
    collector::{Attached, Collector},
    diagnosis::{Backlog, Host},
    enrich,
    model::{
        assemble::{self, Moment},
        report::{GroupOwner, Leaks},
        untrusted::Untrusted,
    },
    reconcile::Snapshot,
    table::site::{SiteKey, Tally},
    tcp::State,
    view::{self, Format, LeaksOptions},
};

/// Points on each site's curve over a watch: enough for two halves with a trend.
const CHECKPOINTS: u32 = 32;

/// How long the report waits for the last call stacks to be named.
pub(super) const NAMED_WITHIN: Duration = Duration::from_secs(10);

/// Watches, judges, reports.
pub(super) fn run(args: &LeaksArgs) -> Result<Outcome> {
    let mut sink = Sink::open(&args.output)?;
    let selection = selection(&args.selection)?;
    let attached = Attached::new(&load_options(&args.probe, &selection))?;
    let runtime = runtime()?;
    let report = runtime.block_on(watch(args, attached, selection))?;

    let outcome = match args.fail_on {
        Some(FailOn::Leak) if report.summary.leaked > 0 => Outcome::Leaks,
        _ => Outcome::Fine,
    };
    // A reader that leaves early does not turn leaks into success.
    match runtime.block_on(write(args, &report, &mut sink)) {
        Err(error) if is_closed_pipe(&error) => Ok(outcome),
        written => written.map(|()| outcome),
    }
}

async fn write(args: &LeaksArgs, report: &Leaks, sink: &mut Sink) -> Result<()> {
    let mut page = Vec::new();
    let options = LeaksOptions {
        all: args.all,
        verbose: args.verbose,
    };
    view::leaks(&mut page, report, args.output.format, sink.style(), options)?;
    let mut outlet = Outlet::new(sink.writer()?);
    outlet.push(page)?;
    outlet.close(false, interrupted()?).await?;
    if matches!(args.output.format, Format::Jsonl | Format::Csv) {
        // Rows of groups and connections have no place for it.
        let loss = report.loss;
        say(&format!(
            "{} records lost, {} connections repaired",
            loss.events_lost, loss.repaired
        ));
    }
    Ok(())
}

async fn watch(
    args: &LeaksArgs,
    attached: Attached,
    selection: crate::selection::Selection,
) -> Result<Leaks> {
    let interrupted = interrupted()?;
    let mut collector = Collector::new(attached, selection.clone())?;
    let mut progress = Progress::new(args.watch, collector.from);
    let end = async {
        say_ready();
        tokio::select! {
            () = sleep(args.watch) => {}
            () = interrupted => {}
        }
    };
    collector
        .watch(end, args.watch / CHECKPOINTS, &mut progress)
        .await?;
    progress.finish();
    let snapshot = collector.snapshot(&mut ()).await?;
    collector.finish(&mut ()).await?;
    collector.table.checkpoint(snapshot.ended);
    if let Some(symbols) = &collector.symbols {
        symbols.finish(NAMED_WITHIN);
    }

    let moment = Moment {
        from: collector.from,
        now: snapshot.ended,
        clock: &collector.clock,
    };
    let wants = |key: &SiteKey| {
        let process =
            (key.pid != 0 || !key.comm.bytes().is_empty()).then(|| (key.pid, key.comm.bytes()));
        (!selection.wants_owner() || selection.matches_process(process))
            && is_in_cgroup(
                args.selection.cgroup.as_deref(),
                (key.pid != 0).then_some(key.pid),
            )
    };
    let shows_all = !selection.wants_owner() && args.selection.cgroup.is_none();
    let owners = Owners::default();
    let owner_of = |key: &SiteKey, tally: &Tally| owners.of(key, tally);
    let frames_of = |stack| {
        let symbols = collector.symbols.as_ref();
        symbols
            .map(|symbols| symbols.frames(stack))
            .unwrap_or_default()
    };
    let host_now = host(&snapshot);
    let table = &collector.table;
    let groups = assemble::groups(table, &host_now, moment, wants, owner_of, frames_of);
    Ok(Leaks {
        host: host_name(),
        kernel: kernel_release(),
        plan: collector.plan(),
        blind: collector.blind(),
        window: (
            collector.clock.at(collector.from),
            collector.clock.at(snapshot.ended),
        ),
        loss: collector.loss(),
        summary: assemble::summary(&collector.table, &groups, shows_all),
        groups,
    })
}

/// Looks owners up, each process once.
#[derive(Default)]
struct Owners {
    known: RefCell<HashMap<u32, GroupOwner>>,
}

impl Owners {
    fn of(&self, key: &SiteKey, tally: &Tally) -> GroupOwner {
        let comm = assemble::comm_of(key);
        let processes = tally.processes;
        let Some(pid) = (key.pid != 0).then_some(key.pid) else {
            return GroupOwner {
                comm,
                processes,
                ..GroupOwner::default()
            };
        };
        let mut known = self.known.borrow_mut();
        let owner = known.entry(pid).or_insert_with(|| look_up(pid));
        GroupOwner {
            comm,
            processes,
            ..owner.clone()
        }
    }
}

fn look_up(pid: u32) -> GroupOwner {
    let process = enrich::process(pid);
    let path = process.exe.as_ref().map(Untrusted::raw);
    GroupOwner {
        pid: Some(pid),
        runtime: enrich::runtime::of(pid, path),
        fds: enrich::fds(pid),
        exe: process.exe,
        cgroup: process.cgroup,
        container: process.container,
        ..GroupOwner::default()
    }
}

/// What rules compare with, from the last snapshot.
fn host(snapshot: &Snapshot) -> Host {
    let mut host = Host {
        ephemeral_ports: ephemeral_ports(),
        holders: snapshot.holders.values().flatten().map(|h| h.pid).collect(),
        ..Host::default()
    };
    let listening = snapshot.listening();
    for socket in &snapshot.sockets {
        let (netns, local, remote) = (socket.ends.netns, socket.ends.local, socket.ends.remote);
        let is_served = listening.contains(&(netns, local.port()));
        match socket.state {
            State::TimeWait => *host.time_wait.entry(remote).or_insert(0) += 1,
            State::Listen => {
                // Several listeners may share a port (SO_REUSEPORT).
                let backlog: &mut Backlog = host.backlogs.entry((netns, local.port())).or_default();
                backlog.waiting += socket.sample.recv_q;
                backlog.limit += socket.sample.send_q;
            }
            State::FinWait2 if socket.is_mini || socket.sample.inode == 0 => {
                let end = if is_served {
                    SocketAddr::from(([0, 0, 0, 0], local.port()))
                } else {
                    remote
                };
                *host.orphans.entry(end).or_insert(0) += 1;
            }
            _ => {}
        }
        let takes_port = !is_served && socket.state != State::Listen && !socket.is_unconnected();
        if takes_port {
            *host.used_ports.entry((netns, remote)).or_insert(0) += 1;
        }
    }
    host
}

/// The kernel's default, 32768 to 60999, where the setting cannot be read.
const DEFAULT_EPHEMERAL_PORTS: u32 = 28_232;

fn ephemeral_ports() -> u32 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = text
        .split_whitespace()
        .filter_map(|end| end.parse::<u32>().ok());
    match (ends.next(), ends.next()) {
        (Some(low), Some(high)) if high >= low => high - low + 1,
        _ => DEFAULT_EPHEMERAL_PORTS,
    }
}

pub(super) fn host_name() -> Untrusted {
    use std::os::unix::ffi::OsStrExt;
    nix::unistd::gethostname().map_or_else(
        |_| Untrusted::default(),
        |name| Untrusted::from_bytes(name.as_bytes()),
    )
}

/// As `uname -r` prints it.
pub(super) fn kernel_release() -> Untrusted {
    use std::os::unix::ffi::OsStrExt;
    nix::sys::utsname::uname().map_or_else(
        |_| Untrusted::default(),
        |name| Untrusted::from_bytes(name.release().as_bytes()),
    )
}

//! What the kernel says: ports, processes, and sockets as `ss` lists them.

use std::{fs, net::TcpListener, process::Command};

use anyhow::{Context, Result};

use super::{Netns, process::output};

/// A port of loopback that nobody uses at the moment, and that the kernel gives to
/// nobody who does not ask for it: below `net.ipv4.ip_local_port_range`.
pub(crate) fn free_port() -> Result<u16> {
    let some = std::iter::repeat_with(|| fastrand::u16(10_000..30_000)).take(1_000);
    let mut free = some.filter(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    free.next().context("no port is free")
}

/// Child processes of `pid`, whichever of its threads made them.
pub(crate) fn children(pid: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may have ended meanwhile.
        let text = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        let pids = text.split_whitespace().map(str::parse);
        children.extend(pids.collect::<Result<Vec<u32>, _>>().context("not a pid")?);
    }
    Ok(children)
}

/// A socket as `ss` lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listed {
    /// State by its kernel name, as tcpleak writes it.
    pub(crate) state: String,
    /// Bytes not read; for a listener, connections not accepted.
    pub(crate) recv_q: u64,
    /// Bytes not acknowledged; for a listener, the backlog.
    pub(crate) send_q: u64,
    /// `ADDRESS:PORT`.
    pub(crate) local: String,
    /// The other end.
    pub(crate) remote: String,
    /// Lowest process id that holds it.
    pub(crate) pid: Option<u64>,
}

/// The TCP sockets with this local or remote port.
pub(crate) fn ss(port: u16) -> Result<Vec<Listed>> {
    let filter = format!("sport = :{port} or dport = :{port}");
    let text = output(Command::new("ss").args(["-HtanpO", &filter]))?;
    text.lines().map(parse).collect()
}

/// The TCP sockets of a network namespace.
pub(crate) fn ss_in(netns: &Netns) -> Result<Vec<Listed>> {
    let text = output(netns.command("ss").arg("-HtanpO"))?;
    text.lines().map(parse).collect()
}

fn parse(line: &str) -> Result<Listed> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let field = |index: usize| {
        let field = fields.get(index).copied();
        field.with_context(|| format!("ss printed {line}"))
    };
    let holders = fields.get(5).copied().unwrap_or_default();
    let pids = holders.split("pid=").skip(1);
    let pids = pids.filter_map(|rest| rest.split(',').next()?.parse().ok());
    Ok(Listed {
        state: kernel_name(field(0)?),
        recv_q: field(1)?.parse()?,
        send_q: field(2)?.parse()?,
        local: field(3)?.to_owned(),
        remote: field(4)?.to_owned(),
        pid: pids.min(),
    })
}

/// `ss` shortens one state and writes others with dashes.
fn kernel_name(state: &str) -> String {
    match state {
        "ESTAB" => "ESTABLISHED".to_owned(),
        "FIN-WAIT-1" => "FIN_WAIT1".to_owned(),
        "FIN-WAIT-2" => "FIN_WAIT2".to_owned(),
        other => other.replace('-', "_"),
    }
}

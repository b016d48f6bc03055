//! The JSON of `leaks`. Scripts rely on it: names may be added, never changed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    diagnosis::{Verdict, forecast::Forecast, runtime::Runtime},
    model::{
        frame::Frame,
        report::{self, Group, Leaks, Loss, Summary},
    },
    tcp::{Role, State},
    view::json::{Rows, Window, raw, time},
};

#[derive(Serialize)]
pub(super) struct Document<'a> {
    schema: &'static str,
    host: &'a str,
    kernel: &'a str,
    plan: &'static str,
    blind: &'a [String],
    window: Window,
    loss: &'a Loss,
    groups: Vec<Finding<'a>>,
    summary: &'a Summary,
}

#[derive(Serialize)]
pub(super) struct Finding<'a> {
    verdict: &'a Verdict,
    owner: Owner<'a>,
    role: Role,
    remote: &'a str,
    local_port: u16,
    site: Site<'a>,
    other_ends: Vec<OtherEnd<'a>>,
    live: u64,
    opened: u64,
    closed: u64,
    inherited: u64,
    incomplete: bool,
    lingering: Lingering,
    oldest_age_ms: Option<u64>,
    states: &'a BTreeMap<State, u64>,
    connections: Rows<'a>,
    forecast: &'a Forecast,
}

#[derive(Serialize)]
struct Owner<'a> {
    pid: Option<u32>,
    comm: Option<&'a str>,
    exe: Option<&'a str>,
    cgroup: Option<&'a str>,
    container: Option<&'a str>,
    processes: u64,
    runtime: Option<Runtime>,
    fds_used: Option<u64>,
    fds_limit: Option<u64>,
}

#[derive(Serialize)]
struct OtherEnd<'a> {
    pid: u32,
    comm: &'a str,
    connections: u64,
}

#[derive(Serialize)]
struct Lingering {
    time_wait: u64,
    fin_wait2: u64,
    until: Option<String>,
}

#[derive(Serialize)]
struct Site<'a> {
    id: &'a str,
    frames: Vec<String>,
    call_site: Option<String>,
    cut_short: bool,
    opened_before_start: bool,
}

impl<'a> Document<'a> {
    pub(super) fn new(report: &'a Leaks) -> Self {
        Self {
            schema: "tcpleak.leaks/1",
            host: report.host.raw(),
            kernel: report.kernel.raw(),
            plan: report.plan,
            blind: &report.blind,
            window: Window::new(report.window),
            loss: &report.loss,
            groups: report.groups.iter().map(Finding::new).collect(),
            summary: &report.summary,
        }
    }
}

impl<'a> OtherEnd<'a> {
    fn new(end: &'a report::OtherEnd) -> Self {
        Self {
            pid: end.pid,
            comm: end.comm.raw(),
            connections: end.connections,
        }
    }
}

impl<'a> Finding<'a> {
    pub(super) fn new(group: &'a Group) -> Self {
        let text = |frame: &Frame| frame.text().raw().to_owned();
        let owner = &group.owner;
        Self {
            verdict: &group.verdict,
            owner: Owner {
                pid: owner.pid,
                comm: raw(owner.comm.as_ref()),
                exe: raw(owner.exe.as_ref()),
                cgroup: raw(owner.cgroup.as_ref()),
                container: raw(owner.container.as_ref()),
                processes: owner.processes,
                runtime: (owner.runtime != Runtime::Unknown).then_some(owner.runtime),
                fds_used: owner.fds.map(|(used, _)| used),
                fds_limit: owner.fds.map(|(_, limit)| limit),
            },
            role: group.role,
            remote: &group.remote,
            local_port: group.local_port,
            site: Site {
                id: &group.site.id,
                frames: group.site.frames.iter().map(text).collect(),
                call_site: group.site.call_site().map(text),
                cut_short: group.site.cut_short,
                opened_before_start: group.site.opened_before_start,
            },
            other_ends: group.other_ends.iter().map(OtherEnd::new).collect(),
            live: group.live,
            opened: group.opened,
            closed: group.closed,
            inherited: group.inherited,
            incomplete: group.incomplete,
            lingering: Lingering {
                time_wait: group.lingering.time_wait,
                fin_wait2: group.lingering.fin_wait2,
                until: group.lingering.until.map(time),
            },
            oldest_age_ms: group.oldest_age_ms,
            states: &group.states,
            connections: Rows(&group.connections),
            forecast: &group.forecast,
        }
    }
}

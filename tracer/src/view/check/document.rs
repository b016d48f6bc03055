//! The JSON of `check`. Scripts rely on it: names may be added, never changed.

use serde::Serialize;

use super::place;
use crate::{
    check::{
        report::{self, Ended, Run},
        rule::Verdict,
    },
    model::{frame::Frame, report::Loss},
    tcp::Role,
    view::json::{Rows, Window, raw},
};

#[derive(Serialize)]
pub(super) struct Document<'a> {
    schema: &'static str,
    host: &'a str,
    kernel: &'a str,
    plan: &'static str,
    blind: &'a [String],
    command: Vec<&'a str>,
    exit_code: Option<u8>,
    signal: Option<u8>,
    window: Window,
    grace_ms: u64,
    strict: bool,
    loss: &'a Loss,
    failed: bool,
    findings: Vec<Finding<'a>>,
    summary: Summary,
}

#[derive(Serialize)]
struct Finding<'a> {
    verdict: Verdict,
    code: &'static str,
    fails: bool,
    allowed_by: Option<&'a str>,
    why: &'a str,
    fix: &'a str,
    owner: Owner<'a>,
    role: Role,
    remote: &'a str,
    local_port: u16,
    test: Option<String>,
    site: Site<'a>,
    count: usize,
    connections: Rows<'a>,
}

#[derive(Serialize)]
struct Owner<'a> {
    pid: Option<u32>,
    comm: Option<&'a str>,
}

#[derive(Serialize)]
struct Site<'a> {
    id: String,
    place: Option<String>,
    path: Option<&'a str>,
    call_site: Option<String>,
    frames: Vec<String>,
}

#[derive(Serialize)]
struct Summary {
    connections_seen: u64,
    closed: u64,
    leaked: u64,
    stuck: u64,
    held: u64,
    allowed: u64,
    not_judged: u64,
}

impl<'a> Document<'a> {
    pub(super) fn new(run: &'a Run) -> Self {
        let (exit_code, signal) = match run.ended {
            Ended::Exited(code) => (Some(code), None),
            Ended::Killed(signal) => (None, Some(signal)),
        };
        let counts = run.counts;
        Self {
            schema: "tcpleak.check/1",
            host: run.host.raw(),
            kernel: run.kernel.raw(),
            plan: run.plan,
            blind: &run.blind,
            command: run.command.iter().map(|word| word.raw()).collect(),
            exit_code,
            signal,
            window: Window::new(run.window),
            grace_ms: run.grace_ms,
            strict: run.strict,
            loss: &run.loss,
            failed: run.fails(),
            findings: run.findings.iter().map(Finding::new).collect(),
            summary: Summary {
                connections_seen: counts.seen,
                closed: counts.closed,
                leaked: counts.leaked,
                stuck: counts.stuck,
                held: counts.held,
                allowed: counts.allowed,
                not_judged: counts.forgotten,
            },
        }
    }
}

impl<'a> Finding<'a> {
    fn new(finding: &'a report::Finding) -> Self {
        let text = |frame: &Frame| frame.text().raw().to_owned();
        let site = &finding.site;
        Self {
            verdict: finding.verdict,
            code: finding.code,
            fails: finding.fails,
            allowed_by: finding.allowed_by.as_deref(),
            why: &finding.why,
            fix: &finding.fix,
            owner: Owner {
                pid: finding.pid,
                comm: raw(finding.comm.as_ref()),
            },
            role: finding.role,
            remote: &finding.remote,
            local_port: finding.local_port,
            test: site.test_frame().map(text),
            site: Site {
                id: format!("{:016x}", site.code()),
                place: site.place().map(|frame| place(frame).raw().to_owned()),
                path: raw(site.path.as_ref()),
                call_site: site.call_site().map(text),
                frames: site.frames.iter().map(text).collect(),
            },
            count: finding.connections.len(),
            connections: Rows(&finding.connections),
        }
    }
}

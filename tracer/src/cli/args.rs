//! The command line: one definition of each flag.
#![allow(missing_docs, reason = "a doc comment here becomes help text")]

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use tracer_common::config::{FOLLOWED_SOCKETS, IN_FLIGHT_CALLS};

use super::values;
use crate::{plan::PlanName, view::Format};

/// Help fits the narrowest terminal, and does not change with its width in a pipe.
const HELP_WIDTH: usize = 80;

/// Finds TCP connections that never close and sockets stuck in wait states, and
/// names who must act: the process, the file descriptor, since when, and why.
///
/// Without a command: `tcpleak leaks`.
#[derive(Debug, Parser)]
#[command(
    name = "tcpleak",
    version,
    args_conflicts_with_subcommands = true,
    max_term_width = HELP_WIDTH
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// For `tcpleak` alone.
    #[command(flatten)]
    pub leaks: LeaksArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch for a while, then report leaked and stuck connections, worst first
    #[command(after_help = LEAKS_HELP)]
    Leaks(LeaksArgs),
    /// Stream lifecycle events as they happen, until Ctrl-C or --for
    #[command(after_help = TRACE_HELP)]
    Trace(TraceArgs),
    /// List connections open now: owner, state, idle time, queues, bytes
    Ps(PsArgs),
    /// Explain a verdict: its cause, how it is recognised, how to fix it
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainArgs),
    /// Say what this host supports, what would be used, and what is missing
    Doctor(DoctorArgs),
    /// Read symbols for the collector, which starts this itself
    #[command(hide = true)]
    SymbolHelper,
}

const LEAKS_HELP: &str = "\
Examples:
  tcpleak leaks                            watch the whole host for a minute
  tcpleak leaks --for 10m --pid 4242       watch one process for ten minutes
  tcpleak leaks --for 2m --fail-on leak    exit with 3 if something leaks

Exit codes:
  0 fine, 1 could not run, 2 wrong usage, 3 leaks found (--fail-on leak)";

const TRACE_HELP: &str = "\
Examples:
  tcpleak trace --port 5432                what happens on PostgreSQL's port
  tcpleak trace --format jsonl | jq .      one JSON object a line";

const EXPLAIN_HELP: &str = "\
Examples:
  tcpleak explain missing-close            what it means, and the fix
  tcpleak explain --list                   all verdicts";

/// `leaks`
#[derive(Clone, Debug, Args)]
pub struct LeaksArgs {
    /// How long to watch, such as 30s, 5m or 1h30m
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = values::duration, allow_hyphen_values = true)]
    pub watch: Duration,
    /// Exit with 3 when there is a finding of this kind
    #[arg(long, value_name = "KIND")]
    pub fail_on: Option<FailOn>,
    /// Show healthy sites, and those too young to tell, as well
    #[arg(long)]
    pub all: bool,
    /// Show the evidence of each verdict, and what the plan cannot see
    #[arg(long, short)]
    pub verbose: bool,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub probe: ProbeArgs,
}

/// What `--fail-on` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Connections that the local program should have closed
    Leak,
}

/// `trace`
#[derive(Clone, Debug, Args)]
pub struct TraceArgs {
    /// Stop after this long, such as 30s or 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = values::duration, allow_hyphen_values = true)]
    pub watch: Option<Duration>,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub probe: ProbeArgs,
}

/// `ps`
#[derive(Clone, Debug, Args)]
pub struct PsArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `explain`
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// Name of the verdict, as in a report
    #[arg(value_name = "CODE", required_unless_present = "list")]
    pub code: Option<String>,
    /// List all verdicts, in a line each
    #[arg(long, conflicts_with = "code")]
    pub list: bool,
}

/// `doctor`
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub probe: ProbeArgs,
}

/// Which connections.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which connections")]
pub struct SelectionArgs {
    /// Only those of this process
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
    /// Only those of processes with this name (as in `ps -o comm`)
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// Only those with this local or remote port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Only those to this network, such as 10.0.0.0/8 or 2001:db8::1
    #[arg(long, value_name = "CIDR", value_parser = values::network)]
    pub remote: Option<IpNet>,
    /// Only those of processes in this control group: a path as in
    /// /proc/PID/cgroup, or what lies below it
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// Only those in this network namespace: a name of `ip netns`, a path such as
    /// /proc/PID/ns/net, or an inode number
    #[arg(long, value_name = "NETNS", value_parser = values::netns)]
    pub netns: Option<u32>,
}

/// Where the output goes, and how.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// How to write it
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
    /// Write to this file instead of the terminal
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// How to trace.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tracing")]
pub struct ProbeArgs {
    /// How to attach to the kernel: auto takes the best that works
    #[arg(long, value_name = "PLAN", default_value = "auto")]
    pub plan: PlanArg,
    /// Size of the ring buffer between kernel and tcpleak, a power of two
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = values::ring_bytes)]
    pub ring_size: u32,
    /// Take the call stacks of connect and accept, which name the code that opened
    /// each connection
    #[arg(long, value_name = "WHETHER", default_value = "on")]
    pub stacks: Switch,
    /// Sockets that the kernel side follows at once under --pid
    #[arg(long, hide = true, value_name = "COUNT", default_value_t = FOLLOWED_SOCKETS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_followed: u32,
    /// Calls of connect(2) and accept(2) in progress that are remembered at once
    #[arg(long, hide = true, value_name = "COUNT", default_value_t = IN_FLIGHT_CALLS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_calls: u32,
    /// Types of the running kernel, where it does not show them itself
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
}

/// What switches know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Do
    On,
    /// Do without
    Off,
}

/// What `--plan` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlanArg {
    /// The best that works
    Auto,
    /// Kernel functions by trampoline
    Fentry,
    /// Kernel functions by breakpoint
    Kprobe,
    /// Static tracepoints
    Tracepoint,
}

impl PlanArg {
    /// The plan insisted on; `None` for auto.
    #[must_use]
    pub const fn name(self) -> Option<PlanName> {
        match self {
            Self::Auto => None,
            Self::Fentry => Some(PlanName::Fentry),
            Self::Kprobe => Some(PlanName::Kprobe),
            Self::Tracepoint => Some(PlanName::Tracepoint),
        }
    }
}

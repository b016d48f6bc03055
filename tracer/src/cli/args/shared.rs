//! Flags that several commands take.
#![allow(missing_docs, reason = "a doc comment here becomes help text")]

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use tracer_common::config::{FOLLOWED_SOCKETS, IN_FLIGHT_CALLS};

use crate::{cli::values, plan::PlanName, view::Format};

/// To a recording, or from one.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Recording")]
pub struct RecordingArgs {
    /// Read this recording, a file or folder, instead of watching
    #[arg(long, value_name = "FILE", conflicts_with_all = ["record", "watch", "plan", "ring_size", "stacks", "max_overhead", "btf"])]
    pub from: Option<PathBuf>,
    /// Go on reading what is still being recorded, until it ends or Ctrl-C
    #[arg(long, requires = "from")]
    pub follow: bool,
    /// Record what is watched, too
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
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
    /// Leave out detail while tracing takes more than so many percent of the time of all
    /// processors: first call stacks, then transitions between open and close; 100 to
    /// leave out nothing
    #[arg(long, value_name = "PCT", default_value = "20", value_parser = values::percent)]
    pub max_overhead: f64,
    /// Sockets that the kernel side follows at once under --pid
    #[arg(long, hide = true, value_name = "COUNT", default_value_t = FOLLOWED_SOCKETS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_followed: u32,
    /// Calls of connect(2) and accept(2) in progress that are remembered at once
    #[arg(long, hide = true, value_name = "COUNT", default_value_t = IN_FLIGHT_CALLS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_calls: u32,
    /// Connections opened in 67 ms on a processor above which the kernel side tells each in
    /// one record
    #[arg(long, hide = true, value_name = "COUNT")]
    pub fold_above: Option<u32>,
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

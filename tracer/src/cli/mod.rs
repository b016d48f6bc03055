//! The program: parse, run, report, exit code.

use std::{
    future::pending,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use nix::sys::signal::Signal;
use procfs::process::Process;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

use crate::{load, model::untrusted::spelled_out, selection::Selection, symbols};

pub mod args;
mod check;
mod doctor;
mod explain;
mod export;
mod leaks;
mod outlet;
mod output;
mod progress;
mod ps;
mod query;
mod record;
mod replay;
mod timeline;
mod trace;
mod values;
mod watch;

use args::{Cli, Command, ProbeArgs, SelectionArgs};

/// Could not run.
const FAILED: u8 = 1;
/// Wrong usage.
const USAGE: u8 = 2;
/// Leaks found, and asked to fail on them.
const LEAKS: u8 = 3;

/// How a command came out, when it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Fine,
    /// Ran, and what it found is a failure.
    Failed,
    /// Asked for what does not exist.
    Misused,
    Leaks,
    /// The command's own exit code.
    Passed(u8),
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    log_to_stderr();
    let command = cli.command.unwrap_or(Command::Leaks(cli.leaks));
    let result = match command {
        Command::Leaks(args) => leaks::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Held(args) => check::held(&args),
        Command::Ps(args) => ps::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Timeline(args) => timeline::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::SymbolHelper => symbols::helper::run().map(|()| Outcome::Fine),
    };
    match result {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::from(FAILED),
        Ok(Outcome::Misused) => ExitCode::from(USAGE),
        Ok(Outcome::Leaks) => ExitCode::from(LEAKS),
        Ok(Outcome::Passed(code)) => ExitCode::from(code),
        // The reader has seen enough.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say(&in_one_line(&error));
            ExitCode::from(FAILED)
        }
    }
}

/// Help goes out as it is; an error becomes one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            // A closed pipe is a normal end of --help, too.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                say(&format!("cannot write the output: {error}"));
                ExitCode::from(FAILED)
            }
            _ => ExitCode::SUCCESS,
        };
    }
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let form = lines.clone().find_map(|line| line.strip_prefix("Usage: "));
    let form = form.unwrap_or("tcpleak");
    let what = lines
        .next()
        .unwrap_or("wrong usage")
        .trim_start_matches("error: ");
    // clap lists missing arguments and suggestions on lines of their own.
    let more: String = lines
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .map(|line| match line.strip_prefix("tip: ") {
            Some(tip) => format!("; {tip}"),
            None => format!(" {line}"),
        })
        .collect();
    // A command of somebody else's that is not told from our own arguments.
    let form_too = match form.contains(" -- ") {
        true => format!("; use: {form}"),
        false => String::new(),
    };
    let is_name = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
    let command: Vec<&str> = form.split(' ').take_while(is_name).collect();
    let command = command.join(" ");
    say(&format!("{what}{more}{form_too} (see {command} --help)"));
    ExitCode::from(USAGE)
}

/// One line on standard error, whatever the text quotes. That nobody may be
/// listening there is no reason to fail, as `eprintln!` would.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "tcpleak: {}", spelled_out(text));
}

/// An error and its causes. One that its parent quotes is not said twice.
fn in_one_line(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |line, cause| {
        let cause = cause.to_string();
        match line.as_str() {
            "" => cause,
            said if said.ends_with(&cause) => line,
            said => format!("{said}: {cause}"),
        }
    })
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Warnings, or what RUST_LOG asks for (off, error, warn, info, debug, trace), on
/// standard error.
fn log_to_stderr() {
    let level = std::env::var("RUST_LOG")
        .ok()
        .and_then(|level| level.parse().ok());
    let _ = tracing_subscriber::fmt()
        .with_max_level(level.unwrap_or(LevelFilter::WARN))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // It would say with `eprintln!` that standard error cannot be written.
        .log_internal_errors(false)
        .try_init();
}

/// What the flags select; checked against the host, if that is what is looked at.
fn selection(args: &SelectionArgs, is_live: bool) -> Result<Selection> {
    if let Some(pid) = args.pid
        && is_live
        && !std::path::Path::new("/proc").join(pid.to_string()).exists()
    {
        bail!("no process has pid {pid}; `tcpleak ps` lists those with connections");
    }
    Ok(Selection {
        pid: args.pid,
        tree: false,
        comm: args.comm.clone(),
        port: args.port,
        remote: args.remote,
        netns: args.netns,
        cgroup: args.cgroup.clone(),
    })
}

/// What is to be loaded; connections are folded above `fold_above` where no flag says.
fn load_options(probe: &ProbeArgs, selection: &Selection, fold_above: u32) -> load::Options {
    load::Options {
        btf: probe.btf.clone(),
        plan: probe.plan.name(),
        ring_bytes: probe.ring_size,
        filter: selection.for_kernel(),
        stacks: probe.stacks == args::Switch::On,
        prompt: false,
        fold_above: probe.fold_above.unwrap_or(fold_above),
        limits: load::Limits {
            followed: probe.max_followed,
            calls: probe.max_calls,
        },
    }
}

/// One thread is enough: the kernel hands over whole batches, and what takes
/// long (snapshots) goes to a thread of its own.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")
}

/// Tells whoever started this as a service, or set NOTIFY_SOCKET, that what was open is
/// known and what comes is seen: sd_notify(3), READY=1.
fn say_ready() {
    // Where nobody listens any more there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// Done at Ctrl-C, SIGTERM, or where the terminal is gone; but for the last under nohup(1).
///
/// # Errors
/// Where no handler can be set.
fn interrupted() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let hangup = (!is_hangup_ignored()).then(|| signal(SignalKind::hangup()));
    let mut hangup = hangup.transpose().context("cannot handle SIGHUP")?;
    Ok(async move {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hung_up => {}
        }
    })
}

fn is_hangup_ignored() -> bool {
    let status = Process::myself().and_then(|process| process.status());
    let bit = 1 << (Signal::SIGHUP as i32 - 1);
    status.is_ok_and(|status| status.sigign & bit != 0)
}

//! `cargo xtask lab`: programs that leak and programs that do not, each in a
//! network namespace of its own with a tcpleak beside it, and what tcpleak said
//! of them against what is true. The programs are in `lab/`.

mod build;
mod expectation;
mod judge;
mod namespace;
mod pairs;
mod processes;
mod run;
mod scenario;
mod schedule;
mod table;
mod tools;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

pub(crate) use self::tools::set_up;
use self::{
    run::{Lab, Run},
    scenario::Scenario,
    table::Table,
};
use crate::{
    artifacts,
    command::{self, step},
    elevate, place, test,
};

/// How long tcpleak watches unless told otherwise: its own default.
const WATCH: Duration = Duration::from_secs(60);

/// The same with `--quick`.
const QUICK_WATCH: Duration = Duration::from_secs(20);

/// What the whole lab must reach, by class.
const PRECISION: f64 = 0.98;
const RECALL: f64 = 0.95;

/// Arguments of `cargo xtask lab`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these, such as go/unclosed-body, or all that begin so, such as go/
    scenarios: Vec<String>,
    /// Only the few that need no long watch, watched for 20 s
    #[arg(long)]
    quick: bool,
    /// How long tcpleak watches each, such as 90s or 2m [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    watch: Option<Duration>,
    /// How much traffic the programs make
    #[arg(long, default_value = "normal")]
    rate: Rate,
    /// Two scenarios at once in one namespace: a leaking and a healthy one
    #[arg(long)]
    pairs: bool,
    /// How many namespaces at a time [default: two a core, and two]
    #[arg(long, short, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Fail where tcpleak does not name the expected call site
    #[arg(long)]
    sites: bool,
    /// List the scenarios and what is expected of them
    #[arg(long)]
    list: bool,
    /// The tcpleak to judge; everything is built already
    #[arg(long, hide = true)]
    built: Option<PathBuf>,
}

/// How much traffic a program makes: what it opens or asks in a second.
#[derive(Clone, Copy, ValueEnum)]
enum Rate {
    Low,
    Normal,
    High,
}

impl Rate {
    const fn per_second(self) -> u32 {
        match self {
            Self::Low => 1,
            Self::Normal => 3,
            Self::High => 12,
        }
    }
}

/// Seconds or minutes, within what a lab can wait for.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = number
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit));
    match seconds {
        Some(seconds @ 5..=3_600) => Ok(Duration::from_secs(seconds)),
        _ => Err("give seconds or minutes, from 5s to 60m".to_owned()),
    }
}

/// Prepares as the user, then runs as root.
pub(crate) fn main(args: &Args) -> Result<()> {
    let chosen = chosen(args)?;
    if args.list {
        list(&chosen, !args.scenarios.is_empty());
        return Ok(());
    }
    let tcpleak = match &args.built {
        Some(tcpleak) => tcpleak.clone(),
        None => {
            set_up()?;
            // The quick one runs after the tests, which have built it.
            let tcpleak = if args.quick {
                artifacts::program(&test::build()?, "tcpleak")?
            } else {
                crate::run::build("")?
            };
            build::all(&chosen)?;
            tcpleak
        }
    };
    if !elevate::is_root() {
        let mut again = elevate::as_root(env::current_exe()?, &["-E"], "network namespaces")?;
        return command::run(
            again
                .args(env::args_os().skip(1))
                .arg("--built")
                .arg(tcpleak),
        );
    }
    judge_all(args, chosen, tcpleak)
}

/// The scenarios that the arguments ask for.
fn chosen(args: &Args) -> Result<Vec<Scenario>> {
    let all = scenario::load_all(&build::sources())?;
    for wanted in &args.scenarios {
        ensure!(
            all.iter().any(|one| one.name.starts_with(wanted)),
            "no scenario begins with {wanted:?}: `cargo xtask lab --list` names them all"
        );
    }
    let is_wanted = |one: &Scenario| {
        let mut names = args.scenarios.iter();
        (args.scenarios.is_empty() || names.any(|name| one.name.starts_with(name)))
            && (one.plan.quick || !args.quick)
    };
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// What is expected of each; with `about`, why.
fn list(scenarios: &[Scenario], about: bool) {
    for Scenario { name, plan, .. } in scenarios {
        let expected = &plan.expect;
        println!("{name:<28} {:<8} {}", expected.class.name(), expected.code);
        if about {
            println!("{}", plan.about);
        }
    }
    let count = scenarios.len();
    let healthy = scenarios.iter().filter(|one| one.plan.expect.is_healthy());
    println!("{count} scenarios, {} of them healthy", healthy.count());
}

fn judge_all(args: &Args, chosen: Vec<Scenario>, tcpleak: PathBuf) -> Result<()> {
    let is_whole = args.scenarios.is_empty() && !args.quick;
    let default = if args.quick { QUICK_WATCH } else { WATCH };
    let reports = place::target().join("lab/reports");
    fs::create_dir_all(&reports)?;
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(&stopped)).context("cannot take Ctrl-C")?;
    }
    let lab = Lab {
        tcpleak,
        reports: reports.clone(),
        watch: args.watch.unwrap_or(default),
        rate: args.rate.per_second(),
        stopped: Arc::clone(&stopped),
    };
    let runs: Vec<Run> = if args.pairs {
        pairs::of(chosen)
    } else {
        chosen.into_iter().map(|one| Run(vec![one])).collect()
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map_or(2 * cores + 2, usize::from);
    let (outcomes, broken) = schedule::all(&lab, &runs, jobs);
    let table = Table::of(outcomes);
    print!("{table}");
    fs::write(
        reports.join("table.json"),
        serde_json::to_string_pretty(&table.json())?,
    )?;
    hand_over(&reports)?;
    step(format_args!("reports: {}", reports.display()));
    if stopped.load(Ordering::Relaxed) {
        bail!("stopped before the end");
    }
    verdict(&table, broken.len(), is_whole, args.sites)
}

/// Whether the lab is content.
fn verdict(table: &Table, broken: usize, is_whole: bool, sites: bool) -> Result<()> {
    let mut faults = Vec::new();
    if broken > 0 {
        faults.push(format!("{broken} could not be run, as told above"));
    }
    let alarms = table.false_alarms();
    if alarms > 0 {
        faults.push(format!(
            "{alarms} false alarms: what is healthy was called leak or stuck"
        ));
    }
    let score = table.by_class();
    if is_whole && score.precision() < PRECISION {
        faults.push(format!("precision by class is below {PRECISION}"));
    }
    if is_whole && score.recall() < RECALL {
        faults.push(format!("recall by class is below {RECALL}"));
    }
    let (named, of) = table.sites();
    if sites && named < of {
        faults.push(format!("{} of {of} call sites were not named", of - named));
    }
    ensure!(faults.is_empty(), "the lab failed: {}", faults.join("; "));
    Ok(())
}

/// Gives what root wrote to whoever owns the target directory.
fn hand_over(reports: &Path) -> Result<()> {
    let mut chown = Command::new("chown");
    chown.args(["--recursive", "--reference"]).args([
        &place::target(),
        &place::target().join("lab"),
        reports,
    ]);
    command::run(&mut chown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_bounds() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "4s", "61m", "1h", "-5s", "99999999999999999999m"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}

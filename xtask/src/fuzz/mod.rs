//! `cargo xtask fuzz`: bytes that nobody would think of, into all that parses.

mod tools;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{run, shown, step},
    place,
};
use tools::Tools;
pub(crate) use tools::set_up;

/// Targets at a time: each takes a core.
const AT_A_TIME: usize = 2;
/// An input that takes this long hangs what parses it, in seconds.
const HANG: u32 = 10;

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to fuzz each target
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Fuzz only these: names of files in fuzz/fuzz_targets
    target: Vec<String>,
}

/// Fuzzes each target for its time, two at once, and says what was found.
pub(crate) fn main(args: &Args) -> Result<()> {
    let all = targets()?;
    if let Some(unknown) = args.target.iter().find(|name| !all.contains(name)) {
        bail!("no fuzz target {unknown}: there are {}", all.join(", "));
    }
    let tools = set_up()?;
    let chosen = match args.target.as_slice() {
        [] => &all[..],
        named => named,
    };
    for target in chosen {
        let mut build = tools.cargo_fuzz("build");
        step(shown(build.arg(target)));
        run(&mut build)?;
    }

    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(chosen.len()) {
            scope.spawn(|| {
                while let Some(target) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match fuzz(&tools, target, args.seconds) {
                        Ok(said) => step(said),
                        Err(error) => {
                            step(format_args!("{error:#}"));
                            if let Ok(mut failures) = failures.lock() {
                                failures.push(target.as_str());
                            }
                        }
                    }
                }
            });
        }
    });
    match failures.into_inner().unwrap_or_default().as_slice() {
        [] => Ok(()),
        failed => bail!("failed, as said above: {}", failed.join(", ")),
    }
}

/// The names of all targets.
fn targets() -> Result<Vec<String>> {
    let folder = place::root().join("fuzz/fuzz_targets");
    let files = fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))?;
    let mut names = Vec::new();
    for file in files {
        let path = file?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into()));
    }
    names.sort();
    Ok(names)
}

/// Fuzzes one target and returns what is to be said of it; an error names the
/// input that breaks it, and the command that shows how.
fn fuzz(tools: &Tools, target: &str, seconds: u32) -> Result<String> {
    // What libFuzzer finds of interest is kept from run to run, apart from the
    // committed seeds.
    let found = place::target().join("fuzz").join(target);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let log = found.with_extension("log");
    let mut fuzz = tools.cargo_fuzz("run");
    fuzz.arg(target)
        .arg(&found)
        .arg(Path::new("fuzz/corpus").join(target))
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={HANG}"))
        .arg("-print_final_stats=1");
    step(shown(&fuzz));
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let status = fuzz.stdout(file.try_clone()?).stderr(file).status();
    let status = status.with_context(|| format!("cannot start `{}`", shown(&fuzz)))?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if status.success() {
        let inputs = executed(&said).with_context(|| {
            format!(
                "{target}: libFuzzer does not say how much it tried, see {}",
                log.display()
            )
        })?;
        return Ok(format!(
            "{target}: {inputs} inputs in {seconds} s, none breaks it"
        ));
    }
    match artefact(&said) {
        Some(input) => {
            let input = input
                .strip_prefix(place::root())
                .unwrap_or(&input)
                .display();
            let again = shown(tools.cargo_fuzz("run").arg(target));
            bail!("{target}: {input} breaks it; to see how: {again} {input}")
        }
        None => bail!("{target}: fuzzing failed ({status}), see {}", log.display()),
    }
}

/// How many inputs libFuzzer tried.
fn executed(said: &str) -> Option<u64> {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    line.trim().parse().ok()
}

/// The input that libFuzzer wrote down because it broke the target.
fn artefact(said: &str) -> Option<PathBuf> {
    let lines = said.lines();
    let mut paths = lines.filter_map(|line| line.split_once("Test unit written to "));
    paths.next().map(|(_, path)| path.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_libfuzzer_says() {
        let said = "#12 INITED cov: 3\nstat::number_of_executed_units: 3456\nstat::peak_rss_mb: 4";
        assert_eq!(executed(said), Some(3456));
        assert_eq!(artefact(said), None);
        let said =
            "SUMMARY: deadly signal\nartifact_prefix='/a/'; Test unit written to /a/crash-1\n";
        assert_eq!(artefact(said), Some("/a/crash-1".into()));
        assert_eq!(executed(said), None);
    }

    #[test]
    fn every_target_has_seeds() {
        let targets = targets().expect("targets");
        assert!(targets.len() >= 3, "{targets:?}");
        for target in targets {
            let seeds = place::root().join("fuzz/corpus").join(&target);
            let count = fs::read_dir(&seeds).map_or(0, Iterator::count);
            assert!(count > 0, "no seeds in {}", seeds.display());
        }
    }
}

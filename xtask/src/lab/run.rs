//! One run: programs in a network of their own, tcpleak beside them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    build,
    judge::{Outcome, Report, Tried, judge},
    namespace::{Network, other_host},
    processes::Processes,
    scenario::{Event, Place, Program, Scenario},
};
use crate::command;

/// Between two looks at the processes.
const PACE: Duration = Duration::from_millis(250);

/// How long tcpleak may take on top of its watch: to attach, and to report.
const SLACK: Duration = Duration::from_secs(60);

/// The ports of the first scenario of a run begin here, those of the next a
/// [`PORTS`] above.
const FIRST_PORT: usize = 18_000;
const PORTS: usize = 100;

/// A run's recording, in its folder.
const RECORDING: &str = "recording.tcpleak";

/// What all runs share.
pub(crate) struct Lab {
    pub(crate) tcpleak: PathBuf,
    /// Where reports go
    pub(crate) reports: PathBuf,
    pub(crate) watch: Duration,
    /// Opened or asked a second
    pub(crate) rate: u32,
    /// Ctrl-C
    pub(crate) stopped: Arc<AtomicBool>,
}

/// Scenarios that share a network.
pub(crate) struct Run(pub(crate) Vec<Scenario>);

impl Run {
    /// The names of its scenarios.
    pub(crate) fn name(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|one| one.name.as_str()).collect();
        names.join("+")
    }

    /// The folder of one of its scenarios, below that of the run.
    fn dir_of(&self, index: usize) -> String {
        self.0[index].name.replace('/', ".")
    }

    /// By how many seconds the programs start before the watch.
    fn lead_s(&self) -> i64 {
        let leads = self.0.iter().map(|one| one.plan.lead_s);
        leads.max().unwrap_or(0)
    }

    /// How long the programs run before the watch.
    fn lead(&self) -> Duration {
        Duration::from_secs(self.lead_s().try_into().unwrap_or(0))
    }

    /// How long the watch runs before the programs.
    fn lag(&self) -> Duration {
        Duration::from_secs((-self.lead_s()).try_into().unwrap_or(0))
    }

    /// What happens to the network, by scenario.
    fn events(&self) -> impl Iterator<Item = (usize, &Event)> {
        self.0
            .iter()
            .enumerate()
            .flat_map(|(index, one)| one.plan.events.iter().map(move |event| (index, event)))
    }
}

/// A run under way.
struct Stage<'a> {
    lab: &'a Lab,
    run: &'a Run,
    network: Network,
    dir: PathBuf,
    started: Vec<Started>,
    processes: Processes,
    tcpleak: Option<Child>,
}

struct Started {
    scenario: usize,
    name: String,
    child: Child,
}

impl Lab {
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Runs, judges, and leaves the report and what the programs said.
    pub(crate) fn run(&self, run: &Run) -> Result<Vec<Outcome>> {
        let dir = self.reports.join(run.name().replace('/', "."));
        let dir = fresh(dir)?;
        let mut stage = Stage {
            lab: self,
            run,
            network: Network::new(run.0.iter().any(|one| one.plan.has_far()))?,
            dir,
            started: Vec::new(),
            processes: Processes::default(),
            tcpleak: None,
        };
        stage.set_up()?;
        if !run.lag().is_zero() {
            stage.watch()?;
            stage.await_attached()?;
            thread::sleep(run.lag());
        }
        stage.start_all()?;
        stage.play()?;
        stage.replay()?;
        stage.judge()
    }
}

impl Stage<'_> {
    /// The network as the scenarios want it, and their files.
    fn set_up(&mut self) -> Result<()> {
        for (key, value) in self.run.0.iter().flat_map(|one| &one.plan.sysctl) {
            self.network.set(key, *value)?;
        }
        self.happen(|at| at == 0)?;
        for (index, scenario) in self.run.0.iter().enumerate() {
            self.fill_in_files(index, scenario)?;
        }
        Ok(())
    }

    fn start_all(&mut self) -> Result<()> {
        for (index, scenario) in self.run.0.iter().enumerate() {
            for program in &scenario.plan.programs {
                self.start(index, scenario, program)
                    .with_context(|| format!("program {}", program.name))?;
            }
        }
        Ok(())
    }

    /// Configurations, with what is in braces filled in.
    fn fill_in_files(&self, index: usize, scenario: &Scenario) -> Result<()> {
        let dir = self.dir_of(index);
        fs::create_dir_all(&dir)?;
        for entry in fs::read_dir(&scenario.dir)? {
            let path = entry?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if let (Some("conf" | "cfg"), Some(name)) = (extension, path.file_name()) {
                let text = fs::read_to_string(&path)?;
                fs::write(dir.join(name), self.fill_in(&text, index, Place::Near))?;
            }
        }
        Ok(())
    }

    /// Where a scenario's programs run, and write.
    fn dir_of(&self, index: usize) -> PathBuf {
        self.dir.join(self.run.dir_of(index))
    }

    fn fill_in(&self, text: &str, index: usize, place: Place) -> String {
        let port = FIRST_PORT + index * PORTS;
        text.replace(
            "{host}",
            other_host(place, self.run.0[index].plan.has_far()),
        )
        .replace("{port}", &port.to_string())
        .replace("{port1}", &(port + 1).to_string())
        .replace("{port2}", &(port + 2).to_string())
        .replace("{rate}", &self.lab.rate.to_string())
        .replace("{dir}", &self.dir_of(index).to_string_lossy())
    }

    fn start(&mut self, index: usize, scenario: &Scenario, program: &Program) -> Result<()> {
        let line = self.fill_in(&program.run, index, program.place);
        let mut words = line.split_whitespace();
        let first = words.next().context("`run` is empty")?;
        let lifetime = self.run.lead() + self.lab.watch + SLACK;
        let shared = build::sources().join("python");
        let dir = self.dir_of(index);
        let said = File::create(dir.join(format!("{}.log", program.name)))?;
        let mut command = self.network.command(program.place);
        command
            .args(build::command_line(scenario, first))
            .args(words)
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env(
                "LAB_HOST",
                other_host(program.place, scenario.plan.has_far()),
            )
            .env("LAB_PORT", (FIRST_PORT + index * PORTS).to_string())
            .env("LAB_RATE", self.lab.rate.to_string())
            .env("LAB_SECONDS", lifetime.as_secs().to_string())
            .env("PYTHONPATH", shared)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .current_dir(dir);
        let child = command.spawn().context("cannot start it")?;
        self.processes.add(child.id(), self.started.len());
        self.started.push(Started {
            scenario: index,
            name: program.name.clone(),
            child,
        });
        // A server must listen before its clients ask.
        thread::sleep(Duration::from_millis(300));
        Ok(())
    }

    /// Lets the programs run, then watches them, and does what is to happen.
    fn play(&mut self) -> Result<()> {
        let start = Instant::now();
        let lead = self.run.lead();
        let latest = lead + self.lab.watch + SLACK;
        let mut last_second = 0;
        let done = loop {
            let second = start.elapsed().as_secs();
            let happened = self.happen(|at| last_second < at && at <= second);
            last_second = second;
            self.processes.look(&self.network.pids());
            let ended = match &mut self.tcpleak {
                None if start.elapsed() >= lead => self.watch().map(|()| None),
                None => Ok(None),
                Some(child) => child.try_wait().map_err(Into::into),
            };
            match (happened, ended) {
                (Err(error), _) | (_, Err(error)) => break Err(error),
                (_, Ok(Some(status))) => break Ok(status),
                _ if self.lab.is_stopped() => break Err(anyhow::anyhow!("stopped")),
                _ if start.elapsed() > latest => {
                    break Err(anyhow::anyhow!(
                        "tcpleak did not end within {} s of its watch",
                        SLACK.as_secs()
                    ));
                }
                _ => thread::sleep(PACE),
            }
        };
        self.ended_early()?;
        self.is_well(done?)
    }

    fn is_well(&self, status: ExitStatus) -> Result<()> {
        let said = fs::read_to_string(self.dir.join("tcpleak.log")).unwrap_or_default();
        ensure!(
            status.success(),
            "tcpleak ended with {status}: {}",
            said.trim()
        );
        Ok(())
    }

    /// Starts tcpleak on the watched namespace, from outside it.
    fn watch(&mut self) -> Result<()> {
        let report = self.dir.join("report.json");
        let child = Command::new("setpriv")
            .args(["--pdeathsig=KILL", "--"])
            .arg(&self.lab.tcpleak)
            .args(["leaks", "--all", "--format", "json", "--netns"])
            .arg(self.network.watched())
            .arg("--for")
            .arg(format!("{}s", self.lab.watch.as_secs()))
            .arg("--output")
            .arg(report)
            .arg("--record")
            .arg(self.dir.join(RECORDING))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.dir.join("tcpleak.log"))?)
            .spawn()
            .context("cannot start tcpleak")?;
        self.tcpleak = Some(child);
        Ok(())
    }

    /// Waits until tcpleak has attached: on a busy machine that takes a while. Once it
    /// has, it gives up most of what it may do.
    fn await_attached(&mut self) -> Result<()> {
        let start = Instant::now();
        let Some(child) = &mut self.tcpleak else {
            return Ok(());
        };
        let ours = capabilities("self");
        while capabilities(&child.id().to_string()) == ours {
            ensure!(child.try_wait()?.is_none(), "tcpleak has ended");
            ensure!(start.elapsed() < SLACK, "tcpleak does not attach");
            thread::sleep(PACE);
        }
        Ok(())
    }

    /// A program that failed has shown nothing, and proves nothing.
    fn ended_early(&mut self) -> Result<()> {
        let (dir, run) = (&self.dir, self.run);
        for one in &mut self.started {
            if let Some(status) = one.child.try_wait()?
                && !status.success()
            {
                let log = dir
                    .join(run.dir_of(one.scenario))
                    .join(format!("{}.log", one.name));
                let said = fs::read_to_string(log).unwrap_or_default();
                let last: Vec<_> = said.lines().rev().take(5).collect();
                bail!(
                    "program {} ended with {status}: {}",
                    one.name,
                    last.join(" | ")
                );
            }
        }
        Ok(())
    }

    /// What is to happen in the seconds that `is_now` picks.
    fn happen(&self, is_now: impl Fn(u64) -> bool) -> Result<()> {
        for (index, event) in self.run.events().filter(|(_, event)| is_now(event.at_s)) {
            let run = self.fill_in(&event.run, index, event.place);
            let mut shell = self.network.command(event.place);
            // What hangs fails, and does not hang the lab.
            command::output(shell.args(["timeout", "30", "sh", "-ec", &run]))?;
        }
        Ok(())
    }

    /// The recording gives the report again, each time, to one who may do nothing.
    fn replay(&self) -> Result<()> {
        let recording = self.dir.join(RECORDING);
        let told = fs::read(self.dir.join("report.json"))?;
        for _ in 0..2 {
            let replayed = self.dir.join("replayed.json");
            let mut replay = Command::new("setpriv");
            replay
                .args(["--bounding-set=-all", "--inh-caps=-all", "--"])
                .arg(&self.lab.tcpleak)
                .args(["leaks", "--all", "--format", "json", "--from"])
                .arg(&recording)
                .arg("--output")
                .arg(&replayed);
            command::output(&mut replay)?;
            ensure!(
                fs::read(&replayed)? == told,
                "the recording gives another report: compare {} with report.json beside it",
                replayed.display()
            );
        }
        Ok(fs::remove_file(recording)?)
    }

    fn judge(&self) -> Result<Vec<Outcome>> {
        let path = self.dir.join("report.json");
        let report = read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let tried: Vec<_> = self
            .run
            .0
            .iter()
            .enumerate()
            .map(|(index, scenario)| {
                let expected = &scenario.plan.expect;
                let mut started = self.started.iter();
                let owner =
                    started.position(|one| one.scenario == index && one.name == expected.owner);
                Tried {
                    name: &scenario.name,
                    expected,
                    is_owner: Box::new(move |group| {
                        owner.is_some_and(|owner| {
                            self.processes.owns(owner, group.pid, group.comm.as_deref())
                        })
                    }),
                }
            })
            .collect();
        Ok(judge(&report, &tried))
    }
}

/// An empty `dir`: what an earlier run left shall not be taken for this one's.
fn fresh(dir: PathBuf) -> Result<PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// What `process` may do, as the kernel tells it.
fn capabilities(process: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("CapEff:"))?;
    Some(line.to_owned())
}

fn read(path: &Path) -> Result<Report> {
    Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
}

impl Drop for Stage<'_> {
    /// Ends what this run started, and what that started: nobody else's
    /// processes are in its namespaces.
    fn drop(&mut self) {
        let programs = self.started.iter_mut().map(|one| &mut one.child);
        for child in programs.chain(&mut self.tcpleak) {
            let _ = child.kill();
            let _ = child.wait();
        }
        let left: Vec<_> = self.network.pids().iter().map(u32::to_string).collect();
        if !left.is_empty() {
            let _ = Command::new("kill").arg("-KILL").args(left).status();
        }
    }
}

//! Somebody without root, and what root has on the host meanwhile.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tracer::load::privileges::PRIVILEGES;

use super::is_before;
use crate::support::{
    balance,
    tcpleak::{self, under_test},
};

/// Holds a connection to itself and, if told to, opens others all the time, for an instant
/// each: no snapshot tells their file descriptors.
const HOLDER: &str = "
import signal, socket, sys, time
listener = socket.create_server(('127.0.0.1', 0))
held = socket.create_connection(listener.getsockname())
held_too, _ = listener.accept()
print(held.fileno(), listener.getsockname()[1], flush=True)
while sys.argv[1:] != ['churn']:
    signal.pause()
while True:
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    time.sleep(0.02)
    client.close()
    server.close()
    time.sleep(0.08)
";

/// Where the tested program finds tracefs. Whatever is mounted for that is
/// mounted in a namespace of its own, and goes away with it.
#[derive(Clone, Copy)]
pub(super) enum Tracefs {
    Mounted,
    NotMounted,
}

/// What a run without root is to see.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Process and fd of a connection of root's from before the start.
    pub(super) owner: bool,
    /// A connection in another network namespace from before the start.
    pub(super) namespace: bool,
    /// The fd of each connection opened meanwhile.
    pub(super) fds: bool,
}

const DOCTOR: [&str; 3] = ["doctor", "--format", "json"];

/// The checks that did not go well, by name.
fn not_ok(output: &Output) -> Result<Vec<(String, Value)>> {
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    assert_eq!(output.status.success(), report["plan"].is_string());
    let checks = report["checks"].as_array().context("no checks")?.iter();
    let bad = checks.filter(|check| check["status"] != "ok");
    let named = bad.map(|check| Some((check["name"].as_str()?.to_owned(), check.clone())));
    named.collect::<Option<_>>().context("no name")
}

/// What this kernel lacks for root, too. It stays so.
fn lacks() -> Result<&'static BTreeSet<String>> {
    static LACKS: OnceLock<BTreeSet<String>> = OnceLock::new();
    if let Some(lacks) = LACKS.get() {
        return Ok(lacks);
    }
    let root = Command::new(tcpleak::program())
        .args(under_test(DOCTOR))
        .output()?;
    let lacks = not_ok(&root)?.into_iter().map(|(name, _)| name).collect();
    Ok(LACKS.get_or_init(|| lacks))
}

/// Somebody without root who has been granted capabilities.
pub(super) struct User {
    pub(super) words: Vec<String>,
    pub(super) program: String,
    directory: PathBuf,
    own: Holder,
    other: Holder,
}

impl User {
    /// The listed capabilities but `missing`.
    pub(super) fn without(missing: &[&str], tracefs: Tracefs) -> Result<Self> {
        let held = PRIVILEGES.iter().map(|privilege| privilege.name);
        let held: String = held
            .filter(|name| !missing.contains(name))
            .map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()))
            .collect();
        let mounts = match tracefs {
            Tracefs::Mounted => "mountpoint -q $T || mount -t tracefs tracefs $T",
            Tracefs::NotMounted => "umount -a -t tracefs,debugfs",
        };
        // The build's directories may be closed to others.
        let directory = unique_directory()?;
        let program = directory.join("tcpleak");
        // By another process: one that is started meanwhile on another thread would
        // inherit the open copy, and a file open for writing is not run.
        let copy = Command::new("cp")
            .arg(tcpleak::program())
            .arg(&program)
            .status()?;
        ensure!(copy.success(), "cannot copy the program");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let program = program.to_str().context("a path of text")?.to_owned();
        let script = format!("T=/sys/kernel/tracing; {mounts} || exit 125; exec \"$@\"");
        let words = ["unshare", "--mount", "sh", "-c", &script, "sh", "setpriv"]
            .map(str::to_owned)
            .into_iter()
            .chain(["--reuid=65534", "--regid=65534", "--clear-groups"].map(str::to_owned))
            .chain(
                ["inh-caps", "ambient-caps", "bounding-set"]
                    .map(|set| format!("--{set}=-all{held}")),
            )
            .chain([program.clone()])
            .collect();
        let user = Self {
            words,
            program,
            directory,
            own: Holder::start(&[], &["churn"])?,
            other: Holder::start(
                &[
                    "unshare",
                    "--net",
                    "sh",
                    "-c",
                    "ip link set lo up; exec \"$@\"",
                    "sh",
                ],
                &[],
            )?,
        };
        // Where eBPF maps count as locked memory.
        Ok(if is_before(5, 11)? {
            user.with_locked_memory("unlimited")
        } else {
            user
        })
    }

    /// And may lock so much memory.
    pub(super) fn with_locked_memory(mut self, bytes: &str) -> Self {
        // The innermost counts.
        let user = self.words.iter().position(|word| word == "setpriv");
        let at = user.unwrap_or_default();
        let limit = format!("--memlock={bytes}");
        self.words.splice(at..at, ["prlimit".to_owned(), limit]);
        self
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]);
        command
    }

    pub(super) fn run(&self, args: &[&str]) -> Result<Output> {
        Ok(self
            .command()
            .args(under_test(args.iter().copied()))
            .output()?)
    }

    /// What `doctor` finds wrong, all hooks as one, each with a way to mend it; but for
    /// what this kernel lacks for root, too.
    pub(super) fn complaints(&self) -> Result<BTreeSet<String>> {
        let lacks = lacks()?;
        let mut complaints = BTreeSet::new();
        for (name, check) in not_ok(&self.run(&DOCTOR)?)? {
            assert!(check["fix"].is_string(), "{check}");
            if !lacks.contains(&name) {
                let is_hook = name.starts_with("hook ");
                complaints.insert(if is_hook { "hook".to_owned() } else { name });
            }
        }
        Ok(complaints)
    }

    /// Runs `leaks` and `trace`.
    pub(super) fn watch(&self) -> Result<Seen> {
        let leaks = self.run(&["leaks", "--for", "1s", "--all", "--format", "json"])?;
        let said = String::from_utf8_lossy(&leaks.stderr);
        assert!(leaks.status.success(), "{said}");
        balance::check(std::str::from_utf8(&leaks.stdout)?, &said)?;
        let report: Value = serde_json::from_slice(&leaks.stdout)?;
        let groups = report["groups"].as_array().context("no groups")?;
        let connections = || {
            groups
                .iter()
                .filter_map(|group| group["connections"].as_array())
                .flatten()
        };
        let is_held = |c: &Value, by: &Holder| {
            c["pid"] == by.pid() && c["fd"] == by.fd && c["known"] == "inherited"
        };

        // Not those of other tests: they are many for an emulated processor.
        let port = self.own.port.to_string();
        let arguments = ["trace", "--for", "1s", "--port", &port, "--format", "jsonl"];
        let trace = self.run(&arguments)?;
        let lines = String::from_utf8(trace.stdout)?;
        let stderr = std::str::from_utf8(&trace.stderr)?;
        balance::check("", stderr)?;
        let events = lines.lines().map(serde_json::from_str::<Value>);
        let events = events.collect::<Result<Vec<_>, _>>()?;
        let closed: Vec<&Value> = events
            .iter()
            .filter(|e| {
                e["event"] == "app-close" && e["pid"] == self.own.pid() && e["role"] == "client"
            })
            .collect();
        assert!(
            closed.len() > 4,
            "{} of the short connections were traced",
            closed.len()
        );
        let with_fd = closed.iter().filter(|event| event["fd"].is_i64()).count();
        // One may have been opened while hook after hook was attached; where fds
        // are not traced, the snapshots at start and end tell that of one each. And an
        // fd may be in a record that was lost.
        let few = with_fd.min(closed.len() - with_fd);
        assert!(
            few <= 2 + balance::lost(stderr)?,
            "{with_fd} of {}",
            closed.len()
        );
        Ok(Seen {
            owner: connections().any(|c| is_held(c, &self.own)),
            namespace: connections()
                .any(|c| c["netns"] == self.other.netns && c["known"] == "inherited"),
            fds: with_fd > few,
        })
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The holder of a connection, as root.
pub(super) struct Holder {
    running: Running,
    fd: i64,
    /// Of its listener.
    port: u16,
    netns: u64,
}

impl Holder {
    pub(super) fn start(within: &[&str], args: &[&str]) -> Result<Self> {
        let words: Vec<&str> = within
            .iter()
            .copied()
            .chain(["python3", "-c", HOLDER])
            .chain(args.iter().copied())
            .collect();
        let mut child = Running(
            Command::new(words[0])
                .args(&words[1..])
                .stdout(Stdio::piped())
                .spawn()?,
        );
        let mut line = String::new();
        BufReader::new(child.0.stdout.take().context("no pipe")?).read_line(&mut line)?;
        let netns = fs::metadata(format!("/proc/{}/ns/net", child.0.id()))?.ino();
        let numbers = line.trim().split_once(' ');
        let (fd, port) = numbers.context("the holder did not start")?;
        Ok(Self {
            running: child,
            fd: fd.parse()?,
            port: port.parse()?,
            netns,
        })
    }

    fn pid(&self) -> u32 {
        self.running.0.id()
    }
}

fn unique_directory() -> Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("tcpleak-privileges-{}-{count}", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::create_dir(&path)?;
    Ok(path)
}

/// A process that ends when the test does, however that comes out.
pub(super) struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

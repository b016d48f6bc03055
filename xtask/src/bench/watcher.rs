//! Who watches: tcpleak in its several ways, its peers, and nobody.

use std::{
    collections::HashSet,
    fs::{self, File},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::kernel::{self, Program};
use crate::{command, place};

/// A way to watch connections.
pub(crate) struct Watcher {
    /// How the table calls it
    pub(crate) name: &'static str,
    /// Its program; none where nobody watches
    program: Option<&'static str>,
    args: &'static [&'static str],
}

/// How a program that is not tcpleak is called here.
const TCPLEAK: &str = "tcpleak";

/// Nobody: what all others are compared with.
const UNTRACED: Watcher = Watcher {
    name: "untraced",
    program: None,
    args: &[],
};

/// The least that a program in that place can do.
const COUNTER: Watcher = Watcher {
    name: "a counter",
    program: Some("bpftrace"),
    args: &["-e", "tracepoint:sock:inet_sock_set_state { @ = count(); }"],
};

/// The same in all places that the plan `tracepoint` has a program in: what any tracer pays
/// there that knows who opened and who accepted. Tracepoints of a system call make every
/// call of every process slower.
const COUNTERS: Watcher = Watcher {
    name: "as many counters",
    program: Some("bpftrace"),
    args: &[
        "-e",
        "tracepoint:sock:inet_sock_set_state, tracepoint:tcp:tcp_destroy_sock, \
         tracepoint:tcp:tcp_send_reset, tracepoint:tcp:tcp_receive_reset, \
         tracepoint:syscalls:sys_enter_connect, tracepoint:syscalls:sys_exit_connect, \
         tracepoint:syscalls:sys_exit_accept4, tracepoint:syscalls:sys_enter_shutdown, \
         tracepoint:syscalls:sys_exit_shutdown { @ = count(); }",
    ],
};

/// What a tracer pays at least that remembers each socket, whatever of it: when it last
/// moved, here.
const MEMORY: Watcher = Watcher {
    name: "a time per socket",
    program: Some("bpftrace"),
    args: &[
        "-e",
        "tracepoint:sock:inet_sock_set_state { @at[args->skaddr] = nsecs; } \
         tracepoint:tcp:tcp_destroy_sock { delete(@at[args->skaddr]); }",
    ],
};

/// A tracepoint of a system call that hardly anybody makes: the kernel looks for one in
/// every call of every process then (`SYSCALL_WORK_SYSCALL_TRACEPOINT`,
/// include/linux/thread_info.h).
pub(crate) const ONE_CALL: Watcher = Watcher {
    name: "a counter of shutdown(2)",
    program: Some("bpftrace"),
    args: &[
        "-e",
        "tracepoint:syscalls:sys_enter_shutdown { @ = count(); }",
    ],
};

/// What most people use tcpleak for.
pub(crate) const LEAKS: Watcher = tcpleak(
    "tcpleak leaks",
    &[
        "leaks", "--for", "1h", "--format", "csv", "--output", "{file}",
    ],
);

/// Each event of each connection, on disk.
pub(crate) const TRACE: Watcher = tcpleak(
    "tcpleak trace",
    &["trace", "--format", "jsonl", "--output", "{file}"],
);

/// All that are compared.
pub(crate) const ALL: [Watcher; 11] = [
    UNTRACED,
    COUNTER,
    COUNTERS,
    MEMORY,
    LEAKS,
    tcpleak(
        "leaks --stacks off",
        &[
            "leaks", "--stacks", "off", "--for", "1h", "--format", "csv", "--output", "{file}",
        ],
    ),
    TRACE,
    tcpleak("tcpleak record", &["record", "-o", "{file}"]),
    peer("tcplife", "tcplife", &[]),
    peer("tcpstates", "tcpstates", &[]),
    peer(
        "bpftrace",
        "bpftrace",
        &[
            "-e",
            "tracepoint:sock:inet_sock_set_state \
             { printf(\"%d %s %d %d\\n\", pid, comm, args->oldstate, args->newstate); }",
        ],
    ),
];

const fn tcpleak(name: &'static str, args: &'static [&'static str]) -> Watcher {
    peer(name, TCPLEAK, args)
}

const fn peer(name: &'static str, program: &'static str, args: &'static [&'static str]) -> Watcher {
    Watcher {
        name,
        program: Some(program),
        args,
    }
}

/// How long one may take to attach, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const PACE: Duration = Duration::from_millis(50);

/// A clock tick of `/proc/PID/stat` (`USER_HZ`, include/asm-generic/param.h).
const TICK: Duration = Duration::from_millis(10);

/// A watcher at work.
pub(crate) struct Watching {
    child: Option<Child>,
    said: PathBuf,
    before: HashSet<u32>,
    /// From its start until it saw
    pub(crate) began_after: Duration,
}

impl Watcher {
    /// Whether it is no tcpleak, and may not run on this kernel.
    pub(crate) fn is_peer(&self) -> bool {
        self.program.is_some_and(|program| program != TCPLEAK)
    }

    /// Starts it, and waits until it sees. `tcpleak` is ours, `folder` where it writes.
    pub(crate) fn start(&self, tcpleak: &Path, folder: &Path) -> Result<Watching> {
        let file = folder.join("watched");
        let said = folder.join("said");
        let before = kernel::ids()?;
        if file.exists() {
            fs::remove_file(&file)?;
        }
        let mut watching = Watching {
            child: None,
            said,
            before,
            began_after: Duration::ZERO,
        };
        let Some(program) = self.program else {
            return Ok(watching);
        };
        let is_ours = program == TCPLEAK;
        let mut command = if is_ours {
            Command::new(tcpleak)
        } else {
            Command::new(place::find(program).with_context(|| format!("no {program}"))?)
        };
        for arg in self.args {
            command.arg(arg.replace("{file}", &file.to_string_lossy()));
        }
        let socket = folder.join("notify");
        let _ = fs::remove_file(&socket);
        let ready = UnixDatagram::bind(&socket)?;
        ready.set_read_timeout(Some(PATIENCE))?;
        let output = if is_ours {
            Stdio::null()
        } else {
            File::create(&file)?.into()
        };
        let began = Instant::now();
        let child = command
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(File::create(&watching.said)?)
            .spawn()
            .with_context(|| format!("cannot start {}", command::shown(&command)))?;
        watching.child = Some(child);
        if is_ours {
            let mut word = [0; 64];
            let heard = ready.recv(&mut word);
            heard.with_context(|| format!("{}: {}", self.name, watching.words()))?;
            watching.began_after = began.elapsed();
        } else {
            watching.await_programs(began)?;
        }
        Ok(watching)
    }
}

impl Watching {
    /// What it said on standard error.
    fn words(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Its programs in the kernel.
    pub(crate) fn programs(&self) -> Result<Vec<Program>> {
        kernel::programs(&self.before)
    }

    /// A peer says in no common way that it sees: its programs are there, and a while
    /// has passed.
    fn await_programs(&mut self, began: Instant) -> Result<()> {
        while self.programs()?.is_empty() {
            ensure!(
                began.elapsed() < PATIENCE,
                "loads nothing: {}",
                self.words()
            );
            self.check()?;
            sleep(PACE);
        }
        self.began_after = began.elapsed();
        sleep(Duration::from_secs(1));
        self.check()
    }

    /// That it has not ended.
    fn check(&mut self) -> Result<()> {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait()?
        {
            bail!("ended with {status}: {}", self.words());
        }
        Ok(())
    }

    /// Processor time that it and its children took so far.
    pub(crate) fn used(&self) -> Duration {
        let Some(child) = &self.child else {
            return Duration::ZERO;
        };
        let stats = all_stats();
        let ticks: u64 = stats
            .iter()
            .filter(|one| one.pid == child.id() || one.parent == child.id())
            .map(|one| one.ticks)
            .sum();
        TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    /// Bytes of memory that it has, without its children.
    pub(crate) fn resident(&self) -> u64 {
        let Some(child) = &self.child else { return 0 };
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) << 10
    }

    /// Ends it as Ctrl-C does. Returns how many records it says that it lost, if it
    /// says.
    pub(crate) fn stop(mut self) -> Result<Option<u64>> {
        self.check()?;
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        command::run(Command::new("kill").args(["-INT", &child.id().to_string()]))?;
        let asked = Instant::now();
        while child.try_wait()?.is_none() {
            ensure!(asked.elapsed() < PATIENCE, "does not end on Ctrl-C");
            sleep(PACE);
        }
        Ok(lost(&self.words()))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `N records lost`, as tcpleak says it.
fn lost(said: &str) -> Option<u64> {
    let (before, _) = said.rsplit_once(" records lost")?;
    before.rsplit(' ').next()?.parse().ok()
}

struct Stat {
    pid: u32,
    parent: u32,
    ticks: u64,
}

fn all_stats() -> Vec<Stat> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|one| stat(one.file_name().to_str()?.parse().ok()?))
        .collect()
}

fn stat(pid: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // PID (NAME) STATE PARENT, and a name may hold anything; 14 and 15 are utime and stime
    // (proc_pid_stat(5)).
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        pid,
        parent: number(1)?.try_into().ok()?,
        ticks: number(11)? + number(12)?,
    })
}

#[cfg(test)]
mod tests {
    use super::{lost, stat};

    #[test]
    fn what_was_lost_is_read_from_the_last_line() {
        assert_eq!(
            lost("a\n5 delivered, 12 records lost, 0 connections"),
            Some(12)
        );
        assert_eq!(lost("nothing"), None);
    }

    #[test]
    fn a_process_has_a_parent_and_has_used_time() {
        let own = stat(std::process::id()).expect("we run");
        assert!(own.parent != 0 && own.pid == std::process::id());
    }
}

//! Runs the program under test.

use std::{
    env,
    ffi::OsString,
    fs,
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::net::UnixDatagram,
    process::Stdio,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    balance,
    process::{Running, bound_to_us, state},
    temp::TempDir,
    wait_for,
};

/// A running `tcpleak`. Its output goes to files, so that it never waits for us.
#[derive(Debug)]
pub(crate) struct Tcpleak {
    running: Running,
    output: TempDir,
    /// What it tells a service manager.
    notices: UnixDatagram,
}

/// What a `tcpleak` that has ended left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

/// Runs of [`unless_lossy`].
const TRIES: usize = 6;

/// A trace lost records; what it said at its end.
#[derive(Debug, thiserror::Error)]
#[error("records were lost: {0}")]
struct Lossy(String);

/// Runs until no trace has lost anything, as [`Finished::whole`] tells. The kernel skips a
/// breakpoint's program where it interrupts any task that is inside bpf(2)
/// (`bpf_disable_instrumentation`), and counts that; on a preemptible kernel it also
/// skips one whose last run on the CPU was preempted. Of such a run nothing can be said.
pub(crate) fn unless_lossy<T>(mut run: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match run() {
            Err(error) if error.is::<Lossy>() => println!("{error}"),
            done => return done,
        }
    }
    run()
}

/// Held by who attaches probes or takes them away.
static COMING_OR_GOING: RwLock<()> = RwLock::new(());

/// Until this is dropped no other test attaches probes or takes them away: a trampoline
/// would lose the returns of calls that are under way (`bpf_tramp_image_put`,
/// kernel/bpf/trampoline.c). Not to be held where one is started or ended.
pub(crate) fn nobody_comes_or_goes() -> RwLockWriteGuard<'static, ()> {
    let alone = COMING_OR_GOING
        .write()
        .unwrap_or_else(PoisonError::into_inner);
    // A worker of the kernel takes away what a process that has ended had attached
    // (`bpf_link_put_deferred`, kernel/bpf/syscall.c).
    thread::sleep(Duration::from_secs(1));
    alone
}

fn comes_or_goes() -> RwLockReadGuard<'static, ()> {
    COMING_OR_GOING
        .read()
        .unwrap_or_else(PoisonError::into_inner)
}

impl Tcpleak {
    /// Starts it with these arguments, separated by spaces.
    pub(crate) fn start(arguments: &str) -> Result<Self> {
        Self::start_under(&[], arguments)
    }

    /// The same by another program, which becomes it.
    pub(crate) fn start_under(wrapper: &[String], arguments: &str) -> Result<Self> {
        let output = TempDir::new()?;
        let file = |name| File::create(output.path().join(name));
        let manager = output.path().join("manager");
        let notices = UnixDatagram::bind(&manager)?;
        notices.set_nonblocking(true)?;
        let mut words = wrapper.iter().map(OsString::from).chain([program()]);
        let first = words.next().context("nothing to start")?;
        let running = Running::start(
            bound_to_us(first)
                .args(words)
                .args(under_test(arguments.split_whitespace()))
                .env("NOTIFY_SOCKET", manager)
                .stdin(Stdio::null())
                .stdout(file("stdout")?)
                .stderr(file("stderr")?),
        )?;
        Ok(Self {
            running,
            output,
            notices,
        })
    }

    /// Starts it, and waits until it knows what is open and sees what happens.
    pub(crate) fn watching(arguments: &str) -> Result<Self> {
        Self::watching_under(&[], arguments)
    }

    /// The same by another program, which becomes it.
    pub(crate) fn watching_under(wrapper: &[String], arguments: &str) -> Result<Self> {
        let _comes = comes_or_goes();
        let mut tcpleak = Self::start_under(wrapper, arguments)?;
        wait_for("tcpleak to be ready", || {
            if let Some(status) = tcpleak.running.0.try_wait()? {
                let stderr = tcpleak.read("stderr")?;
                bail!("tcpleak {arguments} ended early, {status}: {stderr}");
            }
            Ok(tcpleak.is_ready().then_some(()))
        })?;
        Ok(tcpleak)
    }

    /// Whether it has ended. It is not reaped by that.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(state(self.pid()), None | Some('Z'))
    }

    /// Whether it says that what was open is known. True once.
    fn is_ready(&self) -> bool {
        let mut notice = [0; 64];
        let told = self.notices.recv(&mut notice);
        told.is_ok_and(|bytes| notice[..bytes].starts_with(b"READY=1"))
    }

    /// Whether it handles SIGTERM, the last thing before it watches. Unlike the
    /// output's first line this holds for every format.
    pub(crate) fn is_attached(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.running.pid()));
        let caught = status.as_deref().unwrap_or_default().lines();
        let caught = caught
            .filter_map(|line| line.strip_prefix("SigCgt:"))
            .next();
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_some_and(|mask| mask & (1 << (Signal::SIGTERM as i32 - 1)) != 0)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.running.signal(signal)
    }

    /// The lines of JSON that it has printed so far.
    pub(crate) fn lines(&self) -> Result<Vec<Value>> {
        let printed = self.read("stdout")?;
        let complete = printed.rsplit_once('\n').map_or("", |(lines, _)| lines);
        parse_lines(complete)
    }

    /// The lines of JSON after the first `read` bytes; moves `read` past them.
    pub(crate) fn lines_after(&self, read: &mut u64) -> Result<Vec<Value>> {
        let mut file = File::open(self.output.path().join("stdout"))?;
        file.seek(SeekFrom::Start(*read))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        *read += complete as u64;
        parse_lines(&text[..complete])
    }

    /// Waits until a line that `is_it` has been printed.
    pub(crate) fn wait_line(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut read = 0;
        wait_for(what, || {
            Ok(self.lines_after(&mut read)?.into_iter().find(&is_it))
        })
    }

    /// Waits until it ends by itself. Of a run that ended well, the records must
    /// balance.
    pub(crate) fn finish(mut self) -> Result<Finished> {
        let _goes = comes_or_goes();
        let status = self.running.wait()?;
        let finished = Finished {
            code: status.code(),
            stdout: self.read("stdout")?,
            stderr: self.read("stderr")?,
        };
        if matches!(finished.code, Some(0 | 3)) {
            balance::check(&finished.stdout, &finished.stderr)?;
        }
        Ok(finished)
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(self) -> Result<Finished> {
        self.signal(Signal::SIGINT)?;
        self.finish()
    }

    /// The same once it has watched for so long from now. What is to be seen is
    /// there already: so a slow machine sees it as well as a fast one.
    pub(crate) fn interrupt_after(self, watch: Duration) -> Result<Finished> {
        thread::sleep(watch);
        self.interrupt()
    }

    /// What it has said on standard error so far.
    pub(crate) fn said(&self) -> Result<String> {
        self.read("stderr")
    }

    fn read(&self, name: &str) -> Result<String> {
        Ok(fs::read_to_string(self.output.path().join(name))?)
    }
}

impl Finished {
    /// Whether a trace says that no snapshot had to mend anything.
    pub(crate) fn repaired_nothing(&self) -> bool {
        self.stderr.contains(" 0 connections repaired")
    }

    /// It, unless its trace lost records: see [`unless_lossy`].
    pub(crate) fn whole(self) -> Result<Self> {
        match self.lost()? {
            0 => Ok(self),
            _ => Err(Lossy(self.stderr).into()),
        }
    }

    /// How many records `trace` says that it lost.
    pub(crate) fn lost(&self) -> Result<usize> {
        balance::lost(&self.stderr)
    }

    /// The document on standard output; that the exit code is 0 is a condition.
    pub(crate) fn json(&self) -> Result<Value> {
        self.succeeded()?;
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON: {}", self.stdout))
    }

    /// The lines of JSON on standard output, likewise.
    pub(crate) fn lines(&self) -> Result<Vec<Value>> {
        self.succeeded()?;
        parse_lines(&self.stdout)
    }

    /// As [`Tcpleak::lines_after`].
    pub(crate) fn lines_after(&self, read: u64) -> Result<Vec<Value>> {
        let rest = self.stdout.get(usize::try_from(read)?..);
        parse_lines(rest.context("less was printed than was read")?)
    }

    fn succeeded(&self) -> Result<()> {
        ensure!(
            self.code == Some(0),
            "tcpleak ended with {:?}: {}",
            self.code,
            self.stderr
        );
        Ok(())
    }
}

/// These arguments, and for the commands that trace, where they do not say themselves:
/// `--plan` if `TCPLEAK_PLAN` names one, so one suite tests every plan; and that nothing
/// be left out on a host that is slow, or busy with other tests.
pub(crate) fn under_test<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let traces = words
        .first()
        .is_some_and(|command| ["leaks", "trace", "record", "doctor"].contains(&command.as_str()))
        && !words.iter().any(|word| word == "--from");
    let plan = env::var("TCPLEAK_PLAN").ok();
    let wanted = [("--plan", plan), ("--max-overhead", Some("100".to_owned()))];
    let mut missing = Vec::new();
    for (flag, value) in wanted {
        if let Some(value) = value
            && traces
            && !words.iter().any(|word| word == flag)
        {
            missing.extend([flag.to_owned(), value]);
        }
    }
    words.extend(missing);
    words
}

/// The program: `cargo xtask test` names the one that it built.
pub(crate) fn program() -> OsString {
    env::var_os("TCPLEAK_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_tcpleak").into())
}

/// Runs it to its end.
pub(crate) fn run(arguments: &str) -> Result<Finished> {
    Tcpleak::start(arguments)?.finish()
}

fn parse_lines(text: &str) -> Result<Vec<Value>> {
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect()
}

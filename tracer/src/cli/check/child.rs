//! The command, held before its first instruction until it is traced.
//!
//! A child of ours waits at a pipe and then becomes the command: the same process, so
//! that all is set up for it before there is anything to miss. If tcpleak dies first,
//! the pipe ends, and so does the child.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, close, pipe},
};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::{check::report::Ended, cli::args::HeldArgs, model::untrusted::Untrusted};

/// Runs a command that is not to run yet.
#[derive(Debug)]
pub(super) struct Held {
    child: Child,
    go: File,
    failed: File,
}

impl Held {
    /// Starts the process that will be the command. Must be called before other
    /// threads start: they might start programs that keep the pipes open.
    ///
    /// # Errors
    /// Where no process can be started.
    pub(super) fn start(command: &[OsString], equip: impl FnOnce(&mut Command)) -> Result<Self> {
        let (waits, go) = pipe().context("cannot make a pipe")?;
        let (failed, tells) = pipe().context("cannot make a pipe")?;
        for ours in [&go, &failed] {
            fcntl_setfd(ours, FdFlags::CLOEXEC).context("cannot make a pipe")?;
        }
        let mut held = Command::new("/proc/self/exe");
        held.arg("held")
            .args([&waits, &tells].map(|fd: &OwnedFd| fd.as_raw_fd().to_string()))
            .arg("--")
            .args(command);
        equip(&mut held);
        let child = held.spawn().context("cannot start a process")?;
        Ok(Self {
            child,
            go: File::from(go),
            failed: File::from(failed),
        })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it become the command.
    ///
    /// # Errors
    /// Where the command cannot be run.
    pub(super) fn release(mut self) -> Result<Running> {
        let mut why = String::new();
        self.go
            .write_all(b"!")
            .context("the command's process has ended")?;
        // Ends when the command's program is in its place.
        self.failed.read_to_string(&mut why)?;
        if !why.is_empty() {
            self.child.wait()?;
            bail!("{why}");
        }
        Ok(Running(self.child))
    }
}

/// The command, running.
#[derive(Debug)]
pub(super) struct Running(Child);

impl Running {
    /// Passes a signal on.
    pub(super) fn signal(&self, signal: Signal) {
        // It is not reaped yet, so the id is its own.
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// How it ended, once it has.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub(super) fn ended(&mut self) -> Result<Option<Ended>> {
        let status = self.0.try_wait().context("cannot wait for the command")?;
        Ok(status.map(ended))
    }
}

fn ended(status: ExitStatus) -> Ended {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(byte(code)),
        (None, signal) => Ended::Killed(byte(signal.unwrap_or(0))),
    }
}

/// The child's side: waits for the word, then becomes the command.
///
/// # Errors
/// Where the pipes are not there.
pub(super) fn become_command(args: &HeldArgs) -> Result<()> {
    // Opened anew, so that they are closed when the command takes over.
    let mut go = File::open(format!("/proc/self/fd/{}", args.go))?;
    let path = format!("/proc/self/fd/{}", args.failed);
    let mut failed = OpenOptions::new().write(true).open(path)?;
    close(args.go)?;
    close(args.failed)?;
    let mut word = [0];
    if go.read(&mut word)? == 0 {
        // tcpleak has ended, and said why.
        return Ok(());
    }
    let (program, arguments) = args.command.split_first().context("no command")?;
    let error = Command::new(program).args(arguments).exec();
    let name = Untrusted::from(program.to_string_lossy().as_ref());
    let _ = write!(failed, "cannot run '{name}': {error}");
    Ok(())
}

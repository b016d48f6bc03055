//! The collector's side of the helper: starts it, asks it, ends it.

use std::{
    fs::File,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};

use super::protocol::{Implausible, MAX_MESSAGE, Question};
use crate::snapshot::clocks;

/// The hidden command that makes tcpleak the helper.
pub const COMMAND: &str = "symbol-helper";

/// How long one question may take. Debug information of half a gigabyte takes a
/// few seconds; a file that takes longer has no names.
const PATIENCE: Duration = Duration::from_secs(10);

/// Helpers that may fail, one after the other and in all: each failure costs what
/// it was asked, and a host full of hostile files is not to keep us busy for ever.
const MAX_FAILURES: u32 = 64;

/// A helper that is started when it is needed, and again after it has failed.
#[derive(Debug, Default)]
pub(super) struct Service {
    helper: Option<Helper>,
    failures: u32,
    /// Processor time of the helpers that have ended.
    ended: Duration,
}

#[derive(Debug)]
struct Helper {
    process: Child,
    socket: OwnedFd,
}

impl Service {
    /// Asks something of a file; `read` makes out the answer.
    ///
    /// # Errors
    /// Where the helper cannot be started, has failed too often, or fails at this.
    pub(super) fn ask<T>(
        &mut self,
        file: &File,
        question: &Question,
        read: impl Fn(&[u8]) -> Result<T, Implausible>,
    ) -> Result<T> {
        let message = serde_json::to_vec(question)?;
        // One that has answered before may have ended since: having met many files,
        // or killed. Only a new one's failure is this file's.
        if let Some(helper) = &self.helper {
            match helper.ask(file, &message, &read) {
                Ok(answer) => return Ok(answer),
                Err(_) => self.end(),
            }
        }
        ensure!(
            self.failures < MAX_FAILURES,
            "the helper has failed too often"
        );
        let answer = Helper::start().and_then(|helper| {
            let helper = self.helper.insert(helper);
            helper.ask(file, &message, &read)
        });
        if answer.is_err() {
            self.end();
            self.failures += 1;
        }
        answer
    }

    fn end(&mut self) {
        self.ended = self.used();
        self.helper = None;
    }

    /// Processor time of all helpers so far.
    pub(super) fn used(&self) -> Duration {
        let now = self.helper.as_ref().map(Helper::used);
        self.ended + now.unwrap_or_default()
    }
}

impl Helper {
    fn start() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let process = Command::new("/proc/self/exe")
            .arg(COMMAND)
            .env_clear()
            .stdin(Stdio::from(its))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the helper that reads symbols")?;
        Ok(Self {
            process,
            socket: ours,
        })
    }

    fn used(&self) -> Duration {
        let pid = i32::try_from(self.process.id());
        pid.map_or(Duration::ZERO, |pid| clocks::time_of(Pid::from_raw(pid)))
    }

    fn ask<T>(
        &self,
        file: &File,
        message: &[u8],
        read: impl Fn(&[u8]) -> Result<T, Implausible>,
    ) -> Result<T> {
        let files = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        sendmsg(
            &self.socket,
            &[IoSlice::new(message)],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;

        let patience = Timespec::try_from(PATIENCE)?;
        let mut wanted = [PollFd::new(&self.socket, PollFlags::IN)];
        ensure!(
            poll(&mut wanted, Some(&patience))? > 0,
            "the helper takes too long"
        );
        let mut answer = vec![0; MAX_MESSAGE];
        // No room for descriptors: the helper has none to give.
        let nothing = &mut RecvAncillaryBuffer::default();
        let parts = &mut [IoSliceMut::new(&mut answer)];
        let received = recvmsg(&self.socket, parts, nothing, RecvFlags::empty())?;
        ensure!(received.bytes > 0, "the helper has ended");
        Ok(read(&answer[..received.bytes])?)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

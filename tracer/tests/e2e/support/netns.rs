//! Network namespaces of the test's own.

use std::{fs, os::unix::fs::MetadataExt, process::Command};

use anyhow::Result;

use super::{process::output, temp::unique_name};

/// A named network namespace with a loopback; removed when dropped.
#[derive(Debug)]
pub(crate) struct Netns {
    /// As `ip netns` knows it.
    pub(crate) name: String,
}

impl Netns {
    /// Makes one.
    pub(crate) fn new() -> Result<Self> {
        let netns = Self {
            name: unique_name(),
        };
        output(Command::new("ip").args(["netns", "add", &netns.name]))?;
        output(netns.command("ip").args(["link", "set", "lo", "up"]))?;
        Ok(netns)
    }

    /// A command that will run inside, as the same process.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Its inode number, which names it everywhere.
    pub(crate) fn inode(&self) -> Result<u64> {
        Ok(fs::metadata(format!("/run/netns/{}", self.name))?.ino())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = output(Command::new("ip").args(["netns", "del", &self.name]));
    }
}

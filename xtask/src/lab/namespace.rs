//! The network of a run: a namespace that tcpleak watches, and where peers must
//! be out of its sight or able to vanish, a second one at the end of a link.

use std::{
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Result;

use super::scenario::Place;
use crate::command;

/// The link's interface, by the same name on both sides.
const LINK: &str = "wire";
const NEAR: &str = "10.77.0.1";
const FAR: &str = "10.77.0.2";
/// All of these are addresses of the far side.
const FAR_HOSTS: &str = "10.78.0.1/16";

/// The namespaces of one run; removed when dropped.
#[derive(Debug)]
pub(crate) struct Network {
    near: String,
    far: Option<String>,
}

/// Where a program at `place` finds the others of its scenario, which is `far_too` or
/// in one namespace only.
pub(crate) const fn other_host(place: Place, far_too: bool) -> &'static str {
    match (place, far_too) {
        (_, false) => "127.0.0.1",
        (Place::Near, true) => FAR,
        (Place::Far, true) => NEAR,
    }
}

impl Network {
    /// Makes them.
    pub(crate) fn new(has_far: bool) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let near = format!("lab-{}-{number}", std::process::id());
        let network = Self {
            far: has_far.then(|| format!("{near}-far")),
            near,
        };
        for name in network.names() {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        if let Some(far) = &network.far {
            network.join(far)?;
        }
        Ok(network)
    }

    fn join(&self, far: &str) -> Result<()> {
        let near = &self.near;
        ip(&[
            "-n", near, "link", "add", LINK, "type", "veth", "peer", "name", LINK, "netns", far,
        ])?;
        for (side, address) in [(near.as_str(), NEAR), (far, FAR)] {
            let address = format!("{address}/24");
            ip(&["-n", side, "address", "add", &address, "dev", LINK])?;
            ip(&["-n", side, "link", "set", LINK, "up"])?;
        }
        ip(&["-n", far, "address", "add", FAR_HOSTS, "dev", "lo"])?;
        ip(&["-n", near, "route", "add", "10.78.0.0/16", "via", FAR])
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        [self.near.as_str()].into_iter().chain(self.far.as_deref())
    }

    /// The name of the watched one, as `ip netns` knows it.
    pub(crate) fn watched(&self) -> &str {
        &self.near
    }

    /// A command that will run at `place`, and end should this process be killed.
    pub(crate) fn command(&self, place: Place) -> Command {
        let name = match (place, &self.far) {
            (Place::Far, Some(far)) => far,
            _ => &self.near,
        };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name, "setpriv", "--pdeathsig=KILL", "--"]);
        command
    }

    /// Sets what `sysctl` names, on both sides.
    pub(crate) fn set(&self, key: &str, value: i64) -> Result<()> {
        let setting = format!("{key}={value}");
        for place in [Place::Near, Place::Far] {
            let mut sysctl = self.command(place);
            command::output(sysctl.args(["sysctl", "--quiet", "--write", &setting]))?;
        }
        Ok(())
    }

    /// Ids of every process inside; only programs of this run are.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.names()
            .filter_map(|name| {
                command::output(Command::new("ip").args(["netns", "pids", name])).ok()
            })
            .flat_map(|pids| {
                let pids = pids.split_whitespace().map(str::parse);
                pids.filter_map(Result::ok).collect::<Vec<_>>()
            })
            .collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.names() {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    command::output(Command::new("ip").args(arguments)).map(drop)
}

//! A trace that starts in the middle of much that is open and comes and goes.

use std::{collections::HashMap, thread::sleep, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use tracer_common::event::FoldRecord;

use crate::support::{
    Program, Tcpleak, Witness,
    loaded::entries,
    patience,
    random::number,
    report::{fds, group_of, list, numbers},
    wait_for,
    witness::ordered,
};

/// Connections open before the start; `TCPLEAK_MIDDLE` makes it another number.
const OPEN: usize = 5_000;

#[test]
fn all_that_was_open_is_inherited_once_with_its_owner() -> Result<()> {
    let crowd = Crowd::gather()?;
    let witness = Witness::new()?;
    let tcpleak = Tcpleak::watching(&format!("trace --port {} --format jsonl", crowd.port))?;
    crowd.ends_told(tcpleak, &witness, "inherited")
}

/// What was folded when it was opened, and stays, makes room for others; and what becomes
/// of it then is told like anything else.
#[test]
fn all_that_was_folded_is_let_go_and_told_once_with_its_owner() -> Result<()> {
    let witness = Witness::new()?;
    let tcpleak = Tcpleak::watching("trace --format jsonl --fold-above 0")?;
    let crowd = Crowd::gather()?;
    let fold = || entries::<{ size_of::<FoldRecord>() }>(tcpleak.pid(), "FOLDS");
    let before = fold()?;
    let mut after = before;
    // Ten seconds are enough for those on this side of the map; looks come once a second.
    for _ in 0..patience().as_secs() {
        if after * 2 < crowd.expected.len() {
            break;
        }
        sleep(Duration::from_secs(1));
        after = fold()?;
    }
    assert!(
        after * 2 < crowd.expected.len(),
        "{after} of {before} are folded still"
    );
    crowd.ends_told(tcpleak, &witness, "observed")
}

/// Many connections between two processes.
struct Crowd {
    program: Program,
    port: u16,
    said: Value,
    /// By role and the client's port: the process and the fd.
    expected: HashMap<Side, (Value, Value)>,
}

/// The role and the client's port.
type Side = (&'static str, u16);

impl Crowd {
    fn gather() -> Result<Self> {
        let open = number("TCPLEAK_MIDDLE")?.unwrap_or(OPEN);
        let program = Program::start("crowd", &open.to_string())?;
        let said = program.hear()?;
        let mut expected = HashMap::new();
        for connection in list(&said, "fds")? {
            let three = connection.as_array().context("no list")?;
            let [at, client, server] = &three[..] else {
                anyhow::bail!("not three: {three:?}");
            };
            let at = u16::try_from(at.as_u64().context("no port")?)?;
            expected.insert(("client", at), (said["client"].clone(), client.clone()));
            expected.insert(("server", at), (said["server"].clone(), server.clone()));
        }
        assert_eq!(expected.len(), 2 * open);
        Ok(Self {
            program,
            port: u16::try_from(said["port"].as_u64().context("no port")?)?,
            said,
            expected,
        })
    }

    /// Ends them: each end is told once, of its owner, and how this is known.
    fn ends_told(mut self, tcpleak: Tcpleak, witness: &Witness, known: &str) -> Result<()> {
        self.program.ask("close")?;
        let owners = [&self.said["client"], &self.said["server"]];
        let mut read = 0;
        let mut ends: HashMap<_, Vec<Value>> = HashMap::new();
        wait_for("all ends to be told", || {
            for event in tcpleak.lines_after(&mut read)? {
                // Ports that are free again may be another program's next.
                let is_anothers = event["pid"].is_u64() && !owners.contains(&&event["pid"]);
                if event["event"] == "gone"
                    && !is_anothers
                    && let Some(side) = self.side(&event)
                    && self.expected.contains_key(&side)
                {
                    ends.entry(side).or_default().push(event);
                }
            }
            Ok((ends.len() == self.expected.len()).then_some(()))
        })?;
        let finished = tcpleak.interrupt()?;
        // Whose end was lost is gone like the others, but nobody knows by whom.
        let mut unheard = 0;
        let hidden = witness.hidden()?;
        for (side, ends) in ends {
            let [end] = &ends[..] else {
                panic!("{side:?} is gone several times: {ends:?}");
            };
            let (role, at) = side;
            if hidden.contains(&ordered(self.port, at)) {
                continue;
            }
            let by = if role == "client" { "local" } else { "peer" };
            let (pid, fd) = &self.expected[&side];
            assert_eq!(end["known"], known, "{end}");
            assert_eq!((&end["pid"], &end["fd"]), (pid, fd), "{end}");
            if end["closed_by"].is_null() {
                unheard += 1;
            } else {
                assert_eq!(end["closed_by"], by, "{end}");
            }
        }
        let lost = finished.lost()?;
        assert!(unheard <= lost, "{unheard} of {}", finished.stderr);
        Ok(())
    }

    /// Which side of which of these connections an event is of.
    fn side(&self, event: &Value) -> Option<Side> {
        let (role, ends) = match event["role"].as_str()? {
            "client" => ("client", ["local", "remote"]),
            "server" => ("server", ["remote", "local"]),
            _ => return None,
        };
        let port = |end: &str| event[end].as_str()?.rsplit_once(':')?.1.parse().ok();
        let [at, listener] = ends.map(port);
        (listener == Some(self.port)).then_some((role, at?))
    }
}

/// Opened and accepted by io_uring: no system call names the fds, but snapshots do.
#[test]
fn what_io_uring_opened_has_its_owner_and_fds() -> Result<()> {
    const COUNT: usize = 5;
    let tcpleak = Tcpleak::watching("leaks --for 1h --all --format json")?;
    let uring = Program::start("uring", &COUNT.to_string())?;
    let said = uring.hear()?;
    let report = tcpleak.interrupt()?.json()?;
    for (role, name) in [("client", "clients"), ("server", "servers")] {
        let group = group_of(&report, uring.pid(), role)?;
        assert_eq!(fds(group)?, numbers(&said, name)?);
        for connection in list(group, "connections")? {
            assert_eq!(connection["known"], "observed", "{connection}");
        }
    }
    Ok(())
}

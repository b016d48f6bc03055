//! Whatever the kernel refuses while `tcpleak` loads and attaches, it goes on
//! without and says so, or says in one line what is missing and what to do; and
//! nothing half attached stays. Played by strace, which makes one call fail.

use std::{
    net::{TcpListener, TcpStream},
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::support::{
    loaded::Loaded,
    random::{chance, number},
    report::groups_of,
    strace::{Call, Traced, calls_to_attach},
    tcpleak::run,
};

/// How the kernel may refuse.
const ERRORS: [&str; 4] = ["EPERM", "EINVAL", "ENOMEM", "E2BIG"];

/// How many refusals are tried; `TCPLEAK_REFUSALS` sets another number, and the
/// largest stands for all there are.
const REFUSALS: usize = 20;

#[test]
fn a_refused_call_is_done_without_or_ends_it_in_one_line() -> Result<()> {
    let mut chance = chance()?;
    let traffic = Traffic::start()?;
    let arguments = format!(
        "leaks --all --port {} --for 300ms --format json",
        traffic.port
    );
    let usual = run(&arguments)?.json()?;
    assert_told(&usual)?;
    let calls = calls_to_attach(&arguments)?;
    let mut refusals: Vec<(&Call, &str)> = calls
        .iter()
        // What the kernel refuses anyway shows nothing.
        .filter(|call| !call.text.contains(" = -1 "))
        .flat_map(|call| ERRORS.map(|error| (call, error)))
        .collect();
    chance.shuffle(&mut refusals);
    refusals.truncate(number("TCPLEAK_REFUSALS")?.unwrap_or(REFUSALS));

    let mut ended = 0;
    for &(call, error) in &refusals {
        let what = format!("{error} for {} {}: {}", call.name, call.nth, call.text);
        let case = refuse(&arguments, call, error, &usual, calls.len()).context(what)?;
        ended += usize::from(case == Case::Ended);
    }
    println!(
        "{} refusals of {} calls: {ended} ended it, without the others it went on",
        refusals.len(),
        calls.len(),
    );
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Case {
    Ended,
    WentOn,
}

fn refuse(
    arguments: &str,
    call: &Call,
    error: &str,
    usual: &Value,
    usual_calls: usize,
) -> Result<Case> {
    let last = if call.text.contains("BPF_PROG_LOAD") {
        // A refused program is loaded once more, for the verifier's reasons.
        call.nth + 1
    } else {
        call.nth
    };
    let how = format!("error={error}");
    let traced = Traced::start(arguments, Some((call, last, &how)))?;
    let mut loaded = Loaded::default();
    while !traced.tcpleak.has_ended() {
        loaded.add(traced.tcpleak.pid())?;
        sleep(Duration::from_millis(5));
    }
    let calls = traced.calls()?;
    let finished = traced.tcpleak.finish()?;
    loaded.wait_freed()?;
    if finished.code == Some(0) {
        let report = finished.json()?;
        assert_told(&report)?;
        let says_so = report["plan"] != usual["plan"] || report["blind"] != usual["blind"];
        ensure!(
            says_so || !call.is_ours() || calls.len() > usual_calls,
            "nothing was done instead, and nothing said: {report}"
        );
        return Ok(Case::WentOn);
    }
    let said = &finished.stderr;
    ensure!(
        finished.code == Some(1) && finished.stdout.is_empty(),
        "{finished:?}"
    );
    ensure!(
        said.starts_with("tcpleak: ") && said.lines().count() == 1,
        "{said}"
    );
    let advice = said.rsplit_once("; ").map_or("", |(_, advice)| advice);
    ensure!(!advice.is_empty(), "it does not say what to do: {said}");
    Ok(Case::Ended)
}

/// Connections that were opened during the watch are in the report, as ours.
fn assert_told(report: &Value) -> Result<()> {
    let groups = groups_of(report, process::id())?;
    let opened = groups.iter().filter_map(|group| group["opened"].as_u64());
    ensure!(opened.sum::<u64>() > 0, "no connection is told: {report}");
    Ok(())
}

/// Connections to ourselves, opened and closed all the time. Ends when dropped.
struct Traffic {
    port: u16,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Traffic {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let thread = thread::spawn(move || -> Result<()> {
            while !until.load(Ordering::Relaxed) {
                let client = TcpStream::connect(address)?;
                let (server, _) = listener.accept()?;
                sleep(Duration::from_millis(5));
                drop((client, server));
            }
            Ok(())
        });
        Ok(Self {
            port: address.port(),
            is_over,
            thread: Some(thread),
        })
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

//! What was recorded tells the same as the trace did, to anybody, and after whatever
//! happened to it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    fcntl::{FcntlArg, fcntl},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};
use serde_json::Value;

use crate::support::{
    Nginx, Program, Tcpleak,
    report::{group_of, groups_of, list},
    tcpleak::program,
    temp::TempDir,
    wait_for,
};

/// Runs it without any privilege.
fn as_nobody(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
    ]);
    Ok(command.arg(program()).args(arguments).output()?)
}

/// Standard output of a run that succeeded.
fn told(arguments: &[&str]) -> Result<String> {
    let output = as_nobody(arguments)?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// A path in the folder that anybody may read what is at.
fn public(folder: &TempDir, name: &str) -> Result<String> {
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let path = folder.path().join(name);
    Ok(path.to_str().context("a name of ours")?.to_owned())
}

fn publish(path: &str) -> Result<()> {
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o644),
    )?)
}

#[test]
fn a_report_from_a_recording_is_the_live_one() -> Result<()> {
    let folder = TempDir::new()?;
    let recording = public(&folder, "a.tcpleak")?;
    let nginx = Nginx::start()?;
    let tcpleak = Tcpleak::watching(&format!(
        "leaks --for 10m --all --format json --record {recording}"
    ))?;
    let leaking = Program::start("missing_close", &format!("{} 12 6", nginx.port))?;
    let curls = Program::start("curls", &format!("{} 0", nginx.port))?;
    leaking.hear()?;
    let live = tcpleak.interrupt_after(Duration::from_secs(7))?;
    curls.finish()?;
    assert_eq!(live.code, Some(0), "{}", live.stderr);
    let mode = fs::metadata(&recording)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it says who talks to whom");
    publish(&recording)?;

    let leaks = ["leaks", "--all", "--format", "json", "--from", &recording];
    assert!(
        told(&leaks)? == live.stdout,
        "another report than the live one"
    );
    assert!(
        told(&leaks)? == live.stdout,
        "another report the second time"
    );

    let report: Value = serde_json::from_str(&live.stdout)?;
    let leak = group_of(&report, leaking.pid(), "client")?;
    let pid = leaking.pid().to_string();
    let of_pid: Value = serde_json::from_str(&told(&[&leaks[..], &["--pid", &pid]].concat())?)?;
    assert_eq!(groups_of(&of_pid, leaking.pid())?, [leak]);
    Ok(())
}

#[test]
fn events_from_a_recording_are_the_live_ones() -> Result<()> {
    let folder = TempDir::new()?;
    let recording = public(&folder, "a.tcpleak")?;
    let nginx = Nginx::start()?;
    let tcpleak = Tcpleak::watching(&format!(
        "trace --port {} --format jsonl --record {recording}",
        nginx.port
    ))?;
    Program::start("curls", &format!("{} 20", nginx.port))?.finish()?;
    let live = tcpleak.interrupt_after(Duration::from_secs(2))?;
    assert_eq!(live.code, Some(0), "{}", live.stderr);
    assert!(live.stdout.lines().count() >= 80, "{}", live.stdout);
    publish(&recording)?;
    let told = told(&["trace", "--format", "jsonl", "--from", &recording])?;
    assert!(told == live.stdout, "{told}\nis not\n{}", live.stdout);
    Ok(())
}

#[test]
fn killed_it_has_all_but_the_last_second() -> Result<()> {
    let folder = TempDir::new()?;
    let recording = public(&folder, "a.tcpleak")?;
    let tcpleak = Tcpleak::watching(&format!("record -o {recording}"))?;
    let mut ends = Program::start("ends", "")?;
    ends.hear()?;
    ends.ask("hold 5")?;
    // Written after at most a second, and here are more for where all is slow.
    std::thread::sleep(Duration::from_secs(5));
    tcpleak.signal(Signal::SIGKILL)?;
    let _ = tcpleak.finish();
    publish(&recording)?;

    let output = as_nobody(&["ps", "--format", "json", "--from", &recording])?;
    let said = String::from_utf8(output.stderr)?;
    assert!(said.contains("cut off"), "{said}");
    let open: Value = serde_json::from_slice(&output.stdout)?;
    let own = list(&open, "connections")?.iter().filter(|connection| {
        connection["pid"] == ends.pid() && connection["state"] == "ESTABLISHED"
    });
    assert_eq!(own.count(), 10, "both ends of five");
    Ok(())
}

/// A file system with room for so many KiB; taken away when dropped.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(path: &'a Path, kib: u32) -> Result<Self> {
        let options = format!("size={kib}k,mode=755");
        mount(
            Some("none"),
            path,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(options.as_str()),
        )?;
        Ok(Self(path))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

/// Whether it says that its disk is full. A block that does not fit leaves the file as it
/// was, so that the length does not tell.
fn is_full(tcpleak: &Tcpleak) -> Result<bool> {
    Ok(tcpleak.said()?.contains("No space left"))
}

#[test]
fn a_full_disk_costs_what_does_not_fit() -> Result<()> {
    let folder = TempDir::new()?;
    // Several blocks fit: one holds a second.
    let small = Small::mount(folder.path(), 256)?;
    let recording = public(&folder, "a.tcpleak")?;
    let churn = Program::start("churn", "2000")?;
    let port = churn.hear()?["port"].clone();
    // Nothing else that is open may fill it.
    let tcpleak = Tcpleak::watching(&format!("record --port {port} -o {recording}"))?;
    wait_for("it to say that the disk is full", || {
        Ok(is_full(&tcpleak)?.then_some(()))
    })?;
    let finished = tcpleak.interrupt()?;
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("No space left"),
        "{}",
        finished.stderr
    );
    publish(&recording)?;

    let output = as_nobody(&["leaks", "--all", "--format", "json", "--from", &recording])?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let seen = report["summary"]["connections_seen"].as_u64();
    assert!(seen > Some(100), "{}", report["summary"]);
    drop(small);
    Ok(())
}

#[test]
fn a_report_is_not_lost_with_its_recording() -> Result<()> {
    let folder = TempDir::new()?;
    let small = Small::mount(folder.path(), 64)?;
    let recording = public(&folder, "a.tcpleak")?;
    let arguments = format!("leaks --for 10m --all --format json --record {recording}");
    let tcpleak = Tcpleak::watching(&arguments)?;
    let mut ends = Program::start("ends", "")?;
    ends.hear()?;
    let mut made = 0;
    while made < 1_000 || !is_full(&tcpleak)? {
        ensure!(made < 100_000, "it is never full");
        ends.ask("many 500")?;
        made += 500;
    }
    let finished = tcpleak.interrupt()?;
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("No space left"),
        "{}",
        finished.stderr
    );
    let report: Value = serde_json::from_str(&finished.stdout)?;
    let seen = report["summary"]["connections_seen"].as_u64();
    assert!(seen >= Some(2 * made), "{seen:?} ends of {made}");
    drop(small);
    Ok(())
}

#[test]
fn a_stalled_disk_stops_neither_the_trace_nor_its_end() -> Result<()> {
    let folder = TempDir::new()?;
    let fifo = folder.path().join("stalled");
    mkfifo(&fifo, Mode::S_IRWXU)?;
    // Opened, and never read from.
    let reader = fs::OpenOptions::new().read(true).write(true).open(&fifo)?;
    // One page, which is soon full.
    fcntl(&reader, FcntlArg::F_SETPIPE_SZ(1))?;
    let tcpleak = Tcpleak::watching(&format!("trace --format jsonl --record {}", fifo.display()))?;
    let churn = Program::start("churn", "200")?;
    let port = churn.hear()?["port"].clone();
    let end = format!("127.0.0.1:{port}");
    let (mut read, mut told) = (0, 0);
    wait_for("more than the pipe takes", || {
        let lines = tcpleak.lines_after(&mut read)?;
        told += lines.iter().filter(|event| event["remote"] == end).count();
        Ok((told > 2_000).then_some(()))
    })?;
    churn.finish()?;
    // What waits is written each second.
    std::thread::sleep(Duration::from_secs(2));
    let finished = tcpleak.interrupt()?;
    drop(reader);
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("takes no more"),
        "{}",
        finished.stderr
    );
    Ok(())
}

/// A clock that a file sets; Debian's place of it.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

#[test]
fn a_clock_set_back_costs_nothing() -> Result<()> {
    let folder = TempDir::new()?;
    let recording = public(&folder, "a.tcpleak")?;
    let clock = public(&folder, "clock")?;
    let real = || -> Result<i64> { Ok(jiff::Timestamp::now().as_second()) };
    fs::write(&clock, "-7200")?;
    let wrapper = [
        "env".to_owned(),
        format!("LD_PRELOAD={FAKETIME}"),
        format!("FAKETIME_TIMESTAMP_FILE={clock}"),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    let mut ends = Program::start("ends", "")?;
    let port = ends.hear()?["port"].clone();
    let began = real()?;
    let arguments = format!("record -o {recording} --port {port}");
    let tcpleak = Tcpleak::watching_under(&wrapper, &arguments)?;
    ends.ask("many 20")?;
    fs::write(&clock, "-10800")?;
    ends.ask("many 20")?;
    let finished = tcpleak.interrupt_after(Duration::from_secs(3))?;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let lasted = real()? - began;

    publish(&recording)?;
    let report = told(&["leaks", "--all", "--format", "json", "--from", &recording])?;
    let report: Value = serde_json::from_str(&report)?;
    assert_eq!(report["loss"]["events_lost"], 0, "{}", report["loss"]);
    assert_eq!(report["summary"]["connections_seen"], 80, "both ends of 40");
    let at = |name: &str| -> Result<i64> {
        let at = report["window"][name].as_str().context("no time")?;
        Ok(at.parse::<jiff::Timestamp>()?.as_second())
    };
    let (from, to) = (at("from")?, at("to")?);
    let behind = began - from;
    assert!(
        (7_100..7_300).contains(&behind),
        "by {behind} s: not that clock"
    );
    assert!(
        (1..=lasted + 1).contains(&(to - from)),
        "{from} to {to}, {lasted} s"
    );
    Ok(())
}

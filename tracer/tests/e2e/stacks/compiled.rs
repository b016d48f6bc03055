//! Programs from compilers: function and line are named, and hostile files cost a
//! frame its name, nothing else.

mod hiding;
mod made;
mod unwound;

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    net::TcpListener,
    os::unix::fs::chown,
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};
use serde_json::Value;

use super::WATCH;
use crate::support::{
    Tcpleak,
    compiled::{Client, Compiled},
    net::free_port,
    report::{group_of, groups_of, list},
    wait_for,
};

/// A port that accepts and keeps what comes.
fn server() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    Ok(port)
}

/// Watches while `act` does what it does.
fn watched<T>(port: u16, act: impl FnOnce(&Tcpleak) -> Result<T>) -> Result<(Value, T)> {
    let arguments = format!("leaks --for 10m --format json --port {port}");
    let tcpleak = Tcpleak::watching(&arguments)?;
    let done = act(&tcpleak)?;
    Ok((tcpleak.interrupt_after(WATCH)?.json()?, done))
}

fn frames(group: &Value) -> Result<Vec<String>> {
    let frames = list(&group["site"], "frames")?.iter();
    let frames = frames.map(|frame| frame.as_str().map(str::to_owned));
    frames.collect::<Option<_>>().context("not text")
}

/// Line of the source that holds this text.
fn line_of(source: &str, text: &str) -> Result<usize> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/programs/compiled");
    let source = fs::read_to_string(path.join(source))?;
    let line = source.lines().position(|line| line.contains(text));
    Ok(line.context("no such line")? + 1)
}

/// The helpers of a `tcpleak`: children of whichever of its threads.
fn helpers(tcpleak: &Tcpleak) -> Result<Vec<u32>> {
    let mut helpers = Vec::new();
    for thread in fs::read_dir(format!("/proc/{}/task", tcpleak.pid()))?.flatten() {
        // A thread may have ended meanwhile.
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let children = children.split_whitespace().map(str::parse);
        helpers.extend(children.collect::<Result<Vec<u32>, _>>()?);
    }
    Ok(helpers)
}

fn has(frames: &[String], wanted: &str) -> bool {
    frames.iter().any(|frame| frame == wanted)
}

#[test]
fn c_is_named_by_function_and_line() -> Result<()> {
    let (compiled, port) = (Compiled::c()?, server()?);
    let (report, client) = watched(port, |_| {
        let mut client = compiled.start(&format!("{port} 4 plain"))?;
        client.open()?;
        Ok(client)
    })?;
    let group = group_of(&report, client.pid(), "client")?;
    let frames = frames(group)?;
    let fetch = format!("fetch client.c:{}", line_of("client.c", "fd = dial()")?);
    assert!(has(&frames, &fetch), "{frames:?}");
    assert_eq!(
        frames.first().map(String::as_str),
        Some("connect (libc.so.6)")
    );
    assert_ne!(group["site"]["call_site"], "connect (libc.so.6)");
    Ok(())
}

#[test]
fn accept_has_a_call_site_too() -> Result<()> {
    let (compiled, port) = (Compiled::c()?, free_port()?);
    let (report, server) = watched(port, |_| {
        let mut server = compiled.start(&format!("{port} 3 serve"))?;
        server.begin()?;
        server.hear("listening")?;
        let mut client = compiled.start(&format!("{port} 3 plain"))?;
        client.open()?;
        server.hear("opened")?;
        Ok((server, client))
    })?;
    let group = group_of(&report, server.0.pid(), "server")?;
    let frames = frames(group)?;
    assert!(
        frames.iter().any(|frame| frame.contains(" client.c:")),
        "{frames:?}"
    );
    Ok(())
}

#[test]
fn go_is_named_by_call_site_and_each_is_a_group() -> Result<()> {
    let (compiled, port) = (Compiled::go()?, server()?);
    let run = || -> Result<Vec<Value>> {
        let (report, client) = watched(port, |_| {
            let mut client = compiled.start(&format!("{port} 4"))?;
            client.open()?;
            Ok(client)
        })?;
        let groups = groups_of(&report, client.pid())?;
        let mut sites: Vec<Value> = groups.iter().map(|group| group["site"].clone()).collect();
        sites.sort_by_key(|site| site["id"].to_string());
        assert!(groups.iter().all(|group| group["live"] == 4), "{groups:?}");
        Ok(sites)
    };
    let sites = run()?;
    // Reached by two ways: two sites, of the same function and line.
    assert_eq!(sites.len(), 2, "{sites:?}");
    let fetch = format!(
        "main.fetch client.go:{}",
        line_of("client.go", "net.Dial(")?
    );
    for site in &sites {
        assert_eq!(site["call_site"], fetch.as_str(), "{site}");
    }
    // The same in another run.
    assert_eq!(run()?, sites);
    Ok(())
}

#[test]
fn a_program_that_has_exited_keeps_its_names() -> Result<()> {
    let (compiled, port) = (Compiled::c()?, server()?);
    let (report, ()) = watched(port, |_| {
        let mut client = compiled.start(&format!("{port} 4 plain"))?;
        client.open()?;
        thread::sleep(WATCH);
        // Closes its standard input.
        drop(client);
        Ok(())
    })?;
    let is_its = |group: &&Value| group["owner"]["comm"] == "client" && group["role"] == "client";
    let group = list(&report, "groups")?
        .iter()
        .find(is_its)
        .context("no group")?;
    let frames = frames(group)?;
    assert!(
        frames
            .iter()
            .any(|frame| frame.starts_with("fetch client.c:")),
        "{frames:?}"
    );
    Ok(())
}

#[test]
fn a_program_that_was_deleted_is_named() -> Result<()> {
    let (compiled, port) = (Compiled::c()?, server()?);
    let (report, client) = watched(port, |_| {
        let mut client = compiled.start(&format!("{port} 4 plain"))?;
        fs::remove_file(compiled.file("client"))?;
        client.open()?;
        Ok(client)
    })?;
    let frames = frames(group_of(&report, client.pid(), "client")?)?;
    assert!(
        frames
            .iter()
            .any(|frame| frame.starts_with("fetch client.c:")),
        "{frames:?}"
    );
    Ok(())
}

/// What happens to the library after it was loaded; its frame is unknown then, and
/// all others are named.
fn meddled(meddle: impl FnOnce(PathBuf) -> Result<()>) -> Result<()> {
    let (compiled, port) = (Compiled::c()?, server()?);
    let library = compiled.file("libfetch.so");
    let (report, client) = watched(port, |_| {
        let mut client = compiled.start(&format!("{port} 4 library {}", library.display()))?;
        meddle(library.clone())?;
        client.open()?;
        Ok(client)
    })?;
    let group = group_of(&report, client.pid(), "client")?;
    let frames = frames(group)?;
    assert!(has(&frames, "unknown (libfetch.so)"), "{frames:?}");
    let called = format!("dial client.c:{}", line_of("client.c", "if (connect(fd")?);
    assert_eq!(group["site"]["call_site"], called.as_str(), "{frames:?}");
    let caller = format!(
        "by_library client.c:{}",
        line_of("client.c", "fd = call(dial)")?
    );
    assert!(has(&frames, &caller), "{frames:?}");
    Ok(())
}

#[test]
fn a_library_is_named() -> Result<()> {
    let (compiled, port) = (Compiled::c()?, server()?);
    let library = compiled.file("libfetch.so");
    let (report, client) = watched(port, |_| {
        let mut client = compiled.start(&format!("{port} 4 library {}", library.display()))?;
        client.open()?;
        Ok(client)
    })?;
    let frames = frames(group_of(&report, client.pid(), "client")?)?;
    let own = format!(
        "library_fetch library.c:{}",
        line_of("library.c", "fd = dial()")?
    );
    assert!(has(&frames, &own), "{frames:?}");
    Ok(())
}

#[test]
fn a_fifo_in_its_place_is_not_waited_for() -> Result<()> {
    meddled(|library| {
        fs::remove_file(&library)?;
        Ok(mkfifo(&library, Mode::S_IRWXU)?)
    })
}

#[test]
fn a_link_to_another_file_is_not_taken_for_it() -> Result<()> {
    meddled(|library| {
        fs::remove_file(&library)?;
        Ok(std::os::unix::fs::symlink("/etc/shadow", &library)?)
    })
}

#[test]
fn a_file_of_two_gigabytes_is_not_read() -> Result<()> {
    meddled(|library| {
        let file = OpenOptions::new().write(true).open(library)?;
        Ok(file.set_len(2 << 30)?)
    })
}

#[test]
fn a_corrupt_file_costs_its_own_names() -> Result<()> {
    meddled(|library| {
        // Its code must stay as it is: the program is about to run it.
        let mut file = OpenOptions::new().write(true).open(&library)?;
        file.write_all(&[0xff; 64])?;
        let code_and_data = 0x4000;
        let len = file.metadata()?.len();
        if len > code_and_data {
            file.seek(SeekFrom::Start(code_and_data))?;
            file.write_all(&vec![0xa5; usize::try_from(len - code_and_data)?])?;
        }
        Ok(())
    })
}

/// A program whose own code calls on, and its perf map.
fn with_perf_map(write: impl FnOnce(&Client, &PathBuf) -> Result<()>) -> Result<Vec<String>> {
    let (compiled, port) = (Compiled::c()?, server()?);
    let (report, client) = watched(port, |_| {
        let mut client = compiled.start(&format!("{port} 4 made"))?;
        let map = PathBuf::from(format!("/tmp/perf-{}.map", client.pid()));
        write(&client, &map)?;
        client.open()?;
        Ok(client)
    })?;
    let _ = fs::remove_file(format!("/tmp/perf-{}.map", client.pid()));
    let frames = frames(group_of(&report, client.pid(), "client")?)?;
    let caller = format!(
        "by_library client.c:{}",
        line_of("client.c", "fd = call(dial)")?
    );
    assert!(has(&frames, &caller), "{frames:?}");
    Ok(frames)
}

fn perf_map(client: &Client) -> Result<String> {
    let address = client.before.first().context("no address")?;
    Ok(format!("{address} 8 LazyCompile:*fetch /app/fetch.js:3\n"))
}

#[test]
fn code_that_a_program_made_is_named_by_its_perf_map() -> Result<()> {
    let frames = with_perf_map(|client, map| Ok(fs::write(map, perf_map(client)?)?))?;
    assert!(
        has(&frames, "LazyCompile:*fetch /app/fetch.js:3"),
        "{frames:?}"
    );
    Ok(())
}

#[test]
fn a_perf_map_of_somebody_else_is_not_believed() -> Result<()> {
    let frames = with_perf_map(|client, map| {
        fs::write(map, perf_map(client)?)?;
        Ok(chown(map, Some(12_345), None)?)
    })?;
    assert!(has(&frames, "unknown"), "{frames:?}");
    Ok(())
}

#[test]
fn a_perf_map_of_garbage_names_nothing() -> Result<()> {
    let frames = with_perf_map(|_, map| {
        let mut file = File::create(map)?;
        for seed in 0..(1_u32 << 16) {
            file.write_all(&seed.wrapping_mul(2_654_435_761).to_le_bytes())?;
        }
        Ok(())
    })?;
    assert!(has(&frames, "unknown"), "{frames:?}");
    Ok(())
}

#[test]
fn a_helper_that_is_killed_is_started_again() -> Result<()> {
    let (compiled, port) = (Compiled::c()?, server()?);
    let (report, clients) = watched(port, |tcpleak| {
        let mut first = compiled.start(&format!("{port} 2 plain"))?;
        first.open()?;
        let helper = || Ok(helpers(tcpleak)?.first().copied());
        let killed = wait_for("a helper", helper)?;
        kill(Pid::from_raw(killed.try_into()?), Signal::SIGKILL)?;
        // Another file, so that its names are not remembered.
        let others = Compiled::c()?;
        let mut second = others.start(&format!("{port} 2 plain"))?;
        second.open()?;
        wait_for("another helper", || {
            Ok(helpers(tcpleak)?
                .into_iter()
                .find(|&helper| helper != killed))
        })?;
        Ok((first, second, others))
    })?;
    let frames = frames(group_of(&report, clients.1.pid(), "client")?)?;
    assert!(
        frames
            .iter()
            .any(|frame| frame.starts_with("fetch client.c:")),
        "{frames:?}"
    );
    group_of(&report, clients.0.pid(), "client")?;
    Ok(())
}

#[test]
fn the_helper_may_do_nothing() -> Result<()> {
    let (compiled, port) = (Compiled::c()?, server()?);
    watched(port, |tcpleak| {
        let mut client = compiled.start(&format!("{port} 2 plain"))?;
        client.open()?;
        let helper = wait_for("a helper", || Ok(helpers(tcpleak)?.first().copied()))?;
        // Shut in before it reads anything; that takes a moment.
        wait_for("the helper to be shut in", || {
            let status = fs::read_to_string(format!("/proc/{helper}/status"))?;
            let is = |name: &str, value: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.is_some_and(|line| line.trim() == value)
            };
            let has_none = |set: &str| is(set, "0000000000000000");
            let is_shut_in = has_none("CapEff:") && has_none("CapPrm:") && is("Seccomp:", "2");
            Ok((is_shut_in && is("NoNewPrivs:", "1")).then_some(()))
        })?;
        let limits = fs::read_to_string(format!("/proc/{helper}/limits"))?;
        for limit in ["Max address space", "Max cpu time", "Max file size"] {
            let line = limits.lines().find(|line| line.starts_with(limit));
            let line = line.context("no such limit")?;
            assert!(!line.contains("unlimited"), "{line}");
        }
        thread::sleep(Duration::from_millis(100));
        Ok(client)
    })?;
    Ok(())
}

//! Each capability that `doctor` asks for is proven: the listed ones suffice
//! without root, without any one of them exactly that is lost which its line in
//! `doctor` names, and after attaching only those that must be kept are left.

use std::{
    collections::BTreeSet,
    env, fs,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use procfs::sys::kernel::Version;
use serde_json::Value;
use tracer::load::privileges::PRIVILEGES;

use crate::support::{
    patience,
    tcpleak::{program, under_test},
};
use user::{Holder, Running, Seen, Tracefs, User};

mod user;

const EVERYTHING: Seen = Seen {
    owner: true,
    namespace: true,
    fds: true,
};

#[test]
fn the_listed_capabilities_suffice() -> Result<()> {
    for tracefs in [Tracefs::Mounted, Tracefs::NotMounted] {
        let user = User::without(&[], tracefs)?;
        assert_eq!(user.complaints()?, BTreeSet::new());
        assert_eq!(user.watch()?, EVERYTHING);
    }
    Ok(())
}

#[test]
fn sys_admin_includes_bpf_and_perfmon() -> Result<()> {
    let user = User::without(&["CAP_BPF", "CAP_PERFMON"], Tracefs::NotMounted)?;
    assert_eq!(user.complaints()?, BTreeSet::new());
    assert_eq!(user.watch()?, EVERYTHING);
    Ok(())
}

#[test]
fn bpf_is_needed_to_load() -> Result<()> {
    nothing_works_without("CAP_BPF")
}

#[test]
fn perfmon_is_needed_to_attach() -> Result<()> {
    nothing_works_without("CAP_PERFMON")
}

#[test]
fn dac_read_search_is_needed_for_tracefs_and_fds() -> Result<()> {
    for tracefs in [Tracefs::Mounted, Tracefs::NotMounted] {
        let user = User::without(&["CAP_DAC_READ_SEARCH"], tracefs)?;
        let expected = ["CAP_DAC_READ_SEARCH", "socket holders", "tracefs"];
        assert_eq!(
            user.complaints()?,
            complaints(&expected, hangs_on_tracefs())
        );
        let (owner, fds) = (false, has_fds_without_tracefs());
        assert_eq!(
            user.watch()?,
            Seen {
                owner,
                fds,
                ..EVERYTHING
            }
        );
    }
    Ok(())
}

#[test]
fn sys_ptrace_is_needed_for_owners_and_namespaces() -> Result<()> {
    let user = User::without(&["CAP_SYS_PTRACE"], Tracefs::NotMounted)?;
    let expected = ["CAP_SYS_PTRACE", "socket holders"];
    assert_eq!(user.complaints()?, expected.map(str::to_owned).into());
    let (owner, namespace) = (false, false);
    assert_eq!(
        user.watch()?,
        Seen {
            owner,
            namespace,
            ..EVERYTHING
        }
    );
    Ok(())
}

#[test]
fn sys_admin_is_needed_for_namespaces_and_to_mount_tracefs() -> Result<()> {
    let namespace = false;
    let user = User::without(&["CAP_SYS_ADMIN"], Tracefs::Mounted)?;
    let expected = ["CAP_SYS_ADMIN", "network namespaces"];
    // Debian's addition: what CAP_PERFMON allows elsewhere.
    let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid")?;
    let is_perf_for_admins = level.trim().parse::<i32>()? > 2;
    if is_perf_for_admins && plan() == "kprobe" {
        return nothing_works_for(&user, &["CAP_SYS_ADMIN", "attach", "network namespaces"]);
    }
    let is_worse = is_perf_for_admins && hangs_on_tracefs();
    let fds = !is_worse || has_fds_without_tracefs();
    assert_eq!(user.complaints()?, complaints(&expected, is_worse));
    assert_eq!(
        user.watch()?,
        Seen {
            namespace,
            fds,
            ..EVERYTHING
        }
    );

    let user = User::without(&["CAP_SYS_ADMIN"], Tracefs::NotMounted)?;
    let expected = ["CAP_SYS_ADMIN", "network namespaces", "tracefs"];
    let fds = has_fds_without_tracefs();
    assert_eq!(
        user.complaints()?,
        complaints(&expected, hangs_on_tracefs())
    );
    assert_eq!(
        user.watch()?,
        Seen {
            namespace,
            fds,
            ..EVERYTHING
        }
    );
    Ok(())
}

/// Root's may be raised; whoever may not raise it is told what to do, where it counts.
#[test]
fn locked_memory_is_needed_before_5_11() -> Result<()> {
    let user = User::without(&[], Tracefs::Mounted)?.with_locked_memory("65536");
    let output = user.run(&["doctor", "--format", "json"])?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let mut checks = report["checks"].as_array().context("no checks")?.iter();
    let attach = checks.find(|check| check["name"] == "attach");
    if is_before(5, 11)? {
        let attach = attach.context("nothing is said")?;
        assert!(attach["fix"].to_string().contains("ulimit -l"), "{attach}");
        assert!(attach["found"].to_string().contains("64.0 KiB"), "{attach}");
    } else {
        assert_eq!(user.complaints()?, BTreeSet::new());
    }
    Ok(())
}

/// Who adds a capability to the list adds its proof here.
#[test]
fn no_capability_is_asked_for_without_proof() {
    let proven = [
        "CAP_BPF",
        "CAP_PERFMON",
        "CAP_DAC_READ_SEARCH",
        "CAP_SYS_PTRACE",
        "CAP_SYS_ADMIN",
    ];
    assert_eq!(PRIVILEGES.map(|privilege| privilege.name), proven);
}

/// The command in `doctor`'s own words, on a copy of the program.
#[test]
fn what_doctor_says_of_setcap_is_enough() -> Result<()> {
    let mut user = User::without(
        &PRIVILEGES.map(|privilege| privilege.name),
        Tracefs::NotMounted,
    )?;
    let report: Value = serde_json::from_slice(&user.run(&["doctor", "--format", "json"])?.stdout)?;
    let fix = report["checks"][0]["fix"].as_str().context("no fix")?;
    let command = fix.split('`').find(|part| part.starts_with("setcap "));
    let command = command.context("no command")?;
    let command = command.replace("$(which tcpleak)", &user.program);
    assert!(
        Command::new("sh")
            .args(["-c", &command])
            .status()?
            .success(),
        "{command}"
    );
    // Capabilities of a file need room in the bounding set.
    user.words.retain(|word| !word.contains("-set="));
    assert_eq!(user.complaints()?, BTreeSet::new());
    assert_eq!(user.watch()?, EVERYTHING);
    Ok(())
}

#[test]
fn a_plan_that_is_refused_says_what_to_do() -> Result<()> {
    for plan in ["fentry", "kprobe", "tracepoint"] {
        let doctor = Command::new(program())
            .args(["doctor", "--format", "json", "--plan", plan])
            .output()?;
        let report: Value = serde_json::from_slice(&doctor.stdout)?;
        if doctor.status.code() == Some(0) {
            assert_eq!(report["plan"], plan);
            continue;
        }
        assert_eq!(
            (doctor.status.code(), &report["plan"]),
            (Some(1), &Value::Null)
        );
        let checks = report["checks"].as_array().context("no checks")?;
        let attach = checks.iter().find(|check| check["name"] == "attach");
        let attach = attach.context("no check attach")?;
        assert!(
            attach["fix"].as_str().is_some_and(|fix| !fix.is_empty()),
            "{attach}"
        );
        assert!(
            attach["found"]
                .as_str()
                .is_some_and(|found| found.contains(plan) || found.contains("hook"))
        );
    }
    Ok(())
}

#[test]
fn after_attaching_only_what_is_needed_is_left() -> Result<()> {
    let user = User::without(&[], Tracefs::NotMounted)?;
    let holder = Holder::start(&[], &["churn"])?;
    let kept = kept()?;
    for (mut command, bounded) in [(Command::new(program()), true), (user.command(), false)] {
        command.args(under_test(["leaks", "--for", "4s", "--format", "json"]));
        let mut running = Running(command.stdout(Stdio::null()).spawn()?);
        let tasks = format!("/proc/{}/task", running.0.id());
        let is_done = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("status"));
            status.is_ok_and(|status| status.contains("NoNewPrivs:\t1"))
        };
        // setpriv becomes tcpleak, which sets it last; the thread on which it tried what
        // it needs may still be about to end.
        let patience = Instant::now() + patience();
        while !fs::read_dir(&tasks)?.flatten().all(is_done) {
            ensure!(Instant::now() < patience, "privileges are not dropped");
            sleep(Duration::from_millis(5));
        }
        let mut threads = 0;
        while running.0.try_wait()?.is_none() {
            let mut now = 0;
            for task in fs::read_dir(&tasks).into_iter().flatten().flatten() {
                // A thread may end meanwhile.
                if let Ok(status) = fs::read_to_string(task.path().join("status")) {
                    assert_restricted(&status, &kept, bounded);
                    now += 1;
                }
            }
            threads = threads.max(now);
            sleep(Duration::from_millis(2));
        }
        assert!(threads > 1, "the thread of the snapshots was not seen");
        assert!(running.0.wait()?.success());
    }
    drop(holder);
    Ok(())
}

/// Whether the kernel is older.
fn is_before(major: u8, minor: u8) -> Result<bool> {
    Ok(Version::current()? < Version::new(major, minor, 0))
}

/// Whether the first choice of following the calls is their tracepoints: the plan
/// `fentry` does without.
fn hangs_on_tracefs() -> bool {
    plan() != "fentry"
}

/// Whether there is a second choice: the plan `kprobe` has return probes.
fn has_fds_without_tracefs() -> bool {
    plan() != "tracepoint"
}

/// The one that is asked for, or what any kernel has.
fn plan() -> String {
    env::var("TCPLEAK_PLAN").unwrap_or_else(|_| "tracepoint".to_owned())
}

/// What `doctor` complains of, and of hooks, if so.
fn complaints(of: &[&str], and_hooks: bool) -> BTreeSet<String> {
    let hook = and_hooks.then_some("hook");
    of.iter().copied().chain(hook).map(str::to_owned).collect()
}

/// CAP_DAC_READ_SEARCH (2) and CAP_SYS_PTRACE (19): to read owners of sockets. Before
/// 5.19 CAP_BPF (39), too, without which no call of bpf(2) was allowed.
fn kept() -> Result<String> {
    let kept: u64 = (1 << 2) | (1 << 19);
    let kept = if is_before(5, 19)? {
        kept | (1 << 39)
    } else {
        kept
    };
    Ok(format!("{kept:016x}"))
}
const NONE: &str = "0000000000000000";

/// A thread's status shows the kept capabilities and no way to others. Without
/// CAP_SETPCAP the bounding set cannot be cut; no_new_privs makes it harmless.
fn assert_restricted(status: &str, kept: &str, bounded: bool) {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("missing", |line| line.trim_start_matches(':').trim())
    };
    // A thread that has just ended shows nothing.
    if field("State").starts_with(['X', 'Z']) {
        return;
    }
    for (name, expected) in [
        ("CapEff", kept),
        ("CapPrm", kept),
        ("CapInh", NONE),
        ("CapAmb", NONE),
        ("NoNewPrivs", "1"),
    ] {
        assert_eq!(field(name), expected, "{name} in {status}");
    }
    if bounded {
        assert_eq!(field("CapBnd"), kept, "{status}");
    }
}

/// Without this one and CAP_SYS_ADMIN, which includes it.
fn nothing_works_without(name: &str) -> Result<()> {
    let user = User::without(&[name, "CAP_SYS_ADMIN"], Tracefs::Mounted)?;
    nothing_works_for(
        &user,
        &[name, "CAP_SYS_ADMIN", "attach", "network namespaces"],
    )
}

/// One line that says so.
fn nothing_works_for(user: &User, expected: &[&str]) -> Result<()> {
    assert_eq!(user.complaints()?, complaints(expected, false));
    for command in ["leaks", "trace"] {
        let output = user.run(&[command, "--for", "1s"])?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(1), 0),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("run as root"), "{said}");
    }
    Ok(())
}

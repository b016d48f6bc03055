//! `tcpleak doctor`: what this host supports, by trying it.

use std::{fs, io::Write, path::Path};

use anyhow::Result;
use tracer_common::config::FOLD_NEVER;

use super::{Outcome, args::DoctorArgs, in_one_line, load_options, output::Sink};
use crate::{
    enrich,
    load::{
        self,
        blocked::Blocked,
        privileges::{self, Held, PRIVILEGES, Privilege},
        tracefs::{self, Tracefs},
    },
    model::report::{Check, Doctor, Status},
    plan::Hook,
    selection::Selection,
    snapshot, view,
};

mod sockets;

/// Looks at everything, even after something is found missing.
pub(super) fn run(args: &DoctorArgs) -> Result<Outcome> {
    let mut sink = Sink::open(&args.output)?;
    // Before any check, as in a trace: what follows depends on it.
    let tracefs = tracefs::ensure();
    let mut checks = vec![];
    checks.extend(capabilities());
    checks.extend(lockdown());
    checks.extend(pid_namespace());
    let path = args.probe.btf.as_deref();
    let kernel = load::Kernel::read(path);
    checks.push(btf(path, &kernel));
    checks.push(tracefs_check(tracefs));
    let options = load_options(&args.probe, &Selection::default(), FOLD_NEVER);
    let rehearsal = kernel
        .map_err(anyhow::Error::from)
        .and_then(|kernel| load::rehearse(&kernel, &options));
    let (plan, blind) = match &rehearsal {
        Ok(chosen) => (Some(chosen.plan.name.name()), chosen.blind()),
        Err(_) => (None, Vec::new()),
    };
    checks.extend(match &rehearsal {
        Ok(chosen) => hooks(chosen),
        Err(error) => vec![no_attach(error, &checks)],
    });
    checks.extend(sockets::checks());

    let doctor = Doctor {
        kernel: enrich::host::kernel_release().to_string(),
        plan,
        blind,
        checks,
    };
    let mut out = sink.writer()?;
    view::doctor(&mut *out, &doctor, args.output.format, sink.style())?;
    out.flush()?;
    Ok(if doctor.plan.is_some() {
        Outcome::Fine
    } else {
        Outcome::Failed
    })
}

fn check(
    name: &'static str,
    status: Status,
    found: impl Into<String>,
    fix: Option<String>,
) -> Check {
    Check {
        name,
        status,
        found: found.into(),
        fix,
    }
}

/// A line each; how to grant them stands at the first that is missing.
fn capabilities() -> Vec<Check> {
    let first = PRIVILEGES
        .iter()
        .find(|privilege| privilege.held().is_none())
        .map(|privilege| privilege.name);
    let fix = |name| match first {
        Some(first) if first != name => format!("as for {first}"),
        _ => privileges::how_to_grant(),
    };
    let line = |privilege: &Privilege| {
        let Privilege { name, purpose, .. } = *privilege;
        match (privilege.held(), privilege.without) {
            (Some(Held::Itself), _) => check(name, Status::Ok, format!("can {purpose}"), None),
            (Some(Held::Within), _) => {
                let found = format!("can {purpose}, as CAP_SYS_ADMIN includes it");
                check(name, Status::Ok, found, None)
            }
            (None, None) => {
                let found = format!("cannot {purpose}");
                check(name, Status::Missing, found, Some(fix(name)))
            }
            (None, Some(lost)) => {
                let found = format!("without it {lost}");
                check(name, Status::Degraded, found, Some(fix(name)))
            }
        }
    };
    PRIVILEGES.iter().map(line).collect()
}

/// Lockdown in its strictest mode refuses eBPF to root, too.
fn lockdown() -> Option<Check> {
    let modes = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let is_strict = modes.contains("[confidentiality]");
    Some(if is_strict {
        check(
            "lockdown",
            Status::Missing,
            "lockdown=confidentiality forbids eBPF to read kernel memory",
            Some("boot with lockdown=integrity or without lockdown".to_owned()),
        )
    } else {
        check("lockdown", Status::Ok, "does not forbid eBPF", None)
    })
}

/// The kernel's records carry the process ids of the initial namespace.
fn pid_namespace() -> Option<Check> {
    (!snapshot::has_initial_pids()).then(|| {
        let found = "not the host's: the process ids of records and of /proc do not match";
        let fix = "run outside of the container, or give it the host's: hostPID: true in \
                   Kubernetes, --pid=host in Docker";
        check(
            "pid namespace",
            Status::Degraded,
            found,
            Some(fix.to_owned()),
        )
    })
}

fn btf(path: Option<&Path>, kernel: &Result<load::Kernel, Blocked>) -> Check {
    let file = path.unwrap_or(Path::new(load::VMLINUX_BTF)).display();
    match kernel {
        Ok(_) => check(
            "kernel types",
            Status::Ok,
            format!("read from {file}"),
            None,
        ),
        Err(error) => {
            let Blocked { why, fix } = error;
            check("kernel types", Status::Missing, why, Some(fix.clone()))
        }
    }
}

fn tracefs_check(found: Tracefs) -> Check {
    const NAME: &str = "tracefs";
    match (found.lack(), found) {
        (Some(lack), _) => {
            let why = format!("{}; fds of connect and accept are not traced", lack.why);
            check(NAME, Status::Degraded, why, Some(lack.fix.to_owned()))
        }
        (None, Tracefs::Private) => check(
            NAME,
            Status::Ok,
            "the host has not mounted it; tcpleak mounts it for itself alone",
            None,
        ),
        (None, _) => check(NAME, Status::Ok, "mounted", None),
    }
}

/// Why no plan attaches. What a line above says already is not said again.
fn no_attach(error: &anyhow::Error, above: &[Check]) -> Check {
    let (why, fix) = match error.downcast_ref::<Blocked>() {
        Some(blocked) => (blocked.why.clone(), blocked.fix.clone()),
        None => (
            in_one_line(error),
            "please report this line with the kernel's version".to_owned(),
        ),
    };
    let cause = above.iter().find(|check| check.status == Status::Missing);
    let (why, fix) = match cause {
        Some(cause) if cause.found == why => (
            format!("not tried: {} missing", cause.name),
            format!("as for {}", cause.name),
        ),
        Some(cause) => (why, format!("as for {}", cause.name)),
        None => (why, fix),
    };
    check("attach", Status::Missing, why, Some(fix))
}

/// A line for each hook that was tried.
fn hooks(chosen: &load::Rehearsal) -> Vec<Check> {
    let line = |hook: Hook| {
        let refused: Vec<String> = chosen
            .refused
            .iter()
            .filter(|refusal| refusal.hook == hook)
            .map(|refusal| format!("{}: {}", refusal.target, refusal.error))
            .collect();
        let advice = chosen
            .refused
            .iter()
            .find(|refusal| refusal.hook == hook)
            .map(|refusal| refusal.error.advice().to_owned());
        let Some(served) = chosen.served.iter().find(|served| served.hook == hook) else {
            let lost = chosen.plan.needs.iter().find(|need| need.hook == hook);
            let lost = lost
                .and_then(|need| need.without)
                .unwrap_or("this hook is not served");
            let found = format!("{}; not seen then: {lost}", refused.join("; "));
            return check(title(hook), Status::Degraded, found, advice);
        };
        let mut targets: Vec<String> = served
            .way
            .probes
            .iter()
            .map(|probe| probe.target.to_string())
            .collect();
        // Two programs take turns on some.
        targets.dedup();
        let mut found = targets.join(", ");
        if refused.is_empty() {
            return check(title(hook), Status::Ok, found, None);
        }
        found.push_str(&format!(" (first choice refused: {})", refused.join("; ")));
        check(title(hook), Status::Degraded, found, advice)
    };
    chosen
        .plan
        .needs
        .iter()
        .map(|need| line(need.hook))
        .collect()
}

fn title(hook: Hook) -> &'static str {
    match hook {
        Hook::State => "hook state",
        Hook::Connect => "hook connect",
        Hook::Accept => "hook accept",
        Hook::Shutdown => "hook shutdown",
        Hook::Close => "hook close",
        Hook::TimeWait => "hook time-wait",
        Hook::Reset => "hook reset",
        Hook::Gone => "hook gone",
        Hook::Exec => "hook exec",
        Hook::Exit => "hook exit",
        Hook::Fork => "hook fork",
    }
}

//! `tcpleak doctor`: what this host supports, by trying it.

use std::{fs, io::Write, path::Path};

use anyhow::Result;

use super::{Outcome, args::DoctorArgs, leaks::kernel_release, load_options, output::Sink};
use crate::{
    load::{
        self,
        privileges::{self, PRIVILEGES, Privilege},
        tracefs::{self, Tracefs},
    },
    model::report::{Check, Doctor, Status},
    plan::Hook,
    selection::Selection,
    snapshot::{self, Namespaces},
    view,
};

/// Looks at everything, even after something is found missing.
pub(super) fn run(args: &DoctorArgs) -> Result<Outcome> {
    let mut sink = Sink::open(&args.output)?;
    // Before any check, as in a trace: what follows depends on it.
    let tracefs = tracefs::ensure();
    let mut checks = vec![];
    checks.extend(PRIVILEGES.iter().map(privilege));
    checks.extend(lockdown());
    checks.push(btf(args.probe.btf.as_deref()));
    checks.push(tracefs_check(tracefs));
    let rehearsal = load::rehearse(&load_options(&args.probe, &Selection::default()));
    let (plan, blind) = match &rehearsal {
        Ok(chosen) => (Some(chosen.plan.name.name()), chosen.blind()),
        Err(_) => (None, Vec::new()),
    };
    checks.extend(hooks(&rehearsal));
    checks.extend(sockets());

    let doctor = Doctor {
        kernel: kernel_release().to_string(),
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

fn privilege(privilege: &Privilege) -> Check {
    let name = privilege.name;
    if privileges::has(privilege.capability) {
        return check(name, Status::Ok, privilege.purpose, None);
    }
    let bit = name.to_lowercase();
    let how = format!(
        "run as root, or grant it: setcap {bit}+ep on the program, AmbientCapabilities={name} in \
         a systemd unit, or add {} to a container's capabilities",
        name.trim_start_matches("CAP_")
    );
    match privilege.without {
        None => check(
            name,
            Status::Missing,
            format!("cannot {}", privilege.purpose),
            Some(how),
        ),
        Some(lost) => check(
            name,
            Status::Degraded,
            format!("without it {lost}"),
            Some(how),
        ),
    }
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

fn btf(path: Option<&Path>) -> Check {
    let file = path.unwrap_or(Path::new(load::VMLINUX_BTF)).display();
    match load::Kernel::read(path) {
        Ok(_) => check(
            "kernel types",
            Status::Ok,
            format!("read from {file}"),
            None,
        ),
        Err(error) => check(
            "kernel types",
            Status::Missing,
            format!("{error:#}"),
            Some(
                "hand in the BTF of this very kernel with --btf FILE: `pahole -J` makes it from \
                 the distribution's vmlinux with debug symbols"
                    .to_owned(),
            ),
        ),
    }
}

fn tracefs_check(found: Tracefs) -> Check {
    const NAME: &str = "tracefs";
    let lost = "without it fds of connect and accept are not traced";
    match found {
        Tracefs::Mounted => check(NAME, Status::Ok, "mounted", None),
        Tracefs::Private => check(
            NAME,
            Status::Ok,
            "the host has not mounted it; tcpleak mounts it for itself alone",
            None,
        ),
        Tracefs::NotPermitted => check(
            NAME,
            Status::Degraded,
            format!("mounted, but not readable for this user; {lost}"),
            Some("run as root, or grant CAP_DAC_READ_SEARCH".to_owned()),
        ),
        Tracefs::Missing => check(
            NAME,
            Status::Degraded,
            format!("not mounted; {lost}"),
            Some("as root: mount -t tracefs tracefs /sys/kernel/tracing".to_owned()),
        ),
    }
}

/// A line for each hook that was tried; one line if it came to none.
fn hooks(rehearsal: &Result<load::Rehearsal>) -> Vec<Check> {
    let chosen = match rehearsal {
        Ok(chosen) => chosen,
        Err(error) => {
            let fix = "mend what is missing above, or choose another --plan".to_owned();
            return vec![check(
                "attach",
                Status::Missing,
                format!("{error:#}"),
                Some(fix),
            )];
        }
    };
    let line = |hook: Hook| {
        let refused: Vec<String> = chosen
            .refused
            .iter()
            .filter(|refusal| refusal.hook == hook)
            .map(|refusal| format!("{} {}", refusal.target, refusal.error))
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
            let found = format!("{}; without it: {lost}", refused.join("; "));
            return check(title(hook), Status::Degraded, found, advice);
        };
        let targets: Vec<String> = served
            .way
            .probes
            .iter()
            .map(|probe| probe.target.to_string())
            .collect();
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
        Hook::Gone => "hook gone",
        Hook::Exit => "hook exit",
    }
}

/// What `ps` and the start of every trace need.
fn sockets() -> Vec<Check> {
    let mut checks = Vec::new();
    let namespaces = match Namespaces::open() {
        Ok(namespaces) => namespaces,
        Err(error) => {
            return vec![check(
                "sock_diag",
                Status::Missing,
                format!("{error:#}"),
                Some("load the kernel modules tcp_diag and inet_diag".to_owned()),
            )];
        }
    };
    match snapshot::take(&namespaces) {
        Ok(snapshot) => {
            let found = format!(
                "{} TCP sockets in {} network namespaces",
                snapshot.sockets.len(),
                snapshot.namespaces.len()
            );
            checks.push(check("sock_diag", Status::Ok, found, None));
            let holders = "socket holders";
            checks.push(if snapshot.unreadable == 0 {
                check(
                    holders,
                    Status::Ok,
                    "the fds of every process are readable",
                    None,
                )
            } else {
                let found = format!(
                    "the fds of {} processes are not readable: their sockets have no owner",
                    snapshot.unreadable
                );
                let fix = "run as root, or grant CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH".to_owned();
                check(holders, Status::Degraded, found, Some(fix))
            });
        }
        Err(error) => checks.push(check(
            "sock_diag",
            Status::Missing,
            format!("{error:#}"),
            Some("load the kernel modules tcp_diag and inet_diag".to_owned()),
        )),
    }
    if namespaces.unreachable > 0 {
        checks.push(check(
            "network namespaces",
            Status::Degraded,
            format!("{} cannot be entered", namespaces.unreachable),
            Some("run as root, or grant CAP_SYS_ADMIN".to_owned()),
        ));
    }
    checks
}

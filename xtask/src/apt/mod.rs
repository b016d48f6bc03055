//! Debian packages: only what is missing, and nothing the user has is removed.

pub(crate) mod sources;

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{run, step},
    elevate, place,
};

/// Whether this machine runs Debian itself, whose packages the tasks name.
pub(crate) fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=debian")
}

/// Whether `package` is installed.
pub(crate) fn has(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|status| status.stdout == b"installed")
}

/// Installs the packages of those programs that this machine lacks, and names
/// them; `tools` are programs with the package of each, `why` names their task.
pub(crate) fn bring(
    tools: &[(&'static str, &'static str)],
    why: &str,
) -> Result<Vec<&'static str>> {
    let missing = || {
        let tools = tools.iter().copied();
        tools.filter(|(program, _)| place::find(program).is_none())
    };
    let packages: Vec<_> = missing().map(|(_, package)| package).collect();
    if packages.is_empty() {
        step(format_args!("every program of {why} is here"));
        return Ok(packages);
    }
    if place::find("apt-get").is_none() {
        let list = packages.join(" ");
        bail!("{why}: these programs are missing, install them: {list}");
    }
    install(&packages, why)?;
    match missing().next() {
        Some((program, package)) => {
            bail!("package {package} brought no {program}: install it by hand")
        }
        None => Ok(packages),
    }
}

/// Installs `packages`; `why` names the task that wants them.
pub(crate) fn install(packages: &[&str], why: &str) -> Result<()> {
    let list = packages.join(" ");
    let advice = || format!("{why} needs these packages, install them by hand: {list}");
    if install_from(&[], packages, why).is_err() {
        // What is here may be from the backports, and break with older companions.
        let options = backports().with_context(advice)?;
        install_from(&options, packages, why).with_context(advice)?;
    }
    Ok(())
}

fn install_from(options: &[String], packages: &[&str], why: &str) -> Result<()> {
    step("apt-get update");
    run(apt_get(why)?.args(options).arg("update").arg("--quiet=2"))?;
    step(format_args!("apt-get install {}", packages.join(" ")));
    let mut install = apt_get(why)?;
    install
        .args(options)
        .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
        .arg("--no-remove")
        .args(packages);
    run(&mut install)
}

/// Options of an apt that takes packages from the backports of this release too, and
/// first. The machine's own apt stays as it was.
fn backports() -> Result<Vec<String>> {
    let (sources, suite) = sources::with_backports()?;
    let folder = place::target().join("apt");
    for part in ["sources", "lists/partial"] {
        fs::create_dir_all(folder.join(part))?;
    }
    fs::write(folder.join("sources/own.sources"), sources)?;
    let folder = folder.display();
    let options = [
        "Dir::Etc::SourceList=/dev/null".to_owned(),
        format!("Dir::Etc::SourceParts={folder}/sources"),
        format!("Dir::State::Lists={folder}/lists"),
        format!("APT::Default-Release={suite}"),
        // Its usual user may not reach the folder.
        "APT::Sandbox::User=root".to_owned(),
    ];
    Ok(options
        .into_iter()
        .map(|option| format!("-o{option}"))
        .collect())
}

/// apt-get as root, asking nothing and waiting for another apt to finish.
fn apt_get(why: &str) -> Result<Command> {
    let mut apt = elevate::as_root("env", &[], why)?;
    // The run level of a machine being serviced: packages start no daemons.
    apt.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get"])
        .args(["-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"])
        .stdin(Stdio::null());
    Ok(apt)
}

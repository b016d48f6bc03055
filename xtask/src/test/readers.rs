//! Other programs on files that tcpleak writes: pyarrow and ClickHouse's engine read
//! tables, Perfetto's page in Chromium a timeline. Installed by pip into a folder of the
//! target directory.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    apt,
    artifacts::{self, Executable},
    command::{output, run, step},
    place,
};

/// Their names and versions for pip, and the program that runs them.
const REQUIREMENTS: &str = "tracer/tests/readers/requirements.txt";
const CHECKS: [&str; 2] = [
    "tracer/tests/readers/tables.py",
    "tracer/tests/readers/perfetto.py",
];
const RECORDING: &str = "tracer/tests/recordings/v1.tcpleak";

const WHY: &str = "reading files by other programs";

/// Programs of Debian's that they need, and the package of each.
const TOOLS: [(&str, &str); 3] = [
    ("python3", "python3"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
];

/// The Python that has them; makes it where there is none or it has others.
pub(crate) fn set_up() -> Result<PathBuf> {
    apt::bring(&TOOLS, WHY)?;
    let folder = place::target().join("readers");
    let python = folder.join("bin/python");
    let wanted = fs::read_to_string(place::root().join(REQUIREMENTS))?;
    let stamp = folder.join("installed.txt");
    if python.exists() && fs::read_to_string(&stamp).is_ok_and(|has| has == wanted) {
        step(format_args!("every program of {WHY} is here"));
        return Ok(python);
    }
    // Debian has this part of Python in a package of its own.
    if output(Command::new("python3").args(["-c", "import ensurepip"])).is_err() {
        apt::install(&["python3-venv"], WHY)?;
    }
    step(format_args!("python3 -m venv --clear {}", folder.display()));
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&folder))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "--disable-pip-version-check", "install"])
        .args(["--quiet", "--requirement", REQUIREMENTS])
        .current_dir(place::root());
    step(crate::command::shown(&pip));
    run(&mut pip).with_context(|| {
        format!("{WHY} needs some 300 MB from PyPI: look at the network, or at pip's settings")
    })?;
    fs::write(stamp, wanted)?;
    Ok(python)
}

/// Has them read what the tcpleak that cargo built writes.
pub(crate) fn check(built: &[Executable]) -> Result<()> {
    let python = set_up()?;
    let tcpleak = artifacts::program(built, "tcpleak")?;
    for check in CHECKS {
        let mut check_it = Command::new(&python);
        check_it
            .arg(check)
            .arg(&tcpleak)
            .arg(RECORDING)
            .current_dir(place::root());
        step(crate::command::shown(&check_it));
        run(&mut check_it)?;
    }
    Ok(())
}

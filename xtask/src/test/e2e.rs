//! The end-to-end tests: built by the user, run by root, so that no root-owned
//! file gets into the target directory.

use std::{env, ffi::OsString, path::Path};

use anyhow::Result;

use super::{end_to_end, tally::Tally};
use crate::{
    artifacts::{self, Executable},
    command::step,
    elevate, place,
};

/// Tests at a time: they wait more than they compute, but share the kernel.
const AT_A_TIME: &str = "--test-threads=2";

/// Runs the test binary that cargo built, as root.
pub(crate) fn run(built: &[Executable], filter: &[String], tally: &mut Tally) -> Result<()> {
    let tests = end_to_end(built)?;
    let tcpleak = artifacts::program(built, "tcpleak")?;
    let package = place::root().join("tracer");
    // Through env: sudo drops the variables of a user.
    let mut command = elevate::as_root("env", &[], "tracing the kernel")?;
    command
        .args([
            variable("TCPLEAK_BIN", &tcpleak),
            variable("CARGO_MANIFEST_DIR", &package),
            variable("PATH", Path::new(&place::path())),
        ])
        .args(env::vars_os().filter_map(|(name, value)| {
            let name = name.to_str()?;
            // How often, how long: the tests' own settings.
            (name.starts_with("TCPLEAK_") && name != "TCPLEAK_BIN")
                .then(|| variable(name, Path::new(&value)))
        }))
        .arg(&tests.path)
        .arg(AT_A_TIME)
        .args(filter)
        .current_dir(package);
    let path = tests.path.display();
    step(format_args!("as root: {path} {AT_A_TIME}"));
    tally.run(&mut command)
}

fn variable(name: &str, value: &Path) -> OsString {
    let mut variable = OsString::from(name);
    variable.push("=");
    variable.push(value);
    variable
}

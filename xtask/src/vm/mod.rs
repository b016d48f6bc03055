//! `cargo xtask vm`: the end-to-end tests on other kernels, each in a QEMU guest.

mod archive;
mod guest;
mod kernel;
mod rootfs;
mod sources;
mod suite;

use std::{fs, process::Command, time::Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use self::{
    guest::Guest,
    kernel::KERNELS,
    rootfs::{Base, Own},
    suite::Told,
};
use crate::{artifacts, command::step, place};

/// Arguments of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kernels, all of them without any
    #[arg(value_name = "KERNEL", value_parser = clap::builder::PossibleValuesParser::new(KERNELS.map(|kernel| kernel.name)))]
    kernels: Vec<String>,
    /// Run only the tests whose names contain this
    #[arg(long = "test", value_name = "NAME")]
    filter: Vec<String>,
    /// Break the guest, to see that it is noticed
    #[arg(long, hide = true)]
    provoke: Option<Fault>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Fault {
    Panic,
    Hang,
}

/// Runs the tests on each kernel, then says what came of it.
pub(crate) fn main(args: &Args) -> Result<()> {
    let work = place::target().join("vm");
    fs::create_dir_all(&work)?;
    let built = artifacts::build(
        Command::new(place::cargo())
            .args(["test", "--workspace", "--all-features", "--no-run"])
            .current_dir(place::root()),
    )?;
    let e2e = built
        .iter()
        .find(|one| one.is_test && one.kind == "test" && one.target == "e2e");
    let own = Own {
        tcpleak: &artifacts::program(&built, "tcpleak")?,
        e2e: &e2e.context("no e2e")?.path,
    };
    let base = Base::pack(&work, &own)?;
    let mut failures = Vec::new();
    for kernel in &KERNELS {
        if !args.kernels.is_empty() && !args.kernels.iter().any(|name| name == kernel.name) {
            continue;
        }
        let files = kernel.files()?;
        let folder = work.join(kernel.name);
        fs::create_dir_all(&folder)?;
        let fault = match args.provoke {
            Some(Fault::Panic) => "panic",
            Some(Fault::Hang) => "hang",
            None => "none",
        };
        let settings = [
            ("suite", suite::script(&args.filter)),
            ("fault", fault.to_owned()),
        ];
        let initramfs = base.initramfs(&folder, &files, &settings)?;
        let guest = Guest {
            kernel: &files,
            initramfs: &initramfs,
            console: folder.join("console.log"),
        };
        let mut told = Told::default();
        let start = Instant::now();
        step(format_args!("booting {}", files.release));
        guest.run(|line| {
            println!(
                "{:>5.1} {} | {line}",
                start.elapsed().as_secs_f32(),
                kernel.name
            );
            told.hear(line);
            Ok(told.done)
        })?;
        failures.extend(told.failures(kernel));
    }
    if !failures.is_empty() {
        bail!("failed:\n{}", failures.join("\n"));
    }
    Ok(())
}

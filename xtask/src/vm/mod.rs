//! `cargo xtask vm`: the end-to-end tests on other kernels, each in a guest that
//! QEMU plays on this one.

mod archive;
mod cpio;
mod guest;
mod kernel;
mod matrix;
mod programs;
mod rootfs;
mod suite;
mod table;
mod told;

use std::fs;

use anyhow::{Result, bail};
use clap::{ValueEnum, builder::PossibleValuesParser};

use self::{
    kernel::KERNELS,
    matrix::Matrix,
    rootfs::Base,
    suite::{PLANS, Suite},
    table::Table,
};
use crate::{apt, artifacts, place, test};

/// What packs and runs guests, and the package of each.
const TOOLS: [(&str, &str); 4] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("cpio", "cpio"),
    ("depmod", "kmod"),
    ("strip", "binutils"),
];

/// Arguments of `cargo xtask vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kernels to test on; without any, all of them
    #[arg(value_name = "KERNEL", value_parser = PossibleValuesParser::new(KERNELS.map(|k| k.name)))]
    kernels: Vec<String>,
    /// Run only with this plan; without any, with all of them
    #[arg(long = "plan", value_name = "PLAN", value_parser = PossibleValuesParser::new(PLANS))]
    plans: Vec<String>,
    /// Run only the tests whose names contain this
    #[arg(long = "test", value_name = "NAME")]
    filter: Vec<String>,
    /// Run only the tests whose outcome hangs on the kernel most, with all plans on the
    /// oldest and the newest
    #[arg(long, conflicts_with = "filter")]
    short: bool,
    /// Break each guest instead, to see that it is noticed
    #[arg(long, hide = true)]
    provoke: Option<Fault>,
}

/// What may happen to a guest.
#[derive(Clone, Copy, ValueEnum)]
enum Fault {
    Panic,
    Hang,
}

/// Installs what the matrix needs.
pub(crate) fn set_up() -> Result<()> {
    apt::bring(&TOOLS, "the test on other kernels")?;
    test::set_up()
}

/// Runs the tests on each kernel, then says what came of it.
pub(crate) fn main(args: &Args) -> Result<()> {
    set_up()?;
    let work = place::target().join("vm");
    fs::create_dir_all(&work)?;
    let built = test::build()?;
    let tests = test::end_to_end(&built)?;
    let tcpleak = artifacts::program(&built, "tcpleak")?;
    let base = Base::pack(&work, &tcpleak, &tests.path)?;
    let mut kernels = Vec::new();
    for kernel in KERNELS {
        if args.kernels.is_empty() || args.kernels.iter().any(|name| name == kernel.name) {
            let files = kernel.files()?;
            kernels.push((kernel, files));
        }
    }
    let filter: Vec<&str> = if args.short {
        suite::SHORT.to_vec()
    } else {
        args.filter.iter().map(String::as_str).collect()
    };
    let is_wanted =
        |plan: &&str| args.plans.is_empty() || args.plans.iter().any(|wanted| wanted == plan);
    let plans: Vec<&str> = PLANS.into_iter().filter(is_wanted).collect();
    let matrix = Matrix {
        work,
        base,
        suite: Suite {
            plans,
            filter,
            is_short: args.short,
        },
        fault: args.provoke.map_or("none", Fault::name),
    };
    let mut table = Table::default();
    let mut failures = Vec::new();
    for ((kernel, _), (told, done)) in kernels.iter().zip(matrix.run(&kernels)) {
        let name = kernel.name;
        table.add(name, &told);
        let done = done.err().map(|error| format!("{error:#}"));
        let run = matrix.suite.plans_of(kernel);
        let must: Vec<&str> = run.filter(|plan| kernel.plans.contains(plan)).collect();
        let failed = done.into_iter().chain(told.failures(&must));
        failures.extend(failed.map(|failed| format!("{name} {failed}")));
    }
    print!("{table}");
    if !failures.is_empty() {
        bail!(
            "these failed, their output is above:\n{}",
            failures.join("\n")
        );
    }
    Ok(())
}

impl Fault {
    /// As `init.sh` knows it.
    fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Hang => "hang",
        }
    }
}

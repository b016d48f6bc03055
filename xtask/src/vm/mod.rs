//! `cargo xtask vm`: the end-to-end tests on other kernels, each in a guest that
//! QEMU plays on this one.

mod archive;
mod cpio;
mod guest;
mod kernel;
mod programs;
mod rootfs;
mod sources;
mod suite;
mod table;
mod told;

use std::{fs, path::Path, time::Instant};

use anyhow::{Context as _, Result, bail};
use clap::{ValueEnum, builder::PossibleValuesParser};

use self::{
    guest::Guest,
    kernel::{Files, KERNELS, Kernel},
    rootfs::Base,
    table::Table,
    told::Told,
};
use crate::{apt, command::step, place, run, test};

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
    /// Run only the tests whose names contain this
    #[arg(long = "test", value_name = "NAME")]
    filter: Vec<String>,
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
    // As it is released: a guest's processor is slow enough.
    let base = Base::pack(&work, &run::build()?, &tests.path)?;
    let mut kernels = Vec::new();
    for kernel in KERNELS {
        if args.kernels.is_empty() || args.kernels.iter().any(|name| name == kernel.name) {
            let files = kernel.files()?;
            kernels.push((kernel, files));
        }
    }
    let mut table = Table::default();
    let mut failures = Vec::new();
    for (kernel, files) in &kernels {
        let name = kernel.name;
        let folder = work.join(name);
        let mut told = Told::default();
        if let Err(error) = follow(args, &base, &folder, kernel, files, &mut told) {
            eprintln!("xtask: {name}: {error:#}");
            failures.push(format!("{name} {}", error.root_cause()));
        }
        let failed = told.failures(kernel.plans);
        failures.extend(failed.iter().map(|failed| format!("{name} {failed}")));
        table.add(name, &told);
    }
    print!("{table}");
    if !failures.is_empty() {
        bail!("failed, see above:\n{}", failures.join("\n"));
    }
    Ok(())
}

/// Boots one kernel and follows it to its end.
fn follow(
    args: &Args,
    base: &Base,
    folder: &Path,
    kernel: &Kernel,
    files: &Files,
    told: &mut Told,
) -> Result<()> {
    fs::create_dir_all(folder)?;
    let fault = args.provoke.map(|fault| match fault {
        Fault::Panic => "panic",
        Fault::Hang => "hang",
    });
    let settings = [
        ("suite", suite::script(&args.filter)),
        ("fault", fault.unwrap_or_default().to_owned()),
    ];
    let guest = Guest {
        kernel: files,
        initramfs: &base.initramfs(folder, files, &settings)?,
        console: folder.join("console.log"),
    };
    step(format_args!("booting {}", files.release));
    let start = Instant::now();
    guest
        .run(|line| {
            let at = start.elapsed().as_secs();
            println!("{} {at:>4} s | {line}", kernel.name);
            told.hear(line);
            told.is_done
        })
        .with_context(|| files.release.clone())
}

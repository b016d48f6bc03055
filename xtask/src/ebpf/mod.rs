//! `cargo xtask ebpf`: builds the kernel side to the object that is committed.
//!
//! The object is committed so that building tcpleak takes stable Rust alone, and
//! anyone can build it again to the same bytes to see that it comes from the
//! sources beside it.

mod build;
mod linker;
mod pins;
mod record;
mod strip;
mod toolchain;

use std::fs;

use anyhow::{Context as _, Result, bail};

use self::record::Record;
pub(crate) use self::toolchain::Toolchain;
use crate::{command::step, place};

/// Where the object is committed, from the root of the repository.
const OBJECT: &str = "tracer/bpf/tcpleak.bpf.o";
/// Where the record of how it was built is committed.
const RECORD: &str = "tracer/bpf/tcpleak.bpf.toml";

/// Arguments of `cargo xtask ebpf`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build elsewhere and compare with the committed object, byte for byte
    #[arg(long)]
    check: bool,
}

/// Builds the object; writes it, or compares it with the committed one.
pub(crate) fn main(args: &Args) -> Result<()> {
    let toolchain = Toolchain::set_up()?;
    let object = build::object(&toolchain, args.check)?;
    let record = Record::of(&toolchain, &object);
    if args.check {
        check(&object, &record)
    } else {
        write(&object, &record)
    }
}

fn write(object: &[u8], record: &Record) -> Result<()> {
    for (path, bytes) in [(OBJECT, object), (RECORD, record.to_toml()?.as_bytes())] {
        step(format_args!("write {path} ({} bytes)", bytes.len()));
        let path = place::root().join(path);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn check(object: &[u8], record: &Record) -> Result<()> {
    step(format_args!("compare with {OBJECT}"));
    let committed = fs::read(place::root().join(OBJECT))
        .with_context(|| format!("no {OBJECT}: run cargo xtask ebpf and commit"))?;
    let recorded = fs::read_to_string(place::root().join(RECORD))
        .with_context(|| format!("no {RECORD}: run cargo xtask ebpf and commit"))?;
    let recorded = Record::from_toml(&recorded)?;
    if committed == object && recorded.sha256 == record.sha256 {
        step(format_args!("{OBJECT} is what the sources build to"));
        return Ok(());
    }
    match record.other_tools(&recorded) {
        Some(why) => bail!("{OBJECT} differs because {why}: run cargo xtask ebpf and commit"),
        None => bail!("{OBJECT} is not what the sources build to: run cargo xtask ebpf and commit"),
    }
}

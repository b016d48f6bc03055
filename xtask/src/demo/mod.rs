//! `cargo xtask demo`: tcpleak finding a leak on this host's loopback.

mod leak;

use std::{
    env,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::{Context as _, Result, bail};
use signal_hook::{consts::SIGINT, flag};

pub(crate) use self::leak::leak;
use crate::{command::step, run};

/// How long tcpleak watches.
const WATCH: &str = "15s";

/// Starts the leak, shows what tcpleak says of it, and ends it.
pub(crate) fn main() -> Result<()> {
    let tcpleak = run::build("")?;
    // Ctrl-C is for tcpleak: this process stays to end the leak.
    let stopped = Arc::new(AtomicBool::new(false));
    flag::register(SIGINT, stopped).context("cannot take Ctrl-C")?;

    let mut leak = start()?;
    let pid = leak.id();
    let watched = watch(&tcpleak, &mut leak);
    step(format_args!("end the leaking program, pid {pid}"));
    leak.kill()?;
    leak.wait()?;
    let status = watched?;
    if !status.success() {
        bail!("tcpleak ended with {status}");
    }
    println!(
        "Above, pid {pid} kept sockets in CLOSE_WAIT that its server had hung up on; \
         for your own host try: cargo xtask run -- leaks --for 60s"
    );
    Ok(())
}

/// Starts the leaking program, out of Ctrl-C's reach. It ends by itself when
/// this process is gone, as its standard input ends then.
fn start() -> Result<Child> {
    Command::new(env::current_exe()?)
        .arg("demo-leak")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("cannot start the leaking program")
}

fn watch(tcpleak: &Path, leak: &mut Child) -> Result<ExitStatus> {
    let stdout = leak
        .stdout
        .take()
        .context("the leaking program has no output")?;
    let mut port = String::new();
    BufReader::new(stdout).read_line(&mut port)?;
    let port = port.trim();
    step(format_args!(
        "pid {} leaks two connections a second to 127.0.0.1:{port}",
        leak.id()
    ));
    let args = ["leaks", "--for", WATCH, "--port", port].map(Into::into);
    Ok(run::tcpleak_command(tcpleak, &args)?.status()?)
}

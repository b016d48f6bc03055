//! What every test needs: programs that end with the test, and ways to ask.

pub(crate) mod balance;
pub(crate) mod browser;
pub(crate) mod compiled;
pub(crate) mod loaded;
pub(crate) mod net;
pub(crate) mod netns;
pub(crate) mod nginx;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod random;
pub(crate) mod report;
pub(crate) mod storm;
pub(crate) mod strace;
pub(crate) mod tcpleak;
pub(crate) mod temp;
pub(crate) mod witness;

use std::{
    env, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

pub(crate) use netns::Netns;
pub(crate) use nginx::Nginx;
pub(crate) use program::Program;
pub(crate) use storm::Storm;
pub(crate) use tcpleak::Tcpleak;
pub(crate) use witness::Witness;

/// After this long without what is waited for, a test fails. It is a bound, not
/// an expectation: the machine may be busy, or be played by another, which sets
/// `TCPLEAK_PATIENCE` in seconds.
pub(crate) fn patience() -> Duration {
    let seconds = env::var("TCPLEAK_PATIENCE").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// So many times a condition is looked at while there is patience: where all is slow, a
/// look is, too.
const LOOKS: u32 = 1_500;

/// Looks again and again until there is something to see.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    let patience = patience();
    loop {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        if start.elapsed() > patience {
            bail!("waited {patience:?} for {what}");
        }
        thread::sleep(patience / LOOKS);
    }
}

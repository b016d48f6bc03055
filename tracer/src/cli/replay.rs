//! What `--from` has in common: a recording, told to whoever looks at it.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::{args::RecordingArgs, interrupted, say};
use crate::{course::Observer, model::timeline::Keeper, store::replay::Replay};

/// Between two looks at whether more has been recorded.
const LOOK: Duration = Duration::from_millis(100);

/// Whoever a recording is told to.
pub(super) trait Listener: Observer {
    /// Waits until it can take more.
    async fn room(&self) {}
}

impl Listener for () {}

impl Listener for Keeper {}

impl<T: Listener> Listener for Option<T> {
    async fn room(&self) {
        if let Some(listener) = self {
            listener.room().await;
        }
    }
}

/// Tells all of it; with `--follow` until it ends, or Ctrl-C.
pub(super) async fn tell(
    replay: &mut Replay,
    args: &RecordingArgs,
    listener: &mut impl Listener,
) -> Result<()> {
    let interrupted = interrupted()?;
    tokio::pin!(interrupted);
    loop {
        if replay.step(listener)? {
            listener.room().await;
            continue;
        }
        if !args.follow || replay.course.is_over() {
            break;
        }
        tokio::select! {
            () = &mut interrupted => break,
            () = sleep(LOOK) => {}
        }
    }
    replay.finish(listener)?;
    say_flaws(replay);
    Ok(())
}

/// A line for each thing that is wrong with it.
pub(super) fn say_flaws(replay: &Replay) {
    for flaw in replay.flaws() {
        say(&format!("the recording does not tell {flaw}"));
    }
}

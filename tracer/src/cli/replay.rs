//! What `--from` has in common: a recording, told to whoever looks at it.

use std::time::Duration;

use anyhow::Result;
use tokio::{task::yield_now, time::sleep};

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

/// Tells all of it; with `--follow` until it ends, or Ctrl-C; and says what is wrong with it.
pub(super) async fn tell(
    replay: &mut Replay,
    args: &RecordingArgs,
    listener: &mut impl Listener,
) -> Result<()> {
    read(replay, args.follow, listener).await?;
    say_flaws(replay);
    Ok(())
}

/// Tells all of it; where it is to be followed, until it ends. False where Ctrl-C cut that
/// short.
pub(super) async fn read(
    replay: &mut Replay,
    follow: bool,
    listener: &mut impl Listener,
) -> Result<bool> {
    let interrupted = interrupted()?;
    tokio::pin!(interrupted);
    let is_whole = loop {
        if replay.step(listener)? {
            tokio::select! {
                biased;
                () = &mut interrupted => break false,
                // Signals are looked for while nothing else is done.
                () = async { yield_now().await; listener.room().await } => continue,
            }
        }
        if !follow || replay.course.is_over() {
            break true;
        }
        tokio::select! {
            () = &mut interrupted => break false,
            () = sleep(LOOK) => {}
        }
    };
    replay.finish(listener)?;
    Ok(is_whole)
}

/// A line for each thing that is wrong with it.
pub(super) fn say_flaws(replay: &Replay) {
    for flaw in replay.flaws() {
        say(&format!("the recording does not tell {flaw}"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nix::sys::signal::{Signal, raise};

    use super::*;
    use crate::{
        cli::runtime, clock::BootTime, selection::Selection, table::Change,
        table::connection::Connection,
    };

    /// Presses Ctrl-C as soon as there is something.
    #[derive(Default)]
    struct Impatient {
        parts: usize,
    }

    impl Observer for Impatient {
        fn change(&mut self, _: Change, _: BootTime, _: &Connection) -> Result<()> {
            Ok(())
        }

        fn settle(&mut self) -> Result<()> {
            self.parts += 1;
            raise(Signal::SIGINT)?;
            Ok(())
        }
    }

    impl Listener for Impatient {}

    #[test]
    fn ctrl_c_ends_it_between_two_parts() -> Result<()> {
        let v1 = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/v1.tcpleak");
        let mut replay = Replay::open(&v1, false, Selection::default())?;
        let mut listener = Impatient::default();
        let args = RecordingArgs::default();
        runtime()?.block_on(tell(&mut replay, &args, &mut listener))?;
        let told = listener.parts;
        while replay.step(&mut listener)? {}
        assert!(told < listener.parts, "all {told} parts were told");
        Ok(())
    }
}

//! Several runs side by side.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use anyhow::{Context as _, Error};

use super::{
    judge::Outcome,
    run::{Lab, Run},
};
use crate::command::step;

/// Runs all, `jobs` at a time. Gives back how they came out, and what could not
/// be run.
pub(crate) fn all(lab: &Lab, runs: &[Run], jobs: usize) -> (Vec<Outcome>, Vec<Error>) {
    let jobs = jobs.clamp(1, runs.len().max(1));
    step(format_args!(
        "{} runs of {} s, {jobs} at a time",
        runs.len(),
        lab.watch.as_secs()
    ));
    let next = AtomicUsize::new(0);
    let (send, receive) = mpsc::channel();
    let work = |send: mpsc::Sender<_>| {
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed))
            && !lab.is_stopped()
        {
            let done = lab.run(run).with_context(|| run.name());
            // Received until the last of the senders is gone.
            let _ = send.send(done);
        }
    };
    let (mut outcomes, mut broken) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs {
            let send = send.clone();
            scope.spawn(|| work(send));
        }
        drop(send);
        for (count, done) in receive.iter().enumerate() {
            let place = format!("[{}/{}]", count + 1, runs.len());
            match done {
                Ok(some) => {
                    some.iter().for_each(|one| told(&place, one));
                    outcomes.extend(some);
                }
                Err(error) => {
                    step(format_args!("{place} NOT RUN {error:#}"));
                    broken.push(error);
                }
            }
        }
    });
    (outcomes, broken)
}

/// One line of progress.
fn told(place: &str, one: &Outcome) {
    let how = match (one.class_is_right(), one.code_is_right()) {
        _ if !one.false_alarms.is_empty() => "FALSE ALARM",
        (true, true) => "right",
        (true, false) => "right class",
        _ => "WRONG",
    };
    step(format_args!(
        "{place} {}: {how}: {}",
        one.scenario, one.told_code
    ));
}

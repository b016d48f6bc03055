//! Several runs side by side.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use super::{
    judge::Outcome,
    run::{Lab, Run},
};
use crate::command::step;

/// Runs all, `jobs` at a time. Gives back how they came out, and what could not
/// be run.
pub(crate) fn all(lab: &Lab, runs: &[Run], jobs: usize) -> (Vec<Outcome>, Vec<String>) {
    let jobs = jobs.clamp(1, runs.len().max(1));
    step(format_args!(
        "{} runs of {} s, {jobs} at a time",
        runs.len(),
        lab.watch.as_secs()
    ));
    let next = AtomicUsize::new(0);
    let broken = Mutex::new(Vec::new());
    let (send, receive) = mpsc::channel();
    let outcomes = thread::scope(|scope| {
        for _ in 0..jobs {
            let send = send.clone();
            scope.spawn(|| {
                let send = send;
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if lab.is_stopped() {
                        break;
                    }
                    match lab.run(run) {
                        Ok(outcomes) => drop(send.send(outcomes)),
                        Err(error) => {
                            let fault = format!("{}: {error:#}", run.name());
                            step(&fault);
                            broken
                                .lock()
                                .unwrap_or_else(|held| held.into_inner())
                                .push(fault);
                        }
                    }
                }
            });
        }
        drop(send);
        let mut outcomes = Vec::new();
        for (done, some) in receive.iter().enumerate() {
            for one in &some {
                told(one, done + 1, runs.len());
            }
            outcomes.extend(some);
        }
        outcomes
    });
    (
        outcomes,
        broken.into_inner().unwrap_or_else(|held| held.into_inner()),
    )
}

/// One line of progress.
fn told(one: &Outcome, done: usize, of: usize) {
    let how = match (one.class_is_right(), one.code_is_right()) {
        _ if !one.false_alarms.is_empty() => "FALSE ALARM",
        (true, true) => "right",
        (true, false) => "right class",
        _ => "WRONG",
    };
    step(format_args!(
        "[{done}/{of}] {}: {how}: {}",
        one.scenario, one.told_code
    ));
}

//! Runs the guests, some at a time.

use std::{
    collections::VecDeque,
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::Result;

use super::{
    guest::Guest,
    kernel::{Files, Kernel},
    rootfs::Base,
    suite::Suite,
    told::Told,
};
use crate::command::step;

/// Guests at a time. Each has two processors, but its tests often wait together.
const AT_A_TIME: usize = 2;

/// What the guests have in common.
pub(crate) struct Matrix<'a> {
    /// The folder for what is made for each
    pub(crate) work: PathBuf,
    /// Their files
    pub(crate) base: Base,
    /// What they run
    pub(crate) suite: Suite<'a>,
    /// What happens to them instead, as `init.sh` knows it
    pub(crate) fault: &'static str,
}

impl Matrix<'_> {
    /// Runs a guest for each kernel; what they told is in the same order.
    pub(crate) fn run(&self, kernels: &[(Kernel, Files)]) -> Vec<(Told, Result<()>)> {
        // The newest first: it takes longest.
        let queue: VecDeque<_> = kernels.iter().enumerate().rev().collect();
        let queue = Mutex::new(queue);
        let next = || {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.pop_front()
        };
        let work = || {
            let mut told = Vec::new();
            while let Some((index, (kernel, files))) = next() {
                told.push((index, self.run_one(kernel, files)));
            }
            told
        };
        let mut told: Vec<_> = thread::scope(|scope| {
            let workers = [(); AT_A_TIME].map(|()| scope.spawn(work));
            let told = workers.map(|worker| match worker.join() {
                Ok(told) => told,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            told.into_iter().flatten().collect()
        });
        told.sort_by_key(|(index, _)| *index);
        told.into_iter().map(|(_, told)| told).collect()
    }

    fn run_one(&self, kernel: &Kernel, files: &Files) -> (Told, Result<()>) {
        let mut told = Told::default();
        let done = self.boot(kernel, files, &mut told);
        if let Err(error) = &done {
            step(format_args!("{}: {error:#}", kernel.name));
        }
        (told, done)
    }

    fn boot(&self, kernel: &Kernel, files: &Files, told: &mut Told) -> Result<()> {
        let folder = self.work.join(kernel.name);
        fs::create_dir_all(&folder)?;
        let settings = [
            ("suite", self.suite.script(kernel)),
            ("fault", self.fault.to_owned()),
        ];
        let guest = Guest {
            kernel: files,
            initramfs: &self.base.initramfs(&folder, files, &settings)?,
            console: folder.join("console.log"),
        };
        step(format_args!("{}: booting {}", kernel.name, files.release));
        let start = Instant::now();
        guest.run(|line| {
            let at = start.elapsed().as_secs();
            println!("{:<4} {at:>4} s | {line}", kernel.name);
            told.hear(line);
            told.is_done
        })
    }
}

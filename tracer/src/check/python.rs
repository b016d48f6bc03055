//! Call stacks of Python programs, as their audit hook writes them
//! (`cli/check/sitecustomize.py`). Pure.
//!
//! A line for each connect: `PID TID FD NANOSECONDS`, then for each frame a tab and
//! `L` (of the library) or `P` (of the program), the line, the function and the file,
//! parted by 0x1f. `exit PID NANOSECONDS` says when an interpreter began to take its
//! modules apart, which closes what they still hold. Whoever can write there may write anything: it costs names, no more.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::site::{self, Site};
use crate::{
    clock::BootTime,
    decode::Owner,
    model::{frame::Frame, untrusted::Untrusted},
};

/// Frames of one stack that are kept.
const MAX_FRAMES: usize = 64;

/// The recorded stacks by thread, in the order of their times.
#[derive(Debug, Default)]
pub struct Recorded {
    by_thread: FxHashMap<(u32, u32), Vec<Call>>,
    exits: FxHashMap<u32, BootTime>,
}

#[derive(Debug)]
struct Call {
    at: BootTime,
    fd: i32,
    site: Arc<Site>,
}

impl Recorded {
    /// Reads what hooks have written. What cannot be understood is passed over.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut recorded = Self::default();
        for line in bytes.split(|&byte| byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else {
                continue;
            };
            if let Some((thread, call)) = call(line) {
                recorded.by_thread.entry(thread).or_default().push(call);
            } else if let Some((pid, at)) = exit(line) {
                recorded.exits.insert(pid, at);
            }
        }
        for calls in recorded.by_thread.values_mut() {
            calls.sort_by_key(|call| call.at);
        }
        recorded
    }

    /// When the interpreter of this process began to end.
    #[must_use]
    pub fn exit(&self, pid: u32) -> Option<BootTime> {
        self.exits.get(&pid).copied()
    }

    /// The code by which a thread opened a connection at that time: it wrote the
    /// latest record before it, and did not connect otherwise in between.
    #[must_use]
    pub fn find(&self, opener: &Owner, at: BootTime) -> Option<Arc<Site>> {
        let calls = self.by_thread.get(&(opener.pid, opener.tid?.get()))?;
        let next = calls.partition_point(|call| call.at <= at);
        let call = calls.get(next.checked_sub(1)?)?;
        let is_it = opener.fd.is_none_or(|fd| fd == call.fd);
        is_it.then(|| Arc::clone(&call.site))
    }
}

fn exit(line: &str) -> Option<(u32, BootTime)> {
    let (pid, at) = line.strip_prefix("exit ")?.split_once(' ')?;
    Some((pid.parse().ok()?, BootTime::from_ns(at.parse().ok()?)))
}

fn call(line: &str) -> Option<((u32, u32), Call)> {
    let mut parts = line.split('\t');
    let mut head = parts.next()?.split(' ');
    let pid = head.next()?.parse().ok()?;
    let tid = head.next()?.parse().ok()?;
    let fd = head.next()?.parse().ok()?;
    let at = BootTime::from_ns(head.next()?.parse().ok()?);
    let frames: Vec<_> = parts.map_while(frame).take(MAX_FRAMES).collect();
    let site = Arc::new(site_of(frames));
    Some(((pid, tid), Call { at, fd, site }))
}

/// A frame with what only Python tells: whether it is a library's, and the whole path.
struct Told {
    frame: Frame,
    is_library: bool,
    path: Untrusted,
}

fn frame(text: &str) -> Option<Told> {
    let mut parts = text.split('\x1f');
    let is_library = parts.next()? == "L";
    let line = parts.next()?.parse().ok()?;
    let function = Untrusted::from(parts.next()?);
    let path = parts.next()?;
    let file = path.rsplit('/').next().unwrap_or(path);
    Some(Told {
        frame: Frame {
            function: Some(function),
            file: Some(Untrusted::from(file)),
            line: Some(line),
            ..Frame::default()
        },
        is_library,
        path: Untrusted::from(path),
    })
}

fn site_of(told: Vec<Told>) -> Site {
    let is_program = |at: usize| !told[at].is_library;
    let best = (0..told.len()).find(|&at| is_program(at));
    let frames: Arc<[Frame]> = told.iter().map(|told| told.frame.clone()).collect();
    let test = site::test(&frames, is_program);
    let best = best.or((!frames.is_empty()).then_some(0));
    let path = test.or(best).map(|at| told[at].path.clone());
    Site {
        frames,
        best,
        test,
        path,
    }
}

/// Libraries whose pools do not listen to their idle members.
const DEAF_POOLS: [&str; 4] = ["urllib3.", "httpcore.", "botocore.", "pip._vendor.urllib3."];

/// Whether such a pool opened a connection with this call stack.
#[must_use]
pub fn is_of_deaf_pool(site: &Site) -> bool {
    let functions = site.frames.iter().filter_map(|f| f.function.as_ref());
    let is_pool = |function: &Untrusted| DEAF_POOLS.iter().any(|p| function.raw().starts_with(p));
    functions.into_iter().any(is_pool)
}

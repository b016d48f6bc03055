//! Gives call stacks their names, on a thread of its own.

use std::{
    fs::File,
    mem,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Job, Results,
    maps::{Mapped, Mapping, find},
    process::{Fate, Process},
    protocol::{Answer, Kind, MAX_ADDRESSES, Name, Question},
    service::Service,
};
use crate::{
    model::{
        frame::{CallFrames, Frame, Reach},
        untrusted::Untrusted,
    },
    snapshot::clocks,
};

/// Processes whose memory is remembered.
const MAX_PROCESSES: usize = 64;

/// How many milliseconds what a process has mapped is believed, where an address is in
/// none of it.
const MAPPED_ANEW_MS: u64 = 1_000;

/// Addresses whose names are remembered.
const MAX_NAMED: usize = 65_536;

/// Stacks named in a second; more wait. A program without frame pointers has a new
/// stack for each call, of which nothing can be made.
const MAX_PER_SECOND: u32 = 400;

/// How long finding and opening a file may take. On a file system in user space
/// that may be for ever; such a thread is left behind.
const OPENS_WITHIN: Duration = Duration::from_secs(2);

/// Threads that may be left behind; after that no more files are opened.
const MAX_LEFT_BEHIND: usize = 8;

/// Names of one address, innermost first.
type Named = Arc<[Frame]>;

/// A place in a file, which has the same names in every process.
type Place = ((u32, u32), u64, u64);

#[derive(Default)]
pub(super) struct Worker {
    pub(super) service: Service,
    processes: FxHashMap<u32, Arc<Process>>,
    named: FxHashMap<Place, Named>,
    /// Files that do not say how their code is unwound.
    pub(super) mute: FxHashSet<((u32, u32), u64)>,
    left_behind: usize,
    /// Whether something of the stack in hand could not be found out that may be found
    /// out of the next one of the same code.
    pub(super) missed: bool,
}

impl Worker {
    /// Names stacks until nobody has any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>, results: &Results) {
        let mut second = (Instant::now(), 0);
        for job in jobs {
            if second.1 >= MAX_PER_SECOND {
                let rest = Duration::from_secs(1).saturating_sub(second.0.elapsed());
                thread::sleep(rest);
            }
            if second.0.elapsed() >= Duration::from_secs(1) {
                second = (Instant::now(), 0);
            }
            second.1 += 1;
            let frames = self.name(&job);
            results.put(&job, frames, self.service.used());
        }
    }

    /// What a stack is called by.
    fn name(&mut self, job: &Job) -> CallFrames {
        self.missed = false;
        let Ok(process) = self.process(job) else {
            // It has ended: as many frames as there were, without a name.
            return CallFrames {
                frames: job.addresses.iter().map(|_| Frame::default()).collect(),
                reach: Reach::Unknown,
            };
        };
        let (addresses, reach) = match (&job.copy, job.call_stack.stack.is_chain()) {
            (Some(copy), _) => {
                let way = self.unwind(&process, copy, &job.addresses);
                let reach = match way.is_whole {
                    true => Reach::Whole,
                    false if copy.is_one_page() => Reach::Unknown,
                    false => Reach::CutShort,
                };
                (way.addresses, reach)
            }
            (None, true) => (job.addresses.clone(), Reach::Unknown),
            (None, false) => (job.addresses.clone(), Reach::Whole),
        };
        let frames = self.frames(&process, &addresses).into();
        let reach = if self.missed { Reach::Unknown } else { reach };
        CallFrames { frames, reach }
    }

    /// The frames of a stack. It is cut off where an address is no code: what is
    /// further out was made up from memory that holds something else.
    fn frames(&mut self, process: &Arc<Process>, addresses: &[u64]) -> Vec<Frame> {
        // A return address is that of the next instruction, which may be another
        // line's, or another function's.
        let calls = addresses.iter().map(|address| address.saturating_sub(1));
        let code: Vec<(u64, &Mapping)> = calls
            .map_while(|call| Some((call, find(&process.mappings, call)?)))
            .collect();
        let mut named: Vec<Option<Named>> = vec![None; code.len()];
        for at in 0..code.len() {
            if named[at].is_some() {
                continue;
            }
            // All that are in the same file at once.
            let of = &code[at].1.of;
            let same: Vec<usize> = (at..code.len())
                .filter(|&other| is_same(&code[other].1.of, of))
                .take(MAX_ADDRESSES)
                .collect();
            let there: Vec<(u64, &Mapping)> = same.iter().map(|&at| code[at]).collect();
            for (at, names) in same.iter().zip(self.name_in(process, &there)) {
                named[*at] = Some(names);
            }
        }
        named
            .into_iter()
            .flatten()
            .flat_map(|names| names.to_vec())
            .collect()
    }

    /// The names of addresses that are all in the same file.
    fn name_in(&mut self, process: &Arc<Process>, there: &[(u64, &Mapping)]) -> Vec<Named> {
        let Some((_, first)) = there.first() else {
            return Vec::new();
        };
        match &first.of {
            Mapped::Kernel(name) => {
                let frame = Frame {
                    module: Some(Untrusted::from_bytes(name)),
                    ..Frame::default()
                };
                there.iter().map(|_| Arc::from([frame.clone()])).collect()
            }
            Mapped::Made => {
                let addresses: Vec<u64> = there.iter().map(|&(address, _)| address).collect();
                let names = self
                    .open(process, Process::open_perf_map)
                    .and_then(|file| self.ask(&file, Kind::PerfMap, &addresses))
                    .unwrap_or_else(|_| vec![Vec::new(); addresses.len()]);
                let frames = names.into_iter().map(|names| frames(names, None, None));
                frames.collect()
            }
            Mapped::File {
                device,
                inode,
                path,
                ..
            } => {
                let (device, inode) = (*device, *inode);
                let offsets: Vec<u64> = there.iter().map(|&(at, of)| offset_of(at, of)).collect();
                let unnamed: Vec<u64> = offsets
                    .iter()
                    .copied()
                    .filter(|&offset| !self.named.contains_key(&(device, inode, offset)))
                    .collect();
                if self.named.len() + unnamed.len() > MAX_NAMED {
                    self.named.clear();
                }
                let module = module_name(path);
                if !unnamed.is_empty() {
                    let path = path.clone();
                    let file = self.open(process, move |process| {
                        process.open_mapped(&path, device, inode)
                    });
                    // One that does not open, as its process is ending, says nothing of
                    // what others will find in it.
                    if let Ok(file) = file {
                        let names = self.ask(&file, Kind::Elf, &unnamed);
                        let names = names.unwrap_or_else(|_| vec![Vec::new(); unnamed.len()]);
                        for (&offset, names) in unnamed.iter().zip(names) {
                            let frames = frames(names, Some(&module), Some(offset));
                            self.named.insert((device, inode, offset), frames);
                        }
                    }
                }
                let named = offsets.iter().map(|&at| {
                    let named = self.named.get(&(device, inode, at)).cloned();
                    named.unwrap_or_else(|| frames(Vec::new(), Some(&module), Some(at)))
                });
                named.collect()
            }
        }
    }

    fn ask(&mut self, file: &File, kind: Kind, addresses: &[u64]) -> Result<Vec<Vec<Name>>> {
        let asked = addresses.len();
        let addresses = addresses.to_vec();
        let question = Question::Names { kind, addresses };
        let answer = self
            .service
            .ask(file, &question, |bytes| Answer::decode(bytes, asked));
        Ok(answer?.names)
    }

    /// Opens a file of the process, or gives up in time.
    pub(super) fn open(
        &mut self,
        process: &Arc<Process>,
        open: impl FnOnce(&Process) -> Result<File> + Send + 'static,
    ) -> Result<File> {
        // Until it is known that it is this file's own fault.
        let missed = mem::replace(&mut self.missed, true);
        anyhow::ensure!(
            self.left_behind < MAX_LEFT_BEHIND,
            "too many files do not open"
        );
        let its = Arc::clone(process);
        let (sender, opened): (Sender<Result<File>>, _) = channel();
        thread::Builder::new()
            .name("open".to_owned())
            .spawn(move || drop(sender.send(open(&its))))?;
        let opened = opened.recv_timeout(OPENS_WITHIN).map_err(|error| {
            self.left_behind += 1;
            anyhow::Error::new(error).context("a file does not open")
        })?;
        self.missed = missed || (opened.is_err() && process.fate() != Fate::Runs);
        opened
    }

    /// The process of a job, from memory where that explains its addresses.
    fn process(&mut self, job: &Job) -> Result<Arc<Process>> {
        let pid = job.call_stack.pid;
        if let Some(process) = self.processes.get(&pid) {
            let explains = find(&process.mappings, job.innermost().saturating_sub(1)).is_some();
            let age_ms = clocks::boot_time().ms_since(process.looked);
            let is_believed = explains || age_ms < MAPPED_ANEW_MS;
            let is_its = match process.fate() {
                Fate::Runs => is_believed,
                // It was in the program that was looked at, or in one before.
                Fate::RunsAnother => is_believed && job.at <= process.looked,
                // Nobody has its number yet: the stack is its own.
                Fate::Ended => Process::look(pid, job.at).is_err(),
            };
            if is_its {
                return Ok(Arc::clone(process));
            }
        }
        if self.processes.len() >= MAX_PROCESSES {
            self.processes.clear();
        }
        let process = Arc::new(Process::look(pid, job.at)?);
        self.processes.insert(pid, Arc::clone(&process));
        Ok(process)
    }
}

fn is_same(one: &Mapped, other: &Mapped) -> bool {
    match (one, other) {
        (
            Mapped::File { device, inode, .. },
            Mapped::File {
                device: other_device,
                inode: other_inode,
                ..
            },
        ) => (device, inode) == (other_device, other_inode),
        _ => one == other,
    }
}

/// An address as an offset in the file that is mapped there.
fn offset_of(address: u64, mapping: &Mapping) -> u64 {
    match &mapping.of {
        Mapped::File { offset, .. } => (address - mapping.start).wrapping_add(*offset),
        _ => 0,
    }
}

/// A file's name without its folders.
fn module_name(path: &[u8]) -> Untrusted {
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
    Untrusted::from_bytes(name.strip_suffix(b" (deleted)").unwrap_or(name))
}

/// Frames of the names at one address; one without a name where there is none.
fn frames(names: Vec<Name>, module: Option<&Untrusted>, offset: Option<u64>) -> Named {
    if names.is_empty() {
        let module = module.cloned();
        return Arc::from([Frame {
            module,
            offset,
            ..Frame::default()
        }]);
    }
    let frame = |name: Name| Frame {
        function: Some(Untrusted::from(name.function.as_str())),
        module: module.cloned(),
        file: name.file.as_deref().map(Untrusted::from),
        line: name.line,
        offset: name.offset,
    };
    names.into_iter().map(frame).collect()
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU64, process};

    use super::{super::Job, Reach, Worker};
    use crate::{
        clock::BootTime,
        decode::{
            StackId,
            chain::{Chain, Registers, StackCopy},
        },
        snapshot::clocks,
        table::site::CallStack,
    };

    fn job(pid: u32, addresses: Vec<u64>, copied_at: Option<u64>) -> Job {
        Job {
            call_stack: CallStack {
                pid,
                stack: StackId::of_chain(0).expect("a number"),
            },
            addresses,
            copy: copied_at.map(|ip| StackCopy {
                chain: Chain(NonZeroU64::MIN),
                registers: Registers { ip, sp: 0, fp: 0 },
                words: Vec::new(),
            }),
            at: clocks::boot_time(),
        }
    }

    #[test]
    fn a_copy_alone_shows_where_it_was_taken() {
        let here = a_copy_alone_shows_where_it_was_taken as fn() as usize as u64;
        let mut worker = Worker::default();
        worker.name(&job(process::id(), vec![here], None));
        // The kernel had no place for what frame pointers show.
        let named = worker.name(&job(process::id(), Vec::new(), Some(here + 1)));
        assert!(named.frames[0].module.is_some(), "{named:?}");
    }

    #[test]
    fn of_a_process_that_has_ended_nothing_tells_its_code() {
        let mut job = job(process::id(), vec![1, 2], None);
        // Another had the number then.
        job.at = BootTime::from_ns(1);
        let named = Worker::default().name(&job);
        assert_eq!((named.frames.len(), named.reach), (2, Reach::Unknown));
        assert_eq!(named.code(), None);
    }
}

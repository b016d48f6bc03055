//! The far end of a recording that is being written: a thread that packs blocks and
//! writes them. However slow its disk is, the trace does not wait for it. I/O.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use bytesize::ByteSize;

use super::block::{self, Kind, MAGIC, MAX_PAYLOAD};

/// Bytes that may wait for a slow disk, not packed: two seconds at 30,000
/// connections a second. What comes past that is left out, and counted by the reader.
const MAX_WAITING: usize = 64 << 20;

/// At the end, a disk that takes nothing for this long is given up on.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at whether it does.
const LOOK: Duration = Duration::from_millis(10);

/// Ends the name of each file.
pub const EXTENSION: &str = "tcpleak";

/// Where a recording goes, and how much of it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file; a folder where files are rotated.
    pub path: PathBuf,
    /// Bytes of each file; about, as blocks are whole.
    pub max_size: Option<u64>,
    /// The newest so many files are kept, instead of ending with the first.
    pub rotate: Option<usize>,
}

/// How the writing stands.
#[derive(Debug, Default)]
pub struct State {
    /// Bytes that wait.
    waiting: AtomicUsize,
    /// Bytes in this file.
    in_file: AtomicU64,
    /// Bytes written, over all files.
    written: AtomicU64,
    /// Blocks that are not written.
    left_out: AtomicU64,
    /// As much is written as was asked for.
    is_full: AtomicBool,
    /// Why the first of them was not; without one the disk was too slow.
    failure: Mutex<Option<io::Error>>,
}

impl State {
    /// Bytes that wait to be written, not packed.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Bytes written, over all files.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// As much is written as was asked for.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Why something that was recorded is not written, once that is so.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match (failure.as_ref(), self.left_out.load(Ordering::Relaxed)) {
            (Some(error), _) => Some(error.to_string()),
            (None, 0) => None,
            (None, _) => Some("its disk is too slow".to_owned()),
        }
    }
}

enum Job {
    Block(Kind, u64, Vec<u8>),
    NextFile,
}

/// The thread.
pub struct Disk {
    jobs: Option<Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    place: Place,
    state: Arc<State>,
}

impl Disk {
    /// Opens the first file. Before privileges are dropped: it may need them.
    ///
    /// # Errors
    /// Where it cannot be made, or a folder holds a recording already.
    pub fn open(place: Place) -> Result<Self> {
        let mut files = Files::new(&place)?;
        let state = Arc::new(State::default());
        let (jobs, arriving) = channel();
        let shared = Arc::clone(&state);
        let writer = thread::Builder::new()
            .name("recording".to_owned())
            .spawn(move || files.write(&arriving, &shared))
            .context("cannot start a thread")?;
        Ok(Self {
            jobs: Some(jobs),
            writer: Some(writer),
            place,
            state,
        })
    }

    /// How the writing stands, now and later.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    pub(super) fn push(&self, kind: Kind, sequence: u64, payload: Vec<u8>) {
        let state = &self.state;
        let waiting = state.waiting.load(Ordering::Relaxed);
        let is_too_much = waiting > 0 && waiting + payload.len() > MAX_WAITING;
        if is_too_much || payload.len() > MAX_PAYLOAD {
            state.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.waiting.fetch_add(payload.len(), Ordering::Relaxed);
        self.send(Job::Block(kind, sequence, payload));
    }

    /// Whether this file is as large as it may be, and another is to follow.
    pub(super) fn is_next_file_due(&self) -> bool {
        let in_file = self.state.in_file.load(Ordering::Relaxed);
        let is_full = self.place.max_size.is_some_and(|max| in_file >= max);
        if is_full && self.place.rotate.is_none() {
            self.state.is_full.store(true, Ordering::Relaxed);
        }
        is_full && self.place.rotate.is_some()
    }

    pub(super) fn next_file(&self) {
        self.state.in_file.store(0, Ordering::Relaxed);
        self.send(Job::NextFile);
    }

    fn send(&self, job: Job) {
        // The thread ends after this end is dropped.
        let _ = self.jobs.as_ref().map(|jobs| jobs.send(job));
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// Where something is not.
    pub(super) fn close(mut self) -> Result<()> {
        self.jobs = None;
        self.wait()?;
        if self
            .writer
            .take()
            .map(JoinHandle::join)
            .is_some_and(|end| end.is_err())
        {
            bail!("the writing thread ended early; please report this");
        }
        let left_out = self.state.left_out.load(Ordering::Relaxed);
        let failure = &self.state.failure;
        let failure = failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let path = self.place.path.display();
        match (left_out, failure) {
            (0, _) => Ok(()),
            (_, Some(error)) => Err(error).with_context(|| {
                format!("{left_out} blocks are missing in {path}, which says so to its readers")
            }),
            (_, None) => bail!(
                "{left_out} blocks are missing in {path}, whose disk was too slow; it says so to \
                 its readers"
            ),
        }
    }

    /// Waits for the thread, as long as its disk takes something.
    fn wait(&self) -> Result<()> {
        let (mut written, mut since) = (self.state.written(), Instant::now());
        while self
            .writer
            .as_ref()
            .is_some_and(|writer| !writer.is_finished())
        {
            thread::sleep(LOOK);
            if self.state.written() != written {
                (written, since) = (self.state.written(), Instant::now());
            } else if since.elapsed() > PATIENCE {
                bail!(
                    "{} takes no more: the last {} that were recorded are not in it",
                    self.place.path.display(),
                    ByteSize(self.state.waiting() as u64)
                );
            }
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It was closed, or nothing came of it and its file is to go.
        if self.jobs.take().is_some() {
            let _ = self.wait();
        }
    }
}

/// The files written so far.
struct Files {
    place: Place,
    /// Nobody had the first file before.
    is_new: bool,
    file: File,
    /// Bytes of whole blocks in it.
    len: u64,
    number: u64,
    kept: VecDeque<PathBuf>,
}

impl Files {
    fn new(place: &Place) -> Result<Self> {
        let path = &place.path;
        if place.rotate.is_some() {
            fs::create_dir_all(path)
                .with_context(|| format!("cannot make the folder {}", path.display()))?;
            let mut there = fs::read_dir(path)
                .with_context(|| format!("cannot read the folder {}", path.display()))?;
            if there.any(|entry| entry.is_ok_and(|entry| is_recording(&entry.path()))) {
                bail!(
                    "{} holds a recording already: remove it, or name another folder",
                    path.display()
                );
            }
        }
        let first = name(place, 0);
        keep_recording(&first)?;
        let is_new = !first.exists();
        Ok(Self {
            place: place.clone(),
            is_new,
            file: create(&first).with_context(|| format!("cannot write to {}", first.display()))?,
            len: 0,
            number: 0,
            kept: VecDeque::from([first]),
        })
    }

    fn write(&mut self, jobs: &Receiver<Job>, state: &State) {
        for job in jobs {
            let (result, len) = match job {
                Job::NextFile => (self.next(), 0),
                Job::Block(kind, sequence, payload) => {
                    (self.append(kind, sequence, &payload, state), payload.len())
                }
            };
            state.waiting.fetch_sub(len, Ordering::Relaxed);
            if let Err(error) = result {
                let failure = &state.failure;
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
                // Only now: who sees it counted asks why.
                state.left_out.fetch_add(1, Ordering::Relaxed);
            }
        }
        if self.is_new && self.number == 0 && self.len == 0 {
            // Nothing came of it. Whoever finds the file would take it for a recording.
            let _ = fs::remove_file(&self.kept[0]);
        }
    }

    fn append(
        &mut self,
        kind: Kind,
        sequence: u64,
        payload: &[u8],
        state: &State,
    ) -> io::Result<()> {
        let sealed = block::seal(kind, sequence, payload)?;
        // A device has no length, and a pipe nothing to keep.
        let is_kept = self.file.metadata()?.is_file();
        if is_kept && self.len == 0 {
            self.file.set_len(0)?;
        }
        let mut written = self.file.write_all(&sealed);
        if is_kept {
            written = written.and_then(|()| self.file.sync_data());
        }
        if let Err(error) = written {
            if is_kept {
                // Part of it may be there; the next one is to follow the last whole one.
                self.file.set_len(self.len)?;
                self.file.seek(SeekFrom::Start(self.len))?;
            }
            return Err(error);
        }
        let len = sealed.len() as u64;
        self.len += len;
        state.in_file.fetch_add(len, Ordering::Relaxed);
        state.written.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    fn next(&mut self) -> io::Result<()> {
        self.number += 1;
        let path = name(&self.place, self.number);
        self.file = create(&path)?;
        self.len = 0;
        self.kept.push_back(path);
        while self.kept.len() > self.place.rotate.unwrap_or(usize::MAX) {
            if let Some(oldest) = self.kept.pop_front() {
                fs::remove_file(oldest)?;
            }
        }
        Ok(())
    }
}

fn name(place: &Place, number: u64) -> PathBuf {
    match place.rotate {
        None => place.path.clone(),
        Some(_) => place.path.join(format!("{number:06}.{EXTENSION}")),
    }
}

/// Whether a file is named as one of a recording.
pub(super) fn is_recording(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == EXTENSION)
}

/// That a file which is about to be written to holds no recording, which would be gone.
///
/// # Errors
/// Where it does, with what to do.
pub fn keep_recording(path: &Path) -> Result<()> {
    let mut begin = [0; MAGIC.len()];
    let is_recording = path.is_file()
        && File::open(path).is_ok_and(|mut file| file.read_exact(&mut begin).is_ok())
        && begin == MAGIC;
    ensure!(
        !is_recording,
        "{} holds a recording: remove it, or name another file",
        path.display()
    );
    Ok(())
}

/// Readable by its owner only: it says who talks to whom. What it holds stays until
/// there is something to put in its place.
fn create(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

//! Programs with many connections to themselves, idle or busy as they are told.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

/// Connections to one address: fewer than there are local ports by default.
const PER_ADDRESS: usize = 20_000;

/// Bytes that go over a connection at a time: less than its buffers hold.
const AT_ONCE: usize = 16 << 10;

/// Descriptors that a program has beside its connections.
const OTHER_FILES: usize = 1_000;

/// As many programs as it takes: each may open only so many files.
pub(crate) struct Crowd(Vec<Member>);

/// One of them, and how it is told what to do.
struct Member {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Crowd {
    /// Starts it, with so many connections.
    pub(crate) fn start(connections: usize) -> Result<Self> {
        let files = most_files()?;
        let each = files.saturating_sub(OTHER_FILES) / 2;
        ensure!(
            each > 0,
            "no program may open more than {files} files: raise `ulimit -Hn`"
        );
        let mut crowd = Self(Vec::new());
        let mut left = connections;
        while left > 0 {
            let own = left.min(each);
            crowd.0.push(Member::start(own, files)?);
            left -= own;
        }
        Ok(crowd)
    }

    /// Moves data over all connections in turn for so long. Returns bytes in a second.
    pub(crate) fn move_data(&mut self, lasts: Duration) -> Result<u64> {
        for member in &mut self.0 {
            writeln!(member.ask, "{}", lasts.as_millis())?;
        }
        self.0.iter_mut().map(Member::hear).sum()
    }
}

/// How many files a program may open: the hard limit of `/proc/self/limits`.
fn most_files() -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(4)?.parse().ok());
    hard.context("/proc/self/limits has no limit of open files")
}

impl Member {
    fn start(connections: usize, files: usize) -> Result<Self> {
        let mut child = Command::new("prlimit")
            .arg(format!("--nofile={files}"))
            .arg(env::current_exe()?)
            .args(["bench-crowd", &connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start prlimit")?;
        let ask = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut member = Self {
            child,
            ask,
            answers,
        };
        let open = member
            .hear()
            .context("the connections could not be opened")?;
        ensure!(open == connections as u64, "{open} connections were opened");
        Ok(member)
    }

    fn hear(&mut self) -> Result<u64> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().context("the crowd has ended")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program itself: opens, says how many, then does as each line says; ends with
/// its input.
pub(crate) fn main(connections: usize) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    let mut pairs = Vec::with_capacity(connections);
    for index in 0..connections {
        let address = u8::try_from(1 + index / PER_ADDRESS).context("too many connections")?;
        let to = SocketAddr::from((Ipv4Addr::new(127, 0, 1, address), port));
        let client = TcpStream::connect(to)?;
        let (server, _) = listener.accept()?;
        pairs.push((client, server));
    }
    println!("{}", pairs.len());
    for line in io::stdin().lines() {
        let lasts = Duration::from_millis(line?.parse()?);
        println!("{}", move_data(&mut pairs, lasts)?);
    }
    Ok(())
}

fn move_data(pairs: &mut [(TcpStream, TcpStream)], lasts: Duration) -> Result<u64> {
    let mut buffer = vec![7; AT_ONCE];
    let mut moved = 0;
    let began = Instant::now();
    loop {
        for (client, server) in pairs.iter_mut() {
            client.write_all(&buffer)?;
            server.read_exact(&mut buffer)?;
            moved += AT_ONCE as u64;
            if began.elapsed() >= lasts {
                let ms = u64::try_from(began.elapsed().as_millis().max(1))?;
                return Ok(moved * 1_000 / ms);
            }
        }
    }
}

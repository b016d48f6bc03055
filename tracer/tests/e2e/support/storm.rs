//! Connections as fast as this machine makes them, most of them closed at once.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Addresses of loopback that are connected to in turn: each has local ports of its
/// own, and a pair of ends in TIME_WAIT cannot be had again at once.
const ADDRESSES: u32 = 200;

/// So many at most wait for the server: where the listener's queue overflows, a connect
/// waits a second for its second SYN.
const WAITING: usize = 64;

/// What a client asks of the server: to close first, so that TIME_WAIT takes none of the
/// local ports that other tests want; or to keep the connection.
const CLOSE: &[u8] = b"c";
const KEEP: &[u8] = b"k";

/// A listener on every address of loopback, and what connects to it.
pub(crate) struct Storm {
    /// Its port
    pub(crate) port: u16,
    listener: TcpListener,
}

/// A storm under way.
pub(crate) struct Blowing {
    opened: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    opener: JoinHandle<Result<Vec<TcpStream>>>,
    accepter: JoinHandle<Result<Vec<TcpStream>>>,
}

impl Storm {
    /// Nothing blows yet.
    pub(crate) fn new() -> Result<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let port = listener.local_addr()?.port();
        Ok(Self { port, listener })
    }

    /// From now on: one thread opens connections, another one accepts them and closes
    /// them at once, but for every `keep`th.
    pub(crate) fn blow(&self, keep: u32) -> Result<Blowing> {
        let opened = Arc::new(AtomicU32::new(0));
        let [stop, over] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let listener = self.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        let opener = thread::spawn({
            let (port, opened, stop) = (self.port, Arc::clone(&opened), Arc::clone(&stop));
            move || open_all(port, keep, &opened, &stop)
        });
        let accepter = thread::spawn({
            let over = Arc::clone(&over);
            move || accept_all(&listener, &over)
        });
        Ok(Blowing {
            opened,
            stop,
            over,
            opener,
            accepter,
        })
    }
}

impl Blowing {
    /// Connections opened so far.
    pub(crate) fn opened(&self) -> u32 {
        self.opened.load(Relaxed)
    }

    /// Ends it; what was kept stays open as long as what this returns.
    pub(crate) fn stop(self) -> Result<[Vec<TcpStream>; 2]> {
        self.stop.store(true, Relaxed);
        let join = |thread: JoinHandle<Result<_>>| {
            let ended = thread.join();
            ended.map_err(|_| anyhow!("a thread of the storm ended early"))?
        };
        let clients = join(self.opener);
        self.over.store(true, Relaxed);
        Ok([clients?, join(self.accepter)?])
    }
}

fn open_all(port: u16, keep: u32, opened: &AtomicU32, stop: &AtomicBool) -> Result<Vec<TcpStream>> {
    let mut kept = Vec::new();
    let mut waiting = VecDeque::new();
    while !stop.load(Relaxed) {
        let number = opened.load(Relaxed);
        let address = u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number % ADDRESSES;
        let address = SocketAddr::from((Ipv4Addr::from(address), port));
        let mut client = TcpStream::connect(address)
            .with_context(|| format!("connection {number} to {address}"))?;
        opened.store(number + 1, Relaxed);
        if number.is_multiple_of(keep) {
            client.write_all(KEEP)?;
            kept.push(client);
        } else {
            client.write_all(CLOSE)?;
            waiting.push_back(client);
        }
        if waiting.len() > WAITING
            && let Some(mut oldest) = waiting.pop_front()
        {
            // The server's FIN.
            ensure!(oldest.read(&mut [0])? == 0, "the server says something");
        }
    }
    for mut client in waiting {
        ensure!(client.read(&mut [0])? == 0, "the server says something");
    }
    Ok(kept)
}

fn accept_all(listener: &TcpListener, over: &AtomicBool) -> Result<Vec<TcpStream>> {
    let mut kept = Vec::new();
    loop {
        // Asked first: what is in the queue then is accepted yet.
        let is_over = over.load(Relaxed);
        match listener.accept() {
            Ok((mut server, _)) => {
                server.set_nonblocking(false)?;
                let mut asked = [0];
                server.read_exact(&mut asked)?;
                if asked == KEEP {
                    kept.push(server);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if is_over {
                    return Ok(kept);
                }
                thread::yield_now();
            }
            Err(error) => return Err(error.into()),
        }
    }
}

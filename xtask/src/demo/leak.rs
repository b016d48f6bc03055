//! The leaking program of the demo: a client that never closes, and the server
//! that hung up on it. Its sockets stay in `CLOSE_WAIT` until it ends.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::Result;

/// Between two connections.
const PACE: Duration = Duration::from_millis(500);
/// Sockets the client holds at most.
const MOST: usize = 200;

/// Leaks until its standard input ends. The first line it prints is the port.
pub(crate) fn leak() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let server = listener.local_addr()?;
    println!("{}", server.port());
    thread::spawn(move || serve(&listener));
    thread::spawn(move || hoard(server));
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// Answers each client and hangs up at once.
fn serve(listener: &TcpListener) -> io::Result<()> {
    for client in listener.incoming() {
        let mut client = client?;
        client.read_exact(&mut [0; 5])?;
        client.write_all(b"bye\n")?;
    }
    Ok(())
}

/// Asks, reads the answer to its end, and forgets to close.
fn hoard(server: SocketAddr) -> io::Result<()> {
    let mut forgotten = Vec::with_capacity(MOST);
    while forgotten.len() < MOST {
        let mut socket = TcpStream::connect(server)?;
        socket.write_all(b"hello")?;
        socket.read_to_end(&mut Vec::new())?;
        forgotten.push(socket);
        thread::sleep(PACE);
    }
    loop {
        thread::park();
    }
}

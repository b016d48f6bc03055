#[path = "../lab.rs"]
mod lab;

use std::{
    io,
    net::{Shutdown, TcpStream},
    thread,
};

fn main() {
    lab::end_in_time();
    let mut sessions = Vec::new();
    loop {
        sessions.push(submit());
        lab::pace();
    }
}

/// Says that it is done, and thinks that this closes.
fn submit() -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(lab::addr())?; // opened here
    lab::ask(&mut socket)?;
    socket.shutdown(Shutdown::Write)?;
    thread::yield_now();
    Ok(socket)
}

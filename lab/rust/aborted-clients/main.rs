#[path = "../lab.rs"]
mod lab;

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

fn main() {
    lab::end_in_time();
    let listener = TcpListener::bind(("0.0.0.0", lab::port())).expect("a free port");
    serve(&listener);
}

fn serve(listener: &TcpListener) {
    loop {
        let (socket, _) = listener.accept().expect("a client"); // opened here
        // One handle to answer with, one that is kept for statistics.
        kept(socket.try_clone().expect("a descriptor"));
        thread::spawn(|| answer(socket));
    }
}

fn kept(socket: TcpStream) {
    Box::leak(Box::new(socket));
}

/// Ends at the first error, and with it only its own handle.
fn answer(mut socket: TcpStream) {
    let mut part = [0; 1024];
    while matches!(socket.read(&mut part), Ok(read) if read > 0) {
        if socket
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .is_err()
        {
            return;
        }
    }
}

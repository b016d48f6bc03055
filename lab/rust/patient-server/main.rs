#[path = "../lab.rs"]
mod lab;

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

fn main() {
    lab::end_in_time();
    let listener = TcpListener::bind(("0.0.0.0", lab::port())).expect("a free port");
    serve(&listener);
}

fn serve(listener: &TcpListener) {
    loop {
        let (socket, _) = listener.accept().expect("a client"); // opened here
        thread::spawn(|| answer(socket));
    }
}

/// Keeps a connection for twenty seconds after its last request.
fn answer(mut socket: TcpStream) {
    let limit = Some(Duration::from_secs(20));
    socket.set_read_timeout(limit).expect("not zero");
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

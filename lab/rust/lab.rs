//! Tells a program of the lab where its other end is, how much traffic to make,
//! and when to stop.
#![allow(dead_code, reason = "no program needs all")]

use std::{
    env,
    io::{self, Read, Write},
    net::TcpStream,
    process, thread,
    time::Duration,
};

/// What every end of the lab understands.
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";

fn number(name: &str) -> u32 {
    let value = env::var(name).expect("cargo xtask lab sets it");
    value.parse().expect("a number")
}

/// The other end.
pub fn addr() -> String {
    format!("{}:{}", env::var("LAB_HOST").expect("set"), port())
}

/// The port that this scenario's servers listen on.
pub fn port() -> u16 {
    number("LAB_PORT").try_into().expect("a port")
}

/// How often a second a program opens or asks.
pub fn rate() -> u32 {
    number("LAB_RATE")
}

/// Ends the program in time.
pub fn end_in_time() {
    let seconds = number("LAB_SECONDS").into();
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(seconds));
        process::exit(0);
    });
}

/// Waits until it is time for the next one.
pub fn pace() {
    thread::sleep(Duration::from_secs(1) / rate());
}

/// Waits for the program's end.
pub fn stay() -> ! {
    loop {
        thread::park();
    }
}

/// Makes one exchange.
pub fn ask(socket: &mut TcpStream) -> io::Result<()> {
    socket.write_all(REQUEST)?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = socket.read(&mut part)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&part[..read]);
        if is_complete(&answer) {
            return Ok(());
        }
    }
}

fn is_complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .split_once("Content-Length: ")
        .and_then(|(_, rest)| rest.lines().next()?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}

#[path = "../lab.rs"]
mod lab;

use std::{net::TcpStream, thread};

fn main() {
    lab::end_in_time();
    for _ in 0..4 {
        thread::spawn(|| {
            loop {
                call();
            }
        });
    }
    lab::stay();
}

/// Connects without a limit of its own.
fn call() {
    let connected = TcpStream::connect(lab::addr()); // opened here
    match connected {
        Ok(mut socket) => lab::ask(&mut socket).unwrap_or_default(),
        Err(error) => println!("{error}"),
    }
    lab::pace();
}

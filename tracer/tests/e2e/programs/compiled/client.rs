//! client PORT COUNT: opens COUNT connections by each of two ways, and keeps them until
//! the end of its standard input.

use std::{
    env,
    hint::black_box,
    io::{self, Read as _},
    net::TcpStream,
    thread,
    time::Duration,
};

#[inline(never)]
fn fetch(port: u16, held: &mut Vec<TcpStream>) {
    held.push(TcpStream::connect(("127.0.0.1", port)).expect("a connection"));
}

#[inline(never)]
fn fetch_otherwise(port: u16, held: &mut Vec<TcpStream>) {
    let text = black_box(format!("127.0.0.1:{port}"));
    held.push(TcpStream::connect(&text).expect("another"));
    black_box(text);
}

fn main() {
    let number = |at| env::args().nth(at).and_then(|text| text.parse().ok());
    let (port, count) = (number(1).expect("a port"), number(2).expect("a number"));
    let mut held = Vec::new();
    println!("ready");
    let mut byte = [0];
    io::stdin().read_exact(&mut byte).expect("input");
    for _ in 0..count {
        fetch(port, &mut held);
        fetch_otherwise(port, &mut held);
        thread::sleep(Duration::from_millis(20));
    }
    println!("opened");
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

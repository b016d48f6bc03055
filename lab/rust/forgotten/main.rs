#[path = "../lab.rs"]
mod lab;

use std::{io, mem, net::TcpStream};

fn main() {
    lab::end_in_time();
    loop {
        if let Err(error) = session() {
            println!("{error}");
        }
        lab::pace();
    }
}

fn session() -> io::Result<()> {
    let mut socket = TcpStream::connect(lab::addr())?; // opened here
    for _ in 0..4 {
        lab::ask(&mut socket)?;
    }
    mem::forget(socket); // Handed to C, which does not close it.
    Ok(())
}

use std::{
    mem,
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

// Longer than the grace time, after whatever leaked.
const PAUSE: Duration = Duration::from_millis(600);

// Hangs up at once.
fn fetch() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    drop(listener.accept().unwrap());
    stream
}

mod tests {
    use super::*;

    #[test]
    fn leaks() {
        let stream = fetch(); // LEAK
        mem::forget(stream);
        thread::sleep(PAUSE);
    }

    #[test]
    fn closes() {
        let stream = fetch();
        thread::sleep(PAUSE);
        drop(stream);
    }
}

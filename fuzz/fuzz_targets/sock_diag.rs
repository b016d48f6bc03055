//! A datagram of any bytes, as the kernel's answer about its sockets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer::snapshot::answer;

fuzz_target!(|bytes: &[u8]| {
    let mut sockets = Vec::new();
    let _ = answer::read(bytes, 1, &mut sockets);
    // A header and the fixed part of a socket.
    assert!(sockets.len() <= bytes.len() / 88);
});

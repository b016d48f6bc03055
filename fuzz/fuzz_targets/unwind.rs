//! A file of any bytes, asked how its code is unwound.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use tracer::symbols::{
    helper::unwind::Tables,
    protocol::{MAX_CALLERS, Registers, Walk},
};

/// Where the process has the file's code, and how much of it there may be.
const CODE: u64 = 0x10_0000;
const LENGTH: u64 = 0x10_0000;

/// Where its stack is.
const STACK: u64 = 0x7000;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tables) = Tables::read(Cursor::new(bytes)) else {
        return;
    };
    // The file's own bytes are what is on the stack; each place in its first page of
    // code has called another.
    let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().unwrap_or_default());
    let words: Vec<u64> = bytes.chunks_exact(8).map(word).take(256).collect();
    for at in (0..4096).step_by(64) {
        let walk = Walk {
            registers: Registers {
                ip: CODE + at,
                sp: STACK,
                fp: STACK + at % 256,
            },
            is_innermost: at % 128 == 0,
            code: (CODE, CODE + LENGTH, 0),
            from: STACK,
            words: words.iter().map(|word| CODE + word % 4096).collect(),
        };
        assert!(tables.walk(&walk).callers.len() <= MAX_CALLERS);
    }
});

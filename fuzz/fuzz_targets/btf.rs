//! BTF of any bytes, as `--btf FILE` may hand in, through both of its readers.
#![no_main]

use aya::{Btf, Endianness};
use libfuzzer_sys::fuzz_target;
use tracer::btf::{KernelTypes, offsets};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(types) = KernelTypes::parse(bytes) {
        let _ = offsets(&types);
        let _ = types.function_arity("inet_csk_accept");
    }
    let _ = Btf::parse(bytes, Endianness::default());
});

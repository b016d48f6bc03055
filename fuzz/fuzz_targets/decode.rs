//! A ring's worth of records, of any bytes, through decoding and the table.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer::{
    decode::{decode, tcp_info::TcpInfo},
    table::{Hears, Table},
};

fuzz_target!(|bytes: &[u8]| {
    // By the first byte: a plan that hears more, and one that concludes it.
    let hears = bytes.first().is_some_and(|byte| byte % 2 == 1);
    let mut table = Table::new(false, false).hearing(Hears {
        close: hears,
        resets: hears,
    });
    let mut rest = bytes;
    // Before each record a byte that tells its length.
    while let Some((&length, after)) = rest.split_first() {
        let (record, after) = after.split_at(after.len().min(length.into()));
        rest = after;
        if let Ok(event) = decode(record) {
            table.apply(&event, |_, _, _| {});
        }
    }
    let counters = table.counters();
    assert_eq!(
        counters.seen,
        counters.closed + counters.evicted + table.live()
    );
    let _ = table.sites();
    let _ = TcpInfo::parse(bytes);
});

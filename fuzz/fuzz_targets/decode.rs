//! A ring's worth of records, of any bytes, through decoding and the table.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer::{
    clock::BootTime,
    decode::{
        decode,
        fold::{self, Folded, Story},
        tcp_info::TcpInfo,
    },
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
    let mut folded = Folded::default();
    // Before each record a byte that tells its length, 0 for the longest.
    while let Some((&length, after)) = rest.split_first() {
        let length = if length == 0 { 256 } else { length.into() };
        let (record, after) = after.split_at(after.len().min(length));
        rest = after;
        if let Some(record) = fold::record(record) {
            // As it is read while it is folded still, and then from the ring.
            let story = folded.looks(&record, BootTime::from_ns(record.header.ts_ns));
            for event in story.into_iter().flat_map(Story::events) {
                table.apply(&event, |_, _, _| {});
            }
            folded.end_looks();
            for event in folded.ends(&record).into_iter().flat_map(Story::events) {
                table.apply(&event, |_, _, _| {});
            }
        } else if let Ok(event) = decode(record) {
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

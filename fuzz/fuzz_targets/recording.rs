//! A recording of any bytes: as a file, and as what a block of one holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer::{
    course::Course,
    selection::Selection,
    store::{
        blocks::{Blocks, Piece},
        item::Start,
        replay::{Horizon, tell},
    },
};

fuzz_target!(|bytes: &[u8]| {
    let mut blocks = Blocks::new(bytes, false);
    while let Some(piece) = blocks.next(|_| true).expect("memory can be read") {
        match piece {
            Piece::Newer(_) => break,
            Piece::Block(..) | Piece::Skipped(_) | Piece::Damaged(_) => {}
        }
    }

    let Some((&len, rest)) = bytes.split_first() else {
        return;
    };
    let (start, payload) = rest.split_at(rest.len().min(len.into()));
    let Some(start) = Start::decode(start) else {
        return;
    };
    let mut course = Course::new(start.setup, Selection::default(), start.standing);
    tell(&mut course, payload, &mut Horizon::default(), &mut ()).expect("nobody fails to hear it");
    let counters = course.table.counters();
    assert_eq!(
        counters.seen,
        counters.closed + counters.evicted + course.table.live()
    );
    let loss = course.loss();
    assert!(loss.events_lost >= loss.unrecorded);
    let _ = (course.blind(), course.table.sites(), course.now());
});

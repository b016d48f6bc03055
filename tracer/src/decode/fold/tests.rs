//! What a record of a folded connection stands for, and that each part is told once.

use proptest::prelude::*;
use tracer_common::event::NO_STACK;
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::*;

fn phase(ts_ns: u64, old: u8, new: u8) -> Phase {
    Phase {
        ts_ns,
        value: 0,
        old,
        new,
        flags: 0,
        shutdown: 0,
    }
}

/// Opened at 10 ms, connected at 15, established at 14, closed by us from 20 on.
fn client() -> FoldRecord {
    const MS: u64 = 1_000_000;
    let mut record = FoldRecord::new_zeroed();
    record.header.ts_ns = 10 * MS;
    record.header.sock = 7;
    record.header.kind = kind::FOLD;
    record.header.pid = 100;
    record.addresses.family = 2;
    (record.fd, record.stack) = (3, NO_STACK);
    (record.opened, record.latency_us) = (opened::AND_RETURNED, 5_000);
    record.closed_ns = 20 * MS;
    record.figures.tx_bytes = 9;
    record.phases[0] = phase(14 * MS, 2, 1);
    record.phases[1] = phase(21 * MS, 1, 4);
    record.phases[2] = phase(22 * MS, phase::RESET, 1);
    record.phases[3] = phase(23 * MS, 4, 7);
    record.count = 4;
    record
}

/// Each by its time in milliseconds and its first word.
fn told(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::State { new, .. } => format!("{new:?}"),
        other => format!("{other:?}")
            .split(' ')
            .next()
            .map(str::to_owned)
            .unwrap_or_default(),
    };
    let line = |event: &Event| format!("{} {}", event.at().ns() / 1_000_000, name(event));
    events.iter().map(line).collect()
}

fn looked(folded: &mut Folded, record: &FoldRecord, until: BootTime) -> Vec<Event> {
    let story = folded.looks(record, until);
    story.into_iter().flat_map(Story::events).collect()
}

#[test]
fn a_record_is_told_in_the_order_of_time() -> Result<(), DecodeError> {
    let events: Vec<_> = Folded::default().ends(&client())?.events().collect();
    let order = [
        "10 SynSent",
        "14 Established",
        "15 Connect",
        "20 Close",
        "21 FinWait1",
        "22 Reset",
        "23 Close",
    ];
    assert_eq!(told(&events), order);
    let Some(Event::State { how, .. }) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!(how.figures.map(|figures| figures.tx_bytes), Some(9));
    let Some(Event::State { task, .. }) = events.first() else {
        panic!("{events:?}");
    };
    assert_eq!((task.pid, task.fd), (100, Some(3)));
    Ok(())
}

#[test]
fn what_was_looked_at_is_not_told_again() -> Result<(), DecodeError> {
    let mut folded = Folded::default();
    let at = |ms: u64| BootTime::from_ns(ms * 1_000_000);
    assert_eq!(
        told(&looked(&mut folded, &client(), at(14))),
        ["10 SynSent", "14 Established"]
    );
    folded.end_looks();
    assert!(looked(&mut folded, &client(), at(14)).is_empty());
    folded.end_looks();
    assert_eq!(folded.ends(&client())?.events().count(), 5);
    // It is forgotten then: this is another connection of the same socket.
    assert_eq!(folded.ends(&client())?.events().count(), 7);
    Ok(())
}

#[test]
fn one_that_is_looked_at_no_more_is_forgotten() {
    let mut folded = Folded::default();
    assert_eq!(looked(&mut folded, &client(), BootTime::END).len(), 7);
    for _ in 0..=FORGOTTEN_AFTER {
        folded.end_looks();
    }
    assert!(folded.told.is_empty());
}

#[test]
fn an_accepted_one_belongs_to_who_accepted_it() -> Result<(), DecodeError> {
    let mut record = client();
    record.opened = opened::NOT;
    record.accepted_ns = 19_000_000;
    record.phases[0] = phase(10_000_000, 10, 3);
    let events: Vec<_> = Folded::default().ends(&record)?.events().collect();
    assert_eq!(told(&events)[..2], ["10 SynRecv", "19 Accept"]);
    let Event::Accept { owner, .. } = events[1] else {
        panic!("{events:?}");
    };
    assert_eq!((owner.pid, owner.fd), (100, Some(3)));
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, filled: [u8; 256], until: u64) {
        prop_assert!(record(&bytes).is_none_or(|_| bytes.len() >= size_of::<FoldRecord>()));
        let mut any = FoldRecord::new_zeroed();
        any.as_mut_bytes().copy_from_slice(&filled);
        let mut folded = Folded::default();
        let looked = looked(&mut folded, &any, BootTime::from_ns(until)).len();
        prop_assert!(folded.ends(&any).map_or(0, |rest| rest.events().count()) + looked <= PARTS);
    }
}

#[test]
fn one_that_is_connected_again_is_told_from_the_start() {
    let mut folded = Folded::default();
    let first = client();
    let mut second = client();
    second.header.ts_ns += 1;
    let all = looked(&mut folded, &first, BootTime::END).len();
    assert!(looked(&mut folded, &first, BootTime::END).is_empty());
    assert_eq!(looked(&mut folded, &second, BootTime::END).len(), all);
    // Of the first one nothing is known any more.
    let story = folded.ends(&first);
    assert_eq!(story.map_or(0, |story| story.events().count()), all);
}

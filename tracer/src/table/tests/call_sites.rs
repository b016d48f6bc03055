//! Connections are grouped by the code that opened them.

use proptest::prelude::*;

use super::{NOTHING, Script, ends, task};
use crate::{
    decode::{Event, Owner, StackId},
    table::{
        Table,
        connection::ConnId,
        site::{CallStack, Commonest},
    },
    tcp::{Role, State},
};

fn stack(place: u32) -> StackId {
    StackId::at(place).expect("a place")
}

/// Opens a connection by the stack at `place`.
fn open(script: &mut Script, sock: u64, pid: u32, place: u32) {
    script.apply(|at| Event::State {
        at,
        sock,
        ends: ends("127.0.0.1:4000", "127.0.0.1:80"),
        old: State::Close,
        new: State::SynSent,
        how: NOTHING,
        task: Owner {
            stack: Some(stack(place)),
            ..task(pid, None)
        },
    });
}

/// How many connections each call site opened and inherited, sorted.
fn counts(script: &Script, code_of: impl Fn(CallStack) -> u64) -> Vec<(u64, u64)> {
    let sites = script.table.call_sites(|stack| Some(code_of(stack)));
    let mut counts: Vec<_> = sites
        .iter()
        .map(|(_, tally, live)| {
            assert_eq!(live.len() as u64, tally.live());
            (tally.opened, tally.inherited)
        })
        .collect();
    counts.sort_unstable();
    counts
}

fn place(call_stack: CallStack) -> u64 {
    call_stack.stack.place().into()
}

#[test]
fn each_call_site_has_its_account_and_the_same_code_only_one() {
    let mut script = Script::new();
    for (sock, place) in [(1, 10), (2, 10), (3, 11), (4, 12)] {
        open(&mut script, sock, 7, place);
    }
    assert_eq!(counts(&script, place), [(1, 0), (1, 0), (2, 0)]);
    // Three stacks, of which two are the same code.
    assert_eq!(counts(&script, |s| place(s).min(11)), [(2, 0), (2, 0)]);
    assert_eq!(counts(&script, |_| 0), [(4, 0)]);
}

/// A stack whose code is not known is not another call site, where there is only one,
/// and does not stand for it.
#[test]
fn a_stack_of_unknown_code_goes_to_the_only_code_there_is() {
    let mut script = Script::new();
    for (sock, place) in [(1, 10), (2, 11), (3, 11), (4, 11)] {
        open(&mut script, sock, 7, place);
    }
    let known = |stack: CallStack| (stack.stack.place() != 11).then(|| place(stack));
    let sites = script.table.call_sites(known);
    let [(_, tally, _)] = &sites[..] else {
        panic!("{} sites", sites.len());
    };
    assert_eq!(tally.opened, 4);
    assert_eq!(tally.stack.get().map(place), Some(10));
    open(&mut script, 5, 7, 12);
    assert_eq!(script.table.call_sites(known).len(), 3);
}

#[test]
fn what_was_there_before_goes_to_the_only_code_there_is() {
    let mut script = Script::new();
    // Until its first snapshot is in, what turns up was there before.
    script.table = Table::new(false, false);
    let old = ends("127.0.0.1:3999", "127.0.0.1:80");
    let owner = Some(task(7, Some(3)));
    let id = ConnId {
        sock: 90,
        generation: 0,
    };
    script
        .table
        .adopt(id, old, Role::Client, State::Established, owner, false);
    open(&mut script, 1, 7, 10);
    assert_eq!(counts(&script, place), [(1, 1)]);
    open(&mut script, 2, 7, 11);
    assert_eq!(counts(&script, place), [(0, 1), (1, 0), (1, 0)]);
}

#[test]
fn a_site_remembers_whose_stack_it_was() {
    let mut script = Script::new();
    open(&mut script, 1, 7, 10);
    script
        .step(1, State::SynSent, State::Close, NOTHING)
        .gone(1);
    script.apply(|at| Event::Exit { at, pid: 7 });
    let sites = script.table.call_sites(|stack| Some(place(stack)));
    let (key, tally, _) = &sites[0];
    let opener = CallStack {
        pid: 7,
        stack: stack(10),
    };
    assert_eq!((key.pid, key.stack), (0, None));
    assert_eq!(tally.stack.get(), Some(opener));
}

#[test]
fn a_place_that_was_emptied_is_another_stack() {
    assert_ne!(stack(3), stack(3).after(1));
    assert_eq!(stack(3).after(1).place(), 3);
    assert_eq!(stack(3).after(0), stack(3));
    assert_eq!(StackId::at(u32::MAX), None);
}

proptest! {
    /// Whoever has more than half the votes leads, however they are added up.
    #[test]
    fn the_majority_leads(votes in proptest::collection::vec(0u32..4, 1..40), cut in 0usize..40) {
        let note = |votes: &[u32]| {
            let mut commonest = Commonest::default();
            for &vote in votes {
                commonest.note(CallStack { pid: 1, stack: stack(vote) });
            }
            commonest
        };
        let (one, other) = votes.split_at(cut.min(votes.len()));
        let mut sum = note(one);
        sum.add(note(other));
        for vote in 0..4 {
            if votes.iter().filter(|&&v| v == vote).count() * 2 > votes.len() {
                prop_assert_eq!(sum.get().map(|s| s.stack), Some(stack(vote)));
            }
        }
    }
}

use super::Places;
use crate::{
    decode::{Comm, Ends, Owner},
    model::{assemble::site_id, report::Leaks, untrusted::Untrusted},
    table::{
        connection::{ConnId, Connection as Tracked},
        site::SiteKey,
    },
    tcp::{OwnerKnown, Role, State},
    view::fixture,
};

const CODE: u64 = 7;

/// One that `pid`, an `app`, opened to `port` and that has ended.
fn ended(pid: u32, port: u16) -> Tracked {
    let id = ConnId {
        sock: 1,
        generation: 0,
    };
    let ends = Ends {
        local: ([127, 0, 0, 1], 40_000).into(),
        remote: ([127, 0, 0, 1], port).into(),
        netns: 1,
    };
    let owner = Owner {
        stack: None,
        pid,
        tid: std::num::NonZeroU32::new(pid),
        uid: 0,
        comm: Comm::from(b"app".as_slice()),
        fd: Some(5),
    };
    let mut tracked = Tracked::new(id, ends, Role::Client, State::Close);
    tracked.own(owner, OwnerKnown::Connect);
    tracked
}

fn id_of(tracked: &Tracked, code: u64) -> String {
    let owner = tracked.owner.expect("has one");
    site_id(&SiteKey::of(tracked, owner.pid, owner.comm), Some(code))
}

/// Sites of processes to 127.0.0.1:8099, with these ids.
fn report(sites: &[(Option<u32>, &str)]) -> Leaks {
    let mut report = fixture::leaks("app");
    let group = report.groups.swap_remove(0);
    let groups = sites.iter().map(|&(pid, id)| {
        let mut group = group.clone();
        group.owner.pid = pid;
        group.site.id = id.to_owned();
        group.connections.clear();
        group
    });
    report.groups = groups.collect();
    report
}

fn place(report: &Leaks, tracked: &Tracked, code: u64) -> Option<u32> {
    let places = Places::new(report);
    places
        .of_ended(tracked, Some(code))
        .map(|place| place.site_no)
}

#[test]
fn an_ended_one_belongs_where_its_code_does() {
    let tracked = ended(9, 8099);
    let (one, other) = (id_of(&tracked, CODE), id_of(&tracked, CODE + 1));
    let both = report(&[(Some(9), &other), (Some(9), &one), (Some(8), &one)]);
    assert_eq!(place(&both, &tracked, CODE), Some(2));
    assert_eq!(place(&both, &tracked, CODE + 1), Some(1));
    assert_eq!(place(&both, &tracked, CODE + 2), None, "either may be it");
    let single = report(&[(Some(9), &other)]);
    assert_eq!(place(&single, &tracked, CODE), Some(1), "the only one");
}

#[test]
fn an_ended_one_of_another_process_or_end_belongs_elsewhere() {
    let id = id_of(&ended(9, 8099), CODE);
    let of_eight = report(&[(Some(8), &id)]);
    assert_eq!(place(&of_eight, &ended(9, 8099), CODE), None);
    assert_eq!(place(&of_eight, &ended(8, 8100), CODE), None);
    let exited = report(&[(Some(8), &id), (None, &id)]);
    assert_eq!(place(&exited, &ended(9, 8099), CODE), Some(2));
}

#[test]
fn an_ended_one_belongs_to_what_is_told_of_all_ends_together() {
    let mut report = report(&[(Some(9), "crowd")]);
    report.groups[0].remote = "*".to_owned();
    assert_eq!(place(&report, &ended(9, 8099), CODE), Some(1));
    report.groups[0].owner.comm = Some(Untrusted::from("other"));
    assert_eq!(place(&report, &ended(9, 8099), CODE), None);
}

#[test]
fn an_open_one_is_where_the_report_has_it() {
    let places = Places::new(&fixture::leaks("app"));
    let of = |id| {
        places
            .of_open(id)
            .map(|place| (place.site_no, place.verdict))
    };
    assert_eq!(of("7.0"), Some((1, "missing-close")));
    assert_eq!(of("nonsense"), None);
}

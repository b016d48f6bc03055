use super::*;
use crate::{clock::WallClock, model::untrusted::Untrusted, plan::PlanName, store::item::Start};

fn course() -> Course {
    let setup = Setup::new(
        PlanName::Tracepoint,
        WallClock::new(jiff::Timestamp::UNIX_EPOCH, BootTime::from_ns(0)),
        BootTime::from_ns(0),
    );
    Course::new(setup, Selection::default(), Standing::default())
}

fn owner(exe: Option<&str>, fds: Option<(u64, u64)>) -> GroupOwner {
    GroupOwner {
        exe: exe.map(Untrusted::from),
        fds,
        ..GroupOwner::default()
    }
}

#[test]
fn what_was_known_of_a_process_stays_known_after_its_exit() -> Result<()> {
    let mut course = course();
    let known = owner(Some("/usr/bin/x"), Some((3, 1_024)));
    course.learn(&Entry::Owner(7, known), &mut ())?;
    course.learn(&Entry::Owner(7, owner(None, None)), &mut ())?;
    let left = owner(Some("/usr/bin/x"), None);
    assert_eq!(course.owner(7), Some(&left));
    // Its number is another's now.
    let next = owner(Some("/usr/bin/y"), None);
    course.learn(&Entry::Owner(7, next.clone()), &mut ())?;
    assert_eq!(course.owner(7), Some(&next));
    Ok(())
}

#[test]
fn processes_without_a_connection_are_forgotten() -> Result<()> {
    let mut course = course();
    for pid in 1..20_000 {
        course.learn(&Entry::Owner(pid, owner(Some("x"), None)), &mut ())?;
    }
    assert!(course.owners().count() <= OWNERS_KEPT);
    Ok(())
}

#[test]
fn a_snapshot_with_a_hole_before_it_is_passed_over() -> Result<()> {
    let snapshot = |ended| {
        let snapshot = Snapshot {
            ended: BootTime::from_ns(ended),
            ..Snapshot::default()
        };
        Entry::Snapshot(Box::new(snapshot), FxHashSet::default())
    };
    let mut course = course();
    course.learn(&Entry::Begin, &mut ())?;
    course.note_hole();
    course.learn(&snapshot(5), &mut ())?;
    assert!(course.is_fresh(), "what was freed meanwhile is not known");
    course.learn(&Entry::Begin, &mut ())?;
    course.learn(&snapshot(9), &mut ())?;
    assert_eq!(course.now(), BootTime::from_ns(9));
    Ok(())
}

#[test]
fn what_the_trace_told_and_nobody_heard_is_unrecorded() -> Result<()> {
    let mut course = course();
    let mut standing = Standing {
        taken: 10,
        told: 8,
        ..Standing::default()
    };
    standing.counts.submitted = 10;
    course.learn(&Entry::Standing(standing), &mut ())?;
    let loss = course.loss();
    assert_eq!((loss.unrecorded, loss.events_lost), (8, 8));
    assert_eq!((loss.events_generated, loss.events_delivered), (10, 2));
    assert!(course.is_to_be_mended());
    Ok(())
}

#[test]
fn a_start_reads_as_it_was_written() {
    let start = Start {
        setup: course().setup,
        standing: Standing::default(),
        version: Untrusted::from("1"),
        command: vec![Untrusted::from("tcpleak")],
    };
    let read = Start::decode(&start.encode()).map(|start| start.command);
    assert_eq!(read, Some(start.command));
    assert!(Start::decode(b"\xff\xff").is_none());
}

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

/// What is told, by the ports of both ends.
#[derive(Default)]
struct Told(Vec<(Change, u16, u16)>);

impl Observer for Told {
    fn change(&mut self, change: Change, _: BootTime, connection: &Connection) -> Result<()> {
        let (local, remote) = (connection.local().port(), connection.remote().port());
        self.0.push((change, local, remote));
        Ok(())
    }
}

#[test]
fn a_record_of_another_socket_at_its_address_does_not_speak_of_a_connection() -> Result<()> {
    use crate::decode::{Circumstance, Ends, Owner};
    let event = |at, (local, remote): (u16, u16), old, new| Event::State {
        at: BootTime::from_ns(at),
        sock: 0xffff_8880_0000_1000,
        ends: Ends {
            local: ([127, 0, 0, 1], local).into(),
            remote: ([127, 0, 0, 1], remote).into(),
            netns: 1,
        },
        old,
        new,
        how: Circumstance::default(),
        task: Owner {
            pid: 9,
            tid: None,
            uid: 0,
            comm: Comm::default(),
            fd: None,
            stack: None,
        },
    };
    let mut course = course();
    course.setup.by_address = true;
    course.selection.port = Some(80);
    let mut course = Course::new(course.setup, course.selection, Standing::default());
    let mut told = Told::default();
    for event in [
        event(1, (0, 80), State::Close, State::SynSent),
        event(2, (4000, 80), State::SynSent, State::Established),
        // Its end is lost. This one is not asked for, and would be let through for the
        // other's sake.
        event(3, (0, 9999), State::LastAck, State::Close),
    ] {
        course.hear(Some(&event), &mut told)?;
    }
    assert_eq!(
        told.0,
        [
            (Change::Opened, 0, 80),
            (Change::Established, 4000, 80),
            (Change::AppClosed, 4000, 80),
            (Change::Gone, 4000, 80),
        ]
    );
    assert_eq!(course.table.connections().count(), 0);
    assert_eq!(course.table.counters().repaired, 1);
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

#[test]
fn what_is_left_out_is_told_once_and_no_repair() -> Result<()> {
    #[derive(Default)]
    struct Told(Vec<Shed>);
    impl Observer for Told {
        fn change(&mut self, _: Change, _: BootTime, _: &Connection) -> Result<()> {
            Ok(())
        }

        fn shed(&mut self, _: BootTime, shed: Shed) -> Result<()> {
            self.0.push(shed);
            Ok(())
        }
    }
    let mut course = course();
    let mut told = Told::default();
    let entry = Entry::Shed(BootTime::from_ns(5_000_000_000), Shed::Stacks);
    course.learn(&entry, &mut told)?;
    // As the next file of a recording begins.
    let again = course.shed().expect("something is left out");
    course.learn(&again, &mut told)?;
    assert_eq!(told.0, [Shed::Stacks]);
    assert!(
        course
            .blind()
            .iter()
            .any(|said| said.contains("--max-overhead"))
    );
    course.learn(
        &Entry::Shed(BootTime::from_ns(6_000_000_000), Shed::Nothing),
        &mut told,
    )?;
    assert!(course.shed().is_none());
    Ok(())
}

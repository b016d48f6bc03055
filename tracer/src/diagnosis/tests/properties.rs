use std::num::NonZeroU32;

use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{
    decode::Comm,
    diagnosis::{
        Case, Class,
        rules::RULES,
        runtime::Runtime,
        testing::{Conn, NOW, Site, conn, established, site},
    },
    table::{
        ages::Ages,
        connection::{Holder, Timer},
        lingers::Lingers,
        site::{Point, Tally},
    },
    tcp::{ClosedBy, Known, Role, State},
};

/// Milliseconds as the kernel counts them, mostly small.
fn ms() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![4 => 0..120_000_u64, 1 => 0..u64::from(u32::MAX)]
}

fn any_conn() -> impl Strategy<Value = Conn> {
    let start = (
        select(State::ALL),
        ms(),
        select(Known::ALL),
        option::of(select(ClosedBy::ALL)),
        any::<[bool; 6]>(),
    );
    let figures = (
        0..3_u32,
        0..4_u32,
        0..3_u32,
        option::of(ms()),
        option::of(ms()),
        ms(),
    );
    (start, figures).prop_map(|((state, age, known, by, flags), figures)| {
        let [owned, held, sampled, seen, ended, half] = flags;
        let (queue, tries, inode, sent, received, acked) = figures;
        let mut conn = conn(state, age)
            .moved(sent, received)
            .backoff(tries)
            .edit(|s| {
                s.recv_q = queue.pow(10);
                s.send_q = queue / 2;
                s.inode = inode;
                s.ack_received_ms = Some(acked).into();
                s.data_segments_out = inode;
                s.timer = match age % 4 {
                    0 => Timer::None,
                    1 => Timer::Retransmit,
                    2 => Timer::Keepalive,
                    _ => Timer::ZeroWindow,
                };
                s.probes = u8::try_from(2 * tries).unwrap_or(u8::MAX);
            });
        let c = &mut conn.0;
        c.known = known;
        c.revivals = u8::from(seen) * u8::try_from(queue).unwrap_or(u8::MAX);
        c.longest_gap_ms = u32::try_from(acked).unwrap_or(u32::MAX);
        c.quiet_ms = NonZeroU32::new(c.longest_gap_ms);
        if half {
            c.note_holders(&[Holder {
                pid: inode,
                fd: 7,
                comm: Comm::from(b"heir".as_slice()),
            }]);
        }
        c.end.by = by;
        c.half_closed = half;
        c.tx_bytes = u64::from(inode);
        c.owner = c.owner.filter(|_| owned);
        c.end.app_closed_at = (!held).then_some(NOW);
        c.end.at = ended.then(|| NOW.minus_ms(age));
        c.state_at = c.state_at.filter(|_| seen);
        c.opened_at = c.opened_at.filter(|_| seen);
        c.sample = c.sample.filter(|_| sampled);
        conn
    })
}

fn any_site() -> impl Strategy<Value = Site> {
    let conns = vec(any_conn(), 0..12);
    (
        select(Role::ALL),
        ms(),
        conns,
        0..20_000_u64,
        ms(),
        option::of((0..9_u32, 0..9_u32)),
    )
        .prop_map(|(role, watched, conns, closed, life, queue)| {
            let closed = if closed % 3 == 0 { closed / 20 } else { 0 };
            let mut all = site()
                .role(role)
                .watched(watched)
                .closed(closed, watched, life);
            for conn in conns {
                all = all.with(1, conn);
            }
            all.destinations = usize::try_from(watched % 3).unwrap_or(1).max(1) * 9 - 8;
            match queue {
                Some((waiting, limit)) => {
                    all.host.orphans.insert(all.key.end, waiting * limit);
                    all.host.holders.insert(all.key.pid);
                    all.inbound = all.live.iter().filter_map(|c| c.opened_at).collect();
                    all.queue(waiting, limit)
                }
                None => all,
            }
        })
}

fn any_tally() -> impl Strategy<Value = Tally> {
    let point = (ms(), any::<u64>(), any::<u64>()).prop_map(|(ago, opened, live)| Point {
        at: NOW.minus_ms(ago),
        opened,
        live,
    });
    let curve = vec(point, 0..8);
    let ages = vec(ms(), 0..9).prop_map(|all| {
        let mut ages = Ages::default();
        all.into_iter().for_each(|ms| ages.record(ms));
        ages
    });
    (any::<[u32; 7]>(), curve, ages).prop_map(|(n, curve, ages)| {
        let [
            inherited,
            opened,
            closed,
            time_waits,
            lifetime_ms,
            lifetimes,
            processes,
        ] = n.map(u64::from);
        Tally {
            inherited,
            opened,
            closed,
            time_waits,
            lifetime_ms,
            lifetimes,
            connect_failures: 0,
            processes,
            incomplete: false,
            lingers: Lingers::default(),
            curve,
            ended_by: [closed / 2, lifetimes, time_waits, 1, 0],
            raced: processes % 5,
            fin_waits: time_waits / 2,
            revived: processes,
            longest_gap_ms: lifetime_ms,
            lives: ages.clone(),
            hang_ups: ages.clone(),
            failures: ages,
            ..Tally::default()
        }
    })
}

proptest! {
    #[test]
    fn every_case_gets_a_verdict_with_words(site in any_site(), tally in any_tally()) {
        let counted = site.judge();
        let live: Vec<_> = site.live.iter().collect();
        // Counts that contradict the connections must not break a rule either.
        let case = Case {
            key: &site.key,
            live: &live,
            tally: &tally,
            host: &site.host,
            from: NOW.minus_ms(site.watched_ms),
            now: NOW,
            runtime: Runtime::Unknown,
            destinations: site.destinations,
            inbound: &[],
            significance: 0.01,
        };
        for verdict in RULES.iter().filter_map(|rule| rule(&case)).chain([counted]) {
            prop_assert!(!verdict.why.is_empty() && !verdict.fix.is_empty());
            prop_assert!(!verdict.evidence.is_empty());
            prop_assert!(verdict.affected <= live.len());
        }
    }

    #[test]
    fn without_live_connections_nothing_leaks(site in any_site(), tally in any_tally()) {
        let case = Case {
            key: &site.key,
            live: &[],
            tally: &tally,
            host: &site.host,
            from: NOW.minus_ms(site.watched_ms),
            now: NOW,
            runtime: Runtime::Unknown,
            destinations: site.destinations,
            inbound: &[],
            significance: 0.01,
        };
        let class = crate::diagnosis::judge(&case).class;
        prop_assert!(!matches!(class, Class::Leak | Class::Stuck), "{class}");
    }

    #[test]
    fn busy_connections_never_turn_health_into_a_leak(
        site in any_site(),
        busy in vec((0..60_000_u64, 0..1_000_u64), 0..40),
    ) {
        let before = site.judge().class;
        let mut more = site;
        for (age, idle) in busy {
            more = more.with(1, established(age, idle.min(age)));
        }
        let after = more.judge().class;
        prop_assert!(before != Class::Healthy || after != Class::Leak);
    }
}

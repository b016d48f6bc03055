use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{
    diagnosis::{
        Case, Class,
        rules::RULES,
        testing::{Conn, NOW, Site, conn, established, site},
    },
    table::site::{Point, Tally},
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
                s.ack_received_ms = Some(acked);
                s.data_segments_out = inode;
            });
        let c = &mut conn.0;
        c.known = known;
        c.closed_by = by;
        c.half_closed = half;
        c.tx_bytes = u64::from(inode);
        c.owner = c.owner.filter(|_| owned);
        c.app_closed_at = (!held).then_some(NOW);
        c.closed_at = ended.then(|| NOW.minus_ms(age));
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
            match queue {
                Some((waiting, limit)) => all.queue(waiting, limit),
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
    (any::<[u32; 7]>(), curve).prop_map(|(n, curve)| {
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
            curve,
            stack: Default::default(),
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
        };
        let class = crate::diagnosis::judge(&case).class;
        prop_assert!(!matches!(class, Class::Leak | Class::Stuck | Class::Peer), "{class}");
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

use tracer_common::pair::Pair;

use super::{Hook, PLANS, PlanName, Target, Way, choose};

/// Attaches every way but those with a probe that `refuses`.
fn attach_but(
    refuses: impl Fn(Target) -> bool,
) -> impl FnMut(&Way) -> Result<(), (Target, &'static str)> {
    move |way| match way.probes.iter().find(|probe| refuses(probe.target)) {
        Some(probe) => Err((probe.target, "refused")),
        None => Ok(()),
    }
}

fn is_trampoline(target: Target) -> bool {
    matches!(target, Target::Fentry(_) | Target::Fexit(..))
}

fn is_breakpoint(target: Target) -> bool {
    matches!(target, Target::Kprobe(_) | Target::Kretprobe(_))
}

#[test]
fn everything_attached_is_the_best_way_of_each_hook() {
    let chosen = choose(None, true, attach_but(|_| false), || ()).expect("a plan works");
    assert_eq!(chosen.plan.name, PlanName::Fentry);
    assert_eq!(chosen.served.len(), chosen.plan.needs.len());
    assert!(chosen.refused.is_empty());
    assert!(chosen.has_cookie());
    assert_eq!(chosen.blind().len(), chosen.plan.blind.len());
}

#[test]
fn without_trampolines_breakpoints_and_without_these_tracepoints() {
    let chosen = choose(None, true, attach_but(is_trampoline), || ()).expect("a plan works");
    assert_eq!(chosen.plan.name, PlanName::Kprobe);
    assert!(chosen.serves(Hook::Close));

    let mut released = 0;
    let refuses = |target| is_trampoline(target) || is_breakpoint(target);
    let chosen = choose(None, true, attach_but(refuses), || released += 1).expect("a plan works");
    assert_eq!(chosen.plan.name, PlanName::Tracepoint);
    assert!(!chosen.serves(Hook::Close));
    assert_eq!(released, 2);
}

#[test]
fn each_plan_can_be_insisted_on() {
    for plan in PLANS {
        let chosen = choose(Some(plan.name), true, attach_but(|_| false), || ()).expect("it works");
        assert_eq!(chosen.plan.name, plan.name);
    }
    let refused = choose(
        Some(PlanName::Fentry),
        true,
        attach_but(is_trampoline),
        || (),
    )
    .expect_err("nothing else is tried");
    assert!(
        refused
            .iter()
            .all(|refusal| refusal.plan == PlanName::Fentry)
    );
}

#[test]
fn a_function_that_takes_other_arguments_is_attached_by_its_own_program() {
    let newer = Target::Fexit("inet_csk_accept", 2);
    let chosen =
        choose(None, true, attach_but(|target| target == newer), || ()).expect("a plan works");
    let accept = chosen
        .served
        .iter()
        .find(|served| served.hook == Hook::Accept);
    let probes = accept.expect("accept is served").way.probes;
    let older = Target::Fexit("inet_csk_accept", 4);
    assert!(probes.iter().any(|probe| probe.target == older));
}

#[test]
fn a_refused_way_falls_back_and_is_reported() {
    let btf = Target::Btf("inet_sock_set_state");
    let chosen =
        choose(None, true, attach_but(|target| target == btf), || ()).expect("a plan works");
    let state = chosen
        .served
        .iter()
        .find(|served| served.hook == Hook::State);
    assert_eq!(
        state.expect("state is served").way.probes[0].target,
        Target::Raw("inet_sock_set_state")
    );
    assert_eq!(chosen.refused[0].target, btf);
    assert!(!chosen.has_cookie());
    assert!(chosen.blind().iter().any(|line| line.contains("address")));
}

#[test]
fn without_cookies_what_needs_them_is_not_tried() {
    let state = Target::Btf("inet_sock_set_state");
    let attach = |way: &Way| {
        assert!(way.probes.iter().all(|probe| probe.target != state));
        Ok::<_, (Target, ())>(())
    };
    let chosen = choose(None, false, attach, || ()).expect("a plan works");
    assert!(!chosen.has_cookie());
    assert!(chosen.serves(Hook::State) && chosen.serves(Hook::Gone));
}

#[test]
fn an_optional_hook_is_done_without_and_its_loss_said() {
    let refuses = |target| {
        target == Target::Event("syscalls", "sys_enter_connect")
            || target == Target::Fentry("__sys_connect")
    };
    let chosen = choose(None, true, attach_but(refuses), || ()).expect("a plan works");
    assert!(!chosen.serves(Hook::Connect));
    assert!(chosen.blind().iter().any(|line| line.contains("latency")));
}

#[test]
fn plans_without_a_required_hook_are_released() {
    let refuses = |target| {
        matches!(
            target,
            Target::Btf("tcp_destroy_sock") | Target::Raw("tcp_destroy_sock")
        )
    };
    let mut released = 0;
    let refused =
        choose(None, true, attach_but(refuses), || released += 1).expect_err("no plan works");
    assert_eq!(released, PLANS.len());
    assert!(refused.iter().all(|refusal| refusal.hook == Hook::Gone));
}

#[test]
fn each_second_program_has_a_first_and_they_are_one_pair() {
    let needs = PLANS.iter().flat_map(|plan| plan.needs);
    for way in needs.flat_map(|need| need.ways) {
        let is_there = |program: &str| way.probes.iter().any(|probe| probe.program == program);
        let again = way
            .probes
            .iter()
            .filter_map(|probe| probe.program.strip_suffix("_again"));
        for first in again {
            let of = Pair::ALL
                .iter()
                .filter(|pair| first.starts_with(pair.programs()));
            assert!(is_there(first) && of.count() == 1, "{first}");
        }
    }
}

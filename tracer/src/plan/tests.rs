use super::{Hook, PlanName, Target, Way, choose};

/// Attaches every way but those with a probe that `refuse` names.
fn attach_but(refuse: &[Target]) -> impl FnMut(&Way) -> Result<(), (Target, &'static str)> {
    move |way| match way
        .probes
        .iter()
        .find(|probe| refuse.contains(&probe.target))
    {
        Some(probe) => Err((probe.target, "refused")),
        None => Ok(()),
    }
}

#[test]
fn everything_attached_is_the_best_way_of_each_hook() {
    let chosen = choose(None, attach_but(&[]), || ()).expect("a plan works");
    assert_eq!(chosen.plan.name, PlanName::Tracepoint);
    assert_eq!(chosen.served.len(), chosen.plan.needs.len());
    assert!(chosen.refused.is_empty());
    assert!(chosen.has_cookie());
    assert_eq!(chosen.blind().len(), chosen.plan.blind.len());
}

#[test]
fn a_refused_way_falls_back_and_is_reported() {
    let btf = Target::Btf("inet_sock_set_state");
    let chosen = choose(None, attach_but(&[btf]), || ()).expect("a plan works");
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
fn an_optional_hook_is_done_without_and_its_loss_said() {
    let enter = Target::Event("syscalls", "sys_enter_connect");
    let chosen = choose(None, attach_but(&[enter]), || ()).expect("a plan works");
    assert!(
        chosen
            .served
            .iter()
            .all(|served| served.hook != Hook::Connect)
    );
    assert!(chosen.blind().iter().any(|line| line.contains("latency")));
}

#[test]
fn a_plan_without_a_required_hook_is_released() {
    let refuse = [
        Target::Btf("tcp_destroy_sock"),
        Target::Raw("tcp_destroy_sock"),
    ];
    let mut released = 0;
    let refused = choose(None, attach_but(&refuse), || released += 1).expect_err("no plan works");
    assert_eq!(released, 1);
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|refusal| refusal.hook == Hook::Gone));
}

#[test]
fn a_plan_that_does_not_exist_yet_refuses_without_trying() {
    let refused = choose(Some(PlanName::Kprobe), attach_but(&[]), || ()).expect_err("no such plan");
    assert!(refused.is_empty());
}

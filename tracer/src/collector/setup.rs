//! What holds for the whole of a live trace.

use crate::{
    course::entry::Setup,
    enrich,
    load::Tracer,
    plan::Hook,
    selection::Selection,
    snapshot::{self, clocks},
    table::Hears,
};

/// What holds for the whole of this trace.
pub(super) fn setup(tracer: &Tracer, selection: &Selection) -> Setup {
    let chosen = &tracer.chosen;
    let mut blind = chosen.blind();
    if !snapshot::has_initial_pids() {
        blind.push(
            "process ids as this pid namespace counts them: owners seen by the kernel and \
             owners found in /proc do not match; run with hostPID (--pid=host)"
                .to_owned(),
        );
    }
    Setup {
        host: enrich::host::name(),
        kernel: enrich::host::kernel_release(),
        plan: chosen.plan.name,
        blind,
        by_address: !chosen.has_cookie(),
        hears: Hears {
            close: chosen.serves(Hook::Close),
            resets: chosen.serves(Hook::Reset),
        },
        selection: selection.clone(),
        ephemeral_ports: enrich::host::ephemeral_ports(),
        clock: clocks::wall_clock(),
        from: clocks::boot_time(),
    }
}

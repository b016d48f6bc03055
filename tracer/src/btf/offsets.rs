//! The fields that the kernel side reads, by name.

use tracer_common::offsets::{ABSENT, Offsets};

use super::{BtfError, KernelTypes};

/// No kernel struct that we read is larger than this, in bytes; a damaged offset
/// would make the kernel side read at random.
const LIMIT: u32 = 64 << 10;

/// Resolves every field of [`Offsets`] for one kernel.
///
/// # Errors
/// The first field that the kernel side cannot do without and that this kernel
/// does not have. Fields documented as optional become [`ABSENT`].
pub fn offsets(types: &KernelTypes) -> Result<Offsets, BtfError> {
    let at = |of, field| byte(types, of, field);
    let common = |field: &str| byte(types, "sock", &format!("__sk_common.{field}"));
    let optional = |found: Result<u32, BtfError>| match found {
        Err(BtfError::NoField { .. }) => Ok(ABSENT),
        other => other,
    };
    let (kern_sock, kern_sock_bit) = bit(types, "sock", "sk_kern_sock");
    let (is_mptcp, is_mptcp_bit) = bit(types, "tcp_sock", "is_mptcp");
    let (request_join, request_join_bit) = bit(types, "mptcp_subflow_context", "request_join");
    let (mp_join, mp_join_bit) = bit(types, "mptcp_subflow_context", "mp_join");

    Ok(Offsets {
        family: common("skc_family")?,
        state: common("skc_state")?,
        daddr: common("skc_daddr")?,
        rcv_saddr: common("skc_rcv_saddr")?,
        v6_daddr: optional(common("skc_v6_daddr"))?,
        v6_rcv_saddr: optional(common("skc_v6_rcv_saddr"))?,
        dport: common("skc_dport")?,
        num: common("skc_num")?,
        net: optional(common("skc_net.net"))?,
        cookie: common("skc_cookie")?,
        flags: common("skc_flags")?,
        protocol: at("sock", "sk_protocol")?,
        err: at("sock", "sk_err")?,
        shutdown: at("sock", "sk_shutdown")?,
        kern_sock,
        kern_sock_bit,
        sock_done_bit: types.enum_value("sock_flags", "SOCK_DONE")?,
        sock_dead_bit: types.enum_value("sock_flags", "SOCK_DEAD")?,
        net_inum: at("net", "ns.inum")?,
        bytes_received: at("tcp_sock", "bytes_received")?,
        bytes_sent: at("tcp_sock", "bytes_sent")?,
        bytes_retrans: at("tcp_sock", "bytes_retrans")?,
        total_retrans: at("tcp_sock", "total_retrans")?,
        srtt_us: at("tcp_sock", "srtt_us")?,
        lsndtime: at("tcp_sock", "lsndtime")?,
        lrcvtime: at("inet_connection_sock", "icsk_ack.lrcvtime")?,
        is_mptcp,
        is_mptcp_bit,
        ulp_data: optional(at("inet_connection_sock", "icsk_ulp_data"))?,
        request_join,
        request_join_bit,
        mp_join,
        mp_join_bit,
        mptcp_first: optional(at("mptcp_sock", "first"))?,
        task_files: at("task_struct", "files")?,
        task_tgid: at("task_struct", "tgid")?,
        task_flags: at("task_struct", "flags")?,
        task_signal: at("task_struct", "signal")?,
        task_group_leader: at("task_struct", "group_leader")?,
        task_comm: at("task_struct", "comm")?,
        task_stack: at("task_struct", "stack")?,
        task_mm: at("task_struct", "mm")?,
        start_code: at("mm_struct", "start_code")?,
        end_code: at("mm_struct", "end_code")?,
        task_pt_regs: types
            .enum_value("bpf_func_id", "BPF_FUNC_task_pt_regs")
            .unwrap_or(ABSENT),
        signal_live: at("signal_struct", "live")?,
        files_fdt: at("files_struct", "fdt")?,
        fdt_fd: at("fdtable", "fd")?,
        fdt_max_fds: at("fdtable", "max_fds")?,
        file_private_data: at("file", "private_data")?,
        socket_sk: at("socket", "sk")?,
        socket_file: at("socket", "file")?,
    })
}

/// A bitfield of one bit: the byte it lies in, and the bit within, as a
/// little-endian kernel counts; [`ABSENT`] where this kernel has none.
fn bit(types: &KernelTypes, of: &str, field: &str) -> (u32, u32) {
    match types.place(of, field) {
        Ok(place) if place.bit / 8 < LIMIT => (place.bit / 8, place.bit % 8),
        _ => (ABSENT, 0),
    }
}

fn byte(types: &KernelTypes, of: &str, field: &str) -> Result<u32, BtfError> {
    let place = types.place(of, field)?;
    if place.bit % 8 != 0 || place.bit / 8 >= LIMIT {
        return Err(BtfError::BadPlace {
            of: of.to_owned(),
            field: field.to_owned(),
        });
    }
    Ok(place.bit / 8)
}

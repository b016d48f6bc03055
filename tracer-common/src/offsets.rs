//! Byte offsets of kernel fields, resolved from the running kernel's BTF.
//!
//! rustc emits no CO-RE relocations, and an offset fixed at compile time reads
//! wrong values silently on another kernel, so user space fills this struct
//! before load and the kernel side reads it as a constant.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An optional field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Offsets in bytes from the start of the named struct.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Offsets {
    /// `sock.__sk_common.skc_family`, u16
    pub family: u32,
    /// `sock.__sk_common.skc_state`, u8
    pub state: u32,
    /// `sock.__sk_common.skc_daddr`, be32
    pub daddr: u32,
    /// `sock.__sk_common.skc_rcv_saddr`, be32
    pub rcv_saddr: u32,
    /// `sock.__sk_common.skc_v6_daddr`, 16 bytes; [`ABSENT`] without IPv6
    pub v6_daddr: u32,
    /// `sock.__sk_common.skc_v6_rcv_saddr`, 16 bytes; [`ABSENT`] without IPv6
    pub v6_rcv_saddr: u32,
    /// `sock.__sk_common.skc_dport`, be16
    pub dport: u32,
    /// `sock.__sk_common.skc_num`, u16
    pub num: u32,
    /// `sock.__sk_common.skc_net.net`, pointer; [`ABSENT`] without namespaces
    pub net: u32,
    /// `sock.__sk_common.skc_cookie`, u64
    pub cookie: u32,
    /// `sock.__sk_common.skc_flags`, unsigned long
    pub flags: u32,
    /// `sock.sk_protocol`, u16 since 5.6
    pub protocol: u32,
    /// `sock.sk_err`, int
    pub err: u32,
    /// `sock.sk_shutdown`, u8
    pub shutdown: u32,
    /// The byte of `sock` that holds the bit `sk_kern_sock`; [`ABSENT`] if none
    pub kern_sock: u32,
    /// The bit within that byte
    pub kern_sock_bit: u32,
    /// Number of the flag `SOCK_DONE` in `enum sock_flags`
    pub sock_done_bit: u32,
    /// Number of the flag `SOCK_DEAD` there
    pub sock_dead_bit: u32,
    /// `net.ns.inum`, u32
    pub net_inum: u32,
    /// `tcp_sock.bytes_received`, u64
    pub bytes_received: u32,
    /// `tcp_sock.bytes_sent`, u64
    pub bytes_sent: u32,
    /// `tcp_sock.bytes_retrans`, u64
    pub bytes_retrans: u32,
    /// `tcp_sock.total_retrans`, u32
    pub total_retrans: u32,
    /// `tcp_sock.srtt_us`, u32
    pub srtt_us: u32,
    /// `tcp_sock.lsndtime`, u32: the jiffy of the last payload sent
    pub lsndtime: u32,
    /// `inet_connection_sock.icsk_ack.lrcvtime`, u32: that of the last received
    pub lrcvtime: u32,
    /// The byte of `tcp_sock` that holds the bit `is_mptcp`; [`ABSENT`] before 5.6
    pub is_mptcp: u32,
    /// The bit within that byte
    pub is_mptcp_bit: u32,
    /// `inet_connection_sock.icsk_ulp_data`, pointer: of a subflow, its
    /// `mptcp_subflow_context`
    pub ulp_data: u32,
    /// The byte of `mptcp_subflow_context` that holds the bit `request_join`;
    /// [`ABSENT`] without MPTCP
    pub request_join: u32,
    /// The bit within that byte
    pub request_join_bit: u32,
    /// The byte of `mptcp_subflow_context` that holds the bit `mp_join`; [`ABSENT`]
    /// without MPTCP
    pub mp_join: u32,
    /// The bit within that byte
    pub mp_join_bit: u32,
    /// `mptcp_sock.first`, pointer: the first subflow; [`ABSENT`] without MPTCP
    pub mptcp_first: u32,
    /// `task_struct.files`, pointer
    pub task_files: u32,
    /// `task_struct.tgid`, i32
    pub task_tgid: u32,
    /// `task_struct.flags`, u32
    pub task_flags: u32,
    /// `task_struct.signal`, pointer
    pub task_signal: u32,
    /// `task_struct.group_leader`, pointer
    pub task_group_leader: u32,
    /// `task_struct.comm`, 16 bytes
    pub task_comm: u32,
    /// `task_struct.stack`, pointer: the start of its kernel stack
    pub task_stack: u32,
    /// `task_struct.mm`, pointer
    pub task_mm: u32,
    /// `mm_struct.start_code`, unsigned long: the program's own code
    pub start_code: u32,
    /// `mm_struct.end_code`, unsigned long
    pub end_code: u32,
    /// Number of the helper `bpf_task_pt_regs`; [`ABSENT`] before 5.15
    pub task_pt_regs: u32,
    /// `signal_struct.live`, atomic int
    pub signal_live: u32,
    /// `files_struct.fdt`, pointer
    pub files_fdt: u32,
    /// `fdtable.fd`, pointer to an array of file pointers
    pub fdt_fd: u32,
    /// `fdtable.max_fds`, u32
    pub fdt_max_fds: u32,
    /// `file.private_data`, pointer: the `struct socket` of a socket's file
    pub file_private_data: u32,
    /// `socket.sk`, pointer
    pub socket_sk: u32,
    /// `socket.file`, pointer
    pub socket_file: u32,
}

/// What the kernel side holds until user space has filled in the real ones.
pub const ALL_ABSENT: Offsets = Offsets {
    family: ABSENT,
    state: ABSENT,
    daddr: ABSENT,
    rcv_saddr: ABSENT,
    v6_daddr: ABSENT,
    v6_rcv_saddr: ABSENT,
    dport: ABSENT,
    num: ABSENT,
    net: ABSENT,
    cookie: ABSENT,
    flags: ABSENT,
    protocol: ABSENT,
    err: ABSENT,
    shutdown: ABSENT,
    kern_sock: ABSENT,
    kern_sock_bit: ABSENT,
    sock_done_bit: ABSENT,
    sock_dead_bit: ABSENT,
    net_inum: ABSENT,
    bytes_received: ABSENT,
    bytes_sent: ABSENT,
    bytes_retrans: ABSENT,
    total_retrans: ABSENT,
    srtt_us: ABSENT,
    lsndtime: ABSENT,
    lrcvtime: ABSENT,
    is_mptcp: ABSENT,
    is_mptcp_bit: ABSENT,
    ulp_data: ABSENT,
    request_join: ABSENT,
    request_join_bit: ABSENT,
    mp_join: ABSENT,
    mp_join_bit: ABSENT,
    mptcp_first: ABSENT,
    task_files: ABSENT,
    task_tgid: ABSENT,
    task_flags: ABSENT,
    task_signal: ABSENT,
    task_group_leader: ABSENT,
    task_comm: ABSENT,
    task_stack: ABSENT,
    task_mm: ABSENT,
    start_code: ABSENT,
    end_code: ABSENT,
    task_pt_regs: ABSENT,
    signal_live: ABSENT,
    files_fdt: ABSENT,
    fdt_fd: ABSENT,
    fdt_max_fds: ABSENT,
    file_private_data: ABSENT,
    socket_sk: ABSENT,
    socket_file: ABSENT,
};

const _: () = assert!(size_of::<Offsets>() == 52 * 4);

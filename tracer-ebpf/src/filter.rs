//! Filters: decided before a record is made.
//!
//! What cannot be told yet passes: user space applies the same filter again.

use tracer_common::{
    config::ListenPort,
    drop::{NOT_FOLLOWED, PROCESS_LEFT_OUT},
    event::Addresses,
};
use zerocopy::transmute;

use crate::{
    emit::count,
    maps::{FOLLOWED, PORTS, TREE, knob},
    sock::tcp,
    task,
};

/// Whether records about a socket with these ends are wanted.
#[inline(always)]
pub fn wants(addresses: &Addresses) -> bool {
    wants_netns(addresses) && wants_port(addresses) && wants_remote(addresses)
}

#[inline(always)]
fn wants_netns(addresses: &Addresses) -> bool {
    let netns = knob!(filter.netns);
    netns == 0 || addresses.netns == netns
}

/// A socket that is being destroyed has no local port any more, or, where the
/// program bound one, no remote port (`tcp_disconnect`); a listener never has one.
#[inline(always)]
fn wants_port(addresses: &Addresses) -> bool {
    let port = knob!(filter.port);
    port == 0
        || addresses.local_port == 0
        || addresses.remote_port == 0
        || u32::from(addresses.local_port) == port
        || u32::from(addresses.remote_port) == port
}

/// A listener has no remote, and before 5.x a child's is set after its state.
#[inline(always)]
fn wants_remote(addresses: &Addresses) -> bool {
    let mask = knob!(filter.remote_mask);
    if mask == [0; 4] || addresses.remote_port == 0 {
        return true;
    }
    let network = knob!(filter.remote);
    let remote: [u32; 4] = transmute!(addresses.remote);
    remote[0] & mask[0] == network[0]
        && remote[1] & mask[1] == network[1]
        && remote[2] & mask[2] == network[2]
        && remote[3] & mask[3] == network[3]
}

/// Whether the processes that own sockets matter.
#[inline(always)]
fn chooses_processes() -> bool {
    knob!(filter.pid) != 0 || knob!(filter.tree) != 0
}

/// Whether the current task's process is a wanted one.
#[inline(always)]
pub fn wants_process() -> bool {
    let wanted = knob!(filter.pid);
    (wanted == 0 || task::pid() == wanted) && (knob!(filter.tree) == 0 || is_of_tree(task::pid()))
}

/// Whether a process belongs to the traced command.
#[inline(always)]
fn is_of_tree(pid: u32) -> bool {
    // SAFETY: only presence is looked at, never the value.
    unsafe { TREE.get(pid) }.is_some()
}

/// The current task starts the process `child`: one of the traced command's starts
/// another. Comes before the child runs, and does not ask who its parent will be.
#[inline(always)]
pub fn adopt(child: u32) {
    let starts = knob!(filter.tree) != 0 && child != task::pid() && is_of_tree(task::pid());
    if starts && TREE.insert(child, 1u8, 0).is_err() {
        count(PROCESS_LEFT_OUT);
    }
}

/// The current task's process has ended: its number will be used again.
#[inline(always)]
pub fn release() {
    if knob!(filter.tree) != 0 {
        let _ = TREE.remove(task::pid());
    }
}

/// Whether a transition is wanted: whether it belongs to the wanted process, too.
///
/// Only connect, listen and accept run in the owner's own context, so those
/// mark the socket as followed, and a child is followed from its listener's port.
#[inline(always)]
pub fn wants_transition(sock: u64, addresses: &Addresses, old: u16, new: u16) -> bool {
    let opens = old == tcp::CLOSE && new == tcp::SYN_SENT;
    if opens && is_elsewhere(addresses) {
        return false;
    }
    if !chooses_processes() {
        return true;
    }
    match (old, new) {
        (tcp::CLOSE, tcp::SYN_SENT | tcp::LISTEN) if !wants_process() => return false,
        (tcp::CLOSE, tcp::SYN_SENT) => {}
        (tcp::CLOSE, tcp::LISTEN) => {
            if PORTS.insert(port_key(addresses), 1u8, 0).is_err() {
                count(NOT_FOLLOWED);
            }
        }
        (tcp::LISTEN, tcp::SYN_RECV) | (tcp::SYN_RECV, _) if !is_followed(sock) => {
            // SAFETY: only presence is looked at, never the value.
            if unsafe { PORTS.get(port_key(addresses)) }.is_none() {
                return false;
            }
        }
        _ => return is_followed(sock),
    }
    follow(sock)
}

/// Whether an accept belongs to the wanted process. A followed child that
/// another process took is reported once more, so that user space lets it go.
#[inline(always)]
pub fn wants_accept(sock: u64) -> bool {
    if !chooses_processes() {
        return true;
    }
    if wants_process() {
        return follow(sock);
    }
    was_followed(sock)
}

/// Whether the end of this socket belongs to the wanted process; forgets it.
#[inline(always)]
pub fn wants_end(sock: u64) -> bool {
    !chooses_processes() || was_followed(sock)
}

/// Whether a socket was followed; forgets it. Before 6.7 (commit dfce9cb31405) the kernel
/// may not get hold of its bucket: then it takes its room for good, and nothing else.
#[inline(always)]
fn was_followed(sock: u64) -> bool {
    let was = is_followed(sock);
    let _ = FOLLOWED.remove(sock);
    was
}

/// Under a port filter, whether a connection about to be opened goes to another
/// port. Its own port is chosen later; should that be the wanted one, the
/// connection turns up with its next transition.
#[inline(always)]
fn is_elsewhere(addresses: &Addresses) -> bool {
    let port = knob!(filter.port);
    port != 0 && u32::from(addresses.remote_port) != port && u32::from(addresses.local_port) != port
}

/// Whether a socket belongs to the wanted process, if one is wanted.
#[inline(always)]
pub fn is_followed(sock: u64) -> bool {
    // SAFETY: only presence is looked at, never the value.
    !chooses_processes() || unsafe { FOLLOWED.get(sock) }.is_some()
}

/// Follows a socket from here on; false where there is no room. Half a history
/// would look like a connection that never ends, so nothing is told of it then.
#[inline(always)]
fn follow(sock: u64) -> bool {
    let has_room = FOLLOWED.insert(sock, 1u8, 0).is_ok();
    if !has_room {
        count(NOT_FOLLOWED);
    }
    has_room
}

#[inline(always)]
fn port_key(addresses: &Addresses) -> [u8; size_of::<ListenPort>()] {
    transmute!(ListenPort {
        netns: addresses.netns,
        port: u32::from(addresses.local_port),
    })
}

//! Finds sockets of a snapshot by their ends, where it lacks the name that records use. Pure.

use rustc_hash::{FxHashMap, FxHashSet};

use super::Table;
use crate::{
    decode::Ends,
    table::{
        connection::{Connection, Holder},
        socket::Socket,
    },
    tcp::State,
};

/// Names of connections by their ends: of several with the same ends all but one
/// are in CLOSE.
#[derive(Debug, Default)]
pub struct ByEnds {
    open: FxHashMap<Ends, u64>,
    closed: FxHashMap<Ends, Vec<Candidate>>,
    /// Those whose local port has not been seen: the kernel chooses it after it
    /// announces SYN_SENT, and takes it away before it announces CLOSE.
    portless: FxHashMap<Ends, Vec<Candidate>>,
    /// Left behind since the snapshot began: none of those without a port had these.
    freed: FxHashSet<Ends>,
}

/// One of several connections that a socket may be.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    name: u64,
    /// That it was last seen with; 0 where it was not.
    inode: u32,
    /// Who opened it, and as which fd.
    opened: Option<(u32, i32)>,
}

/// What may stand for a socket when neither its inode nor its holders prove any.
#[derive(Clone, Copy)]
enum Unproven {
    /// Any that was never seen with an inode.
    Any,
    /// The same, unless who opened it is known and does not hold the socket.
    NotAnothers,
    /// None.
    None,
}

impl Candidate {
    fn of(name: u64, connection: &Connection) -> Self {
        Self {
            name,
            inode: connection.sample.map_or(0, |sample| sample.inode),
            opened: connection
                .owner
                .and_then(|owner| Some((owner.pid, owner.fd?))),
        }
    }
}

impl ByEnds {
    /// The connection that a socket of a snapshot is, by its ends and its holders. Each
    /// is found once. The table may be ahead of the snapshot: what is open there may
    /// be in CLOSE here.
    pub fn find(&mut self, socket: &Socket, holders: &[Holder]) -> Option<u64> {
        let (ends, inode) = (&socket.ends, socket.sample.inode);
        let closed = |by_ends: &mut Self| {
            let closed = &mut by_ends.closed;
            take(closed, ends, inode, holders, Unproven::Any)
        };
        let found = if socket.state == State::Close {
            closed(self).or_else(|| self.open.remove(ends))
        } else {
            let open = self.open.remove(ends);
            open.or_else(|| closed(self))
        };
        if found.is_some() || self.freed.contains(ends) {
            return found;
        }
        // Every other connection to that peer has the same ends but for the port.
        let unproven = if is_portless(socket.state) {
            Unproven::NotAnothers
        } else {
            Unproven::None
        };
        let portless = portless(*ends);
        take(&mut self.portless, &portless, inode, holders, unproven)
    }
}

/// Takes the one that `inode` or `holders` prove, or an unproven one.
fn take(
    candidates: &mut FxHashMap<Ends, Vec<Candidate>>,
    ends: &Ends,
    inode: u32,
    holders: &[Holder],
    unproven: Unproven,
) -> Option<u64> {
    let candidates = candidates.get_mut(ends)?;
    let is_held = |opened| holders.iter().any(|h| Some((h.pid, h.fd)) == opened);
    let position = |is_it: &dyn Fn(&Candidate) -> bool| candidates.iter().position(is_it);
    let at = position(&|c| inode != 0 && c.inode == inode)
        .or_else(|| position(&|c| c.inode == 0 && is_held(c.opened)))
        .or_else(|| match unproven {
            Unproven::Any => position(&|c| c.inode == 0),
            Unproven::NotAnothers => {
                position(&|c| c.inode == 0 && (c.opened.is_none() || holders.is_empty()))
            }
            Unproven::None => None,
        })?;
    Some(candidates.swap_remove(at).name)
}

/// Whether a connection may be in this state without a local port that was told.
pub(super) fn is_portless(state: State) -> bool {
    matches!(state, State::SynSent | State::Close)
}

/// The ends as they are told before the local port is, or after it was taken away.
pub(super) fn portless(mut ends: Ends) -> Ends {
    ends.local.set_port(0);
    ends
}

impl Table {
    /// The names of all connections by their ends.
    #[must_use]
    pub fn by_ends(&self) -> ByEnds {
        let mut names = ByEnds {
            freed: self
                .freed
                .as_ref()
                .map_or_else(FxHashSet::default, |freed| freed.ends.clone()),
            ..ByEnds::default()
        };
        for (name, connection) in self.named() {
            let ends = connection.ends();
            let candidate = Candidate::of(name, connection);
            if connection.local().port() == 0 {
                names.portless.entry(ends).or_default().push(candidate);
            } else if connection.state == State::Close {
                names.closed.entry(ends).or_default().push(candidate);
            } else {
                names.open.insert(ends, candidate.name);
            }
        }
        names
    }
}

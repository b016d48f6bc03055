//! The vocabulary of TCP lifecycles. Pure.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

macro_rules! named {
    (
        $(#[$doc:meta])* $name:ident {
            $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name used in every output.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <&str as serde::Deserialize>::deserialize(from)?;
                let found = Self::ALL.iter().find(|value| value.name() == text);
                found.copied().ok_or_else(|| {
                    serde::de::Error::custom(concat!("unknown ", stringify!($name)))
                })
            }
        }
    };
}
pub(crate) use named;

named! {
    /// A TCP state, by the kernel's names (include/net/tcp_states.h), which
    /// are RFC 9293's but for CLOSE and SYN_RECV.
    State {
        /// A connection with data flowing both ways.
        Established = "ESTABLISHED",
        /// Our SYN is out.
        SynSent = "SYN_SENT",
        /// A SYN is in and answered.
        SynRecv = "SYN_RECV",
        /// Our FIN is out.
        FinWait1 = "FIN_WAIT1",
        /// Our FIN is acknowledged; the peer's is not in.
        FinWait2 = "FIN_WAIT2",
        /// Both closed, we first; waits for stragglers, without an owner.
        TimeWait = "TIME_WAIT",
        /// Not connected.
        Close = "CLOSE",
        /// The peer's FIN is in, ours is not out: our program has yet to close.
        CloseWait = "CLOSE_WAIT",
        /// Both FINs are out, ours second.
        LastAck = "LAST_ACK",
        /// Waiting for connections.
        Listen = "LISTEN",
        /// Both FINs are out, at once.
        Closing = "CLOSING",
        /// A request socket: half-open server side.
        NewSynRecv = "NEW_SYN_RECV",
    }
}

impl State {
    /// From the kernel's number; `None` for one that no kernel uses.
    #[must_use]
    pub fn from_kernel(number: u16) -> Option<Self> {
        let index = usize::from(number).checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// Whether only the kernel still works on it: the program has let go.
    #[must_use]
    pub const fn is_mini_socket(self) -> bool {
        matches!(self, Self::TimeWait | Self::NewSynRecv)
    }

    /// Whether the kernel keeps a local port for it that it chose itself: until CLOSE
    /// (`tcp_set_state`, net/ipv4/tcp.c), whoever holds the socket then.
    #[must_use]
    pub const fn has_port(self) -> bool {
        !matches!(self, Self::Close)
    }
}

named! {
    /// Which side of the connection this host's program is on.
    Role {
        /// It called connect.
        Client = "client",
        /// It accepted, or will.
        Server = "server",
        /// It listens.
        Listener = "listener",
    }
}

named! {
    /// How a connection is known.
    Known {
        /// Its opening was seen.
        Observed = "observed",
        /// It was there before the trace started.
        Inherited = "inherited",
        /// Records about it were lost; a snapshot filled the gap.
        Repaired = "repaired",
    }
}

named! {
    /// How a connection's owner is known.
    OwnerKnown {
        /// It was seen to connect.
        Connect = "connect",
        /// It was seen to accept.
        Accept = "accept",
        /// It was seen to listen.
        Listen = "listen",
        /// A snapshot found the socket among its fds.
        Fds = "fds",
    }
}

named! {
    /// Who ended a connection: the first cause counts.
    ClosedBy {
        /// This host's program, by close or shutdown.
        Local = "local",
        /// The peer's FIN.
        Peer = "peer",
        /// A reset, or the socket was destroyed by an administrator.
        Reset = "reset",
        /// The kernel gave up on an unresponsive peer.
        Timeout = "timeout",
        /// This host's program, by exiting.
        Exit = "exit",
    }
}

named! {
    /// Whose RST a connection met.
    ResetBy {
        /// Ours: closed with unread data, with linger 0, or given up on.
        Local = "local",
        /// The peer's.
        Peer = "peer",
        /// Ours, because an administrator destroyed the socket (`ss -K`).
        Admin = "admin",
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn states_have_the_kernels_numbers() {
        assert_eq!(State::from_kernel(1), Some(State::Established));
        assert_eq!(State::from_kernel(7), Some(State::Close));
        assert_eq!(State::from_kernel(10), Some(State::Listen));
        assert_eq!(State::from_kernel(12), Some(State::NewSynRecv));
        assert_eq!(State::from_kernel(0), None);
        assert_eq!(State::from_kernel(13), None);
    }
}

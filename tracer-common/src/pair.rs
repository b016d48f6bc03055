//! Programs that take turns: where the kernel skips the first, the second does its work.

/// What two programs take turns on. Each has counters of its own: a second program
/// sometimes takes a turn that the first had not missed, and that must not make up for
/// what another first program did miss.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Pair {
    /// A transition.
    State,
    /// A socket is destroyed.
    Gone,
    /// A RST goes out.
    ResetSent,
    /// A RST came in.
    ResetReceived,
    /// The last program lets go.
    Close,
    /// connect(2) begins.
    ConnectEntry,
    /// connect(2) returns.
    ConnectReturn,
    /// accept(2) returns.
    AcceptReturn,
}

/// How many there are.
pub const PAIRS: u32 = 8;

impl Pair {
    /// All, in the order of their numbers.
    pub const ALL: [Self; PAIRS as usize] = [
        Self::State,
        Self::Gone,
        Self::ResetSent,
        Self::ResetReceived,
        Self::Close,
        Self::ConnectEntry,
        Self::ConnectReturn,
        Self::AcceptReturn,
    ];

    /// What the names of its programs begin with, in whichever way they are attached.
    /// The second one's ends with `_again`.
    #[must_use]
    pub const fn programs(self) -> &'static str {
        match self {
            Self::State => "state_",
            Self::Gone => "gone_",
            Self::ResetSent => "reset_sent",
            Self::ResetReceived => "reset_received",
            Self::Close => "close_",
            Self::ConnectEntry => "connect_fentry",
            Self::ConnectReturn => "connect_fexit",
            Self::AcceptReturn => "accept_fexit",
        }
    }
}

//! A stack, and the way along it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Implausible, MAX_MESSAGE, within};

/// Callers that are told at most: as many as the kernel's own walk keeps
/// (`PERF_MAX_STACK_DEPTH`).
pub const MAX_CALLERS: usize = 127;

/// The registers that a way along a stack is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// The instruction pointer, or a return address.
    pub ip: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The frame pointer.
    pub fp: u64,
}

/// A stack, from a frame whose code is in the file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// The registers in that frame.
    pub registers: Registers,
    /// Whether it is the innermost one, of which `ip` is the next instruction, not the
    /// one after a call.
    pub is_innermost: bool,
    /// Where the process has the file's code: the first address, the one after the last,
    /// and the offset of the first in the file.
    pub code: (u64, u64, u64),
    /// Where the words lie.
    pub from: u64,
    /// What is on the stack.
    pub words: Vec<u64>,
}

/// Not what is on the stack.
impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words.len();
        write!(f, "Walk({:?}, {words} words)", self.registers)
    }
}

/// The way along a stack, as far as it leads through the file's code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walked {
    /// Return addresses, innermost first; the last may lie in another file. None where
    /// the file does not tell.
    pub callers: Vec<u64>,
    /// The registers in the last one's frame.
    pub registers: Registers,
    /// Whether nobody called the last one: the stack ends there.
    pub is_whole: bool,
}

impl Walked {
    /// From a message.
    ///
    /// # Errors
    /// [`Implausible`] where it is no answer within the limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, Implausible> {
        within(bytes.len() <= MAX_MESSAGE, "length")?;
        let walked: Self = serde_json::from_slice(bytes)?;
        within(walked.callers.len() <= MAX_CALLERS, "callers")?;
        Ok(walked)
    }

    /// As a message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

//! What records say of chains of calls. It concerns `symbols` alone, so it is no part
//! of the events. Pure.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{fmt, mem::offset_of, num::NonZeroU64};

use tracer_common::{
    chain::PAGE,
    event::{AcceptRecord, Header, OpenRecord, StackRecord, kind},
};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::read;

/// A chain of calls that frame pointers do not show. The same number means the same
/// process and the same calls, as far as the first part of the stack shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chain(pub NonZeroU64);

/// A task's registers in user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// The instruction pointer.
    pub ip: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The frame pointer, where the code keeps one.
    pub fp: u64,
}

/// A copy of a task's stack. It holds whatever the program keeps there: it goes
/// nowhere but to the helper, and is dropped once it is unwound.
#[derive(PartialEq, Eq)]
pub struct StackCopy {
    /// The chain that it shows.
    pub chain: Chain,
    /// The registers.
    pub registers: Registers,
    /// What lies at the stack pointer.
    pub words: Vec<u64>,
}

/// Not what it holds.
impl fmt::Debug for StackCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words.len();
        write!(f, "StackCopy({:?}, {words} words)", self.chain)
    }
}

impl StackCopy {
    /// The word at an address of the program; `None` where that was not copied.
    #[must_use]
    pub fn word(&self, address: u64) -> Option<u64> {
        word(&self.words, self.registers.sp, address)
    }

    /// Whether the page after the stack pointer's was not there to be copied: the kernel
    /// was moving it, or the stack ends there.
    #[must_use]
    pub const fn is_one_page(&self) -> bool {
        let page = PAGE - self.registers.sp % PAGE;
        self.words.len() as u64 * 8 <= page
    }
}

/// The word at `address` among `words`, which were read at `from`.
#[must_use]
pub fn word(words: &[u64], from: u64, address: u64) -> Option<u64> {
    let bytes = address.checked_sub(from)?;
    let at = usize::try_from(bytes / 8).ok()?;
    bytes.is_multiple_of(8).then(|| words.get(at).copied())?
}

/// The chain that an opening record names.
#[must_use]
pub fn of(bytes: &[u8]) -> Option<Chain> {
    let header: Header = read(bytes).ok()?;
    let chain = match header.kind {
        kind::OPEN => read::<OpenRecord>(bytes).ok()?.chain,
        kind::ACCEPT => read::<AcceptRecord>(bytes).ok()?.chain,
        _ => return None,
    };
    of_number(chain)
}

/// The chain with this number; `None` for [`NO_CHAIN`](tracer_common::event::NO_CHAIN).
#[must_use]
pub fn of_number(number: u64) -> Option<Chain> {
    NonZeroU64::new(number).map(Chain)
}

/// The copy that a record holds; `None` where it is of another kind, or damaged.
#[must_use]
pub fn copy(bytes: &[u8]) -> Option<StackCopy> {
    const WORDS: usize = offset_of!(StackRecord, words);
    let header: Header = read(bytes).ok()?;
    if header.kind != kind::STACK || !(WORDS..=size_of::<StackRecord>()).contains(&bytes.len()) {
        return None;
    }
    let mut record = StackRecord::new_zeroed();
    record.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    let words = (bytes.len() - WORDS) / size_of::<u64>();
    Some(StackCopy {
        chain: NonZeroU64::new(record.chain).map(Chain)?,
        registers: Registers {
            ip: record.ip,
            sp: record.sp,
            fp: record.fp,
        },
        words: record.words[..words].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_common::event::STACK_WORDS;
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;

    fn record(words: &[u64]) -> Vec<u8> {
        let mut record = StackRecord::new_zeroed();
        record.header.kind = kind::STACK;
        (record.chain, record.ip, record.sp, record.fp) = (9, 1, 0x1000, 3);
        record.words[..words.len()].copy_from_slice(words);
        let len = offset_of!(StackRecord, words) + size_of_val(words);
        record.as_bytes()[..len].to_vec()
    }

    #[test]
    fn a_copy_ends_with_its_record() {
        let copy = copy(&record(&[7, 8, 9])).expect("a copy");
        assert_eq!(copy.chain.0.get(), 9);
        assert_eq!(copy.words, [7, 8, 9]);
        assert_eq!(copy.word(0x1008), Some(8));
        for outside in [0xff8, 0x1018, 0x1001, u64::MAX] {
            assert_eq!(copy.word(outside), None);
        }
        assert!(!format!("{copy:?}").contains('7'), "{copy:?}");
        assert!(copy.is_one_page());
    }

    #[test]
    fn a_copy_of_two_pages_is_not_one_of_one() {
        let copied = |sp, words| StackCopy {
            chain: Chain(NonZeroU64::MIN),
            registers: Registers { ip: 0, sp, fp: 0 },
            words: vec![0; words],
        };
        assert!(copied(0x1ff8, 1).is_one_page());
        assert!(!copied(0x1ff8, 513).is_one_page());
        assert!(copied(0x1000, 512).is_one_page());
        assert!(!copied(0x1000, 1_024).is_one_page());
    }

    #[test]
    fn only_openings_name_a_chain() {
        let mut open = OpenRecord::new_zeroed();
        open.header.kind = kind::OPEN;
        assert_eq!(of(open.as_bytes()), None);
        open.chain = 5;
        assert_eq!(of(open.as_bytes()), NonZeroU64::new(5).map(Chain));
        open.header.kind = kind::STATE;
        assert_eq!(of(open.as_bytes()), None);
        let mut accept = AcceptRecord::new_zeroed();
        (accept.header.kind, accept.chain) = (kind::ACCEPT, 6);
        assert_eq!(of(accept.as_bytes()), NonZeroU64::new(6).map(Chain));
        assert_eq!(of(&record(&[])), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(cut in 0..9_000_usize, byte: u8) {
            let mut bytes = record(&[7; STACK_WORDS]);
            bytes.resize(cut, byte);
            let _ = (of(&bytes), copy(&bytes));
        }
    }
}

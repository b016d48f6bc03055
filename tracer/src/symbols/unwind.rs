//! The way along a stack that frame pointers do not show: from file to file, each
//! asked how its code is unwound, and by frame pointers through code that no file
//! tells of.

use std::sync::Arc;

use anyhow::Result;

use super::{
    maps::{Mapped, Mapping, find},
    process::Process,
    protocol::{self, MAX_CALLERS, Question, Walk, Walked},
    worker::Worker,
};
use crate::decode::chain::{Registers, StackCopy};

/// Files that are remembered for saying nothing.
const MAX_MUTE: usize = 4_096;

/// Where a stack leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Addresses of code, innermost first: the next instruction, then return addresses.
    pub(super) addresses: Vec<u64>,
    /// Whether the last one was called by nobody.
    pub(super) is_whole: bool,
}

impl Way {
    /// Goes on where a walk by frame pointers went on, if that came by the last address:
    /// it reaches further out than a copy does.
    fn joined(mut self, by_pointers: &[u64]) -> Self {
        let last = self.addresses.last();
        let at = by_pointers.iter().position(|address| last == Some(address));
        if !self.is_whole
            && let Some(at) = at
        {
            self.addresses.extend(&by_pointers[at + 1..]);
        }
        self
    }
}

impl Worker {
    /// Unwinds a copied stack. `by_pointers` is what frame pointers show of it.
    pub(super) fn unwind(
        &mut self,
        process: &Arc<Process>,
        copy: &StackCopy,
        by_pointers: &[u64],
    ) -> Way {
        let mut registers = copy.registers;
        let mut way = Way {
            addresses: vec![registers.ip],
            is_whole: false,
        };
        while way.addresses.len() <= MAX_CALLERS {
            let is_innermost = way.addresses.len() == 1;
            let inside = registers.ip.wrapping_sub(u64::from(!is_innermost));
            let Some(mapping) = find(&process.mappings, inside) else {
                // No code: the last step went astray.
                way.addresses.pop();
                break;
            };
            let walked = self.walk(process, mapping, copy, registers, is_innermost);
            if let Ok(walked) = walked
                && (walked.is_whole || !walked.callers.is_empty())
            {
                way.addresses.extend(&walked.callers);
                let protocol::Registers { ip, sp, fp } = walked.registers;
                registers = Registers { ip, sp, fp };
                if walked.is_whole {
                    way.is_whole = true;
                    break;
                }
                continue;
            }
            let Some(caller) = caller(copy, registers) else {
                // Where threads start there is no frame to point to.
                way.is_whole = registers.fp == 0;
                break;
            };
            way.addresses.push(caller.ip);
            registers = caller;
        }
        way.addresses.truncate(MAX_CALLERS);
        way.joined(by_pointers)
    }

    /// Asks the file that is mapped there.
    fn walk(
        &mut self,
        process: &Arc<Process>,
        mapping: &Mapping,
        copy: &StackCopy,
        Registers { ip, sp, fp }: Registers,
        is_innermost: bool,
    ) -> Result<Walked> {
        let Mapped::File {
            offset,
            device,
            inode,
            path,
        } = &mapping.of
        else {
            anyhow::bail!("no file");
        };
        let (device, inode) = (*device, *inode);
        anyhow::ensure!(!self.mute.contains(&(device, inode)), "it says nothing");
        let walk = Question::Walk(Walk {
            registers: protocol::Registers { ip, sp, fp },
            is_innermost,
            code: (mapping.start, mapping.end, *offset),
            from: copy.registers.sp,
            words: copy.words.clone(),
        });
        let path = path.clone();
        let file = self.open(process, move |process| {
            process.open_mapped(&path, device, inode)
        })?;
        let walked = self.service.ask(&file, &walk, Walked::decode);
        self.missed |= walked.is_err();
        if walked.is_err() && self.mute.len() < MAX_MUTE {
            // One that the helper dies of is not asked for each stack anew.
            self.mute.insert((device, inode));
        }
        walked
    }
}

/// One frame further out, by the frame pointer.
fn caller(copy: &StackCopy, Registers { sp, fp, .. }: Registers) -> Option<Registers> {
    let ip = copy.word(fp.checked_add(8)?)?;
    let next = Registers {
        ip,
        sp: fp.checked_add(16)?,
        fp: copy.word(fp)?,
    };
    (fp >= sp && ip != 0).then_some(next)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::{Registers, StackCopy, Way, caller};
    use crate::decode::chain::Chain;

    fn way(addresses: &[u64], is_whole: bool) -> Way {
        Way {
            addresses: addresses.to_vec(),
            is_whole,
        }
    }

    #[test]
    fn a_copy_that_ends_too_soon_is_joined_to_what_frame_pointers_show() {
        let by_pointers = [1, 3, 4, 5];
        assert_eq!(
            way(&[1, 2, 3], false).joined(&by_pointers),
            way(&[1, 2, 3, 4, 5], false)
        );
        // Nothing was found out: all that frame pointers show.
        assert_eq!(
            way(&[1], false).joined(&by_pointers),
            way(&by_pointers, false)
        );
        // They came by elsewhere, or the end is known.
        assert_eq!(
            way(&[1, 2, 9], false).joined(&by_pointers),
            way(&[1, 2, 9], false)
        );
        assert_eq!(
            way(&[1, 2, 3], true).joined(&by_pointers),
            way(&[1, 2, 3], true)
        );
    }

    #[test]
    fn a_frame_pointer_leads_outwards_within_the_copy() {
        let copy = StackCopy {
            chain: Chain(NonZeroU64::MIN),
            registers: Registers {
                ip: 1,
                sp: 0x1000,
                fp: 0x1010,
            },
            words: vec![7, 8, 0x1020, 42, 0, 43],
        };
        let first = caller(&copy, copy.registers).expect("a frame");
        assert_eq!(
            first,
            Registers {
                ip: 42,
                sp: 0x1020,
                fp: 0x1020
            }
        );
        let second = caller(&copy, first).expect("a frame");
        assert_eq!((second.ip, second.fp), (43, 0));
        assert_eq!(caller(&copy, second), None);
        for fp in [0xff8, 0x1028, 0x1011, u64::MAX] {
            assert_eq!(
                caller(
                    &copy,
                    Registers {
                        fp,
                        ..copy.registers
                    }
                ),
                None
            );
        }
        // Back towards where it came from.
        let back = Registers {
            sp: 0x1018,
            ..copy.registers
        };
        assert_eq!(caller(&copy, back), None);
    }
}

//! A number for a chain of calls, out of what lies on a stack.
//!
//! Code without frame pointers leaves no trail on its stack, but its return
//! addresses are there, and these are recognised: a call instruction comes before
//! each. A number made of them tells call sites apart without unwinding. What is left
//! over from earlier calls counts, too, so that one call site may have several
//! numbers; two with one number differ in nothing that the first part of the stack
//! shows.

/// Words from the stack pointer on that are looked at: the frames that tell call
/// sites apart are the innermost ones.
pub const WINDOW_WORDS: usize = 256;

/// Bytes of a page on x86-64. A copy of a stack ends with one: the rest of the stack
/// pointer's, and the next.
pub const PAGE: u64 = 4_096;

/// Words that are looked up at most, each at the cost of reading the program's memory.
pub const MAX_LOOKED_UP: usize = 24;

/// Libraries lie within this distance of each other, in bytes: the kernel maps one
/// below the other. What lies further off is no code, but for the program's own.
pub const LIBRARIES_WITHIN: u64 = 32 << 30;

/// Takes one more word into a chain's number.
#[inline(always)]
#[must_use]
pub const fn mix(chain: u64, word: u64) -> u64 {
    // Knuth's multiplier; the shift brings the upper bits, which it mixes best, down.
    let mixed = (chain ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

/// Whether a call instruction of x86-64 ends with these eight bytes, in the order of
/// memory from the lowest bits on: `call rel32` (E8) or a near call through a register
/// or memory (FF /2), with each length of its operand.
#[inline(always)]
#[must_use]
pub const fn is_call(before: u64) -> bool {
    byte(before, 5) == 0xe8
        || is_indirect(before, 2)
        || is_indirect(before, 3)
        || is_indirect(before, 4)
        || is_indirect(before, 6)
        || is_indirect(before, 7)
}

/// The byte that lies so many bytes before the end.
#[inline(always)]
const fn byte(before: u64, from_end: u32) -> u64 {
    (before >> (8 * (8 - from_end))) & 0xff
}

/// FF, and a second byte whose middle three bits are 2.
#[inline(always)]
const fn is_indirect(before: u64, from_end: u32) -> bool {
    byte(before, from_end) == 0xff && byte(before, from_end - 1) & 0x38 == 0x10
}

#[cfg(test)]
mod tests {
    use super::{is_call, mix};

    fn ending_with(code: &[u8]) -> u64 {
        let mut bytes = [0x90; 8];
        bytes[8 - code.len()..].copy_from_slice(code);
        u64::from_le_bytes(bytes)
    }

    #[test]
    fn each_form_of_a_call_is_known() {
        for code in [
            &[0xe8, 1, 2, 3, 4][..],         // call rel32
            &[0xff, 0xd0],                   // call rax
            &[0x41, 0xff, 0xd4],             // call r12
            &[0xff, 0x10],                   // call [rax]
            &[0xff, 0x50, 0x18],             // call [rax+0x18]
            &[0xff, 0x14, 0xd8],             // call [rax+rbx*8]
            &[0xff, 0x54, 0x24, 8],          // call [rsp+8]
            &[0xff, 0x15, 1, 2, 3, 4],       // call [rip+rel32]
            &[0xff, 0x93, 1, 2, 3, 4],       // call [rbx+disp32]
            &[0xff, 0x94, 0x24, 1, 2, 3, 4], // call [rsp+disp32]
        ] {
            assert!(is_call(ending_with(code)), "{code:x?}");
        }
    }

    #[test]
    fn what_is_no_call_is_not_taken_for_one() {
        for code in [
            &[][..],
            &[0xe9, 1, 2, 3, 4], // jmp rel32
            &[0xe8, 1, 2, 3],    // too short
            &[0xff, 0xe0],       // jmp rax
            &[0xff, 0x75, 8],    // push [rbp+8]
            &[0x0f, 0x05],       // syscall
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0; 8],
        ] {
            assert!(!is_call(ending_with(code)), "{code:x?}");
        }
    }

    #[test]
    fn the_order_counts() {
        assert_ne!(mix(mix(0, 1), 2), mix(mix(0, 2), 1));
        assert_ne!(mix(0, 0x5555_0000_1000), mix(0, 0x5555_0000_1005));
    }
}

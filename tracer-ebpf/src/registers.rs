//! Arguments and return values of a function that a breakpoint stopped, out of
//! `struct pt_regs`, which differs by architecture: where each lies is a knob.

use core::ffi::c_void;

use aya_ebpf::EbpfContext;

use crate::read::{Plain, read};

/// What may be taken out of a register.
pub trait Word {
    /// Its value, from all 64 bits of the register.
    fn of(register: u64) -> Self;
}

impl Word for i32 {
    #[inline(always)]
    fn of(register: u64) -> Self {
        register as i32
    }
}

impl Word for *const c_void {
    #[inline(always)]
    fn of(register: u64) -> Self {
        register as *const c_void
    }
}

/// The register at that offset of the context.
#[inline(always)]
pub fn register<T: Word>(ctx: &impl EbpfContext, at: u32) -> T {
    T::of(read(ctx.as_ptr(), at).unwrap_or(u64::ZERO))
}

/// An argument of the function: `argument!(ctx, arg0)`.
macro_rules! argument {
    ($ctx:ident, $which:ident) => {
        $crate::registers::register(&$ctx, $crate::maps::knob!(registers.$which))
    };
}

/// What the function returns.
macro_rules! returned {
    ($ctx:ident) => {
        $crate::registers::register(&$ctx, $crate::maps::knob!(registers.ret))
    };
}

pub(crate) use {argument, returned};

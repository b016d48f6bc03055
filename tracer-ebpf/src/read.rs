//! Copies fields out of kernel structs at offsets that user space resolved.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::{bpf_probe_read_kernel, generated};
use tracer_common::offsets::ABSENT;

/// What may be copied out of kernel memory: every bit pattern is a value.
pub trait Plain: Copy {
    /// What a failed read yields.
    const ZERO: Self;
}

macro_rules! plain {
    ($($kind:ty = $zero:expr),+) => { $(impl Plain for $kind { const ZERO: Self = $zero; })+ };
}
plain!(
    u8 = 0,
    u16 = 0,
    u32 = 0,
    i32 = 0,
    u64 = 0,
    [u8; 16] = [0; 16]
);
plain!(*const c_void = core::ptr::null());

/// A field of a struct that the verifier knows `base` as, or zero where this kernel has no
/// such field, or `base` is no address. Without a helper's detour, which costs more than
/// all the rest of a transition.
///
/// # Safety
/// `base` comes from the kernel's types: the verifier checks offset and size against
/// them at load, and a fault reads as zero.
#[inline(always)]
pub unsafe fn load<T: Plain>(base: *const c_void, at: u32) -> T {
    if at == ABSENT {
        return T::ZERO;
    }
    // SAFETY: by the caller. Volatile, so that the compiler does not join reads of several
    // fields.
    unsafe { base.byte_add(at as usize).cast::<T>().read_volatile() }
}

/// Copies a field out of a kernel struct; `None` where that fails.
#[inline(always)]
pub fn read<T: Plain>(base: *const c_void, at: u32) -> Option<T> {
    if at == ABSENT {
        return None;
    }
    // SAFETY: bpf_probe_read_kernel checks the address and fails on a bad one;
    // T takes any bit pattern.
    unsafe { bpf_probe_read_kernel(base.byte_add(at as usize).cast::<T>()) }.ok()
}

/// As [`read`], zero where that fails. Nothing hangs on whether it did: for the
/// verifier each such question doubles the ways through a program.
#[inline(always)]
pub fn read_or_zero<T: Plain>(base: *const c_void, at: u32) -> T {
    if at == ABSENT {
        return T::ZERO;
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as in `read`; the helper fills `value` with zeros where it fails.
    unsafe {
        generated::bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            base.byte_add(at as usize),
        );
        value.assume_init()
    }
}

//! The call stack of the current task in user space.
//!
//! Frame pointers show it where the code keeps them. The C library does not, and so
//! hides its caller; much other code does not either. Of such stacks user space gets
//! a copy to unwind, once for each chain of calls.

use core::{
    ffi::c_void,
    ptr::{read_volatile, write_volatile},
};

use aya_ebpf::{
    bindings::BPF_F_USER_STACK,
    helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_user, bpf_task_pt_regs},
    programs::tracing::StackIdContext,
};
use tracer_common::{
    chain::{LIBRARIES_WITHIN, MAX_LOOKED_UP, PAGE, WINDOW_WORDS, is_call, mix},
    config::{STACK_WINDOW_SHIFT, STACKS_A_WINDOW},
    drop,
    event::{NO_CHAIN, NO_STACK, STACK_WORDS, StackRecord, kind},
    offsets::ABSENT,
};

use crate::{
    emit::{count, emit_part, is_ring_calm},
    maps::{BUDGETS, Budget, COPIED, COPIES, STACKS, StackCopy, knob, offset},
    read::{read, read_or_zero},
    shed, task,
};

/// Leaves out the innermost frame: see [`by_frame_pointers`].
const SKIP_ONE: u64 = 1;

/// `THREAD_SIZE` and the size of `struct pt_regs` on x86-64, whose registers lie at
/// the end of a kernel stack (arch/x86/include/asm/page_64_types.h,
/// processor.h: `task_pt_regs`). Later kernels may leave room after them, but these
/// have the helper.
const KERNEL_STACK_BYTES: usize = 16 << 10;
const PT_REGS_BYTES: usize = 168;

/// Offset of `cs` in `struct pt_regs`, and its value in 64-bit user code:
/// `__USER_CS`, arch/x86/include/asm/segment.h.
const CS: u32 = 136;
const USER_CS: u64 = 0x33;

/// A call stack, as its opener's record tells it.
pub struct Stack {
    /// Its place in [`STACKS`], or [`NO_STACK`].
    pub place: i32,
    /// Its chain, or [`NO_CHAIN`].
    pub chain: u64,
}

impl Stack {
    /// Where none is asked for.
    pub const NONE: Self = Self {
        place: NO_STACK,
        chain: NO_CHAIN,
    };
}

/// In place of [`of_current`] where a second program does the work of the first: stacks
/// are most of what takes time to load.
#[inline(always)]
pub fn left_out() -> Stack {
    if knob!(stacks) != 0 && shed::allows_stacks() {
        count(drop::NO_STACK);
    }
    Stack::NONE
}

/// Which program asks. Each has a copy of its own to work on: one may be interrupted
/// by another.
#[derive(Clone, Copy)]
pub enum Asker {
    /// The state hook.
    Opens,
    /// The accept call's return.
    Accepts,
    /// The accept queue.
    Takes,
}

/// The current task's call stack.
#[inline(always)]
pub fn of_current(ctx: &impl StackIdContext, asker: Asker) -> Stack {
    if knob!(stacks) == 0 || !shed::allows_stacks() {
        return Stack::NONE;
    }
    if !can_afford() {
        count(drop::NO_STACK);
        return Stack::NONE;
    }
    Stack {
        place: by_frame_pointers(ctx),
        chain: chain(asker as u32),
    }
}

/// Whether the current process has not had its share of stacks yet. Two CPUs may count
/// as one: then it gets a few more.
#[inline(always)]
fn can_afford() -> bool {
    let window = (task::now() >> STACK_WINDOW_SHIFT) as u32;
    let Some(budget) = BUDGETS.get_ptr_mut(task::pid()) else {
        let _ = BUDGETS.insert(task::pid(), Budget { window, taken: 1 }, 0);
        return true;
    };
    // SAFETY: the entry is aligned, and its memory lives as long as the map, even if it
    // is another process's by now.
    let budget = unsafe { &mut *budget };
    if budget.window != window {
        *budget = Budget { window, taken: 0 };
    }
    budget.taken += 1;
    budget.taken <= STACKS_A_WINDOW
}

/// A stack's hash picks its place. Where another stack has it, this one is kept
/// without its innermost frame, and so with another hash: that frame is the system
/// call's, the same for all.
#[inline(always)]
fn by_frame_pointers(ctx: &impl StackIdContext) -> i32 {
    let user = u64::from(BPF_F_USER_STACK);
    let place = ctx
        .get_stackid(&STACKS, user)
        .or_else(|_| ctx.get_stackid(&STACKS, user | SKIP_ONE));
    match place {
        Ok(place) => place as i32,
        Err(_) => {
            count(drop::NO_STACK);
            NO_STACK
        }
    }
}

/// The number of the chain of calls that the task is in. A new one is copied. Takes an
/// [`Asker`].
///
/// A global function to the kernel, whose verifier walks it once for a program, whatever
/// leads there; inlined, it walked all of its words again for each way to them. Its stack
/// and its caller's share 512 bytes (`check_max_stack_depth`, kernel/bpf/verifier.c).
// SAFETY: nothing else that is linked has this name.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chain(asker: u32) -> u64 {
    let Some(regs) = user_registers() else {
        return NO_CHAIN;
    };
    let ip: u64 = read_or_zero(regs, knob!(registers.ip));
    let sp: u64 = read_or_zero(regs, knob!(registers.sp));
    let fp: u64 = read_or_zero(regs, knob!(registers.fp));
    let mm: *const c_void = read_or_zero(task::address(), offset!(task_mm));
    let start: u64 = read_or_zero(mm, offset!(start_code));
    let end: u64 = read_or_zero(mm, offset!(end_code));
    let own = Own {
        start,
        bytes: end.wrapping_sub(start),
    };
    if keeps_frame_pointers(&own, ip, sp, fp) {
        return NO_CHAIN;
    }
    let Some(copy) = COPIES.get_ptr_mut(asker) else {
        return NO_CHAIN;
    };
    // In its own page the stack can be read; it may end with it.
    let page = PAGE - sp % PAGE;
    // SAFETY: the entry is this CPU's own, and this asker's alone.
    let words = unsafe { &raw mut (*copy).record.words };
    let window = (WINDOW_WORDS * size_of::<u64>()) as u64;
    if !read_user(words.cast(), window as u32, sp) && page < window {
        read_user(words.cast(), page as u32, sp);
    }
    // Another process, or another program in the same one, has other code there.
    let seed = mix(mix(mix(1, task::pid_tgid() >> 32), mm as u64), ip);
    // SAFETY: the entry is this asker's own, and every field is plain.
    unsafe {
        (*copy).record.ip = ip;
        (*copy).record.fp = fp;
        write_volatile(&raw mut (*copy).record.sp, sp);
    }
    let chain = number(copy, seed, &own, ip, sp);
    // SAFETY: only presence is looked at, never the value.
    if unsafe { COPIED.get(chain) }.is_some() {
        return chain;
    }
    if !is_ring_calm() {
        count(drop::NOT_COPIED);
        return chain;
    }
    // SAFETY: as above; every field is plain.
    unsafe {
        (*copy).record.header = task::header(kind::STACK, 0, task::now());
        (*copy).record.chain = chain;
    }
    // Read back, so that the verifier keeps nothing of it in mind throughout the words
    // above: it would follow each of its ranges apart.
    // SAFETY: as above.
    let sp = unsafe { read_volatile(&raw const (*copy).record.sp) };
    let page = PAGE - sp % PAGE;
    let head = (size_of::<StackRecord>() - STACK_WORDS * size_of::<u64>()) as u64;
    let mut bytes = page + PAGE;
    if !read_user(words.cast(), bytes as u32, sp) {
        bytes = page;
        if !read_user(words.cast(), bytes as u32, sp) {
            return chain;
        }
    }
    // SAFETY: as above; `bytes` of the words are filled.
    if emit_part(unsafe { &raw const (*copy).record }, head + bytes) {
        let _ = COPIED.insert(chain, 1u8, 0);
    }
    chain
}

/// The program's own code.
struct Own {
    start: u64,
    bytes: u64,
}

impl Own {
    #[inline(always)]
    fn holds(&self, address: u64) -> bool {
        address.wrapping_sub(self.start) < self.bytes
    }
}

/// Whether frame pointers show the whole stack: the program makes the system call
/// itself, as Go's do, and what calls that code is its own code, too.
#[inline(always)]
fn keeps_frame_pointers(own: &Own, ip: u64, sp: u64, fp: u64) -> bool {
    if !own.holds(ip) || fp < sp {
        return false;
    }
    let mut caller = 0u64;
    read_user((&raw mut caller).cast(), 8, fp.wrapping_add(8)) && own.holds(caller)
}

/// The number of the return addresses among the words of the window. In two rounds: the
/// verifier walks through each word's code for every word, so that is to be short.
#[inline(always)]
fn number(copy: *mut StackCopy, seed: u64, own: &Own, ip: u64, sp: u64) -> u64 {
    let mut chain = seed;
    // Volatile, so that all of it stays in the map.
    // SAFETY: the entry is this asker's own (see `chain`) and lives as long as the map.
    let count = unsafe { &raw mut (*copy).count };
    // SAFETY: as above.
    unsafe { write_volatile(count, 0) };
    for at in 0..WINDOW_WORDS {
        // SAFETY: as above; `at` is within the words.
        let word = unsafe { read_volatile(&raw const (*copy).record.words[at]) };
        if own.holds(word) {
            chain = mix(chain, word);
            continue;
        }
        // The stack's own addresses lie near those of libraries in a thread.
        let is_near = word.wrapping_sub(ip.wrapping_sub(LIBRARIES_WITHIN)) < 2 * LIBRARIES_WITHIN;
        if !is_near || word.wrapping_sub(sp) < 16 * PAGE {
            continue;
        }
        // SAFETY: as above.
        let so_far = unsafe { read_volatile(count) };
        if so_far >= MAX_LOOKED_UP as u64 {
            break;
        }
        // SAFETY: as above; `so_far` is within.
        unsafe {
            write_volatile(&raw mut (*copy).looked_up[so_far as usize], word);
            write_volatile(count, so_far + 1);
        }
    }
    for at in 0..MAX_LOOKED_UP {
        // SAFETY: as above.
        if at as u64 >= unsafe { read_volatile(count) } {
            break;
        }
        // SAFETY: as above; `at` is within.
        let word = unsafe { read_volatile(&raw const (*copy).looked_up[at]) };
        let mut before = 0u64;
        if read_user((&raw mut before).cast(), 8, word.wrapping_sub(8)) && is_call(before) {
            chain = mix(chain, word);
        }
    }
    // 0 says that there is none.
    chain | 1
}

/// The registers that the task had in user space: a `struct pt_regs`. `None` for a
/// kernel thread, for 32-bit code, and where their places are not known.
#[inline(always)]
fn user_registers() -> Option<*const c_void> {
    if knob!(registers.sp) == 0 {
        return None;
    }
    let regs = if offset!(task_pt_regs) != ABSENT {
        // SAFETY: neither helper asks for more than the current task, which is there.
        unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) as *const c_void }
    } else {
        let stack: *const c_void = read(task::address(), offset!(task_stack))?;
        stack.wrapping_byte_add(KERNEL_STACK_BYTES - PT_REGS_BYTES)
    };
    (read::<u64>(regs, CS)? == USER_CS).then_some(regs)
}

/// Copies user memory; whether it could all be read. Zeros otherwise.
#[inline(always)]
fn read_user(to: *mut c_void, bytes: u32, from: u64) -> bool {
    // SAFETY: the caller has room for so many bytes, which the verifier checks; the
    // helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_user(to, bytes, from as *const c_void) == 0 }
}

//! A variable of the kernel that a program reads, by its number in the
//! kernel's BTF, which user space writes into the object before it is loaded:
//! the loader knows of none.

/// `DECLARE_PER_CPU(int, __preempt_count)` (arch/x86/include/asm/preempt.h).
pub const PREEMPT_COUNT: &str = "__preempt_count";
/// In it: no reschedule is needed (`PREEMPT_NEED_RESCHED`, inverted there).
pub const NO_RESCHEDULE_NEEDED: u32 = 1 << 31;

/// `BPF_LD | BPF_DW | BPF_IMM` into the first register, from the source
/// `BPF_PSEUDO_BTF_ID` (RFC 9669 section 5.4; include/uapi/linux/bpf.h).
const LOAD_VARIABLE: u64 = 0x3118;
/// Stands in the object where the variable's number goes.
const MARK: u32 = 0x6172_0001;

/// The first half of the instruction as the object has it; the second is 0.
pub const PLACEHOLDER: u64 = load(MARK);

/// The first half of the instruction for the running kernel.
pub const fn load(number: u32) -> u64 {
    (number as u64) << 32 | LOAD_VARIABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_an_instruction_of_the_kernels_form() {
        assert_eq!(load(7).to_le_bytes(), [0x18, 0x31, 0, 0, 7, 0, 0, 0]);
    }
}

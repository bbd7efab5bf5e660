//! Symbols that the programs use by their number in the kernel's BTF: a variable, and functions
//! (kfuncs). User space writes the numbers into the object before load, because the loader supports
//! neither.

/// `DECLARE_PER_CPU(int, __preempt_count)` (arch/x86/include/asm/preempt.h).
pub const PREEMPT_COUNT: &str = "__preempt_count";
/// Bit of that variable: no reschedule is needed (`PREEMPT_NEED_RESCHED`, inverted there).
pub const NO_RESCHEDULE_NEEDED: u32 = 1 << 31;

/// `BPF_LD | BPF_DW | BPF_IMM` into the first register, from the source
/// `BPF_PSEUDO_BTF_ID` (RFC 9669 section 5.4; include/uapi/linux/bpf.h).
const LOAD_VARIABLE: u64 = 0x3118;
/// Placeholder of the variable's number in the object.
const MARK: u32 = 0x6172_0001;

/// First half of the instruction in the object; the second half is 0.
pub const PLACEHOLDER: u64 = load(MARK);

/// First half of the instruction for the running kernel.
pub const fn load(number: u32) -> u64 {
    (number as u64) << 32 | LOAD_VARIABLE
}

/// A function of the kernel, whose result is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kfunc {
    /// Name in the kernel's BTF.
    pub name: &'static str,
    /// Placeholder of the function's number in the object.
    mark: u32,
}

/// `void bpf_preempt_disable(void)` (kernel/bpf/helpers.c, 6.11).
pub const PREEMPT_DISABLE: Kfunc = Kfunc {
    name: "bpf_preempt_disable",
    mark: 0x6172_0002,
};
/// `void bpf_preempt_enable(void)` (kernel/bpf/helpers.c, 6.11).
pub const PREEMPT_ENABLE: Kfunc = Kfunc {
    name: "bpf_preempt_enable",
    mark: 0x6172_0003,
};
/// `void bpf_local_irq_save(unsigned long *flags__irq_flag)` (kernel/bpf/helpers.c, 6.14).
pub const IRQ_SAVE: Kfunc = Kfunc {
    name: "bpf_local_irq_save",
    mark: 0x6172_0004,
};
/// `void bpf_local_irq_restore(unsigned long *flags__irq_flag)` (kernel/bpf/helpers.c, 6.14).
pub const IRQ_RESTORE: Kfunc = Kfunc {
    name: "bpf_local_irq_restore",
    mark: 0x6172_0005,
};
/// All kfuncs, which are used together or not at all.
pub const KFUNCS: [Kfunc; 4] = [PREEMPT_DISABLE, PREEMPT_ENABLE, IRQ_SAVE, IRQ_RESTORE];

/// `BPF_JMP | BPF_CALL` with the source `BPF_PSEUDO_KFUNC_CALL` (include/uapi/linux/bpf.h).
const CALL_KFUNC: u64 = 0x2085;
/// `BPF_JMP | BPF_JA` to the next instruction, in place of a call.
pub const NOTHING: u64 = 0x05;

impl Kfunc {
    /// Call instruction in the object.
    pub const fn placeholder(self) -> u64 {
        Self::call(self.mark)
    }

    /// Call instruction with the function's number.
    pub const fn call(number: u32) -> u64 {
        (number as u64) << 32 | CALL_KFUNC
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_an_instruction_of_the_kernels_form() {
        assert_eq!(load(7).to_le_bytes(), [0x18, 0x31, 0, 0, 7, 0, 0, 0]);
    }

    #[test]
    fn a_call_is_an_instruction_of_the_kernels_form() {
        assert_eq!(Kfunc::call(7).to_le_bytes(), [0x85, 0x20, 0, 0, 7, 0, 0, 0]);
    }

    #[test]
    fn no_two_placeholders_are_equal() {
        let mut all = KFUNCS.map(Kfunc::placeholder).to_vec();
        all.push(PLACEHOLDER);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), KFUNCS.len() + 1);
    }
}

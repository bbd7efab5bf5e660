//! Verifies that the kernel programs fit the stack. The kernel bounds the sum of the
//! frames of functions that call each other (`check_max_stack_depth()`,
//! kernel/bpf/verifier.c), and kernels before 6.8 round each frame up further. A new
//! kernel accepts programs that an old one refuses, so this check replaces the old
//! one.
//!
//! Not here: the verifier's other rules, which tests on real kernels cover.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};

/// `MAX_BPF_STACK` (include/linux/filter.h).
const LIMIT: u64 = 512;
/// Bytes to which a frame is rounded up, at least once, before 6.8 and by the
/// interpreter.
const STEP: u64 = 32;
/// `MAX_CALL_FRAMES` (include/linux/bpf_verifier.h).
const MAX_FRAMES: usize = 8;
/// Bytes of one instruction (Documentation/bpf/standardization/instruction-set.rst).
const INSTRUCTION: u64 = 8;
/// The frame pointer.
const FRAME: u8 = 10;

/// A function of an object.
#[derive(Debug, Default)]
struct Function {
    name: String,
    /// Bytes below the frame pointer.
    stack: u64,
    /// The functions that it calls, or that a helper calls for it.
    calls: Vec<Place>,
}

/// The beginning of a function: its section and its offset.
type Place = (usize, u64);

/// Frames of nested calls, the outermost first.
#[derive(Clone, Debug, Default)]
struct Chain {
    bytes: u64,
    frames: Vec<Place>,
}

/// Verifies that the deepest chain of calls in an object fits every kernel's stack.
///
/// # Errors
///
/// The chain does not fit, and the error names it; or the object cannot be read.
pub(crate) fn check(object: &[u8]) -> Result<()> {
    let functions = functions(object)?;
    let mut deepest = Chain::default();
    for place in functions.keys() {
        let chain = chain(&functions, *place, &mut Vec::new())?;
        ensure!(
            chain.frames.len() <= MAX_FRAMES,
            "{} frames one inside the other, {MAX_FRAMES} are allowed: {}",
            chain.frames.len(),
            shown(&functions, &chain)
        );
        if chain.bytes > deepest.bytes {
            deepest = chain;
        }
    }
    ensure!(
        deepest.bytes <= LIMIT,
        "kernels before 6.8 refuse {} bytes of stack, {LIMIT} are allowed; call one after the other \
         what is called one inside the other: {}",
        deepest.bytes,
        shown(&functions, &deepest)
    );
    Ok(())
}

fn shown(functions: &BTreeMap<Place, Function>, chain: &Chain) -> String {
    let frames: Vec<_> = chain
        .frames
        .iter()
        .map(|place| {
            let function = &functions[place];
            format!("{} {}", function.name, function.stack)
        })
        .collect();
    frames.join(" > ")
}

/// The deepest chain that begins with this function.
fn chain(
    functions: &BTreeMap<Place, Function>,
    place: Place,
    above: &mut Vec<Place>,
) -> Result<Chain> {
    let function = functions
        .get(&place)
        .with_context(|| format!("no function begins at {place:?}"))?;
    ensure!(
        !above.contains(&place),
        "{} calls itself, which no kernel allows",
        function.name
    );
    above.push(place);
    let mut deepest = Chain::default();
    for called in &function.calls {
        let chain = chain(functions, *called, above)?;
        if chain.bytes > deepest.bytes {
            deepest = chain;
        }
    }
    above.pop();
    deepest.bytes += function.stack.max(1).next_multiple_of(STEP);
    deepest.frames.insert(0, place);
    Ok(deepest)
}

fn functions(object: &[u8]) -> Result<BTreeMap<Place, Function>> {
    let file = object::File::parse(object).context("read the kernel programs' object")?;
    let mut functions = BTreeMap::new();
    for symbol in file.symbols() {
        let Some(section) = symbol.section_index() else {
            continue;
        };
        if symbol.kind() != SymbolKind::Text || symbol.size() == 0 {
            continue;
        }
        let name = symbol.name().context("read a function's name")?;
        let code = file
            .section_by_index(section)?
            .data_range(symbol.address(), symbol.size())?
            .with_context(|| format!("{name} reaches beyond its section"))?;
        let function = Function {
            name: name.to_owned(),
            stack: stack_of(code),
            calls: Vec::new(),
        };
        functions.insert((section.0, symbol.address()), function);
    }
    for section in file.sections() {
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                continue;
            };
            let symbol = file.symbol_by_index(symbol)?;
            let Some(target) = symbol.section_index() else {
                continue;
            };
            let code = section.data()?;
            let called = (
                target.0,
                symbol.address() + addend(code, offset, symbol.kind()),
            );
            if !functions.contains_key(&called) {
                // The relocation is for a map, or for read-only data.
                continue;
            }
            let caller = functions
                .range_mut((section.index().0, 0)..=(section.index().0, offset))
                .next_back();
            if let Some((_, caller)) = caller {
                caller.calls.push(called);
            }
        }
    }
    Ok(functions)
}

/// The offset of a call whose relocation names the section only: the immediate counts
/// instructions, from the one after the call.
fn addend(code: &[u8], offset: u64, kind: SymbolKind) -> u64 {
    if kind != SymbolKind::Section {
        return 0;
    }
    let at = offset as usize;
    let immediate = code
        .get(at + 4..at + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, i32::from_le_bytes);
    u64::try_from(immediate + 1).unwrap_or_default() * INSTRUCTION
}

/// Bytes below the frame pointer that a function's instructions reach: by loads and
/// stores relative to it, and by addresses computed from it.
fn stack_of(code: &[u8]) -> u64 {
    const CLASS: u8 = 0x07;
    const LDX: u8 = 0x01;
    const ST: u8 = 0x02;
    const STX: u8 = 0x03;
    const JMP: u8 = 0x05;
    const JMP32: u8 = 0x06;
    const MOVE: u8 = 0xbf;
    const ADD: u8 = 0x07;
    let mut copies = 0_u16;
    let mut reach = 0_i64;
    for instruction in code.chunks_exact(INSTRUCTION as usize) {
        let (opcode, registers) = (instruction[0], instruction[1]);
        let (to, from) = (registers & 0xf, registers >> 4);
        let offset = i16::from_le_bytes([instruction[2], instruction[3]]);
        let immediate = i32::from_le_bytes([
            instruction[4],
            instruction[5],
            instruction[6],
            instruction[7],
        ]);
        let class = opcode & CLASS;
        if class == LDX && from == FRAME || (class == ST || class == STX) && to == FRAME {
            reach = reach.min(offset.into());
        }
        if opcode == MOVE && from == FRAME {
            copies |= 1 << to;
        } else if opcode == ADD && copies & 1 << to != 0 {
            reach = reach.min(immediate.into());
            copies &= !(1 << to);
        } else if !matches!(class, ST | STX | JMP | JMP32) {
            copies &= !(1 << to);
        }
    }
    reach.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, stack: u64, calls: &[u64]) -> Function {
        Function {
            name: name.to_owned(),
            stack,
            calls: calls.iter().map(|at| (0, *at)).collect(),
        }
    }

    #[test]
    fn the_deepest_chain_is_that_of_most_bytes_each_frame_rounded_up() -> Result<()> {
        let functions = BTreeMap::from([
            ((0, 0), function("entry", 104, &[8, 16])),
            ((0, 8), function("one", 0, &[24])),
            ((0, 16), function("other", 33, &[])),
            ((0, 24), function("leaf", 64, &[])),
        ]);
        let chain = chain(&functions, (0, 0), &mut Vec::new())?;
        assert_eq!(chain.bytes, 128 + 32 + 64);
        assert_eq!(shown(&functions, &chain), "entry 104 > one 0 > leaf 64");
        Ok(())
    }

    #[test]
    fn who_calls_itself_is_refused() {
        let functions = BTreeMap::from([
            ((0, 0), function("a", 8, &[8])),
            ((0, 8), function("b", 8, &[0])),
        ]);
        assert!(chain(&functions, (0, 0), &mut Vec::new()).is_err());
    }

    #[test]
    fn a_frame_is_what_is_stored_and_what_is_pointed_at() {
        let code = [
            [0x7b, 0x1a, 0xf8, 0xff, 0, 0, 0, 0],       // *(r10 - 8) = r1
            [0xbf, 0xa2, 0, 0, 0, 0, 0, 0],             // r2 = r10
            [0x07, 0x02, 0, 0, 0x98, 0xff, 0xff, 0xff], // r2 += -104
            [0x07, 0x03, 0, 0, 0x00, 0xff, 0xff, 0xff], // r3 += -256, which is no address
            [0x79, 0xa1, 0xf0, 0xff, 0, 0, 0, 0],       // r1 = *(r10 - 16)
        ];
        assert_eq!(stack_of(code.as_flattened()), 104);
    }
}

//! Maps of the kernel programs as aya stores them.

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};

use super::Error;
use super::error::{map_error, missing};

/// A key of a 64-bit number and two of 32 bits, or a value of four of these.
pub(super) type Words = [u32; 4];

/// A key of such parts, in this order.
pub(super) fn words(number: u64, third: u32, fourth: u32) -> Words {
    let [a, b, c, d, e, f, g, h] = number.to_ne_bytes();
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        third,
        fourth,
    ]
}

pub(super) fn bytes_of<T: agent_recorder_abi::Pod, const SIZE: usize>(value: T) -> [u8; SIZE] {
    const { assert!(size_of::<T>() == SIZE) };
    let mut bytes = [0; SIZE];
    // SAFETY: T is Pod, without padding, and of that size.
    unsafe { std::ptr::copy_nonoverlapping((&raw const value).cast(), bytes.as_mut_ptr(), SIZE) };
    bytes
}

pub(super) fn take<T>(
    bpf: &mut Ebpf,
    name: &'static str,
    convert: impl FnOnce(Map) -> Result<T, MapError>,
) -> Result<T, Error> {
    let map = bpf.take_map(name).ok_or_else(|| missing(name))?;
    convert(map).map_err(|error| map_error(name, &error))
}

/// Makes a map hold this and nothing else. What stays is there all the time.
pub(super) fn replace<K, V>(
    map: &mut HashMap<MapData, K, V>,
    name: &'static str,
    wanted: std::collections::HashMap<K, V>,
) -> Result<(), Error>
where
    K: aya::Pod + Eq + std::hash::Hash,
    V: aya::Pod,
{
    let failed = |error| map_error(name, &error);
    let known = map.keys().collect::<Result<Vec<_>, _>>();
    for key in known.map_err(failed)? {
        if !wanted.contains_key(&key) {
            map.remove(&key).map_err(failed)?;
        }
    }
    for (key, value) in wanted {
        map.insert(key, value, 0).map_err(failed)?;
    }
    Ok(())
}

pub(super) fn sum(
    map: &PerCpuArray<MapData, u64>,
    name: &'static str,
    index: usize,
) -> Result<u64, Error> {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let values = map
        .get(&index, 0)
        .map_err(|error| map_error(name, &error))?;
    Ok(values.iter().sum())
}

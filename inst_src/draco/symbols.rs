//! Reading of coded symbols: the inverse of `entropy`.

use super::entropy::{RAW, TAG_PRECISION, TAGGED, raw_precision};
use super::reader::{BitReader, Reader, damaged};
use crate::error::Result;

/// The state of a coder, and the bytes that are still to enter it, from the last to the first.
struct State<'a> {
    value: u32,
    base: u32,
    bytes: &'a [u8],
}

impl<'a> State<'a> {
    fn new(bytes: &'a [u8], base: u32) -> Result<State<'a>> {
        let last = *bytes.last().ok_or_else(|| damaged("coded symbols have no bytes"))?;
        let length = usize::from(last >> 6) + 1;
        let start = bytes.len().checked_sub(length).ok_or_else(|| damaged("coded symbols are cut off"))?;
        let (bytes, tail) = bytes.split_at(start);
        let word = tail.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
        let value = base + (word & ((1 << (8 * length as u32 - 2)) - 1));
        if value >= base << 8 {
            return Err(damaged("coded symbols end in an impossible state"));
        }
        Ok(State { value, base, bytes })
    }

    fn refill(&mut self) {
        while self.value < self.base
            && let Some((&last, rest)) = self.bytes.split_last()
        {
            self.value = self.value << 8 | u32::from(last);
            self.bytes = rest;
        }
    }
}

/// One bit after the other.
pub(super) struct BinaryDecoder<'a> {
    state: State<'a>,
    one: u32,
}

impl<'a> BinaryDecoder<'a> {
    pub(super) fn new(reader: &mut Reader<'a>) -> Result<BinaryDecoder<'a>> {
        let zero = u32::from(reader.byte()?);
        Ok(BinaryDecoder { state: State::new(reader.block()?, 4096)?, one: 256 - zero })
    }

    pub(super) fn take(&mut self) -> bool {
        self.state.refill();
        let State { value, .. } = &mut self.state;
        let (quotient, remainder) = (*value >> 8, *value & 255);
        let bit = remainder < self.one;
        *value = if bit { quotient * self.one + remainder } else { *value - quotient * self.one - self.one };
        bit
    }
}

/// Shares of the symbols that occur, and the symbol of every place in the range.
struct Table {
    /// Symbol, share, sum of the lower shares.
    entries: Vec<(u32, u32, u32)>,
    /// Index of the entry.
    places: Vec<u32>,
}

impl Table {
    fn read(reader: &mut Reader<'_>, precision: u32) -> Result<Table> {
        let size = reader.varint()?;
        let whole = 1u32 << precision;
        let mut entries = Vec::new();
        let mut below = 0u32;
        let mut symbol = 0u32;
        while symbol < size {
            let first = reader.byte()?;
            let more = usize::from(first & 3);
            if more == 3 {
                let run = u32::from(first >> 2) + 1;
                if run > size - symbol {
                    return Err(damaged("a run of absent symbols leaves the table"));
                }
                symbol += run;
                continue;
            }
            let share = u32::from(first >> 2) | reader.uint(more)? << 6;
            if share > whole - below {
                return Err(damaged("the shares of the symbols exceed the whole"));
            }
            if share > 0 {
                entries.push((symbol, share, below));
                below += share;
            }
            symbol += 1;
        }
        if below != whole {
            return Err(damaged("the shares of the symbols are not the whole"));
        }
        let mut places = Vec::with_capacity(whole as usize);
        for (&(_, share, _), index) in entries.iter().zip(0..) {
            places.resize(places.len() + share as usize, index);
        }
        Ok(Table { entries, places })
    }
}

/// Read a table and `count` symbols, and give each to `sink`.
fn coded(reader: &mut Reader<'_>, precision: u32, count: usize, mut sink: impl FnMut(u32) -> Result<()>) -> Result<()> {
    let table = Table::read(reader, precision)?;
    let mask = (1u32 << precision) - 1;
    let mut state = State::new(reader.block()?, 4 << precision)?;
    for _ in 0..count {
        state.refill();
        let place = state.value & mask;
        let (symbol, share, below) = table.entries[table.places[place as usize] as usize];
        state.value = (state.value >> precision) * share + place - below;
        sink(symbol)?;
    }
    Ok(())
}

/// Read `groups` times `components` symbols and give each to `sink`.
pub(super) fn symbols(
    reader: &mut Reader<'_>,
    groups: usize,
    components: usize,
    mut sink: impl FnMut(u32) -> Result<()>,
) -> Result<()> {
    if groups == 0 {
        return Ok(());
    }
    match reader.byte()? {
        RAW => {
            let parameter = u32::from(reader.byte()?);
            if !(1..=18).contains(&parameter) {
                return Err(damaged(format!("symbols of {parameter} bits")));
            }
            coded(reader, raw_precision(parameter), groups * components, sink)
        }
        TAGGED => {
            let mut tags = Vec::new();
            coded(reader, TAG_PRECISION, groups, |tag| {
                if tag > 32 {
                    return Err(damaged(format!("a symbol of {tag} bits")));
                }
                tags.push(tag as u8);
                Ok(())
            })?;
            let mut bits = BitReader::new(*reader);
            for tag in tags {
                for _ in 0..components {
                    sink(bits.take(u32::from(tag))?)?;
                }
            }
            *reader = bits.finish();
            Ok(())
        }
        other => Err(damaged(format!("coding {other} of symbols does not exist"))),
    }
}

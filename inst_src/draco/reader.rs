//! Bytes of a stream, read with every length checked.

use crate::error::{Error, Result};

/// The error for bytes that are not what the format says.
pub(super) fn damaged(what: impl std::fmt::Display) -> Error {
    Error::Format(format!("not a readable Draco mesh: {what}"))
}

/// The rest of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Reader<'a> {
        Reader { rest }
    }

    /// Number of bytes left.
    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(|| damaged("it ends too early"))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.bytes(1)?[0])
    }

    /// A little-endian number of at most four bytes.
    pub(super) fn uint(&mut self, bytes: usize) -> Result<u32> {
        Ok(self.bytes(bytes)?.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    pub(super) fn varint(&mut self) -> Result<u32> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| damaged("a number has more than 32 bits"));
            }
        }
        Err(damaged("a number has more than 32 bits"))
    }

    /// A number that may be at most `limit`.
    pub(super) fn count(&mut self, limit: usize, what: &str) -> Result<usize> {
        let count = self.varint()? as usize;
        if count > limit { Err(damaged(format!("{count} {what}, at most {limit} are possible"))) } else { Ok(count) }
    }

    /// As many bytes as a number before them says.
    pub(super) fn block(&mut self) -> Result<&'a [u8]> {
        let count = self.varint()? as usize;
        self.bytes(count)
    }
}

/// Bits, each byte from bit 0 up.
#[derive(Debug, Clone, Copy)]
pub(super) struct BitReader<'a> {
    reader: Reader<'a>,
    bits: u64,
    count: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(reader: Reader<'a>) -> BitReader<'a> {
        BitReader { reader, bits: 0, count: 0 }
    }

    /// The next `count` bits, at most 32.
    pub(super) fn take(&mut self, count: u32) -> Result<u32> {
        while self.count < count {
            self.bits |= u64::from(self.reader.byte()?) << self.count;
            self.count += 8;
        }
        let value = self.bits & ((1 << count) - 1);
        self.bits >>= count;
        self.count -= count;
        Ok(value as u32)
    }

    /// What follows the byte that was read last.
    pub(super) fn finish(self) -> Reader<'a> {
        self.reader
    }
}

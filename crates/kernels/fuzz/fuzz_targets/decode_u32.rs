#![no_main]
//! Decoding of any bytes as labels of 32 bits.

mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| common::decode::<u32>(data));

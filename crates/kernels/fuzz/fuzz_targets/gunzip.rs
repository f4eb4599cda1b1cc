#![no_main]
//! Decompression of any bytes stays within its bound; what is compressed comes back.

use precast_kernels::gzip::{Compressor, Decompressor};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&head, bytes)) = data.split_first() else { return };
    let bound = usize::from(head) << 8;
    let mut reader = Decompressor::new().unwrap();
    if let Ok(plain) = reader.decompress(bytes, bound) {
        assert!(plain.len() <= bound);
    }
    let packed = Compressor::new(i32::from(head % 13)).unwrap().compress(bytes).unwrap();
    assert_eq!(reader.decompress(&packed, bytes.len()).unwrap(), bytes);
});

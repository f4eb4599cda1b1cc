//! Exact bytes and codes, shared with the tests of the Python package.

use precast_kernels::compressed_segmentation::{Encoder, Label, Level, decode_with};
use precast_kernels::morton::MortonGrid;
use precast_kernels::murmur::murmurhash3_x86_128;
use precast_kernels::view::{View, ViewMut};
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = format!("{}/../../tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

fn triple(value: &Value) -> [usize; 3] {
    numbers(value).iter().map(|&n| n as usize).collect::<Vec<_>>().try_into().unwrap()
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn check<T: Label>(case: &Value, labels: &[T], bytes: &[u8]) {
    let shape: Vec<usize> = numbers(&case["shape"]).iter().map(|&n| n as usize).collect();
    let shape: [usize; 4] = shape.try_into().unwrap();
    let block = triple(&case["block"]);
    for &level in Level::supported() {
        let mut encoded = vec![0xaa];
        let view = View::contiguous(labels, shape).unwrap();
        Encoder::with_level(level).encode(view, block, &mut encoded).unwrap();
        assert_eq!(encoded[0], 0xaa, "the encoder appends");
        assert_eq!(&encoded[1..], bytes, "{level:?} {}", case["name"]);
        let mut decoded = vec![T::default(); labels.len()];
        decode_with(level, bytes, block, &mut ViewMut::contiguous(&mut decoded, shape).unwrap()).unwrap();
        assert_eq!(decoded, labels, "{level:?} {}", case["name"]);
    }
}

#[test]
fn compressed_segmentation_has_the_documented_bytes() {
    let cases = vectors("compressed_segmentation");
    for case in cases["cases"].as_array().unwrap() {
        let labels = numbers(&case["labels"]);
        let narrow: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
        check(case, &narrow, &from_hex(case["uint32"].as_str().unwrap()));
        if let Some(hex) = case["uint64"].as_str() {
            check(case, &labels, &from_hex(hex));
        }
    }
}

#[test]
fn hashes_and_codes_are_the_documented_ones() {
    let cases = vectors("addressing");
    for pair in cases["murmurhash3_x86_128"].as_array().unwrap() {
        let key: u64 = pair[0].as_str().unwrap().parse().unwrap();
        assert_eq!(format!("{:016x}", murmurhash3_x86_128(key)), pair[1].as_str().unwrap(), "key {key}");
    }
    for case in cases["morton"].as_array().unwrap() {
        let (cell, code) = (numbers(&case["cell"]), case["code"].as_u64().unwrap());
        let grid = MortonGrid::new(&numbers(&case["grid"])).unwrap();
        assert_eq!(grid.encode(&cell).unwrap(), code);
        let mut back = vec![0; cell.len()];
        grid.decode(code, &mut back).unwrap();
        assert_eq!(back, cell);
    }
}

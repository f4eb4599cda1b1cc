//! MurmurHash3 (Austin Appleby, public domain), variant x86_128 with seed 0, of 64-bit keys: the hash of the sharded format.

/// The first eight of the sixteen bytes that the hash gives for the little-endian bytes of `key`.
#[must_use]
pub fn murmurhash3_x86_128(key: u64) -> u64 {
    const C1: u32 = 0x239b_961b;
    const C2: u32 = 0xab0e_9789;
    const C3: u32 = 0x38b3_4ae5;
    /// Bytes of the key; part of the hash.
    const LENGTH: u32 = 8;

    fn finish(mut h: u32) -> u32 {
        h = (h ^ h >> 16).wrapping_mul(0x85eb_ca6b);
        h = (h ^ h >> 13).wrapping_mul(0xc2b2_ae35);
        h ^ h >> 16
    }

    // Eight bytes are less than a block of the hash: only its tail, which touches the first two lanes.
    let [low, high] = [key as u32, (key >> 32) as u32];
    let mut h1 = low.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2) ^ LENGTH;
    let mut h2 = high.wrapping_mul(C2).rotate_left(16).wrapping_mul(C3) ^ LENGTH;
    // The other two lanes hold only the length, and stay equal to each other.
    let mut h3 = LENGTH;
    h1 = h1.wrapping_add(h2).wrapping_add(h3).wrapping_add(h3);
    h2 = h2.wrapping_add(h1);
    h3 = h3.wrapping_add(h1);
    let (h1, h2, h3) = (finish(h1), finish(h2), finish(h3));
    let h1 = h1.wrapping_add(h2).wrapping_add(h3).wrapping_add(h3);
    let h2 = h2.wrapping_add(h1);
    u64::from(h1) | u64::from(h2) << 32
}

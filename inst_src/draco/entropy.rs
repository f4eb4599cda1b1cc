//! Symbols as bytes: range asymmetric numeral systems, either of the symbols (raw) or of their lengths (tagged).

/// Scheme byte: the lengths of the symbols are coded, their bits follow as they are.
pub(super) const TAGGED: u8 = 0;
/// Scheme byte: the symbols are coded.
pub(super) const RAW: u8 = 1;

/// Bits of precision that tags are coded with.
pub(super) const TAG_PRECISION: u32 = 12;

/// Longest symbol, in bits, for the raw scheme, whose table has an entry for every smaller number.
const MAX_RAW_BITS: u32 = 18;

/// Up to so many symbols both schemes are tried; beyond, if the estimates are close.
const TRY_BOTH: usize = 4096;

/// Bits of precision for the raw scheme, from the parameter that is stored.
pub(super) fn raw_precision(parameter: u32) -> u32 {
    (3 * parameter / 2).clamp(12, 20)
}

/// Append an unsigned number, seven bits a byte, low first.
pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends bits, each byte filled from bit 0 up.
pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    bits: u64,
    count: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> BitWriter<'a> {
        BitWriter { out, bits: 0, count: 0 }
    }

    /// Append the low `count` bits, at most 32, of a value that has no others.
    pub(super) fn put(&mut self, value: u32, count: u32) {
        self.bits |= u64::from(value) << self.count;
        self.count += count;
        if self.count >= 32 {
            self.out.extend_from_slice(&(self.bits as u32).to_le_bytes());
            self.bits >>= 32;
            self.count -= 32;
        }
    }

    /// Fill the last byte with zeros.
    pub(super) fn finish(self) {
        let bytes = self.count.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.bits.to_le_bytes()[..bytes]);
    }
}

/// Append what is left in a coder, with its own length in the top bits of the last byte.
fn put_state(state: u64, base: u64, out: &mut Vec<u8>) {
    let rest = state - base;
    let length = (0..3).find(|&length| rest < 1 << (6 + 8 * length)).unwrap_or(3);
    let word = rest | length << (6 + 8 * length);
    out.extend_from_slice(&word.to_le_bytes()[..=length as usize]);
}

/// Append bits by their frequency.
pub(super) fn put_binary(bits: &[bool], out: &mut Vec<u8>) {
    let zeros = bits.iter().filter(|&&bit| !bit).count() as u64;
    let total = (bits.len() as u64).max(1);
    let zero = ((256 * zeros + total / 2) / total).clamp(1, 255);
    const BASE: u64 = 4096;
    let mut bytes = Vec::new();
    let mut state = BASE;
    for &bit in bits.iter().rev() {
        let share = if bit { 256 - zero } else { zero };
        if state >= BASE * share {
            bytes.push(state as u8);
            state >>= 8;
        }
        state = state / share * 256 + state % share + if bit { 0 } else { 256 - zero };
    }
    put_state(state, BASE, &mut bytes);
    out.push(zero as u8);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(&bytes);
}

/// Logarithm to base 2 of a number from 1 on, from operations that give the same bits on every machine.
fn log2(value: u32) -> f64 {
    let exponent = value.max(1).ilog2();
    // between 1 and 2, then between 0.7 and 1.4
    let mantissa = f64::from(value.max(1)) / f64::from(1u32 << exponent);
    let (mantissa, exponent) = if mantissa > 1.4 { (mantissa / 2.0, exponent + 1) } else { (mantissa, exponent) };
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let series = 1.0 + square * (1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0 + square / 9.0)));
    f64::from(exponent) + 2.0 / std::f64::consts::LN_2 * ratio * series
}

/// How a symbol changes the state.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    share: u32,
    /// Sum of the shares of all lower symbols.
    below: u32,
    /// For the division by the share: multiply and shift.
    reciprocal: u32,
    shift: u32,
}

impl Slot {
    fn new(share: u32, below: u32) -> Slot {
        let log = share.next_power_of_two().ilog2();
        let shift = 31 + log;
        Slot { share, below, reciprocal: (1u64 << shift).div_ceil(u64::from(share)) as u32, shift }
    }
}

/// The symbols that occur, how often, and with what share of the range.
#[derive(Debug, Default)]
struct Histogram {
    /// By symbol; zero but for the distinct ones.
    counts: Vec<u32>,
    /// Ascending, once they are all counted.
    distinct: Vec<u32>,
    total: u32,
    /// As `distinct`.
    shares: Vec<u32>,
    /// By symbol; only those of distinct ones mean anything.
    slots: Vec<Slot>,
}

impl Histogram {
    /// Count symbols, none above `max`.
    fn count(&mut self, symbols: &[impl Copy + Into<u32>], max: u32) {
        for &symbol in &self.distinct {
            self.counts[symbol as usize] = 0;
        }
        self.distinct.clear();
        if self.counts.len() <= max as usize {
            self.counts.resize(max as usize + 1, 0);
        }
        for &symbol in symbols {
            let symbol = symbol.into();
            let count = &mut self.counts[symbol as usize];
            if *count == 0 {
                self.distinct.push(symbol);
            }
            *count += 1;
        }
        self.distinct.sort_unstable();
        self.total = symbols.len() as u32;
    }

    fn entropy(&self) -> f64 {
        let total = log2(self.total);
        let bits = |&symbol: &u32| {
            let count = self.counts[symbol as usize];
            f64::from(count) * (total - log2(count))
        };
        self.distinct.iter().map(bits).sum()
    }

    /// Share the range out: near the frequencies, at least 1, in all 2^precision.
    fn normalize(&mut self, precision: u32) {
        let whole = 1u32 << precision;
        let scale = f64::from(whole);
        let total = f64::from(self.total);
        self.shares.clear();
        self.shares.extend(self.distinct.iter().map(|&symbol| {
            let part = f64::from(self.counts[symbol as usize]) / total;
            ((part * scale + 0.5) as u32).max(1)
        }));
        let mut sum: u32 = self.shares.iter().sum();
        if sum == whole {
            return;
        }
        let mut by_share: Vec<u32> = (0..self.shares.len() as u32).collect();
        by_share.sort_by_key(|&i| self.shares[i as usize]);
        if sum < whole {
            if let Some(&most) = by_share.last() {
                self.shares[most as usize] += whole - sum;
            }
            return;
        }
        while sum > whole {
            let scale = scale / f64::from(sum);
            for &i in by_share.iter().rev() {
                let share = &mut self.shares[i as usize];
                if *share <= 1 {
                    break;
                }
                let scaled = (scale * f64::from(*share)) as u32;
                let less = (*share - scaled).clamp(1, *share - 1).min(sum - whole);
                *share -= less;
                sum -= less;
                if sum == whole {
                    break;
                }
            }
        }
    }

    /// Append the shares, and make the slots of them.
    fn put_table(&mut self, out: &mut Vec<u8>) {
        let Some(&max) = self.distinct.last() else {
            put_varint(0, out);
            return;
        };
        put_varint(u64::from(max) + 1, out);
        if self.slots.len() <= max as usize {
            self.slots.resize(max as usize + 1, Slot::default());
        }
        let mut expected = 0;
        let mut below = 0;
        for (&symbol, &share) in self.distinct.iter().zip(&self.shares) {
            let mut absent = symbol - expected;
            while absent > 0 {
                let run = absent.min(64);
                out.push(((run - 1) << 2 | 3) as u8);
                absent -= run;
            }
            let more = usize::from(share >= 1 << 6) + usize::from(share >= 1 << 14);
            out.extend_from_slice(&(share << 2 | more as u32).to_le_bytes()[..=more]);
            self.slots[symbol as usize] = Slot::new(share, below);
            below += share;
            expected = symbol + 1;
        }
    }

    /// Bytes that coding can need at most.
    fn bound(&self, precision: u32) -> usize {
        let bits = |(&symbol, &share): (&u32, &u32)| {
            // a symbol lengthens the state by log2(2^precision / share), and by less than one bit through rounding
            u64::from(self.counts[symbol as usize]) * u64::from(precision - share.ilog2() + 1)
        };
        (self.distinct.iter().zip(&self.shares).map(bits).sum::<u64>() / 8) as usize + 16
    }
}

/// Codes lists of symbols; buffers are used again.
#[derive(Debug, Default)]
pub(super) struct SymbolCoder {
    histogram: Histogram,
    tag_histogram: Histogram,
    tags: Vec<u8>,
    coded: Vec<u8>,
    other: Vec<u8>,
}

impl SymbolCoder {
    /// Append symbols, `components` to a tag, by the scheme that needs fewer bytes.
    pub(super) fn put<T: Copy + Into<u32>>(&mut self, symbols: &[T], components: usize, out: &mut Vec<u8>) {
        let mut max = 0;
        let mut tag_bits = 0;
        self.tags.clear();
        self.tags.extend(symbols.chunks(components).map(|group| {
            let all = group.iter().fold(0, |all, &symbol| all | symbol.into());
            max |= all;
            let bits = (32 - all.leading_zeros()).max(1);
            tag_bits += u64::from(bits) * components as u64;
            bits as u8
        }));
        let max_bits = 32 - max.leading_zeros();
        self.tag_histogram.count(&self.tags, 32);
        if max_bits > MAX_RAW_BITS {
            self.put_tagged(symbols, components, out);
            return;
        }
        // `max` is not the largest symbol, but no symbol is larger
        self.histogram.count(symbols, max);
        let distinct = self.histogram.distinct.len() as f64;
        let largest = f64::from(self.histogram.distinct.last().copied().unwrap_or(0));
        let tagged = self.tag_histogram.entropy() + tag_bits as f64 + 16.0 * self.tag_histogram.distinct.len() as f64;
        let raw = self.histogram.entropy() + 16.0 * distinct + (largest - distinct).max(0.0) / 8.0;
        if symbols.len() <= TRY_BOTH || (tagged - raw).abs() < raw / 16.0 {
            let mut other = std::mem::take(&mut self.other);
            other.clear();
            self.put_tagged(symbols, components, &mut other);
            let start = out.len();
            self.put_raw(symbols, out);
            if other.len() < out.len() - start {
                out.truncate(start);
                out.extend_from_slice(&other);
            }
            self.other = other;
        } else if tagged < raw {
            self.put_tagged(symbols, components, out);
        } else {
            self.put_raw(symbols, out);
        }
    }

    fn put_raw(&mut self, symbols: &[impl Copy + Into<u32>], out: &mut Vec<u8>) {
        let distinct = self.histogram.distinct.len() as u32;
        let parameter = (32 - distinct.leading_zeros()).clamp(1, MAX_RAW_BITS);
        out.extend_from_slice(&[RAW, parameter as u8]);
        put_coded(&mut self.histogram, symbols, raw_precision(parameter), &mut self.coded, out);
    }

    fn put_tagged<T: Copy + Into<u32>>(&mut self, symbols: &[T], components: usize, out: &mut Vec<u8>) {
        out.push(TAGGED);
        put_coded(&mut self.tag_histogram, &self.tags, TAG_PRECISION, &mut self.coded, out);
        let mut writer = BitWriter::new(out);
        for (group, &tag) in symbols.chunks(components).zip(&self.tags) {
            for &symbol in group {
                writer.put(symbol.into(), u32::from(tag));
            }
        }
        writer.finish();
    }
}

/// Append the table of counted symbols and the coded symbols.
fn put_coded(
    histogram: &mut Histogram,
    symbols: &[impl Copy + Into<u32>],
    precision: u32,
    coded: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    histogram.normalize(precision);
    histogram.put_table(out);
    let bound = histogram.bound(precision);
    if coded.len() < bound {
        coded.resize(bound, 0);
    }
    let slots = &histogram.slots[..];
    let base = 4u64 << precision;
    let mut state = base;
    let mut length = 0;
    for &symbol in symbols.iter().rev() {
        let slot = slots[symbol.into() as usize];
        // write four bytes, and keep as many as the state has to lose
        let limit = u64::from(slot.share) << 10;
        let bytes = usize::from(state >= limit) + usize::from(state >= limit << 8) + usize::from(state >= limit << 16);
        coded[length..length + 4].copy_from_slice(&(state as u32).to_le_bytes());
        length += bytes;
        state >>= 8 * bytes;
        let quotient = (state * u64::from(slot.reciprocal)) >> slot.shift;
        let remainder = state - quotient * u64::from(slot.share);
        state = (quotient << precision) + remainder + u64::from(slot.below);
    }
    let mut tail = Vec::with_capacity(4);
    put_state(state, base, &mut tail);
    put_varint((length + tail.len()) as u64, out);
    out.extend_from_slice(&coded[..length]);
    out.extend_from_slice(&tail);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_right() {
        for value in (1..2000).chain([1 << 20, (1 << 20) + 1, 0x7fff_ffff, u32::MAX]) {
            assert!((log2(value) - f64::from(value).log2()).abs() < 1e-6, "{value}");
        }
    }

    #[test]
    fn division_by_reciprocal_is_exact() {
        for share in (1..5000).chain([65535, 65536, 65537, (1 << 20) - 1, 1 << 20]) {
            let slot = Slot::new(share, 0);
            let share = u64::from(share);
            for quotient in [0, 1, 2, 3, 4, 1000, 1023] {
                for state in [quotient * share, (quotient + 1) * share - 1] {
                    assert_eq!((state * u64::from(slot.reciprocal)) >> slot.shift, quotient, "{state} by {share}");
                }
            }
        }
    }

    #[test]
    fn shares_fill_the_range() {
        let mut histogram = Histogram::default();
        for (symbols, precision) in [
            (vec![5u32; 3], 12),
            (vec![0, 1], 12),
            ((0..4096).collect(), 12),
            ((0..3000).chain([7; 100_000]).collect(), 12),
            ((0..200).flat_map(|n| std::iter::repeat_n(n, n as usize * n as usize)).collect(), 12),
        ] {
            histogram.count(&symbols, 1 << 12);
            histogram.normalize(precision);
            assert_eq!(histogram.shares.iter().sum::<u32>(), 1 << precision);
            assert!(histogram.shares.iter().all(|&share| share > 0));
        }
    }
}

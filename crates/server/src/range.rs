//! The `Range` header, after RFC 9110 section 14.

/// What a request's `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: no range, or one in a unit that is not bytes.
    Whole,
    /// These half-open ranges in the order asked for, each within the length; never empty.
    Parts(Vec<(u64, u64)>),
    /// Nothing that there is, or nothing that can be understood.
    Unsatisfiable,
}

/// More than any client needs; a request for more is refused, since each part costs more than it transfers.
const MOST_PARTS: usize = 64;

/// Reads the value of a `Range` header for a representation of `length` bytes.
pub fn parse(value: &[u8], length: u64) -> Wanted {
    // what is not UTF-8 is not a number either
    let text = String::from_utf8_lossy(value);
    let Some((unit, set)) = text.split_once('=') else { return Wanted::Unsatisfiable };
    let unit = unit.trim_matches([' ', '\t']);
    if !unit.eq_ignore_ascii_case("bytes") {
        // another unit is to be ignored, but only something that can be a unit is one
        let token = !unit.is_empty()
            && unit.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte));
        return if token { Wanted::Whole } else { Wanted::Unsatisfiable };
    }
    let mut parts = Vec::new();
    let mut empty_suffix = false;
    let mut specs = 0;
    for spec in set.split(',').map(|spec| spec.trim_matches([' ', '\t'])) {
        if spec.is_empty() {
            continue; // lists may have empty elements
        }
        specs += 1;
        let Some((first, last)) = spec.split_once('-') else { return Wanted::Unsatisfiable };
        if first.is_empty() {
            let Some(count) = number(last) else { return Wanted::Unsatisfiable };
            if count > 0 && length == 0 {
                empty_suffix = true;
            } else if count > 0 {
                parts.push((length - count.min(length), length));
            }
            continue;
        }
        let Some(first) = number(first) else { return Wanted::Unsatisfiable };
        let last = if last.is_empty() { Some(u64::MAX) } else { number(last) };
        let Some(last) = last.filter(|&last| last >= first) else { return Wanted::Unsatisfiable };
        if first < length {
            parts.push((first, last.min(length - 1) + 1));
        }
    }
    if specs > MOST_PARTS || overlaps(&parts) > 2 {
        return Wanted::Unsatisfiable;
    }
    if parts.is_empty() {
        // the last n bytes of nothing can be had, but no Content-Range can say so
        return if empty_suffix { Wanted::Whole } else { Wanted::Unsatisfiable };
    }
    Wanted::Parts(parts)
}

/// Reads digits; what exceeds 64 bits is as good as the largest number.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.bytes().fold(0_u64, |value, byte| value.saturating_mul(10).saturating_add(u64::from(byte - b'0'))))
}

/// Returns the largest number of ranges that hold the same byte.
fn overlaps(parts: &[(u64, u64)]) -> usize {
    parts
        .iter()
        .map(|&(start, _)| parts.iter().filter(|part| part.0 <= start && start < part.1).count())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Wanted, parse};

    fn parts(text: &str, length: u64) -> Vec<(u64, u64)> {
        match parse(text.as_bytes(), length) {
            Wanted::Parts(parts) => parts,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn ranges_of_bytes() {
        assert_eq!(parts("bytes=0-0", 10), [(0, 1)]);
        assert_eq!(parts("bytes=2-5", 10), [(2, 6)]);
        assert_eq!(parts("BYTES=2-50", 10), [(2, 10)]);
        assert_eq!(parts("bytes=9-", 10), [(9, 10)]);
        assert_eq!(parts("bytes=-3", 10), [(7, 10)]);
        assert_eq!(parts("bytes=-30", 10), [(0, 10)]);
        assert_eq!(parts("bytes=0-99999999999999999999999999", 10), [(0, 10)]);
        assert_eq!(parts("bytes= 0-1 ,, 4-5,", 10), [(0, 2), (4, 6)]);
        assert_eq!(parts("bytes=0-1,20-30", 10), [(0, 2)]);
    }

    #[test]
    fn what_cannot_be_had() {
        for text in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-", "bytes=20-30,40-"] {
            assert_eq!(parse(text.as_bytes(), 10), Wanted::Unsatisfiable, "{text}");
        }
        assert_eq!(parse(b"bytes=0-0", 0), Wanted::Unsatisfiable);
        assert_eq!(parse(b"bytes=-5", 0), Wanted::Whole);
    }

    #[test]
    fn what_cannot_be_understood() {
        for text in [
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=1",
            "bytes=--1",
            "bytes=1-2-3",
            "=0-1",
            "b tes=0-1",
        ] {
            assert_eq!(parse(text.as_bytes(), 10), Wanted::Unsatisfiable, "{text}");
        }
        assert_eq!(parse(b"bytes=\xff-1", 10), Wanted::Unsatisfiable);
        assert_eq!(parse(b"rows=0-1", 10), Wanted::Whole);
    }

    #[test]
    fn more_than_a_client_needs_is_refused() {
        let many = (0..65).map(|at| format!("{}-{}", at * 2, at * 2)).collect::<Vec<_>>().join(",");
        assert_eq!(parse(format!("bytes={many}").as_bytes(), 1000), Wanted::Unsatisfiable);
        assert_eq!(parse(b"bytes=0-,0-,0-", 1000), Wanted::Unsatisfiable);
        assert_eq!(parts("bytes=0-,0-", 1000), [(0, 1000), (0, 1000)]);
    }
}

//! Entity tags, preconditions (RFC 9110 section 13) and `Accept-Encoding` (section 12.5.3).

use crate::encoding::Encoding;
use hyper::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE};

/// What the preconditions of a request come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Proceed,
    NotModified,
    Failed,
}

/// Evaluates `If-Match` and `If-None-Match` against a strong entity tag, quotes included.
pub fn evaluate(headers: &HeaderMap, etag: &str) -> Outcome {
    if let Some(list) = joined(headers, IF_MATCH) {
        // strong comparison: weak tags match nothing
        if list.trim() != "*" && !tags(&list).any(|tag| tag == etag) {
            return Outcome::Failed;
        }
    }
    if let Some(list) = joined(headers, IF_NONE_MATCH)
        && (list.trim() == "*" || tags(&list).any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag))
    {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

/// Returns whether `If-Range`, if there is one, lets a `Range` be heeded. No dates are sent, so none can match.
pub fn range_allowed(headers: &HeaderMap, etag: &str) -> bool {
    joined(headers, IF_RANGE).is_none_or(|value| value.trim() == etag)
}

/// Returns whether a client that says this takes an encoding. One that says nothing is given what everybody can read.
pub fn takes(headers: &HeaderMap, encoding: Encoding) -> bool {
    let Some(list) = joined(headers, ACCEPT_ENCODING) else { return false };
    let mut any = false;
    for item in list.split(',') {
        let mut fields = item.split(';').map(str::trim);
        let coding = fields.next().unwrap_or("");
        let refused = fields.any(|field| {
            field.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0)
            })
        });
        if encoding.is_called(coding) {
            return !refused;
        }
        any |= coding == "*" && !refused;
    }
    any
}

fn joined(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    // opaque tags may hold any byte; ours are ASCII, so one that is not cannot be it
    Some(values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(","))
}

/// Splits a list of entity tags, which may hold commas.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let open = rest.find('"')?;
        let close = open + 1 + rest[open + 1..].find('"')?;
        let (tag, after) = rest.split_at(close + 1);
        rest = after;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::{Encoding, Outcome, evaluate, range_allowed, takes};
    use hyper::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE};

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn entity_tags() {
        let tag = "\"a\"";
        assert_eq!(evaluate(&HeaderMap::new(), tag), Outcome::Proceed);
        for value in ["\"a\"", "W/\"a\"", "*", "\"b,\", \"a\"", "\"b\",W/\"a\" ,\"c\""] {
            assert_eq!(evaluate(&with(IF_NONE_MATCH, value), tag), Outcome::NotModified, "{value}");
        }
        for value in ["\"b\"", "a", "\"a", "", "\",\"a\",\""] {
            assert_eq!(evaluate(&with(IF_NONE_MATCH, value), tag), Outcome::Proceed, "{value}");
        }
        for (value, outcome) in [
            ("\"a\"", Outcome::Proceed),
            ("*", Outcome::Proceed),
            ("W/\"a\"", Outcome::Failed),
            ("\"b\"", Outcome::Failed),
        ] {
            assert_eq!(evaluate(&with(IF_MATCH, value), tag), outcome, "{value}");
        }
    }

    #[test]
    fn ranges_only_of_the_same_bytes() {
        assert!(range_allowed(&HeaderMap::new(), "\"a\""));
        assert!(range_allowed(&with(IF_RANGE, "\"a\""), "\"a\""));
        for value in ["\"b\"", "W/\"a\"", "Sat, 29 Oct 1994 19:43:31 GMT"] {
            assert!(!range_allowed(&with(IF_RANGE, value), "\"a\""), "{value}");
        }
    }

    #[test]
    fn who_takes_gzip() {
        for value in
            ["gzip", "GZIP", "br, gzip;q=0.5", "*", "deflate;q=0, gzip ; q=1", "identity, x-gzip", "gzip;q=0.001"]
        {
            assert!(takes(&with(ACCEPT_ENCODING, value), Encoding::Gzip), "{value}");
        }
        for value in ["", "identity", "br", "gzip;q=0", "gzip;Q=0.000, *", "*;q=0", "gzipped"] {
            assert!(!takes(&with(ACCEPT_ENCODING, value), Encoding::Gzip), "{value}");
        }
        assert!(!takes(&HeaderMap::new(), Encoding::Gzip));
    }

    #[test]
    fn who_takes_brotli() {
        for value in ["br", "BR", "gzip, deflate, br", "*", "gzip;q=0, br;q=0.1"] {
            assert!(takes(&with(ACCEPT_ENCODING, value), Encoding::Brotli), "{value}");
        }
        for value in ["", "gzip", "x-gzip", "br;q=0", "br;q=0, *", "brotli"] {
            assert!(!takes(&with(ACCEPT_ENCODING, value), Encoding::Brotli), "{value}");
        }
        assert!(!takes(&HeaderMap::new(), Encoding::Brotli));
    }
}

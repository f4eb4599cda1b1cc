//! How an object may be packed on a disk: the end of its name there, and the name in HTTP.

/// A content encoding in which objects are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    Brotli,
}

impl Encoding {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Self; 2] = [Self::Gzip, Self::Brotli];

    /// What the name of a file ends with that stands for an object without it.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Brotli => ".br",
        }
    }

    /// The name in `Content-Encoding` and `Accept-Encoding`.
    pub const fn coding(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
        }
    }

    /// Whether that is the name of this encoding, or an older one.
    pub fn is_called(self, coding: &str) -> bool {
        coding.eq_ignore_ascii_case(self.coding()) || self == Self::Gzip && coding.eq_ignore_ascii_case("x-gzip")
    }

    /// Whether a name is one of files that stand for objects of other names.
    pub fn ends(name: &str) -> bool {
        Self::ALL.iter().any(|encoding| name.ends_with(encoding.suffix()))
    }
}

//! What a server serves, and how.

use hyper::header::HeaderValue;
use std::collections::HashSet;
use std::path::PathBuf;

/// How a kind of file is sent.
#[derive(Clone, Debug)]
pub struct Rule {
    pub content_type: HeaderValue,
    pub cache_control: HeaderValue,
    /// Read as a whole, so that it may be sent with a content encoding.
    pub whole: bool,
}

/// A rule for files of a name, or whose names end with a suffix.
#[derive(Clone, Debug)]
pub struct NamedRule {
    pub name: String,
    pub rule: Rule,
}

/// How files are sent, by their names.
#[derive(Clone, Debug)]
pub struct Rules {
    /// By whole name, looked up first.
    pub names: Vec<NamedRule>,
    /// By the end of the name; the first that fits.
    pub suffixes: Vec<NamedRule>,
    pub other: Rule,
}

impl Rules {
    pub(crate) fn of(&self, name: &str) -> &Rule {
        let named = self.names.iter().find(|item| item.name == name);
        let found = named.or_else(|| self.suffixes.iter().find(|item| name.ends_with(&item.name)));
        found.map_or(&self.other, |item| &item.rule)
    }
}

/// A directory or file, and the path under which it is served.
#[derive(Clone, Debug)]
pub struct Place {
    /// Decoded segments of the path.
    pub segments: Vec<String>,
    /// Absolute.
    pub root: PathBuf,
}

/// Everything that does not change while a server runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// A first segment that all paths have and nobody can guess.
    pub secret: Option<String>,
    /// Datasets: nothing of one is served before its `info` is there.
    pub datasets: Vec<Place>,
    /// Single files.
    pub files: Vec<Place>,
    pub rules: Rules,
    /// `@type`s in the `info` of a directory whose files with a number for a name are read by ranges.
    pub ranged_types: Vec<String>,
    /// Names and addresses that a request may be for, in lower case, without port.
    pub hosts: HashSet<String>,
    /// Whether a request may be for any numeric address.
    pub any_address: bool,
    /// Value of `Access-Control-Expose-Headers`.
    pub exposed_headers: HeaderValue,
    /// Whether every request is told on standard error.
    pub verbose: bool,
}

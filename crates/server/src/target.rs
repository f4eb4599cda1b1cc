//! From the path of a request to a file that may be served.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Decodes a path into its segments, once; None if it is malformed or holds what no name of an object holds.
pub fn segments(path: &str) -> Option<Vec<String>> {
    path.strip_prefix('/')?.split('/').map(decode).collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' { hex(rest.next()?)? << 4 | hex(rest.next()?)? } else { byte });
    }
    let text = String::from_utf8(bytes).ok()?;
    let bad = |letter: char| letter.is_control() || matches!(letter, '/' | '\\');
    (!text.chars().any(bad)).then_some(text)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Returns whether segments can name an object: none is empty or starts with a dot, which `.` and `..` do too.
pub fn is_key(segments: &[String]) -> bool {
    // Windows drops dots and blanks at the end of a name, which would be another name of the same file
    let other_name = |segment: &str| cfg!(windows) && segment.ends_with(['.', ' ']);
    !segments.is_empty()
        && segments.iter().all(|segment| !segment.is_empty() && !segment.starts_with('.') && !other_name(segment))
}

/// Returns a path without symbolic links, in the form that the system gives such paths; its last part need not exist yet.
pub fn true_path(path: &Path) -> PathBuf {
    let to_be = || Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?));
    fs::canonicalize(path).ok().or_else(to_be).unwrap_or_else(|| path.to_owned())
}

/// A file that may be served.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub path: PathBuf,
    /// It holds the gzipped bytes of the object.
    pub packed: bool,
}

/// Looks for the object `key` below `root`: as it is called, with `.gz` at the end, or with `%3A` for colons, as it is
/// written where colons cannot be in names. None if there is none, or only one that lies elsewhere.
///
/// `root` is a [`true_path`]. Links are followed as long as they stay below it.
pub fn find(root: &Path, key: &[String]) -> io::Result<Option<Found>> {
    let plain: PathBuf = key.iter().collect();
    let escaped: PathBuf = key.iter().map(|segment| segment.replace(':', "%3A")).collect();
    let colons = escaped != plain;
    let spellings = [(!cfg!(windows) || !colons).then_some(plain), colons.then_some(escaped)];
    for spelling in spellings.into_iter().flatten() {
        let path = root.join(&spelling);
        if let Some(path) = below(root, &path)? {
            return Ok(Some(Found { path, packed: false }));
        }
        let mut packed = path.into_os_string();
        packed.push(".gz");
        if let Some(path) = below(root, Path::new(&packed))? {
            return Ok(Some(Found { path, packed: true }));
        }
    }
    Ok(None)
}

/// Returns the true path of a regular file if it is below `root` and no part of the way there is hidden.
fn below(root: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(rest) = path.strip_prefix(root) else { return Ok(None) };
    let hidden = |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
    if rest.components().any(hidden) {
        return Ok(None);
    }
    // a pipe or a device would be waited for when it is opened
    Ok(fs::metadata(&path)?.is_file().then_some(path))
}

/// Returns whether an error says that there is no such file, whatever the reason.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename | InvalidInput)
}

#[cfg(test)]
mod tests {
    use super::{is_key, segments};

    #[test]
    fn paths_are_decoded_once() {
        assert_eq!(segments("/a/b%3A0"), Some(vec!["a".into(), "b:0".into()]));
        assert_eq!(segments("/a%252e/%2525"), Some(vec!["a%2e".into(), "%25".into()]));
        assert_eq!(segments("/"), Some(vec![String::new()]));
        for path in
            ["", "a", "*", "/%", "/%2", "/%zz", "/%+1", "/a%2fb", "/a%5Cb", "/a\\b", "/%00", "/a%0d%0ab", "/%ff"]
        {
            assert_eq!(segments(path), None, "{path}");
        }
    }

    #[test]
    fn what_can_be_a_key() {
        assert!(is_key(&["a".into(), "b..c".into()]));
        for path in ["/", "/a/", "/a//b", "/.", "/..", "/a/../b", "/%2e%2e/a", "/.precast/x", "/a/.b"] {
            assert!(!is_key(&segments(path).unwrap()), "{path}");
        }
    }
}

//! From the path of a request to a file that may be served.

use crate::encoding::Encoding;
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
    /// How the bytes of the object are packed in it.
    pub packed: Option<Encoding>,
}

/// Looks for the object `key` below `root`: as it is called, or with `%3A` for colons, as it is written where colons
/// cannot be in names, or a chunk in its folders; each also with the suffix of an encoding at the end. None if there is
/// none, or only one that lies elsewhere.
///
/// `root` is a [`true_path`]. Links are followed as long as they stay below it.
pub fn find(root: &Path, key: &[String]) -> io::Result<Option<Found>> {
    let plain: PathBuf = key.iter().collect();
    let escaped: PathBuf = key.iter().map(|segment| segment.replace(':', "%3A")).collect();
    let colons = escaped != plain;
    let spellings = [(!cfg!(windows) || !colons).then_some(plain), colons.then_some(escaped), in_folders(key)];
    for spelling in spellings.into_iter().flatten() {
        let path = root.join(&spelling);
        if let Some(path) = below(root, &path)? {
            return Ok(Some(Found { path, packed: None }));
        }
        for encoding in Encoding::ALL {
            let mut packed = path.clone().into_os_string();
            packed.push(encoding.suffix());
            if let Some(path) = below(root, Path::new(&packed))? {
                return Ok(Some(Found { path, packed: Some(encoding) }));
            }
        }
    }
    Ok(None)
}

/// Returns where neuroglancer-scripts lay a chunk, in a folder for each axis: `0-64/0-48/0-40` for `0-64_0-48_0-40`.
fn in_folders(key: &[String]) -> Option<PathBuf> {
    let (name, above) = key.split_last()?;
    let is_range =
        |part: &str| part.contains('-') && part.bytes().all(|letter| letter == b'-' || letter.is_ascii_digit());
    let axes: Vec<&str> = name.split('_').collect();
    (axes.len() == 3 && axes.iter().all(|part| is_range(part)))
        .then(|| above.iter().map(String::as_str).chain(axes).collect())
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
    use super::{in_folders, is_key, segments};
    use std::path::Path;

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
    fn chunks_have_folders() {
        let place = |path: &str| in_folders(&segments(path).unwrap());
        assert_eq!(place("/8_8_8/0-64_-8-48_0-40").as_deref(), Some(Path::new("8_8_8/0-64/-8-48/0-40")));
        for path in ["/8_8_8/0.shard", "/8_8_8", "/mesh/5", "/s/0-64_0-48", "/s/0-1_2-3_4-5_6-7", "/s/0-1_2-3_x-5"] {
            assert_eq!(place(path), None, "{path}");
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

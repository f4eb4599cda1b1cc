//! The one error type of the kernels.

use std::fmt;

/// What went wrong in a kernel. Each variant maps to one Python exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// An argument cannot be used: a shape, a factor, a level.
    Argument(String),
    /// Bytes that were read do not follow the format.
    Format(String),
    /// The data cannot be represented in the format.
    Limit(String),
}

/// Shorthand for results of kernels.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Argument(text) | Error::Format(text) | Error::Limit(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

//! The one error type of the library.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The error behind another: of another crate, or of this one.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The same, where one cause stands behind several errors.
pub(crate) type SharedCause = Arc<dyn std::error::Error + Send + Sync>;

/// What a fallible function of this library returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, each with what was expected and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("could not {action} {path}: {source}")]
    Io {
        /// What was being done, as a verb: `read`, `write`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is there but is not what it should be: truncated, of another format, corrupted.
    #[error("{path} is not usable: expected {expected}, found {found}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What the format asks for.
        expected: String,
        /// What the file holds.
        found: String,
        /// The error that told, where another one did; its words are in `found` if they say more.
        source: Option<Cause>,
    },
    /// Something was looked for and is in none of the places it could be.
    #[error("{what} was not found. {hint}")]
    NotFound {
        /// What was looked for.
        what: String,
        /// Where it was looked for, and how to get it.
        hint: String,
    },
    /// A tensor or matrix has another shape than the computation needs.
    #[error("{what} has the wrong shape: expected {expected}, found {found}")]
    Shape {
        /// The argument.
        what: String,
        /// The shape needed, in words or numbers.
        expected: String,
        /// The shape given.
        found: String,
    },
    /// An argument has a value that makes no sense here.
    #[error("{what} must be {expected}, found {found}")]
    Invalid {
        /// The argument.
        what: String,
        /// Which values are allowed.
        expected: String,
        /// The value given.
        found: String,
        /// The error that told, where another one did; its words are in `found`.
        source: Option<Cause>,
    },
    /// Data holds NaN or infinity where only finite numbers make sense.
    #[error(
        "{what} holds NaN or infinite values (first at flat index {index}); clean the data first"
    )]
    NonFinite {
        /// The argument.
        what: String,
        /// Position of the first such value, row-major.
        index: usize,
    },
    /// A query in SQL failed.
    #[error("the query failed: {reason}")]
    Query {
        /// The engine's reason.
        reason: String,
    },
    /// Stop was pressed, and the computation has no partial result to give.
    #[error("{what} was stopped before it had a result")]
    Interrupted {
        /// The computation.
        what: String,
    },
    /// Stop was pressed, and what the computation had so far is kept.
    #[error("{what} was stopped. {access}")]
    Stopped {
        /// The computation.
        what: String,
        /// How to get what it had so far.
        access: String,
    },
    /// An operation on tensors failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// An [`Error::Io`] closure for `map_err`.
    pub fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// An [`Error::Format`].
    pub fn format(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        let (expected, found) = (expected.into(), found.into());
        Self::Format { path: path.to_owned(), expected, found, source: None }
    }

    /// An [`Error::Shape`]; pass shapes with their `Debug` form.
    pub fn shape(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl std::fmt::Debug,
    ) -> Self {
        Self::Shape { what: what.into(), expected: expected.into(), found: format!("{found:?}") }
    }

    /// An [`Error::Invalid`].
    pub fn invalid(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Self {
        let (what, expected) = (what.into(), expected.into());
        Self::Invalid { what, expected, found: found.to_string(), source: None }
    }

    /// The same [`Error::Format`] or [`Error::Invalid`], with `cause` as its
    /// [`source`](std::error::Error::source); none by default. The text stays as it is, and other
    /// kinds of errors stay whole.
    #[must_use]
    pub(crate) fn caused_by(mut self, cause: impl Into<Cause>) -> Self {
        if let Self::Format { source, .. } | Self::Invalid { source, .. } = &mut self {
            *source = Some(cause.into());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_cause_is_kept_and_changes_no_text() {
        let cause = || std::io::Error::other("the wire is cut");
        let plain = [
            Error::format(Path::new("a.json"), "JSON", "none"),
            Error::invalid("the text", "short", "long"),
        ];
        let caused = [
            Error::format(Path::new("a.json"), "JSON", "none").caused_by(cause()),
            Error::invalid("the text", "short", "long").caused_by(cause()),
        ];
        for (plain, caused) in plain.iter().zip(&caused) {
            assert_eq!(plain.to_string(), caused.to_string());
            assert!(plain.source().is_none());
            assert!(caused.source().unwrap().is::<std::io::Error>());
        }
        let other = Error::NotFound { what: "a".into(), hint: "b".into() }.caused_by(cause());
        assert_eq!(
            (other.to_string(), other.source().is_none()),
            ("a was not found. b".into(), true)
        );
    }
}

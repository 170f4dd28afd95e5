//! Why there is no answer.

use std::error;
use std::fmt;

use crate::Error;
use crate::error::SharedCause;

/// Why a request has no answer.
#[derive(Debug, Clone)]
pub(crate) enum HttpFailure {
    /// Stop was pressed.
    Stopped,
    /// Nothing was reached, or the answer ended early.
    NoAnswer {
        reason: String,
        /// The error that told, where one did.
        cause: Option<SharedCause>,
        reach: Reach,
    },
}

/// How far a request got that has no answer. All but the last may go better at another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// There was no connection, so nothing was sent.
    Unreached,
    /// What was sent was not answered as a whole in the time allowed.
    Unanswered,
    /// A connection broke after it was made.
    Broken,
    /// It fails in the same way every time: an address that is none, a wrong certificate.
    Lasting,
}

/// Why there is no answer, in words, and the error behind them.
#[derive(Debug)]
pub(crate) struct NoAnswer {
    reason: String,
    cause: Option<SharedCause>,
}

impl NoAnswer {
    /// An error that says that `address` could not be asked or fetched (`action`), and why.
    pub(crate) fn error(
        action: &'static str,
        address: &str,
        reason: String,
        cause: Option<SharedCause>,
    ) -> Error {
        let source = std::io::Error::other(Self { reason, cause });
        Error::Io { action, path: address.into(), source }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl error::Error for NoAnswer {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

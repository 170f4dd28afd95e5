//! What a call that Stop ended had so far.

use std::any::{Any, type_name};
use std::sync::{Mutex, PoisonError};

use crate::{Error, Result};

/// The partial result of the call that Stop ended last.
static PARTIAL_RESULT: Mutex<Option<Box<dyn Any + Send>>> = Mutex::new(None);

/// What a long call does when Stop is pressed while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStop {
    /// Returns [`Error::Stopped`], so that the lines after the call do not run with half a result; the
    /// default. What the call had so far is kept for [`stopped`], and a model that is being trained
    /// keeps its weights.
    #[default]
    EndCell,
    /// Returns what it has so far as if it were the result, marked as interrupted.
    ReturnPartial,
}

impl OnStop {
    /// Ends the call `what`, which has `partial` so far. `access` tells the user how to get it.
    pub(crate) fn end<T: Send + 'static>(
        self,
        what: impl Into<String>,
        partial: T,
        access: &str,
    ) -> Result<T> {
        if self == Self::ReturnPartial {
            return Ok(partial);
        }
        let mut kept = PARTIAL_RESULT.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(Box::new(partial));
        Err(Error::Stopped { what: what.into(), access: access.to_owned() })
    }

    /// [`OnStop::end`] for the training of a model that is a handle, after `done` of `total` `unit`s.
    pub(crate) fn end_fit<T: Send + 'static>(
        self,
        done: usize,
        total: usize,
        unit: &str,
        history: T,
    ) -> Result<T> {
        let access = "The model keeps what it has learnt; \
                      `stopped::<eigenlens::train::History>()?` gives its history.";
        self.end(format!("training (at {unit} {done} of {total})"), history, access)
    }
}

/// Returns what the call that Stop ended last had so far. T is what that call returns.
///
/// ```no_run
/// use eigenlens::prelude::*;
/// use eigenlens::train::History;
/// # fn main() -> Result<()> {
/// // After Stop in a cell with `Sae::fit`:
/// let (sae, history) = stopped::<(Sae, History)>()?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// If no call was stopped, or the last one returns another type.
pub fn stopped<T: Clone + 'static>() -> Result<T> {
    let kept = PARTIAL_RESULT.lock().unwrap_or_else(PoisonError::into_inner);
    let partial = kept.as_ref().and_then(|kept| kept.downcast_ref::<T>());
    partial.cloned().ok_or_else(|| Error::NotFound {
        what: format!(
            "a stopped call that returns {}",
            type_name::<T>().replace("eigenlens::", "")
        ),
        hint: match kept.is_some() {
            true => "The call that Stop ended last returns another type.".to_owned(),
            false => "Stop has not ended a call that keeps what it had so far.".to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_call_is_an_error_and_keeps_what_it_had() -> Result<()> {
        assert_eq!(OnStop::ReturnPartial.end("counting", 3u8, "")?, 3);
        assert!(stopped::<u8>().is_err(), "a result that was returned is not kept");
        let error = OnStop::EndCell.end("counting", 4u8, "`stopped::<u8>()?` gives the count.");
        let text = error.expect_err("Stop ends the call").to_string();
        assert_eq!(text, "counting was stopped. `stopped::<u8>()?` gives the count.");
        assert_eq!(stopped::<u8>()?, 4);
        assert_eq!(stopped::<u8>()?, 4, "asking twice loses nothing");
        assert!(stopped::<u16>().unwrap_err().to_string().contains("another type"));
        Ok(())
    }
}

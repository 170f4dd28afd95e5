//! What the eigenlens kernel adds to the code of a cell. Not meant to be called by hand.
//!
//! Evcxr compiles a cell's last expression as `(expression).evcxr_display()`. The kernel puts
//! [`CellValue::eigenlens_cell_value`] and the methods that follow it in between:
//!
//! - an `Err` is reported as the failure of the cell, with its text and its causes;
//! - an `Ok` is opened, and its content is shown as it would show itself, so that a figure behind a
//!   forgotten `?` is still a figure;
//! - every other value is passed on.
//!
//! Which of these happens is settled by method lookup where the type is known, in the one
//! compilation that a cell costs anyway. An inherent method of [`Opened`] for `Result` comes before
//! the one of [`PassOn`]; of the three ways to read an error, [`TellError`] takes `self`,
//! [`TellDisplay`] `&self` and [`TellDebug`] `&mut self`, and lookup tries them in this order.
//!
//! An error that `?` returns reaches [`returned`], which is called by the `From` implementation
//! that evcxr generates for it.

use std::error::Error;
use std::fmt::{Debug, Display};

use crate::display::message::Message;
use crate::display::{Host, host, send};

/// Gives access to the value of a cell's last expression.
pub trait CellValue {
    /// The value, before it is known whether it is a `Result`.
    fn eigenlens_cell_value(&self) -> Opened<'_, Self>;
}

impl<T: ?Sized> CellValue for T {
    fn eigenlens_cell_value(&self) -> Opened<'_, Self> {
        Opened(Some(self))
    }
}

/// A value that may still be a `Result`; empty after an `Err` was reported.
#[derive(Debug)]
pub struct Opened<'a, T: ?Sized>(Option<&'a T>);

impl<'a, T: ?Sized> Opened<'a, T> {
    /// Nothing to tell: the value is no `Result`.
    #[must_use]
    pub fn tell(self) -> Self {
        self
    }

    /// The value, unless an `Err` was reported in its place.
    pub(crate) fn value(&self) -> Option<&'a T> {
        self.0
    }
}

/// Shows a value as its own type says. A type of another crate that is shown otherwise has an inherent
/// method of this name on [`Opened`], which comes first.
pub trait ShowItself<'a, T: ?Sized + 'a> {
    /// Calls `show` with the value, unless there is none.
    fn shown(self, show: impl FnOnce(&'a T));
}

impl<'a, T: ?Sized + 'a> ShowItself<'a, T> for Opened<'a, T> {
    fn shown(self, show: impl FnOnce(&'a T)) {
        if let Some(value) = self.0 {
            show(value);
        }
    }
}

impl<'a, T, E> Opened<'a, Result<T, E>> {
    /// Separates the two sides of a `Result`.
    pub fn open(self) -> Sides<'a, T, E> {
        match self.0 {
            Some(Ok(value)) => Sides { value: Some(value), error: None },
            Some(Err(error)) => Sides { value: None, error: Some(error) },
            None => Sides { value: None, error: None },
        }
    }
}

/// Opens what is no `Result`: it stays as it is.
pub trait PassOn: Sized {
    /// Returns `self`.
    #[must_use]
    fn open(self) -> Self {
        self
    }
}

impl<T: ?Sized> PassOn for Opened<'_, T> {}

/// The two sides of a `Result`, at most one of them filled.
#[derive(Debug)]
pub struct Sides<'a, T, E> {
    value: Option<&'a T>,
    error: Option<&'a E>,
}

impl<'a, T, E> Sides<'a, T, E> {
    fn told(&self, report: impl FnOnce(&E)) -> Opened<'a, T> {
        if let Some(error) = self.error {
            report(error);
        }
        Opened(self.value)
    }
}

impl<'a, T> Sides<'a, T, Box<dyn Error>> {
    /// Reports the error with its causes.
    pub fn tell(self) -> Opened<'a, T> {
        self.told(|error| fail(error.to_string(), causes(error.as_ref()), None))
    }
}

impl<'a, T> Sides<'a, T, Box<dyn Error + Send + Sync>> {
    /// Reports the error with its causes.
    pub fn tell(self) -> Opened<'a, T> {
        self.told(|error| fail(error.to_string(), causes(error.as_ref()), None))
    }
}

/// Reports an error that knows its causes.
pub trait TellError<'a, T> {
    /// Reports the error with its causes.
    fn tell(self) -> Opened<'a, T>;
}

impl<'a, T, E: Error> TellError<'a, T> for Sides<'a, T, E> {
    fn tell(self) -> Opened<'a, T> {
        self.told(|error| {
            let mut found = Vec::new();
            if let Some(source) = error.source() {
                found.push(source.to_string());
                found.extend(causes(source));
            }
            fail(error.to_string(), found, None);
        })
    }
}

/// Reports an error that is text.
pub trait TellDisplay<'a, T> {
    /// Reports the error's `Display` form.
    fn tell(&self) -> Opened<'a, T>;
}

impl<'a, T, E: Display> TellDisplay<'a, T> for Sides<'a, T, E> {
    fn tell(&self) -> Opened<'a, T> {
        self.told(|error| {
            let (message, causes) = chain(error.to_string(), &format!("{error:#}"));
            fail(message, causes, None);
        })
    }
}

/// Reports an error that only has a `Debug` form.
pub trait TellDebug<'a, T> {
    /// Reports the error's `Debug` form.
    fn tell(&mut self) -> Opened<'a, T>;
}

impl<'a, T, E: Debug> TellDebug<'a, T> for Sides<'a, T, E> {
    fn tell(&mut self) -> Opened<'a, T> {
        self.told(|error| fail(format!("{error:?}"), Vec::new(), None))
    }
}

/// Reports an error that `?` returned: its text, and the text of its alternate form `{:#}`, in which
/// `anyhow` and its relatives write the causes too. The caller's location is that of the `?`.
#[track_caller]
pub fn returned(message: &str, alternate: &str) {
    let (message, causes) = chain(message.to_owned(), alternate);
    fail(message, causes, Some(std::panic::Location::caller().line()));
}

fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        found.push(cause.to_string());
        next = cause.source();
    }
    found
}

/// Separates the causes from an alternate form `message: cause: cause`.
fn chain(message: String, alternate: &str) -> (String, Vec<String>) {
    let rest = alternate.strip_prefix(message.as_str()).and_then(|rest| rest.strip_prefix(": "));
    let causes = rest.map(str::to_owned).into_iter().collect();
    (message, causes)
}

fn fail(message: String, mut causes: Vec<String>, line: Option<u32>) {
    // Many errors repeat their cause in their own text.
    causes.retain(|cause| !message.contains(cause.as_str()));
    causes.dedup();
    if host() == Host::Kernel {
        send(&Message::Failed { message, causes, line });
    } else {
        eprintln!("{message}");
        for cause in causes {
            eprintln!("caused by: {cause}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::num::ParseIntError);

    #[derive(Debug)]
    struct OnlyDebug;

    /// What reaches the last step of the chain that the kernel writes behind an expression.
    macro_rules! value_of {
        ($value:expr) => {{
            let mut seen = None;
            ($value)
                .eigenlens_cell_value()
                .open()
                .tell()
                .open()
                .tell()
                .shown(|value| seen = Some(format!("{value:?}")));
            seen
        }};
    }

    #[test]
    fn results_are_opened_and_all_else_is_passed_on() {
        assert_eq!(value_of!(5).as_deref(), Some("5"));
        assert_eq!(value_of!("text").as_deref(), Some("\"text\""));
        assert_eq!(value_of!(Some(1)).as_deref(), Some("Some(1)"));
        assert_eq!(value_of!(Ok::<_, Outer>(5)).as_deref(), Some("5"));
        assert_eq!(value_of!(Ok::<Result<i32, String>, OnlyDebug>(Ok(5))).as_deref(), Some("5"));
        assert_eq!(value_of!(Ok::<i32, Box<dyn Error>>(5)).as_deref(), Some("5"));
        let kept: Result<Vec<i32>, String> = Ok(vec![1]);
        assert_eq!(value_of!(kept).as_deref(), Some("[1]"));
        assert_eq!(value_of!(&kept).as_deref(), Some("[1]"), "the value is not moved");
    }

    #[test]
    fn errors_of_every_kind_are_reported_and_not_shown() {
        let parsed = "x".parse::<i32>();
        assert_eq!(value_of!(parsed.clone().map_err(Outer)), None);
        assert_eq!(value_of!(Err::<i32, _>("text")), None);
        assert_eq!(value_of!(Err::<i32, _>(OnlyDebug)), None);
        assert_eq!(value_of!(Ok::<_, String>(parsed.clone())), None);
        let boxed: Result<i32, Box<dyn Error + Send + Sync>> = parsed.map_err(Into::into);
        assert_eq!(value_of!(boxed), None);
    }

    #[test]
    fn the_alternate_form_gives_the_causes() {
        assert_eq!(
            chain("outer".into(), "outer: inner: root"),
            ("outer".into(), vec!["inner: root".into()])
        );
        assert_eq!(chain("plain".into(), "plain"), ("plain".into(), vec![]));
        assert_eq!(chain("plain".into(), "other: plain"), ("plain".into(), vec![]));
    }

    #[test]
    fn causes_are_listed_from_the_nearest() {
        #[derive(Debug, thiserror::Error)]
        #[error("top")]
        struct Top(#[source] Outer);
        let error = Top(Outer("x".parse::<i32>().unwrap_err()));
        assert_eq!(causes(&error), ["outer", "invalid digit found in string"]);
    }
}

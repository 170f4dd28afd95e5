//! Which positions of a context are looked at.

use std::fmt;
use std::ops::Range;

use crate::display::show_as_text;
use crate::{Error, Result};

/// Positions that the study leaves out of contexts of [`STUDY_LENGTH`] tokens.
const STUDY_FROM: usize = 200;
/// Tokens of a context of the study.
const STUDY_LENGTH: usize = 1024;

/// Positions of each context whose activations count. First positions have little to go on, and in
/// many models the very first is unlike all others; the last has no next token, so no loss, and is in
/// no window.
///
/// ```
/// use eigenlens::sae_error::Window;
/// # fn main() -> eigenlens::Result<()> {
/// assert_eq!(Window::study().range(1024)?, 200..1023);
/// assert_eq!(Window::scaled(128), Window { from: 25, to: None });
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first position.
    pub from: usize,
    /// The position after the last; none: the last of the context, which is left out.
    pub to: Option<usize>,
}

impl Window {
    /// The window of the study in contexts of 1,024 tokens: positions 200 to 1,022.
    #[must_use]
    pub fn study() -> Self {
        Self { from: STUDY_FROM, to: None }
    }

    /// The same share of contexts of `length` tokens: from position `length · 200/1024` on.
    #[must_use]
    pub fn scaled(length: usize) -> Self {
        Self { from: length * STUDY_FROM / STUDY_LENGTH, to: None }
    }

    /// The positions in contexts of `length` tokens.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a window without a position, or that has the last one.
    pub fn range(&self, length: usize) -> Result<Range<usize>> {
        let end = length.saturating_sub(1);
        let to = self.to.unwrap_or(end);
        if to > end {
            let expected = format!("at most {end}: the last position of a context has no loss");
            return Err(Error::invalid("`to` of the window", expected, to));
        }
        if self.from >= to {
            let expected = format!("with a position: `from` below {to}");
            return Err(Error::invalid("the window", expected, self.from));
        }
        Ok(self.from..to)
    }
}

show_as_text!(Window);

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to {
            Some(to) => write!(f, "positions {} to {}", self.from, to.saturating_sub(1)),
            None => write!(f, "positions from {} to the last but one", self.from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_cut_before_the_last_position() {
        assert_eq!(Window::scaled(1024), Window::study());
        assert_eq!(Window { from: 1, to: None }.range(1024).unwrap().len(), 1022);
        assert_eq!(Window { from: 16, to: Some(20) }.range(128).unwrap(), 16..20);
        let message = |from, to, length| Window { from, to }.range(length).unwrap_err().to_string();
        assert!(message(0, Some(128), 128).contains("`to` of the window must be at most 127"));
        assert!(message(127, None, 128).contains("the window must be with a position"));
        assert!(message(9, Some(9), 128).contains("`from` below 9, found 9"));
        assert!(message(0, None, 1).contains("the window") && message(0, None, 0).contains("0"));
        assert_eq!(Window { from: 3, to: Some(9) }.to_string(), "positions 3 to 8");
    }
}

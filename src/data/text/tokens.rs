//! A long text as tokens.

use crate::display::show_as_text;
use std::fmt;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::random::Rng;
use crate::text::thousands;
use crate::{Error, Result};

/// A stream of tokens to train on or to measure on. A cheap handle.
#[derive(Debug, Clone)]
pub struct Tokens(Arc<[u32]>);

impl From<Vec<u32>> for Tokens {
    fn from(tokens: Vec<u32>) -> Self {
        Self(tokens.into())
    }
}

impl Tokens {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tokens.
    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }

    /// Windows of `length` tokens that follow each other, up to `count` of them, spread over the
    /// whole stream; `[windows, length]`.
    ///
    /// # Errors
    /// Fewer tokens than a window; no window.
    pub fn windows(&self, count: usize, length: usize, device: &Device) -> Result<Tensor> {
        self.check(length)?;
        let whole = self.len() / length;
        let count = count.min(whole);
        if count == 0 {
            return Err(Error::invalid("the number of windows", "at least 1", 0));
        }
        let starts: Vec<usize> = (0..count).map(|i| i * whole / count * length).collect();
        self.at(&starts, length, device)
    }

    /// `count` windows of `length` tokens from anywhere, `[count, length]`.
    ///
    /// # Errors
    /// Fewer tokens than a window; no window.
    pub fn draw(
        &self,
        count: usize,
        length: usize,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Tensor> {
        self.check(length)?;
        if count == 0 {
            return Err(Error::invalid("the number of windows", "at least 1", 0));
        }
        let places = self.len() - length + 1;
        let starts: Vec<usize> = (0..count).map(|_| rng.below(places)).collect();
        self.at(&starts, length, device)
    }

    fn at(&self, starts: &[usize], length: usize, device: &Device) -> Result<Tensor> {
        let tokens: Vec<u32> =
            starts.iter().flat_map(|start| &self.0[*start..start + length]).copied().collect();
        Ok(Tensor::from_vec(tokens, (starts.len(), length), device)?)
    }

    fn check(&self, length: usize) -> Result<()> {
        if length == 0 || length > self.len() {
            let expected = format!("between 1 and {}, the tokens there are", self.len());
            return Err(Error::invalid("the length of a window", expected, length));
        }
        Ok(())
    }
}

show_as_text!(Tokens);

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", thousands(self.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_pieces_of_the_stream() {
        let tokens = Tokens::from((0..23).collect::<Vec<u32>>());
        let rows = |tensor: Tensor| tensor.to_vec2::<u32>().unwrap();
        let all = rows(tokens.windows(9, 5, &Device::Cpu).unwrap());
        assert_eq!(all.len(), 4);
        assert_eq!(all[3], [15, 16, 17, 18, 19]);
        assert_eq!(rows(tokens.windows(2, 5, &Device::Cpu).unwrap())[1][0], 10);
        let drawn = rows(tokens.draw(50, 22, &mut Rng::seed(0), &Device::Cpu).unwrap());
        assert!(drawn.iter().all(|row| row[21] == row[0] + 21));
        assert!(drawn.iter().any(|row| row[0] == 0) && drawn.iter().any(|row| row[0] == 1));
    }

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        let tokens = Tokens::from(vec![1, 2, 3]);
        for length in [0, 4] {
            let message = tokens.windows(1, length, &Device::Cpu).unwrap_err().to_string();
            assert!(message.contains("between 1 and 3"), "{message}");
        }
        assert!(tokens.windows(0, 2, &Device::Cpu).is_err());
        assert!(tokens.draw(0, 2, &mut Rng::seed(0), &Device::Cpu).is_err());
    }
}

//! How much may be asked of a server.

use std::time::Duration;

use crate::check::check_not_negative;
use crate::{Error, Result};

/// More requests at once than any server takes from one client.
const MOST_AT_ONCE: usize = 1_000;
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);
/// A request has a limit of time, so that no server can hold a notebook for ever.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How much may be asked of a server, how fast, and what it may cost. All clones of a
/// [`ChatModel`](super::ChatModel) count together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Requests under way at a time; 8 by default.
    pub at_once: usize,
    /// Requests a minute, sent at even distances; no limit by default.
    pub requests_a_minute: Option<u32>,
    /// Tokens a minute, of prompts and answers together; no limit by default. A request counts with
    /// what it usually needs, a token for four bytes of the prompt and `max_tokens` for the answer,
    /// until the server has counted.
    pub tokens_a_minute: Option<u32>,
    /// From the beginning of a request to the last byte of its answer; 120 seconds by default, a day at
    /// most. A request that takes longer has failed, and is sent again as [`Retries`](super::Retries)
    /// says.
    pub timeout: Duration,
    /// What all requests together may cost, in the currency of the prices; no limit by default. Before
    /// a request is sent, its highest cost is set aside: a token for each byte of the prompt, 16 for
    /// each message, and `max_tokens` for the answer.
    pub most_cost: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            at_once: 8,
            requests_a_minute: None,
            tokens_a_minute: None,
            timeout: Duration::from_secs(120),
            most_cost: None,
        }
    }
}

impl Limits {
    pub(super) fn check(&self, has_prices: bool) -> Result<()> {
        if !(1..=MOST_AT_ONCE).contains(&self.at_once) {
            let expected = format!("between 1 and {MOST_AT_ONCE}");
            return Err(Error::invalid("`at_once`", expected, self.at_once));
        }
        let rates = [
            ("`requests_a_minute`", self.requests_a_minute),
            ("`tokens_a_minute`", self.tokens_a_minute),
        ];
        if let Some((what, _)) = rates.iter().find(|(_, rate)| *rate == Some(0)) {
            return Err(Error::invalid(*what, "at least 1, or `None` for no limit", 0));
        }
        if !(SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&self.timeout) {
            let found = format!("{:?}", self.timeout);
            return Err(Error::invalid("`timeout`", "between a millisecond and a day", found));
        }
        match self.most_cost {
            None => Ok(()),
            Some(most) if has_prices => check_not_negative("`most_cost`", most),
            Some(most) => {
                let expected = "left out, or given together with `prices`, without which no cost is \
                                known";
                Err(Error::invalid("`most_cost`", expected, most))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        let usual = Limits::default();
        assert!(usual.check(false).is_ok());
        assert!(Limits { most_cost: Some(0.0), ..usual }.check(true).is_ok());
        let wrong = [
            (Limits { at_once: 0, ..usual }, "`at_once`"),
            (Limits { at_once: 1_001, ..usual }, "`at_once`"),
            (Limits { requests_a_minute: Some(0), ..usual }, "`requests_a_minute`"),
            (Limits { tokens_a_minute: Some(0), ..usual }, "`tokens_a_minute`"),
            (Limits { timeout: Duration::ZERO, ..usual }, "`timeout`"),
            (Limits { timeout: Duration::MAX, ..usual }, "`timeout`"),
            (Limits { most_cost: Some(-1.0), ..usual }, "`most_cost`"),
            (Limits { most_cost: Some(f64::NAN), ..usual }, "`most_cost`"),
        ];
        for (limits, name) in wrong {
            let error = limits.check(true).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
        let error = Limits { most_cost: Some(1.0), ..usual }.check(false).unwrap_err();
        assert!(error.to_string().contains("`prices`"), "{error}");
    }
}

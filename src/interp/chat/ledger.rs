//! What requests have cost, and what those under way may cost.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::throttle::{POLL, check_stop};
use crate::display::show_as_text;
use crate::text::thousands;
use crate::{Error, Result};

/// A share of the limit by which sums may be off because numbers have finitely many digits.
const ROUNDING: f64 = 1e-9;

/// What a [`ChatModel`](super::ChatModel) and its clones have used so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ChatUsage {
    /// Requests that were sent, further tries included.
    pub requests: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Answers that came from the cache.
    pub cached: u64,
    /// Tokens of answered prompts.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub answer_tokens: u64,
    /// What it cost, if there are prices. A request that was answered with an error costs nothing; one
    /// whose answer did not come, tells no tokens or came too late (504) counts with the most that it
    /// can have cost.
    pub cost: Option<f64>,
}

impl fmt::Display for ChatUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [requests, retries, cached, prompt, answer] =
            [self.requests, self.retries, self.cached, self.prompt_tokens, self.answer_tokens]
                .map(|count| thousands(count as usize));
        write!(
            f,
            "{requests} requests ({retries} of them again), {cached} answers from the cache, \
             {prompt} tokens asked, {answer} answered"
        )?;
        self.cost.map_or(Ok(()), |cost| write!(f, ", cost {cost:.4}"))
    }
}

show_as_text!(ChatUsage);

/// What all clones have used, and what is set aside.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    account: Mutex<LedgerAccount>,
    settled: Condvar,
}

#[derive(Debug, Default)]
struct LedgerAccount {
    /// Without the cost.
    usage: ChatUsage,
    cost: f64,
    set_aside: f64,
    /// Requests for which something is set aside.
    under_way: usize,
}

/// The highest cost of a request, set aside until it is settled or dropped.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    ledger: &'a Ledger,
    highest: f64,
}

impl Ledger {
    fn account(&self) -> MutexGuard<'_, LedgerAccount> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was used so far, with the cost if it `is_priced`.
    pub(super) fn usage(&self, is_priced: bool) -> ChatUsage {
        let account = self.account();
        ChatUsage { cost: is_priced.then_some(account.cost), ..account.usage }
    }

    pub(super) fn count_cached(&self) {
        self.account().usage.cached += 1;
    }

    pub(super) fn count_request(&self, is_retry: bool) {
        let mut account = self.account();
        account.usage.requests += 1;
        account.usage.retries += u64::from(is_retry);
    }

    pub(super) fn count_tokens(&self, prompt: u64, answer: u64) {
        let mut account = self.account();
        let usage = &mut account.usage;
        usage.prompt_tokens = usage.prompt_tokens.saturating_add(prompt);
        usage.answer_tokens = usage.answer_tokens.saturating_add(answer);
    }

    /// Sets the highest cost of a request aside. Where it fits beside what is spent, but not beside what
    /// others have set aside, it waits for them: they seldom cost as much.
    pub(super) fn reserve(&self, highest: f64, most: Option<f64>) -> Result<Reservation<'_>> {
        let mut account = self.account();
        if let Some(most) = most {
            let fits = |sum: f64| sum <= most * (1.0 + ROUNDING);
            loop {
                check_stop()?;
                if !fits(account.cost + highest) {
                    let spent = account.cost;
                    return Err(Error::invalid(
                        "the cost of all requests",
                        format!("at most {most}, the `most_cost` of the limits"),
                        format!(
                            "{spent:.6} spent and up to {highest:.6} for the next request, which was \
                             not sent. Answers so far are kept; raise `most_cost` to go on"
                        ),
                    ));
                }
                if fits(account.cost + account.set_aside + highest) {
                    break;
                }
                let waited = self.settled.wait_timeout(account, POLL);
                account = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        account.set_aside += highest;
        account.under_way += 1;
        Ok(Reservation { ledger: self, highest })
    }
}

impl Reservation<'_> {
    /// Counts what the request cost.
    pub(super) fn settle(self, cost: f64) {
        self.ledger.account().cost += cost;
    }

    /// Counts the highest cost, which nobody has contradicted.
    pub(super) fn settle_highest(self) {
        let highest = self.highest;
        self.settle(highest);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut account = self.ledger.account();
        account.under_way -= 1;
        account.set_aside -= self.highest;
        if account.under_way == 0 {
            // What is left is rounding.
            account.set_aside = 0.0;
        }
        drop(account);
        self.ledger.settled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn spent(ledger: &Ledger) -> f64 {
        ledger.usage(true).cost.unwrap()
    }

    #[test]
    fn a_limit_is_reached_and_never_passed() {
        let ledger = Ledger::default();
        for _ in 0..10 {
            // Ten times a tenth is not quite one.
            ledger.reserve(0.1, Some(1.0)).unwrap().settle_highest();
        }
        let error = ledger.reserve(0.1, Some(1.0)).unwrap_err().to_string();
        assert!(error.contains("`most_cost`") && error.contains("1.0"), "{error}");
        assert!((spent(&ledger) - 1.0).abs() < 1e-9);
        assert!(ledger.reserve(0.0, Some(1.0)).is_ok(), "what costs nothing may go on");
        assert!(ledger.reserve(5.0, None).is_ok());
    }

    #[test]
    fn what_is_dropped_costs_nothing_and_what_is_settled_its_price() {
        let ledger = Ledger::default();
        drop(ledger.reserve(1.0, Some(1.0)).unwrap());
        assert_eq!(spent(&ledger), 0.0);
        ledger.reserve(1.0, Some(1.0)).unwrap().settle(0.25);
        assert_eq!(spent(&ledger), 0.25);
        assert!(ledger.reserve(0.8, Some(1.0)).is_err());
        assert_eq!(ledger.usage(false).cost, None);
    }

    #[test]
    fn a_request_waits_for_what_others_have_set_aside() {
        let ledger = Ledger::default();
        let first = ledger.reserve(0.75, Some(1.0)).unwrap();
        thread::scope(|scope| {
            let second = scope.spawn(|| ledger.reserve(0.75, Some(1.0)).map(|own| own.settle(0.5)));
            thread::sleep(Duration::from_millis(200));
            assert!(!second.is_finished());
            first.settle(0.25);
            second.join().unwrap().unwrap();
        });
        assert_eq!(spent(&ledger), 0.75);
        let third = ledger.reserve(0.25, Some(1.0)).unwrap();
        let error = ledger.reserve(0.5, Some(1.0)).unwrap_err().to_string();
        assert!(error.contains("0.75"), "what never fits is told at once: {error}");
        drop(third);
    }

    #[test]
    fn usage_reads_as_a_sentence() {
        let ledger = Ledger::default();
        ledger.count_request(false);
        ledger.count_request(true);
        ledger.count_cached();
        ledger.count_tokens(1_200, 34);
        let text = "2 requests (1 of them again), 1 answers from the cache, 1,200 tokens asked, 34 \
                    answered";
        assert_eq!(ledger.usage(false).to_string(), text);
        assert_eq!(ledger.usage(true).to_string(), format!("{text}, cost 0.0000"));
    }
}

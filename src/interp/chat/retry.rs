//! Which failures are tried again, and after what pause.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::random::Rng;
use crate::{Error, Result};

/// A pause is up to this share shorter or longer than the rule says.
const JITTER: f64 = 0.25;
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);
/// Doubling this often is more than any pause.
const MOST_DOUBLINGS: u32 = 40;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const SECONDS_A_DAY: u64 = 86_400;
/// Days from 1 March of the year 0 to 1 January 1970.
const DAYS_BEFORE_1970: u64 = 719_468;

/// How often a request that fails is tried again, and after what pauses.
///
/// The pause is `first`, then twice as long each time, up to 25 % shorter or longer (drawn from the
/// request's hash, so that requests that fail together do not come back together) and never above
/// `longest`. A server that asks for another pause, by `retry-after-ms` or `retry-after`, gets that,
/// or `longest` if that is shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// How often a request is sent at most; 6 by default.
    pub attempts: u32,
    /// The first pause; half a second by default.
    pub first: Duration,
    /// The longest pause; 30 seconds by default.
    pub longest: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 6, first: Duration::from_millis(500), longest: Duration::from_secs(30) }
    }
}

impl Retries {
    pub(super) fn check(&self) -> Result<()> {
        if self.attempts == 0 {
            return Err(Error::invalid("`attempts`", "at least 1", 0));
        }
        if self.longest > LONGEST_PAUSE {
            let found = format!("{:?}", self.longest);
            return Err(Error::invalid("`longest`", "at most a day", found));
        }
        Ok(())
    }

    /// The pause after a number of failures, if the server asks for none or for `asked`.
    pub(super) fn pause(&self, failures: u32, asked: Option<Duration>, rng: &mut Rng) -> Duration {
        if let Some(asked) = asked {
            return asked.min(self.longest);
        }
        let doublings = failures.saturating_sub(1).min(MOST_DOUBLINGS);
        let doubled = self.first.as_secs_f64() * f64::from(doublings).exp2();
        let jitter = 1.0 + JITTER * (2.0 * f64::from(rng.unit()) - 1.0);
        let pause = (doubled * jitter).min(self.longest.as_secs_f64());
        Duration::from_secs_f64(pause).min(self.longest)
    }
}

/// What a status says about another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It may pass.
    Again,
    /// It stays as it is, until somebody does this.
    Never(&'static str),
}

/// What a status other than that of an answer says about another try.
pub(super) fn fate(status: u16, body: &str) -> Fate {
    match status {
        429 if is_quota(body) => Fate::Never(
            "A quota is used up or the account's billing is not in order, which no waiting changes",
        ),
        408 | 425 | 429 | 500 | 502 | 503 | 504 | 529 => Fate::Again,
        300..=399 => Fate::Never("It redirects: give the address it redirects to as `base_url`"),
        401 | 403 => Fate::Never(
            "Set the variable that `key_from` names (`OPENAI_API_KEY` for `from_env`) to a key that \
             may use this model",
        ),
        402 => Fate::Never("The account has no credit left"),
        404 | 405 => Fate::Never(
            "Is there such a model, and does `base_url` end with the version, as in \
             http://127.0.0.1:8000/v1?",
        ),
        _ => Fate::Never("Another try would end in the same way"),
    }
}

/// Whether a body tells of a quota, which is no limit of rates.
fn is_quota(body: &str) -> bool {
    let body = body.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| body.contains(word));
    // Messages about rates name pages about quotas and billing too.
    has(&["insufficient_quota"])
        || (has(&["quota", "billing"]) && !has(&["rate limit", "rate_limit", "retry after"]))
}

/// The pause that a server asks for in its headers, at the time `now`.
pub(super) fn asked_pause<'a>(
    header: impl Fn(&str) -> Option<&'a str>,
    now: SystemTime,
) -> Option<Duration> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let milliseconds = header("retry-after-ms").and_then(number).map(|count| count / 1e3);
    let seconds = milliseconds.or_else(|| {
        let text = header("retry-after")?;
        number(text).or_else(|| seconds_until(text.trim(), now))
    })?;
    let is_pause = seconds.is_finite() && seconds >= 0.0;
    is_pause.then(|| Duration::from_secs_f64(seconds.min(LONGEST_PAUSE.as_secs_f64())))
}

/// Seconds from `now` to a date as HTTP writes it; none if it is over.
fn seconds_until(date: &str, now: SystemTime) -> Option<f64> {
    let date = UNIX_EPOCH + Duration::from_secs(http_date(date)?);
    Some(date.duration_since(now).unwrap_or_default().as_secs_f64())
}

/// Seconds since 1970 of a date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<u64> {
    let (_, date) = text.split_once(", ")?;
    let parts: Vec<&str> = date.split(' ').collect();
    let [day, month, year, time, "GMT"] = parts[..] else { return None };
    let month = 1 + MONTHS.iter().position(|name| *name == month)? as u64;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let time: Vec<u64> =
        time.split(':').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>()?;
    let [hour, minute, second] = time[..] else { return None };
    let is_date = (1..=31).contains(&day) && (1970..10_000).contains(&year);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years and months from March on, so that the day of a leap year is the last of its year.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - DAYS_BEFORE_1970) * SECONDS_A_DAY + 3_600 * hour + 60 * minute + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // By `date -u -d … +%s`.
        let cases = [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 12:00:00 GMT", 951_825_600),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Fri, 31 Dec 2027 23:59:59 GMT", 1_830_297_599),
        ];
        for (text, seconds) in cases {
            assert_eq!(http_date(text), Some(seconds), "{text}");
        }
        let wrong = [
            "",
            "soon",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
        ];
        for text in wrong {
            assert_eq!(http_date(text), None, "{text}");
        }
    }

    #[test]
    fn pauses_that_a_server_asks_for_are_understood() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let asked = |ms: Option<&'static str>, after: Option<&'static str>| {
            let header = |name: &str| if name == "retry-after-ms" { ms } else { after };
            asked_pause(header, now).map(|pause| pause.as_secs_f64())
        };
        assert_eq!(asked(None, None), None);
        assert_eq!(asked(Some("1500"), Some("20")), Some(1.5));
        assert_eq!(asked(Some("what"), Some("20")), Some(20.0));
        assert_eq!(asked(None, Some(" 0.25 ")), Some(0.25));
        assert_eq!(asked(None, Some("Sun, 06 Nov 1994 08:50:00 GMT")), Some(23.0));
        assert_eq!(asked(None, Some("Sun, 06 Nov 1994 08:49:00 GMT")), Some(0.0), "it is over");
        assert_eq!(asked(None, Some("1e300")), Some(86_400.0));
        for nonsense in ["-1", "inf", "NaN", "in a minute", ""] {
            assert_eq!(asked(None, Some(nonsense)), None, "{nonsense}");
        }
    }

    #[test]
    fn pauses_double_with_a_jitter_and_end_at_the_longest() {
        let retries = Retries { attempts: 9, ..Retries::default() };
        let mut rng = Rng::seed(1);
        let mut draws = Vec::new();
        for failures in 1..=200 {
            let usual = 0.5 * f64::from(failures.min(60) - 1).exp2();
            let pause = retries.pause(failures, None, &mut rng).as_secs_f64();
            assert!(pause <= 30.0 && pause >= (0.75 * usual).min(30.0), "{failures}: {pause}");
            assert!(pause <= 1.25 * usual, "{failures}: {pause}");
            draws.push(retries.pause(1, None, &mut rng).as_secs_f64() / 0.5);
        }
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
        assert!(draws.iter().any(|draw| *draw < 0.8) && draws.iter().any(|draw| *draw > 1.2));
        let asked =
            |seconds| retries.pause(1, Some(Duration::from_secs(seconds)), &mut Rng::seed(1));
        assert_eq!((asked(0).as_secs(), asked(7).as_secs(), asked(600).as_secs()), (0, 7, 30));
        let none = Retries { first: Duration::ZERO, ..retries };
        assert_eq!(none.pause(u32::MAX, None, &mut rng), Duration::ZERO);
    }

    #[test]
    fn a_quota_is_no_limit_of_rates() {
        assert_eq!(fate(429, "{\"error\": \"slow down\"}"), Fate::Again);
        for body in ["insufficient_quota", "Your QUOTA is used up", "check your Billing details"] {
            assert!(matches!(fate(429, body), Fate::Never(_)), "{body}");
            assert_eq!(fate(503, body), Fate::Again, "only limits of rates are told from quotas");
        }
    }

    #[test]
    fn retries_that_make_no_sense_are_refused() {
        assert!(Retries::default().check().is_ok());
        assert!(Retries { attempts: 0, ..Retries::default() }.check().is_err());
        assert!(Retries { longest: Duration::MAX, ..Retries::default() }.check().is_err());
    }
}

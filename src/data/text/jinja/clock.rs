//! Dates in chat templates: `strftime_now` of `transformers`.

#![allow(
    unsafe_code,
    reason = "the time zone is known to the C library, which has no safe interface"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use crate::text::{MONTHS, WEEKDAYS};

/// A moment as the clock on the wall shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moment {
    pub(super) year: i64,
    /// From 0.
    pub(super) month: usize,
    pub(super) day: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
    /// From 0, Sunday.
    pub(super) weekday: usize,
    /// From 0.
    pub(super) day_of_year: i64,
}

impl Moment {
    /// Now, in the machine's time zone.
    pub(super) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::at(since.as_secs() as libc::time_t)
    }

    /// The moment `seconds` after the beginning of 1970 in London, in the machine's time zone.
    fn at(seconds: libc::time_t) -> Self {
        // SAFETY: `tm` is a struct of integers and a pointer, for which zeros are valid; both
        // pointers are valid for the call, which writes no more than `tm`.
        let tm = unsafe {
            let mut tm: libc::tm = std::mem::zeroed();
            libc::localtime_r(&raw const seconds, &raw mut tm);
            tm
        };
        Self {
            year: 1900 + i64::from(tm.tm_year),
            month: tm.tm_mon.clamp(0, 11) as usize,
            day: tm.tm_mday.into(),
            hour: tm.tm_hour.into(),
            minute: tm.tm_min.into(),
            second: tm.tm_sec.into(),
            weekday: tm.tm_wday.clamp(0, 6) as usize,
            day_of_year: tm.tm_yday.into(),
        }
    }
}

/// A moment in the words of `format`, as C's and Python's `strftime` write it in English.
///
/// # Errors
/// The directive that is not known here.
pub(super) fn strftime(format: &str, at: &Moment) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = format.chars();
    while let Some(next) = rest.next() {
        if next != '%' {
            text.push(next);
            continue;
        }
        let mut directive = rest.next();
        let pads = directive != Some('-');
        if !pads {
            directive = rest.next();
        }
        let number = |value: i64, width: usize| match pads {
            true => format!("{value:0width$}"),
            false => value.to_string(),
        };
        let (month, weekday) = (MONTHS[at.month % 12], WEEKDAYS[(at.weekday + 6) % 7]);
        let twelve = (at.hour + 11) % 12 + 1;
        text.push_str(&match directive {
            Some('Y') => at.year.to_string(),
            Some('y') => number(at.year.rem_euclid(100), 2),
            Some('m') => number(at.month as i64 + 1, 2),
            Some('B') => month.to_owned(),
            Some('b' | 'h') => month[..3].to_owned(),
            Some('d') => number(at.day, 2),
            Some('e') if pads => format!("{:2}", at.day),
            Some('e') => at.day.to_string(),
            Some('j') => number(at.day_of_year + 1, 3),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday[..3].to_owned(),
            Some('H') => number(at.hour, 2),
            Some('I') => number(twelve, 2),
            Some('p') => if at.hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('M') => number(at.minute, 2),
            Some('S') => number(at.second, 2),
            Some('w') => at.weekday.to_string(),
            // From Monday, which is 1.
            Some('u') => ((at.weekday + 6) % 7 + 1).to_string(),
            Some('D' | 'x') => {
                let year = at.year.rem_euclid(100);
                format!("{:02}/{:02}/{year:02}", at.month + 1, at.day)
            }
            Some('R') => format!("{:02}:{:02}", at.hour, at.minute),
            Some('c') => strftime("%a %b %e %T %Y", at)?,
            // A moment of Python's `now()` does not know its zone.
            Some('Z' | 'z') => String::new(),
            Some('F') => format!("{}-{:02}-{:02}", at.year, at.month + 1, at.day),
            Some('T' | 'X') => format!("{:02}:{:02}:{:02}", at.hour, at.minute, at.second),
            Some('%') => "%".to_owned(),
            Some(other) => return Err(format!("%{other}")),
            None => return Err("%".to_owned()),
        });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_python_writes_them() {
        // datetime(2024, 7, 6, 15, 4, 9)
        let at = Moment {
            year: 2024,
            month: 6,
            day: 6,
            hour: 15,
            minute: 4,
            second: 9,
            weekday: 6,
            day_of_year: 187,
        };
        let cases = [
            ("%d %b %Y", "06 Jul 2024"),
            ("%d %B %Y", "06 July 2024"),
            ("%Y-%m-%d", "2024-07-06"),
            ("%-d/%-m/%y, %A", "6/7/24, Saturday"),
            ("%a %e %-e %j", "Sat  6 6 188"),
            ("%D = %x, %w %u", "07/06/24 = 07/06/24, 6 6"),
            ("%R, %X", "15:04, 15:04:09"),
            ("%c [%Z%z]", "Sat Jul  6 15:04:09 2024 []"),
            ("%H:%M:%S = %I %p", "15:04:09 = 03 PM"),
            ("%F %T 100%%", "2024-07-06 15:04:09 100%"),
        ];
        for (format, expected) in cases {
            assert_eq!(strftime(format, &at).unwrap(), expected, "{format}");
        }
        assert_eq!(strftime("%d %Q", &at).unwrap_err(), "%Q");
        assert_eq!(strftime("100%", &at).unwrap_err(), "%");
        let sunday = Moment { weekday: 0, ..at };
        assert_eq!(strftime("%w %u", &sunday).unwrap(), "0 7");
        let midnight = Moment { hour: 0, ..at };
        assert_eq!(strftime("%I %p", &midnight).unwrap(), "12 AM");
    }

    #[test]
    fn the_clock_is_read_in_the_time_zone_of_the_machine() {
        // A day in the middle of a month, whatever the zone: the 15th of June 2023, noon in London.
        let noon = Moment::at(1_686_830_400);
        assert_eq!((noon.year, noon.month), (2023, 5));
        assert!((15..=16).contains(&noon.day), "{noon:?}");
        assert_eq!(noon.minute % 15, 0);
        assert!(Moment::now().year >= 2024);
    }
}

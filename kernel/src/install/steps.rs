//! Lines that say what set-up is doing: number, name, what is happening, time.
//!
//! On a terminal a line is drawn in place; elsewhere a step says what it does when it begins, at
//! most every ten seconds, and when it ends.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Counts steps and gives each its line.
#[derive(Debug)]
pub(crate) struct Steps {
    total: usize,
    begun: usize,
    terminal: bool,
}

impl Steps {
    /// A run of `total` steps.
    pub(crate) fn new(total: usize) -> Steps {
        Steps { total, begun: 0, terminal: std::io::stdout().is_terminal() }
    }

    /// Begins the next step.
    pub(crate) fn begin(&mut self, name: &str) -> Step {
        self.begun += 1;
        let mut step = Step {
            head: format!("[{}/{}] {name}", self.begun, self.total),
            start: Instant::now(),
            shown: Instant::now(),
            announced: false,
            terminal: self.terminal,
            open: true,
        };
        if step.terminal {
            step.draw("…");
        }
        step
    }
}

/// One step under way.
#[derive(Debug)]
pub(crate) struct Step {
    head: String,
    start: Instant,
    shown: Instant,
    announced: bool,
    terminal: bool,
    open: bool,
}

impl Step {
    /// Says what the step is doing now.
    pub(crate) fn note(&mut self, what: &str) {
        let quiet =
            if self.terminal { Duration::from_millis(100) } else { Duration::from_secs(10) };
        if self.announced && self.shown.elapsed() < quiet {
            return;
        }
        self.announced = true;
        self.draw(&format!("… {what} ({})", seconds(self.start.elapsed())));
    }

    /// Ends the step with its outcome and time.
    pub(crate) fn done(mut self, outcome: &str) {
        self.open = false;
        let line = format!("{} … {outcome}, {}", self.head, seconds(self.start.elapsed()));
        if self.terminal { println!("\r\x1b[2K{line}") } else { println!("{line}") }
    }

    fn draw(&mut self, text: &str) {
        self.shown = Instant::now();
        let line = format!("{} {text}", self.head);
        if self.terminal {
            let line: String = line.chars().take(terminal_width() - 1).collect();
            print!("\r\x1b[2K{line}");
        } else {
            println!("{line}");
        }
        // A closed pipe is no reason to stop working.
        let _ = std::io::stdout().flush();
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if self.open {
            let line = format!("{} … failed, {}", self.head, seconds(self.start.elapsed()));
            if self.terminal { println!("\r\x1b[2K{line}") } else { println!("{line}") }
        }
    }
}

/// Columns of the terminal; 80 where it does not say.
fn terminal_width() -> usize {
    let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| size.ws_col);
    if columns > 20 { usize::from(columns) } else { 80 }
}

/// A time as people say it: `0.4 s`, `41 s`, `7 min 03 s`.
pub(crate) fn seconds(time: Duration) -> String {
    let s = time.as_secs_f64();
    if s < 9.95 {
        format!("{s:.1} s")
    } else if s < 120.0 {
        format!("{s:.0} s")
    } else {
        format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
    }
}

/// A size as people say it: `812 kB`, `1.6 GB`.
pub(crate) fn bytes(size: u64) -> String {
    match size {
        0..1_000_000 => format!("{} kB", size.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{:.0} MB", size as f64 / 1e6),
        _ => format!("{:.1} GB", size as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_well() {
        assert_eq!(seconds(Duration::from_millis(420)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(41)), "41 s");
        assert_eq!(seconds(Duration::from_secs(423)), "7 min 03 s");
        assert_eq!(bytes(0), "0 kB");
        assert_eq!(bytes(1_640_000_000), "1.6 GB");
    }
}

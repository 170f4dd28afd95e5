//! Progress of long work, with rate and remaining time.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::background::own_stop;
use super::interrupt::interrupted;
use crate::display::{DisplayHandle, Host, MimeBundle, host};
use crate::text::escape;

const REDRAW: Duration = Duration::from_millis(100);
const PLAIN_LINE: Duration = Duration::from_secs(5);

/// A progress bar: drawn in place in a notebook and on a terminal, plain lines elsewhere.
///
/// ```
/// use eigenlens::notebook::Progress;
/// let mut bar = Progress::new("training", 3, "epoch");
/// for epoch in 0..3 {
///     bar.note(format!("loss {:.2}", 1.0 / (epoch + 1) as f64));
///     if bar.advance(1) {
///         break; // Stop was pressed
///     }
/// }
/// bar.finish();
/// ```
#[derive(Debug)]
pub struct Progress {
    label: String,
    unit: &'static str,
    done: u64,
    total: u64,
    note: String,
    start: Instant,
    drawn: Option<Instant>,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    /// Nothing is drawn until the work has lasted [`REDRAW`]: quick work needs no bar.
    Notebook(Option<DisplayHandle>),
    Terminal,
    Lines,
    Nowhere,
}

impl Progress {
    /// A bar named `label` for `total` steps, each a `unit` (singular, as in "epoch"). Work
    /// [in the background](crate::notebook::in_background) shows none.
    pub fn new(label: impl Into<String>, total: u64, unit: &'static str) -> Self {
        let sink = match host() {
            _ if own_stop().is_some() => Sink::Nowhere,
            Host::Kernel => Sink::Notebook(None),
            Host::Program if std::io::stderr().is_terminal() => Sink::Terminal,
            Host::Evcxr | Host::Program => Sink::Lines,
        };
        Self::on(sink, label, total, unit)
    }

    /// A bar that is never drawn, for work within work: it only listens to Stop.
    pub fn silent() -> Self {
        Self::on(Sink::Nowhere, "", 0, "")
    }

    fn on(sink: Sink, label: impl Into<String>, total: u64, unit: &'static str) -> Self {
        let start = Instant::now();
        Self {
            label: label.into(),
            unit,
            done: 0,
            total,
            note: String::new(),
            start,
            drawn: None,
            sink,
        }
    }

    /// Sets the words beside the bar: the loss, the accuracy.
    pub fn note(&mut self, note: impl Into<String>) {
        self.note = note.into();
    }

    /// Counts `steps` more as done. True when Stop was pressed: break, and keep what you have.
    #[must_use = "true means that Stop was pressed"]
    pub fn advance(&mut self, steps: u64) -> bool {
        self.done += steps;
        let pause = if matches!(self.sink, Sink::Lines) { PLAIN_LINE } else { REDRAW };
        if self.drawn.unwrap_or(self.start).elapsed() >= pause {
            self.draw(false);
        }
        interrupted()
    }

    /// Draws the final state. Dropping the bar does the same.
    pub fn finish(self) {}

    fn draw(&mut self, last: bool) {
        self.drawn = Some(Instant::now());
        let text = self.line();
        let bundle = MimeBundle::text(&text).html(self.html(last));
        match &mut self.sink {
            Sink::Notebook(handle) => match handle {
                Some(handle) => handle.update(&bundle),
                None => *handle = Some(bundle.show_updatable()),
            },
            Sink::Terminal => {
                let end = if last { "\n" } else { "" };
                let _ = write!(std::io::stderr(), "\r\u{1b}[2K{text}{end}");
            }
            Sink::Lines => {
                let _ = writeln!(std::io::stderr(), "{text}");
            }
            Sink::Nowhere => {}
        }
    }

    fn fraction(&self) -> f64 {
        if self.total == 0 { 1.0 } else { (self.done as f64 / self.total as f64).min(1.0) }
    }

    fn timing(&self) -> String {
        let seconds = self.start.elapsed().as_secs_f64();
        let rate = if seconds > 0.0 { self.done as f64 / seconds } else { 0.0 };
        let mut text = format!("{}/{} {}s [{}", self.done, self.total, self.unit, clock(seconds));
        if self.done < self.total && rate > 0.0 {
            let _ = write!(text, "<{}", clock((self.total - self.done) as f64 / rate));
        }
        let _ = match rate {
            r if r >= 1.0 || r == 0.0 => write!(text, ", {r:.1} {}s/s]", self.unit),
            r => write!(text, ", {:.1} s/{}]", 1.0 / r, self.unit),
        };
        text
    }

    fn line(&self) -> String {
        let percent = 100.0 * self.fraction();
        let gap = if self.note.is_empty() { "" } else { "  " };
        format!("{}: {percent:3.0}%  {}{gap}{}", self.label, self.timing(), self.note)
    }

    fn html(&self, last: bool) -> String {
        let percent = 100.0 * self.fraction();
        let colour = match (last, self.done >= self.total) {
            (true, true) => "var(--jp-success-color1, #388e3c)",
            (true, false) => "var(--jp-warn-color1, #f57c00)",
            _ => "var(--jp-brand-color1, #1976d2)",
        };
        format!(
            "<div style=\"display:flex;align-items:center;gap:.6em;font-size:13px\">\
             <span>{}</span>\
             <progress max=\"100\" value=\"{percent:.1}\" style=\"flex:0 1 16em;\
             accent-color:{colour}\"></progress><span style=\"font-variant-numeric:tabular-nums\">{percent:.0}% {}</span>\
             <span>{}</span></div>",
            escape(&self.label),
            escape(&self.timing()),
            escape(&self.note),
        )
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() || self.start.elapsed() >= REDRAW {
            self.draw(true);
        }
    }
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds / 3600 {
        0 => format!("{:02}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_tells_share_rate_and_note() {
        let mut bar = Progress::new("fit <x>", 4, "epoch");
        assert!(!bar.advance(1));
        bar.note("loss 0.5");
        let line = bar.line();
        assert!(line.starts_with("fit <x>:  25%  1/4 epochs ["), "{line}");
        assert!(line.ends_with("loss 0.5"), "{line}");
        let html = bar.html(false);
        assert!(html.contains("fit &lt;x&gt;"));
        // An element that JupyterLab keeps in notebooks that are not trusted yet.
        assert!(html.contains("<progress max=\"100\" value=\"25.0\""), "{html}");
    }

    #[test]
    fn clocks_read_as_people_write_them() {
        assert_eq!(clock(61.2), "01:01");
        assert_eq!(clock(3_725.0), "1:02:05");
    }
}

//! Rich output: a bundle of MIME types, shown now, changed later.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};

use super::channel::{Host, host, send};
use crate::text::thousands;
use eigenlens_common::message::Message;

/// One output in several forms; the notebook picks the richest it can draw.
///
/// ```
/// use eigenlens::notebook::MimeBundle;
/// MimeBundle::text("four").html("<b>four</b>").show();
/// ```
#[derive(Debug, Clone, Default)]
pub struct MimeBundle {
    data: Map<String, Value>,
}

impl MimeBundle {
    /// A bundle with a plain-text form, which every front end can show.
    pub fn text(text: impl Into<String>) -> Self {
        Self::default().with("text/plain", Value::String(text.into()))
    }

    /// Adds an HTML form; by default there is the text alone.
    #[must_use]
    pub fn html(self, html: impl Into<String>) -> Self {
        self.with("text/html", Value::String(html.into()))
    }

    /// Adds a form of MIME type `mime`: JSON types take any value, all others a string (base64 for
    /// binary ones). By default there is the text alone.
    #[must_use]
    pub fn with(mut self, mime: impl Into<String>, content: Value) -> Self {
        self.data.insert(mime.into(), content);
        self
    }

    /// Shows the bundle now, as an output of the running cell.
    pub fn show(&self) {
        self.emit(None, false, false);
    }

    /// Shows the bundle as the value of the cell: what an `evcxr_display` method calls.
    pub fn show_as_result(&self) {
        self.emit(None, false, true);
    }

    /// Shows the bundle now and returns a handle that can change it in place.
    pub fn show_updatable(&self) -> DisplayHandle {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // The process id keeps handles of a restarted evaluation process apart from older ones.
        let handle = DisplayHandle { id: format!("eigenlens-{}-{number}", std::process::id()) };
        self.emit(Some(&handle.id), false, false);
        handle
    }

    fn emit(&self, id: Option<&str>, update: bool, result: bool) {
        match host() {
            Host::Kernel => send(&Message::Display {
                data: self.data.clone(),
                id: id.map(str::to_owned),
                update,
                result,
            }),
            Host::Evcxr => self.print_evcxr(),
            Host::Program => {
                if let Some(Value::String(text)) = self.data.get("text/plain") {
                    let _ = writeln!(std::io::stdout(), "{text}");
                }
            }
        }
    }

    fn print_evcxr(&self) {
        let mut out = std::io::stdout().lock();
        for (mime, content) in &self.data {
            let body = match content {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let _ = writeln!(out, "EVCXR_BEGIN_CONTENT {mime}\n{body}\nEVCXR_END_CONTENT");
        }
    }
}

/// A shown output that can be changed.
#[derive(Debug, Clone)]
pub struct DisplayHandle {
    id: String,
}

impl DisplayHandle {
    /// Replaces the shown output by `bundle`.
    pub fn update(&self, bundle: &MimeBundle) {
        bundle.emit(Some(&self.id), true, false);
    }
}

/// Removes the running cell's outputs so far; with `wait`, only when the next one arrives.
pub fn clear_output(wait: bool) {
    if host() == Host::Kernel {
        send(&Message::Clear { wait });
    }
}

/// Lets every `Debug` value end a cell. Evcxr compiles a cell's last expression as
/// `(expression).evcxr_display()` first and a second time with `{:?}` if there is no such method;
/// this trait, which the prelude brings into scope, saves the second compilation.
pub trait DebugDisplay {
    /// Prints the value's `Debug` form as the value of the cell.
    fn evcxr_display(&self);
}

impl<T: std::fmt::Debug + ?Sized> DebugDisplay for T {
    fn evcxr_display(&self) {
        // A cell that ends in a loop has no value to show.
        if std::any::type_name::<T>() == "()" {
            return;
        }
        show_debug(&self);
    }
}

/// Not generic, so that it is compiled here and not in the cell, where the user waits for it.
fn show_debug(value: &dyn std::fmt::Debug) {
    MimeBundle::text(debug_text(value)).show_as_result();
}

/// Characters of a value's `Debug` form that are shown. More freezes the page and swells the
/// notebook's file.
const SHOWN_CHARACTERS: usize = 20_000;
/// Characters up to which what is left out is counted. Formatting ends there, so that a value of
/// gigabytes costs no time.
const COUNTED_CHARACTERS: usize = 50_000_000;

/// The `Debug` form of `value`, cut after [`SHOWN_CHARACTERS`] with a note of how much is missing.
fn debug_text(value: &dyn std::fmt::Debug) -> String {
    let mut capped = Capped { text: String::new(), shown: 0, left_out: 0 };
    // An error of `Capped` ends the formatting; one of the value's own leaves what there is.
    let _ = write!(capped, "{value:?}");
    let Capped { mut text, left_out, .. } = capped;
    if left_out > 0 {
        let more = if left_out > COUNTED_CHARACTERS { "more than " } else { "" };
        let count = thousands(left_out.min(COUNTED_CHARACTERS));
        let _ = write!(
            text,
            "…\n[{more}{count} further characters are not shown; take a part of the value, or write \
             it to a file]"
        );
    }
    text
}

/// Keeps the first characters that are written and counts the others.
struct Capped {
    text: String,
    shown: usize,
    left_out: usize,
}

impl std::fmt::Write for Capped {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = SHOWN_CHARACTERS - self.shown;
        let cut = text.char_indices().nth(room).map_or(text.len(), |(at, _)| at);
        let (kept, rest) = text.split_at(cut);
        self.text.push_str(kept);
        self.shown += kept.chars().count();
        self.left_out += rest.chars().count();
        if self.left_out > COUNTED_CHARACTERS { Err(std::fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_value_is_shown_whole() {
        assert_eq!(debug_text(&vec![1, 2]), "[1, 2]");
        assert_eq!(debug_text(&Some("é")), "Some(\"é\")");
    }

    #[test]
    fn a_large_value_is_cut_and_says_how_much_is_missing() {
        // "[0, 0, …, 0]": three characters a number.
        let text = debug_text(&vec![0; 400_000]);
        assert!(text.starts_with("[0, 0, "));
        assert!(
            text.contains("[1,180,000 further characters are not shown"),
            "{}",
            &text[20_000..]
        );
        assert!(text.chars().count() < SHOWN_CHARACTERS + 200);
        let one_string = debug_text(&"λ".repeat(30_000));
        assert!(one_string.contains("[10,002 further characters"), "{}", &one_string[39_990..]);
    }

    #[test]
    fn formatting_ends_where_counting_ends() {
        struct Endless;
        impl std::fmt::Debug for Endless {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                loop {
                    f.write_str("endless and ever longer ")?;
                }
            }
        }
        assert!(debug_text(&Endless).contains("[more than 50,000,000 further characters"));
    }
}

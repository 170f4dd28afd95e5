//! Text as HTML.

/// Text in which no character means anything to HTML, in an element or in a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + text.len() / 16);
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// What a terminal would show in the end: a carriage return goes back to the start of its line, so
/// that of a text's progress bar only the last state is left.
pub(super) fn last_state(text: &str) -> String {
    let line = |line: &str| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        line.rsplit('\r').next().unwrap_or(line).to_owned()
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Text of a terminal as HTML: bold and the eight colours as spans of classes, other control
/// sequences left out.
pub(super) fn terminal(text: &str) -> String {
    let mut html = String::new();
    let mut style = TerminalStyle::default();
    let mut rest = text;
    while let Some(start) = rest.find('\x1b') {
        style.push(&mut html, &rest[..start]);
        rest = &rest[start + 1..];
        let Some(sequence) = rest.strip_prefix('[') else { continue };
        let Some(end) = sequence.find(|c: char| ('\x40'..='\x7e').contains(&c)) else {
            return html;
        };
        if sequence.as_bytes()[end] == b'm' {
            style.apply(&sequence[..end]);
        }
        rest = &sequence[end + 1..];
    }
    style.push(&mut html, rest);
    html
}

#[derive(Debug, Default)]
struct TerminalStyle {
    bold: bool,
    /// 0 to 7.
    colour: Option<u8>,
}

impl TerminalStyle {
    fn apply(&mut self, codes: &str) {
        for code in codes.split(';') {
            match code.parse::<u8>() {
                Ok(0) => *self = Self::default(),
                Ok(1) => self.bold = true,
                Ok(22) => self.bold = false,
                Ok(code @ 30..=37) => self.colour = Some(code - 30),
                Ok(code @ 90..=97) => self.colour = Some(code - 90),
                Ok(39) => self.colour = None,
                Err(_) if code.is_empty() => *self = Self::default(),
                _ => {}
            }
        }
    }

    fn push(&self, html: &mut String, text: &str) {
        let mut classes = Vec::new();
        if self.bold {
            classes.push("bold".to_owned());
        }
        if let Some(colour) = self.colour {
            classes.push(format!("ansi{colour}"));
        }
        if text.is_empty() || classes.is_empty() {
            html.push_str(&escape(text));
        } else {
            html.push_str(&format!(
                "<span class=\"{}\">{}</span>",
                classes.join(" "),
                escape(text)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_a_tag_or_ends_an_attribute() {
        assert_eq!(escape("<script>\"'&"), "&lt;script&gt;&quot;&#39;&amp;");
        assert_eq!(terminal("\x1b[31m<b>"), "<span class=\"ansi1\">&lt;b&gt;</span>");
    }

    #[test]
    fn of_a_line_that_is_written_over_the_last_state_is_left() {
        assert_eq!(last_state("a\n10 %\r50 %\r100 %\nb\r\n"), "a\n100 %\nb\n");
        assert_eq!(last_state("50 %\r"), "50 %");
    }

    #[test]
    fn colours_of_a_terminal_become_spans() {
        let text = "a\x1b[1;34mb\x1b[0mc\x1b[2Kd\x1b[92me\x1b[39mf\x1b[m\x1b]g";
        let expected = "a<span class=\"bold ansi4\">b</span>cd<span class=\"ansi2\">e</span>f]g";
        assert_eq!(terminal(text), expected);
        assert_eq!(terminal("end\x1b[3"), "end");
        assert_eq!(terminal("\x1b"), "");
    }
}

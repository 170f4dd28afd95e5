//! Rust code in colours.

use ra_ap_syntax::{Edition, SourceFile, SyntaxKind, SyntaxToken, T};

use super::escape::escape;

/// Rust as HTML, with a span of a class around each token that has a colour. Code with mistakes,
/// and lines such as `:dep`, keep every character.
pub(super) fn rust(code: &str) -> String {
    let file = SourceFile::parse(code, Edition::Edition2024);
    let tree = file.syntax_node();
    let mut html = String::with_capacity(code.len() * 2);
    for element in tree.descendants_with_tokens() {
        let Some(token) = element.into_token() else { continue };
        let text = escape(token.text());
        match class(&token) {
            Some(class) => html.push_str(&format!("<span class=\"{class}\">{text}</span>")),
            None => html.push_str(&text),
        }
    }
    html
}

fn class(token: &SyntaxToken) -> Option<&'static str> {
    Some(match token.kind() {
        SyntaxKind::COMMENT => "hl-comment",
        SyntaxKind::STRING
        | SyntaxKind::BYTE_STRING
        | SyntaxKind::C_STRING
        | SyntaxKind::CHAR
        | SyntaxKind::BYTE => "hl-string",
        SyntaxKind::INT_NUMBER | SyntaxKind::FLOAT_NUMBER | T![true] | T![false] => "hl-number",
        SyntaxKind::LIFETIME_IDENT => "hl-keyword",
        kind if kind.is_keyword(Edition::Edition2024) => "hl-keyword",
        SyntaxKind::IDENT => {
            if token.text().starts_with(char::is_uppercase) {
                "hl-type"
            } else {
                match following(token)? {
                    T![!] => "hl-macro",
                    T!['('] => "hl-function",
                    _ => return None,
                }
            }
        }
        _ => return None,
    })
}

/// The kind of the next token, if it follows without space.
fn following(token: &SyntaxToken) -> Option<SyntaxKind> {
    token.next_token().map(|next| next.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HTML of [`rust`] without its tags, as the text that it shows.
    fn shown(html: &str) -> String {
        let mut text = String::new();
        for (number, piece) in html.split('<').enumerate() {
            text.push_str(if number == 0 {
                piece
            } else {
                piece.split_once('>').expect("a tag").1
            });
        }
        let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
        text.replace("&#39;", "'").replace("&amp;", "&")
    }

    #[test]
    fn every_character_stays() {
        let codes = [
            "use eigenlens::prelude::*;\nlet x: Vec<&'static str> = vec![\"</script>\"];\nx",
            ":dep csv = \"1\"\nlet r = r#\"raw \"quoted\"\"#; // comment",
            "fn broken( { let \"never ends",
            "",
            "/* open",
        ];
        for code in codes {
            assert_eq!(shown(&rust(code)), code);
        }
    }

    #[test]
    fn tokens_have_their_classes() {
        let html = rust("let n = 3; // three\nprintln!(\"{n}\"); model.fit(Device::Cpu)?");
        for expected in [
            "<span class=\"hl-keyword\">let</span>",
            "<span class=\"hl-number\">3</span>",
            "<span class=\"hl-comment\">// three</span>",
            "<span class=\"hl-macro\">println</span>!",
            "<span class=\"hl-string\">&quot;{n}&quot;</span>",
            "<span class=\"hl-function\">fit</span>(",
            "<span class=\"hl-type\">Device</span>",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
    }
}

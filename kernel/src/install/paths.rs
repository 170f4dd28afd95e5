//! Which folders cargo, the loader and Jupyter can work in.
//!
//! Spaces, quotes and letters of any alphabet are fine. A colon is not: programs and libraries are
//! found through lists of folders that colons part, and there is no way to quote one. Control
//! characters would end lines of protocols and of files that tools write.

use std::path::Path;

use anyhow::{Result, bail};

/// What makes a path unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Bytes that are not UTF-8.
    NotText,
    /// A line break or another control character.
    Control,
    /// A colon.
    Colon,
}

/// The first thing found that makes a path unusable.
pub(crate) fn flaw(path: &Path) -> Option<Flaw> {
    let Some(text) = path.to_str() else { return Some(Flaw::NotText) };
    if text.chars().any(char::is_control) {
        Some(Flaw::Control)
    } else if text.contains(':') {
        Some(Flaw::Colon)
    } else {
        None
    }
}

/// Refuses a folder that tools cannot work in. `what` names it, `remedy` says how to use another.
pub(crate) fn check(what: &str, folder: &Path, remedy: &str) -> Result<()> {
    let why = match flaw(folder) {
        None => return Ok(()),
        Some(Flaw::NotText) => "is not valid UTF-8, which cargo and Jupyter need",
        Some(Flaw::Control) => "has a line break or another control character in its name",
        Some(Flaw::Colon) => "has a colon in its name, which separates folders in PATH",
    };
    bail!("{what} {:?} {why}; {remedy}", folder.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn any_letters_will_do_but_colons_and_line_breaks() {
        for good in ["/a b/it's \"here\"", "/höme/部屋/дом", "/a,b=c;d&e/$HOME/%20/#1/[x]{y}"]
        {
            assert_eq!(flaw(Path::new(good)), None, "{good}");
        }
        assert_eq!(flaw(Path::new("/a:b")), Some(Flaw::Colon));
        assert_eq!(flaw(Path::new("/a\nb")), Some(Flaw::Control));
        assert_eq!(flaw(Path::new("/a\tb")), Some(Flaw::Control));
        assert_eq!(flaw(Path::new(OsStr::from_bytes(b"/a\xffb"))), Some(Flaw::NotText));
    }

    #[test]
    fn a_refusal_says_what_to_set() {
        let remedy = "set EIGENLENS_HOME to another folder";
        let error = check("the state folder", Path::new("/a:b"), remedy).expect_err("a colon");
        let text = error.to_string();
        assert!(text.contains("/a:b") && text.contains("colon") && text.contains(remedy), "{text}");
    }
}

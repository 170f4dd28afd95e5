//! Names of repositories, revisions and files: what is allowed, and how they are written in
//! addresses.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{Error, Result};

/// What is escaped in one part of an address; the same characters as in Python's client.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A repository at a revision.
#[derive(Debug, Clone)]
pub(super) struct Repo {
    kind: RepoKind,
    /// `owner/name`, or `name` for the oldest repositories.
    pub(super) name: String,
    pub(super) revision: String,
}

/// What a repository holds, as the hub sorts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RepoKind {
    Model,
    Dataset,
    /// A web application with its files.
    Space,
}

impl RepoKind {
    /// The kind that a name begins with, and what follows it.
    fn named(path: &str) -> Option<(Self, &str)> {
        let of = |kind: Self| Some((kind, path.strip_prefix(kind.folder())?.strip_prefix('/')?));
        [Self::Model, Self::Dataset, Self::Space].into_iter().find_map(of)
    }

    /// What stands before the name in addresses, but for models, which have nothing.
    fn folder(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
            Self::Space => "spaces",
        }
    }

    /// What stands before the name of the repository's page.
    fn prefix(self) -> String {
        match self {
            Self::Model => String::new(),
            _ => format!("{}/", self.folder()),
        }
    }
}

/// Whether a name begins with the kind of a repository, such as `datasets/`.
pub(super) fn names_its_kind(name: &str) -> bool {
    RepoKind::named(name).is_some()
}

impl Repo {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (path, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (kind, name) = RepoKind::named(path).unwrap_or((RepoKind::Model, path));
        let parts: Vec<&str> = name.split('/').collect();
        let sound = parts.len() <= 2
            && parts.iter().all(|part| is_plain(part))
            && revision.split('/').all(is_part);
        if !sound {
            let expected = "owner/name, datasets/owner/name or spaces/owner/name, with @revision \
                            where needed";
            return Err(Error::invalid("the hub repository", expected, text));
        }
        Ok(Self { kind, name: name.to_owned(), revision: revision.to_owned() })
    }

    /// `models`, `datasets` or `spaces`, as the cache and the hub's interface call them.
    pub(super) fn kind(&self) -> &'static str {
        self.kind.folder()
    }

    /// The repository's page on the hub `endpoint`.
    pub(super) fn page(&self, endpoint: &str) -> String {
        format!("{endpoint}/{}{}", self.kind.prefix(), self.name)
    }

    /// The address of the file `name`.
    pub(super) fn file_address(&self, endpoint: &str, name: &str) -> String {
        let parts: Vec<String> = name.split('/').map(escape).collect();
        let page = self.page(endpoint);
        format!("{page}/resolve/{}/{}", escape(&self.revision), parts.join("/"))
    }

    /// The address that tells the commit and the names of all files.
    pub(super) fn listing_address(&self, endpoint: &str) -> String {
        let (kind, revision) = (self.kind(), escape(&self.revision));
        format!("{endpoint}/api/{kind}/{}/revision/{revision}", self.name)
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}@{}", self.kind.prefix(), self.name, self.revision)
    }
}

fn escape(part: &str) -> String {
    utf8_percent_encode(part, ESCAPED).to_string()
}

/// Fails unless `name` is the path of a file within a repository: any characters that a hub allows,
/// and nothing that could leave the cache's folder.
///
/// # Errors
/// Empty parts, `.` and `..`, an absolute path, backslashes, control characters.
pub(crate) fn check_file_name(name: &str) -> Result<()> {
    if name.split('/').all(is_part) {
        return Ok(());
    }
    let expected = "a path within the repository (without `..`, backslashes, control characters \
                    or a slash at either end)";
    Err(Error::invalid("the file's name", expected, name.escape_debug()))
}

/// Whether a text is safe as one part of a path.
fn is_part(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(|c: char| c.is_control() || c == '\\')
}

/// Whether a text can be the owner or the name of a repository.
fn is_plain(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    is_part(text) && text.chars().all(allowed)
}

/// Those of `names` that `name` was probably meant to be, the closest first, at most three.
pub(crate) fn similar<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let folded = name.to_lowercase();
    let closeness =
        |own: &&str| strsim::normalized_damerau_levenshtein(&folded, &own.to_lowercase());
    let mut close: Vec<(f64, &str)> = names
        .into_iter()
        .map(|own| (closeness(&own), own))
        .filter(|(near, _)| *near >= 0.6)
        .collect();
    close.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    close.into_iter().take(3).map(|(_, own)| own).collect()
}

/// Up to eight names in one line, and how many more there are.
pub(crate) fn some_of<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(SHOWN);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::Registry;

    #[test]
    fn every_published_autoencoder_has_a_name_that_can_be_fetched() {
        let registry = Registry::all().unwrap();
        let mut unusual = 0;
        for entry in registry.entries() {
            Repo::parse(&entry.repository).unwrap();
            let path = entry.path.trim_matches('/');
            // A repository that is one autoencoder.
            if !path.is_empty() {
                check_file_name(&format!("{path}/config.json")).unwrap();
                unusual += usize::from(path.contains(['+', ':']));
            }
        }
        assert_eq!(unusual, 22);
    }

    #[test]
    fn each_kind_of_repository_has_its_addresses() {
        for (text, page, kind) in [
            ("o/s", "o/s", "models"),
            ("models/o/s", "o/s", "models"),
            ("datasets/o/s", "datasets/o/s", "datasets"),
            ("spaces/o/s", "spaces/o/s", "spaces"),
        ] {
            let repo = Repo::parse(text).unwrap();
            assert_eq!(repo.page("https://hub"), format!("https://hub/{page}"));
            assert_eq!(repo.kind(), kind);
            let listing = format!("https://hub/api/{kind}/o/s/revision/main");
            assert_eq!(repo.listing_address("https://hub"), listing);
            assert_eq!(repo.to_string(), format!("{page}@main"));
        }
    }

    #[test]
    fn any_character_of_a_file_name_is_allowed_and_escaped_once() {
        let repo = Repo::parse("o/s@refs/pr/1").unwrap();
        let cases = [
            ("a_l11.80e+00:v1.pt", "a_l11.80e%2B00%3Av1.pt"),
            ("k=32, x@2/[a](b)'s w.pt", "k%3D32%2C%20x%402/%5Ba%5D%28b%29%27s%20w.pt"),
            ("100%.bin", "100%25.bin"),
            ("a%20b.bin", "a%2520b.bin"),
            ("q?#&.bin", "q%3F%23%26.bin"),
            ("模型/ä ✓.safetensors", "%E6%A8%A1%E5%9E%8B/%C3%A4%20%E2%9C%93.safetensors"),
            ("..hidden/...", "..hidden/..."),
        ];
        for (name, escaped) in cases {
            check_file_name(name).unwrap();
            let address = repo.file_address("https://hub", name);
            assert_eq!(address, format!("https://hub/o/s/resolve/refs%2Fpr%2F1/{escaped}"));
        }
    }

    #[test]
    fn names_that_could_leave_the_cache_are_refused() {
        let names = ["", "..", "../x", "a/../../x", "a//b", "/etc/passwd", "a/", ".", "a/./b"];
        let odd = ["a\\b", "..\\x", "a\0b", "a\nb", "a\u{7f}", "a\u{85}b", "C:\\x"];
        for name in names.iter().chain(&odd) {
            let message = check_file_name(name).unwrap_err().to_string();
            assert!(message.contains("the file's name"), "{message}");
            assert!(!message.contains('\0') && !message.contains('\n'), "{message:?}");
        }
        for repo in ["", "a/b/c", "../b", "a b/c", "o/n@../x", "o/n@", "o/n@a\\b", "o/n@a//b"] {
            assert!(Repo::parse(repo).is_err(), "{repo}");
        }
    }

    #[test]
    fn a_mistyped_name_finds_what_was_meant() {
        let names = ["eigenlens/classics", "eigenlens/classics-4k", "other"];
        assert_eq!(similar("eigenlens/clasics", names)[0], "eigenlens/classics");
        assert_eq!(similar("EigenLens/Classics-4K", names)[0], "eigenlens/classics-4k");
        assert!(similar("xyz", names).is_empty());
        assert_eq!(some_of(&["a", "b"]), "a, b");
        assert_eq!(some_of(&["a"; 10]), "a, a, a, a, a, a, a, a and 2 more");
    }
}

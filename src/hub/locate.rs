//! What a user's name for a model or data set stands for: a repository that is part of the library,
//! a folder, or a repository of the hub.

use std::path::{Path, PathBuf};

use super::cache::names_in;
use super::embedded;
use super::names::{Repo, names_its_kind, similar, some_of};
use crate::home::expand_home;
use crate::{Error, Result};

/// The owner of the repositories that are part of the library.
const OWN: &str = "eigenlens";

/// Why a library built from the published package lacks what others carry.
pub(crate) const NOT_IN_THE_PACKAGE: &str = "The published package leaves models and data out; a \
    library built in the project's checkout has them.";

#[derive(Debug, PartialEq)]
pub(super) enum Found {
    Embedded,
    Folder(PathBuf),
    Hub,
}

/// Where the repository `name` is.
///
/// # Errors
/// A name that can only be a path, of a folder that is not there; a file; a repository that would be
/// part of the library and is not.
pub(super) fn locate(name: &str) -> Result<Found> {
    let plain = name.strip_prefix("datasets/").unwrap_or(name);
    if embedded::holds(plain) {
        return Ok(Found::Embedded);
    }
    let is_path = plain.starts_with(['/', '.', '~']) || plain.ends_with('/');
    let folder = expand_home(if is_path { plain } else { name }.as_ref());
    if folder.is_dir() {
        return Ok(Found::Folder(folder));
    }
    let file = expand_home(plain.as_ref());
    if file.is_file() {
        let expected = "a folder, or owner/name of the hub";
        let found = format!(
            "the file {}; give the folder that it is in, or call the reader of such files",
            file.display()
        );
        return Err(Error::invalid("the repository", expected, found));
    }
    if let Some((OWN, own)) = plain.split_once('/') {
        return Err(unknown(plain, own));
    }
    match Repo::parse(name) {
        Ok(_) if !is_path => Ok(Found::Hub),
        Err(reason) if names_its_kind(name) && !is_path => Err(reason),
        _ => Err(no_folder(plain)),
    }
}

/// That the library has no repository `name`, with those that it has.
fn unknown(name: &str, own: &str) -> Error {
    let plain = |name: &'static str| name.split_once('/').map_or(name, |(_, own)| own);
    let close = similar(own, embedded::names().map(plain));
    let meant = match &*close {
        [] => String::new(),
        [first, ..] => format!("Did you mean {OWN}/{first}? "),
    };
    let names: Vec<_> = embedded::names().collect();
    let hint = match &*names {
        [] => NOT_IN_THE_PACKAGE.to_owned(),
        names => format!("{meant}It has {}.", some_of(names)),
    };
    Error::NotFound { what: format!("{name} among what is part of eigenlens"), hint }
}

/// That there is no folder of this name, and how far the path leads.
fn no_folder(name: &str) -> Error {
    let path = expand_home(name.as_ref());
    let whole = std::path::absolute(&path).unwrap_or(path);
    let mut hint = match deepest(&whole) {
        Some((folder, missing)) => {
            let names = names_in(folder);
            let close = similar(&missing, names.iter().map(String::as_str));
            let meant = match &*close {
                [] => String::new(),
                close => format!(": did you mean {}?", close.join(" or ")),
            };
            let end = if meant.is_empty() { "." } else { "" };
            format!("{} has no `{missing}`{meant}{end}", folder.display())
        }
        None => String::new(),
    };
    if name.starts_with('~') && !name.starts_with("~/") {
        hint =
            "`~` is the home folder only as `~/`; write another user's as a whole path.".to_owned();
    }
    let what = format!("the folder {}", whole.display());
    let hub = "A repository of the hub is written owner/name.";
    Error::NotFound { what, hint: format!("{hint} {hub}").trim_start().to_owned() }
}

/// The last folder of a path that is there, and the name in it that is not.
fn deepest(path: &Path) -> Option<(&Path, String)> {
    path.ancestors().zip(path.ancestors().skip(1)).find_map(|(path, folder)| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        folder.is_dir().then_some((folder, name))
    })
}

/// Why a folder gives no file `name`; `asked` is what the user called the folder.
pub(super) fn no_file(folder: &Path, name: &str, asked: &str) -> String {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let (inner, file) = name.rsplit_once('/').unwrap_or(("", name));
    let place = if inner.is_empty() { whole.clone() } else { whole.join(inner) };
    let names = names_in(&place);
    let found = match (place.is_dir(), &*similar(file, names.iter().map(String::as_str))) {
        (false, _) => match deepest(&place) {
            Some((above, missing)) => format!("there is no `{missing}` in {}", above.display()),
            None => format!("there is no folder {}", place.display()),
        },
        (true, _) if names.is_empty() => format!("the folder {} is empty", place.display()),
        (true, []) => {
            format!("the folder {} has no such file, but {}", place.display(), some_of(&names))
        }
        (true, close) => {
            format!("the folder {} has no such file, but {}", place.display(), some_of(close))
        }
    };
    match Repo::parse(asked) {
        Ok(repo) if repo.name.contains('/') && !asked.starts_with(['/', '.', '~']) => {
            let kind = repo.kind();
            format!(
                "{found}. The folder was taken because it has the name of the repository: \
                 `{kind}/{}` is the one of the hub, whatever folders there are",
                repo.name
            )
        }
        _ => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str) -> String {
        locate(name).unwrap_err().to_string()
    }

    #[test]
    fn a_mistyped_path_is_told_from_a_repository_of_the_hub() {
        for path in ["/no/such/dir", "./nosuch", "a/b/c", "../nosuch/", "nosuch/", "no such"] {
            let message = message(path);
            assert!(message.starts_with("the folder /"), "{message}");
            assert!(
                message.contains("was not found") && message.contains("owner/name"),
                "{message}"
            );
        }
        assert!(message("/no/such/dir").contains("/ has no `no`"));
        for name in ["gpt2", "o/s", "o/s@v1", "models/o/s", "datasets/o/s"] {
            assert_eq!(locate(name).unwrap(), Found::Hub, "{name}");
        }
        assert!(message("").contains("was not found"));
        assert!(message("datasets/a/b/c").contains("the hub repository"));
    }

    #[test]
    fn a_path_with_a_typo_names_what_was_meant() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("models")).unwrap();
        let message = message(folder.path().join("modles/gpt2").to_str().unwrap());
        assert!(message.contains("has no `modles`: did you mean models?"), "{message}");
    }

    #[test]
    fn what_would_be_part_of_the_library_is_answered_at_once() {
        let answer = message("eigenlens/clasics");
        assert!(answer.contains("Did you mean eigenlens/classics?"), "{answer}");
        for name in embedded::names() {
            assert!(answer.contains(name), "{answer}");
        }
        assert!(message("datasets/eigenlens/clasics-4k").contains("eigenlens/classics-4k?"));
        assert!(message("eigenlens/classics/").contains("eigenlens/classics"));
        assert!(message("eigenlens/gpt2").contains("It has eigenlens/classics"));
    }

    #[test]
    fn a_file_or_an_unknown_home_is_not_a_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = message(file.path().to_str().unwrap());
        assert!(text.contains("found the file /"), "{text}");
        assert!(message("~nobody/model").contains("`~/`"));
        let text = message("~/no-such-folder-here/x");
        assert!(!text.contains('~') && text.contains("has no `no-such-folder-here`"), "{text}");
    }

    #[test]
    fn an_absent_file_is_told_with_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(no_file(path, "config.json", "x").ends_with("is empty"));
        std::fs::write(path.join("confg.json"), "").unwrap();
        std::fs::write(path.join("zzz"), "").unwrap();
        assert!(no_file(path, "config.json", "x").ends_with("has no such file, but confg.json"));
        assert!(no_file(path, "w.pt", "x").ends_with("but confg.json, zzz"));
        assert!(no_file(path, "a/b/w.pt", "x").contains("there is no `a` in /"));
        let taken = no_file(path, "w.pt", "openai-community/gpt2");
        assert!(taken.contains("`models/openai-community/gpt2`"), "{taken}");
    }
}

//! Repositories that are part of the library: `assets/language`.

/// The repositories, with their files and what they are.
static REPOSITORIES: [Repository; 0] = [];

struct Repository {
    name: &'static str,
    what: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

/// Whether there is a repository `name`.
pub(super) fn holds(name: &str) -> bool {
    REPOSITORIES.iter().any(|repository| repository.name == name)
}

/// A file of a repository, and what the repository is.
pub(super) fn file(repository: &str, name: &str) -> Option<(&'static [u8], &'static str)> {
    let repository = REPOSITORIES.iter().find(|own| own.name == repository)?;
    let (_, bytes) = repository.files.iter().find(|(own, _)| *own == name)?;
    Some((bytes, repository.what))
}

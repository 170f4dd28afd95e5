//! Repositories that are part of the library: `assets/language`. There are none in the published
//! package, which has no room for them (`build.rs`).

/// A file of `assets/language`, by its name in a repository.
#[cfg(embedded_data)]
macro_rules! file {
    ($repository:literal, $name:literal) => {
        ($name, include_bytes!(concat!("../../assets/language/", $repository, "/", $name)))
    };
}

struct EmbeddedRepository {
    name: &'static str,
    what: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

static REPOSITORIES: &[EmbeddedRepository] = &[
    #[cfg(embedded_data)]
    EmbeddedRepository {
        name: "eigenlens/classics",
        what: "a bilinear transformer trained on English in the public domain",
        files: &[
            file!("classics", "config.json"),
            file!("classics", "model.safetensors"),
            file!("classics", "tokenizer.json"),
        ],
    },
    #[cfg(embedded_data)]
    EmbeddedRepository {
        name: "eigenlens/classics-scope",
        what: "autoencoders of eigenlens/classics",
        files: &[
            file!("classics-scope", "1-mlp-in-x8-k16/config.json"),
            file!("classics-scope", "1-mlp-in-x8-k16/model.safetensors"),
            file!("classics-scope", "1-mlp-out-x8-k16/config.json"),
            file!("classics-scope", "1-mlp-out-x8-k16/model.safetensors"),
            file!("classics-scope", "2-mlp-in-x8-k16/config.json"),
            file!("classics-scope", "2-mlp-in-x8-k16/model.safetensors"),
            file!("classics-scope", "2-mlp-out-x8-k16/config.json"),
            file!("classics-scope", "2-mlp-out-x8-k16/model.safetensors"),
            file!("classics-scope", "top-activations.safetensors"),
        ],
    },
    #[cfg(embedded_data)]
    EmbeddedRepository {
        name: "eigenlens/classics-4k",
        what: "a sample of the text that eigenlens/classics was trained on",
        files: &[file!("classics-4k", "data/train-00000-of-00001.parquet")],
    },
    #[cfg(embedded_data)]
    EmbeddedRepository {
        name: "eigenlens/classics-mlsae",
        what: "an autoencoder of all layers of eigenlens/classics",
        files: &[
            file!("classics-mlsae", "config.json"),
            file!("classics-mlsae", "model.safetensors"),
            file!("classics-mlsae", "dists.safetensors"),
            file!("classics-mlsae", "examples.parquet"),
            file!("classics-mlsae", "top-activations.safetensors"),
            file!("classics-mlsae", "lens/config.json"),
            file!("classics-mlsae", "lens/lens.safetensors"),
        ],
    },
    #[cfg(embedded_data)]
    EmbeddedRepository {
        name: "eigenlens/calendar",
        what: "a small transformer that adds months",
        files: &[
            file!("calendar", "config.json"),
            file!("calendar", "model.safetensors"),
            file!("calendar", "tokenizer.json"),
        ],
    },
    #[cfg(embedded_data)]
    EmbeddedRepository {
        name: "eigenlens/calendar-scope",
        what: "an autoencoder of eigenlens/calendar",
        files: &[
            file!("calendar-scope", "0-resid-post-x4-k3/cfg.json"),
            file!("calendar-scope", "0-resid-post-x4-k3/sae_weights.safetensors"),
        ],
    },
];

/// Whether there is a repository `name`.
pub(super) fn holds(name: &str) -> bool {
    REPOSITORIES.iter().any(|repository| repository.name == name)
}

/// The names of all repositories.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    REPOSITORIES.iter().map(|repository| repository.name)
}

/// The name of the repository that is described so.
pub(crate) fn embedded_name(what: &str) -> Option<&'static str> {
    REPOSITORIES.iter().find(|repository| repository.what == what).map(|own| own.name)
}

/// The names of the files of a repository.
pub(super) fn files(name: &str) -> Vec<&'static str> {
    let repository = REPOSITORIES.iter().find(|repository| repository.name == name);
    let files = repository.map_or(&[][..], |repository| repository.files);
    files.iter().map(|(name, _)| *name).collect()
}

/// A file of a repository, and what the repository is.
pub(super) fn file(repository: &str, name: &str) -> Option<(&'static [u8], &'static str)> {
    let repository = REPOSITORIES.iter().find(|own| own.name == repository)?;
    let (_, bytes) = repository.files.iter().find(|(own, _)| *own == name)?;
    Some((bytes, repository.what))
}

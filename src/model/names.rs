//! Models by the names that TransformerLens and SAELens give them.

use std::fmt;

use super::families::why_refused;

/// A model that is known by name, of the hub or part of the library, with the layout of its files:
/// whether it loads can be told without asking the hub.
///
/// ```
/// use eigenlens::model::{KnownModel, ModelSupport};
/// let model = KnownModel::find("gpt2-small").unwrap();
/// assert_eq!(model.repository(), "openai-community/gpt2");
/// assert_eq!((model.model_type(), model.support()), ("gpt2", ModelSupport::Loads));
/// assert!(KnownModel::find("my-model").is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownModel {
    repository: String,
    model_type: &'static str,
    is_gated: bool,
}

/// Whether a model loads, as far as its name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelSupport {
    /// [`Decoder`](super::Decoder) reads its family.
    Loads,
    /// [`Decoder`](super::Decoder) reads its family, and the hub gives its files to those who have
    /// accepted its terms and set `HF_TOKEN`.
    Gated,
    /// No family reads its architecture: what it is.
    Refused(String),
    /// Its name is not known here.
    Unknown,
}

/// Models of one owner and one `model_type`.
struct ModelGroup {
    owner: &'static str,
    /// Of `config.json`; for layouts that have none, what `families` calls them.
    model_type: &'static str,
    is_gated: bool,
    names: &'static [&'static str],
}

const fn open(
    owner: &'static str,
    model_type: &'static str,
    names: &'static [&'static str],
) -> ModelGroup {
    ModelGroup { owner, model_type, is_gated: false, names }
}

const fn gated(
    owner: &'static str,
    model_type: &'static str,
    names: &'static [&'static str],
) -> ModelGroup {
    ModelGroup { owner, model_type, is_gated: true, names }
}

/// Models that TransformerLens or SAELens has names for. Their last part in lower case, such as
/// `gemma-2-2b`, is one of these names.
const GROUPS: &[ModelGroup] = &[
    open("eigenlens", "bilinear", &["classics"]),
    open("eigenlens", "qwen2", &["calendar"]),
    open("openai-community", "gpt2", &["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"]),
    open("distilbert", "gpt2", &["distilgpt2"]),
    open(
        "stanford-crfm",
        "gpt2",
        &[
            "alias-gpt2-small-x21",
            "battlestar-gpt2-small-x49",
            "caprica-gpt2-small-x81",
            "darkmatter-gpt2-small-x343",
            "expanse-gpt2-small-x777",
            "arwen-gpt2-medium-x21",
            "beren-gpt2-medium-x49",
            "celebrimbor-gpt2-medium-x81",
            "durin-gpt2-medium-x343",
            "eowyn-gpt2-medium-x777",
        ],
    ),
    open("EleutherAI", "gpt_neo", &["gpt-neo-125m", "gpt-neo-1.3B", "gpt-neo-2.7B"]),
    open(
        "roneneldan",
        "gpt_neo",
        &[
            "TinyStories-1M",
            "TinyStories-3M",
            "TinyStories-8M",
            "TinyStories-28M",
            "TinyStories-33M",
            "TinyStories-1Layer-21M",
            "TinyStories-2Layers-33M",
            "TinyStories-Instruct-1M",
            "TinyStories-Instruct-3M",
            "TinyStories-Instruct-8M",
            "TinyStories-Instruct-28M",
            "TinyStories-Instruct-33M",
            "TinyStories-Instruct-2Layers-33M",
        ],
    ),
    open("EleutherAI", "gptj", &["gpt-j-6b"]),
    open(
        "EleutherAI",
        "gpt_neox",
        &[
            "gpt-neox-20b",
            "pythia-14m",
            "pythia-31m",
            "pythia-70m",
            "pythia-160m",
            "pythia-410m",
            "pythia-1b",
            "pythia-1.4b",
            "pythia-2.8b",
            "pythia-6.9b",
            "pythia-12b",
            "pythia-70m-deduped",
            "pythia-160m-deduped",
            "pythia-410m-deduped",
            "pythia-1b-deduped",
            "pythia-1.4b-deduped",
            "pythia-2.8b-deduped",
            "pythia-6.9b-deduped",
            "pythia-12b-deduped",
        ],
    ),
    open(
        "facebook",
        "opt",
        &["opt-125m", "opt-1.3b", "opt-2.7b", "opt-6.7b", "opt-13b", "opt-30b", "opt-66b"],
    ),
    open("bigscience", "bloom", &["bloom-560m", "bloom-1b1", "bloom-1b7", "bloom-3b", "bloom-7b1"]),
    open(
        "NeelNanda",
        "transformer_lens",
        &[
            "Attn_Only_1L512W_C4_Code",
            "Attn_Only_2L512W_C4_Code",
            "Attn_Only_3L512W_C4_Code",
            "Attn_Only_4L512W_C4_Code",
            "Attn-Only-2L512W-Shortformer-6B-big-lr",
            "GELU_1L512W_C4_Code",
            "GELU_2L512W_C4_Code",
            "GELU_3L512W_C4_Code",
            "GELU_4L512W_C4_Code",
            "SoLU_1L512W_C4_Code",
            "SoLU_2L512W_C4_Code",
            "SoLU_3L512W_C4_Code",
            "SoLU_4L512W_C4_Code",
            "SoLU_6L768W_C4_Code",
            "SoLU_8L1024W_C4_Code",
            "SoLU_10L1280W_C4_Code",
            "SoLU_12L1536W_C4_Code",
        ],
    ),
    gated(
        "meta-llama",
        "llama",
        &[
            "Llama-2-7b-hf",
            "Llama-2-7b-chat-hf",
            "Llama-2-13b-hf",
            "Llama-2-13b-chat-hf",
            "Llama-2-70b-chat-hf",
            "Meta-Llama-3-8B",
            "Meta-Llama-3-8B-Instruct",
            "Meta-Llama-3-70B",
            "Meta-Llama-3-70B-Instruct",
            "Llama-3.1-8B",
            "Llama-3.1-8B-Instruct",
            "Llama-3.1-70B",
            "Llama-3.1-70B-Instruct",
            "Llama-3.2-1B",
            "Llama-3.2-1B-Instruct",
            "Llama-3.2-3B",
            "Llama-3.2-3B-Instruct",
            "Llama-3.3-70B-Instruct",
        ],
    ),
    open(
        "deepseek-ai",
        "llama",
        &["DeepSeek-R1-Distill-Llama-8B", "DeepSeek-R1-Distill-Llama-70B"],
    ),
    open("01-ai", "llama", &["Yi-6B", "Yi-6B-Chat", "Yi-34B", "Yi-34B-Chat"]),
    open(
        "codellama",
        "llama",
        &["CodeLlama-7b-hf", "CodeLlama-7b-Python-hf", "CodeLlama-7b-Instruct-hf"],
    ),
    open(
        "mistralai",
        "mistral",
        &[
            "Mistral-7B-v0.1",
            "Mistral-7B-Instruct-v0.1",
            "Mistral-Nemo-Base-2407",
            "Mistral-Small-24B-Base-2501",
        ],
    ),
    open("mistralai", "mixtral", &["Mixtral-8x7B-v0.1", "Mixtral-8x7B-Instruct-v0.1"]),
    gated("google", "gemma", &["gemma-2b", "gemma-2b-it", "gemma-7b", "gemma-7b-it"]),
    gated(
        "google",
        "gemma2",
        &[
            "gemma-2-2b",
            "gemma-2-2b-it",
            "gemma-2-9b",
            "gemma-2-9b-it",
            "gemma-2-27b",
            "gemma-2-27b-it",
        ],
    ),
    gated(
        "google",
        "gemma3_text",
        &["gemma-3-270m", "gemma-3-270m-it", "gemma-3-1b-pt", "gemma-3-1b-it"],
    ),
    gated(
        "google",
        "gemma3",
        &[
            "gemma-3-4b-pt",
            "gemma-3-4b-it",
            "gemma-3-12b-pt",
            "gemma-3-12b-it",
            "gemma-3-27b-pt",
            "gemma-3-27b-it",
            "medgemma-4b-pt",
            "medgemma-4b-it",
            "medgemma-27b-it",
        ],
    ),
    open(
        "Qwen",
        "qwen",
        &["Qwen-1_8B", "Qwen-1_8B-Chat", "Qwen-7B", "Qwen-7B-Chat", "Qwen-14B", "Qwen-14B-Chat"],
    ),
    open(
        "Qwen",
        "qwen2",
        &[
            "Qwen1.5-0.5B",
            "Qwen1.5-0.5B-Chat",
            "Qwen1.5-1.8B",
            "Qwen1.5-1.8B-Chat",
            "Qwen1.5-4B",
            "Qwen1.5-4B-Chat",
            "Qwen1.5-7B",
            "Qwen1.5-7B-Chat",
            "Qwen1.5-14B",
            "Qwen1.5-14B-Chat",
            "Qwen2-0.5B",
            "Qwen2-0.5B-Instruct",
            "Qwen2-1.5B",
            "Qwen2-1.5B-Instruct",
            "Qwen2-7B",
            "Qwen2-7B-Instruct",
            "Qwen2.5-0.5B",
            "Qwen2.5-0.5B-Instruct",
            "Qwen2.5-1.5B",
            "Qwen2.5-1.5B-Instruct",
            "Qwen2.5-3B",
            "Qwen2.5-3B-Instruct",
            "Qwen2.5-7B",
            "Qwen2.5-7B-Instruct",
            "Qwen2.5-14B",
            "Qwen2.5-14B-Instruct",
            "Qwen2.5-32B",
            "Qwen2.5-32B-Instruct",
            "Qwen2.5-72B",
            "Qwen2.5-72B-Instruct",
            "QwQ-32B-Preview",
        ],
    ),
    open(
        "Qwen",
        "qwen3",
        &[
            "Qwen3-0.6B",
            "Qwen3-0.6B-Base",
            "Qwen3-1.7B",
            "Qwen3-1.7B-Base",
            "Qwen3-4B",
            "Qwen3-4B-Base",
            "Qwen3-8B",
            "Qwen3-8B-Base",
            "Qwen3-14B",
            "Qwen3-14B-Base",
            "Qwen3-32B",
        ],
    ),
    open("Qwen", "qwen3_moe", &["Qwen3-30B-A3B", "Qwen3-30B-A3B-Base"]),
    open("Qwen", "qwen3_5", &["Qwen3.5-2B-Base", "Qwen3.5-9B-Base", "Qwen3.5-27B"]),
    open("Qwen", "qwen3_5_moe", &["Qwen3.5-35B-A3B-Base"]),
    open("microsoft", "phi", &["phi-1", "phi-1_5", "phi-2"]),
    open("microsoft", "phi3", &["Phi-3-mini-4k-instruct", "phi-4"]),
    open("allenai", "olmo", &["OLMo-1B-hf", "OLMo-7B-hf"]),
    open("allenai", "olmo2", &["OLMo-2-0425-1B", "OLMo-2-1124-7B"]),
    open(
        "allenai",
        "olmo3",
        &[
            "Olmo-3-1025-7B",
            "Olmo-3-1125-32B",
            "Olmo-3-7B-Instruct",
            "Olmo-3-7B-Think",
            "Olmo-3-32B-Think",
            "Olmo-3.1-32B-Instruct",
            "Olmo-3.1-32B-Think",
        ],
    ),
    open("allenai", "olmoe", &["OLMoE-1B-7B-0924"]),
    open("openai", "gpt_oss", &["gpt-oss-20b"]),
];

/// The more common of TransformerLens's names that are not the last part of the repository's.
const ALIASES: &[(&str, &str)] = &[
    ("gpt2-small", "gpt2"),
    ("gpt2-xs", "distilgpt2"),
    ("distillgpt2", "distilgpt2"),
    ("distill-gpt2", "distilgpt2"),
    ("distil-gpt2", "distilgpt2"),
    ("stanford-gpt2-small-a", "alias-gpt2-small-x21"),
    ("stanford-gpt2-small-b", "battlestar-gpt2-small-x49"),
    ("stanford-gpt2-small-c", "caprica-gpt2-small-x81"),
    ("stanford-gpt2-small-d", "darkmatter-gpt2-small-x343"),
    ("stanford-gpt2-small-e", "expanse-gpt2-small-x777"),
    ("stanford-gpt2-medium-a", "arwen-gpt2-medium-x21"),
    ("stanford-gpt2-medium-b", "beren-gpt2-medium-x49"),
    ("stanford-gpt2-medium-c", "celebrimbor-gpt2-medium-x81"),
    ("stanford-gpt2-medium-d", "durin-gpt2-medium-x343"),
    ("stanford-gpt2-medium-e", "eowyn-gpt2-medium-x777"),
    ("opt", "opt-125m"),
    ("opt-small", "opt-125m"),
    ("opt-medium", "opt-1.3b"),
    ("opt-large", "opt-2.7b"),
    ("opt-xl", "opt-6.7b"),
    ("opt-xxl", "opt-13b"),
    ("opt-xxxl", "opt-30b"),
    ("opt-xxxxl", "opt-66b"),
    ("neo", "gpt-neo-125m"),
    ("neo-small", "gpt-neo-125m"),
    ("neo-medium", "gpt-neo-1.3b"),
    ("neo-large", "gpt-neo-2.7b"),
    ("gpt-neo-small", "gpt-neo-125m"),
    ("gpt-neo-medium", "gpt-neo-1.3b"),
    ("gpt-neo-large", "gpt-neo-2.7b"),
    ("tiny-stories-1m", "tinystories-1m"),
    ("tiny-stories-3m", "tinystories-3m"),
    ("tiny-stories-8m", "tinystories-8m"),
    ("tiny-stories-28m", "tinystories-28m"),
    ("tiny-stories-33m", "tinystories-33m"),
    ("tiny-stories-1l-21m", "tinystories-1layer-21m"),
    ("tiny-stories-2l-33m", "tinystories-2layers-33m"),
    ("gpt-j", "gpt-j-6b"),
    ("gptj", "gpt-j-6b"),
    ("gpt-neox", "gpt-neox-20b"),
    ("neox", "gpt-neox-20b"),
    ("pythia", "pythia-70m"),
    ("attn-only-1l", "attn_only_1l512w_c4_code"),
    ("attn-only-2l", "attn_only_2l512w_c4_code"),
    ("attn-only-3l", "attn_only_3l512w_c4_code"),
    ("attn-only-4l", "attn_only_4l512w_c4_code"),
    ("attn-only-2l-demo", "attn-only-2l512w-shortformer-6b-big-lr"),
    ("gelu-1l", "gelu_1l512w_c4_code"),
    ("gelu-2l", "gelu_2l512w_c4_code"),
    ("gelu-3l", "gelu_3l512w_c4_code"),
    ("gelu-4l", "gelu_4l512w_c4_code"),
    ("solu-1l", "solu_1l512w_c4_code"),
    ("solu-2l", "solu_2l512w_c4_code"),
    ("solu-3l", "solu_3l512w_c4_code"),
    ("solu-4l", "solu_4l512w_c4_code"),
    ("solu-6l", "solu_6l768w_c4_code"),
    ("solu-8l", "solu_8l1024w_c4_code"),
    ("solu-10l", "solu_10l1280w_c4_code"),
    ("solu-12l", "solu_12l1536w_c4_code"),
    ("llama-2-7b", "llama-2-7b-hf"),
    ("llama-2-7b-chat", "llama-2-7b-chat-hf"),
    ("llama-2-13b", "llama-2-13b-hf"),
    ("llama-2-13b-chat", "llama-2-13b-chat-hf"),
    ("llama-2-70b-chat", "llama-2-70b-chat-hf"),
    ("mistral-7b", "mistral-7b-v0.1"),
    ("mistral-7b-instruct", "mistral-7b-instruct-v0.1"),
    ("mixtral", "mixtral-8x7b-v0.1"),
    ("qwen-1.8b", "qwen-1_8b"),
    ("phi-3", "phi-3-mini-4k-instruct"),
    ("olmo-1b", "olmo-1b-hf"),
    ("olmo-7b", "olmo-7b-hf"),
    ("olmo-2-1b", "olmo-2-0425-1b"),
    ("olmo-2-7b", "olmo-2-1124-7b"),
    ("gpt-oss", "gpt-oss-20b"),
];

impl KnownModel {
    /// The model `name`: one of TransformerLens's names (`gpt2-small`), the last part of a
    /// repository's (`gemma-2-2b`), or `owner/name`, in upper or lower case. `None` for all others.
    pub fn find(name: &str) -> Option<Self> {
        let folded = name.to_lowercase();
        let (owner, last) =
            folded.split_once('/').map_or((None, &*folded), |(owner, last)| (Some(owner), last));
        let alias = ALIASES.iter().find(|(alias, _)| owner.is_none() && *alias == last);
        let last = alias.map_or(last, |(_, target)| target);
        let groups = GROUPS
            .iter()
            .filter(|group| owner.is_none_or(|owner| group.owner.eq_ignore_ascii_case(owner)));
        let mut found = groups.filter_map(|group| {
            let own = group.names.iter().find(|own| own.eq_ignore_ascii_case(last))?;
            Some(Self {
                repository: format!("{}/{own}", group.owner),
                model_type: group.model_type,
                is_gated: group.is_gated,
            })
        });
        found.next()
    }

    /// Every name that [`KnownModel::find`] takes without an owner.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        let last = GROUPS.iter().flat_map(|group| group.names.iter().copied());
        ALIASES.iter().map(|(alias, _)| *alias).chain(last)
    }

    /// Its repository, `owner/name`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The `model_type` of its `config.json`; `bilinear` and `transformer_lens` where these have
    /// none.
    pub fn model_type(&self) -> &'static str {
        self.model_type
    }

    /// Whether it loads.
    pub fn support(&self) -> ModelSupport {
        match (why_refused(self.model_type), self.is_gated) {
            (Some(reason), _) => ModelSupport::Refused(reason),
            (None, true) => ModelSupport::Gated,
            (None, false) => ModelSupport::Loads,
        }
    }
}

impl ModelSupport {
    /// Whether [`Decoder`](super::Decoder) reads its family, gated or not.
    pub fn loads(&self) -> bool {
        matches!(self, Self::Loads | Self::Gated)
    }

    /// A word or two: without the reason.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Loads => "loads",
            Self::Gated => "loads (gated)",
            Self::Refused(_) => "refused",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the model's name is known.
    pub fn is_known(&self) -> bool {
        *self != Self::Unknown
    }
}

impl fmt::Display for ModelSupport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())?;
        match self {
            Self::Refused(reason) => write!(f, ": {reason}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_transformer_lens_lead_to_repositories() {
        for (name, repository) in [
            ("gpt2-small", "openai-community/gpt2"),
            ("gpt2", "openai-community/gpt2"),
            ("gemma-2-2b", "google/gemma-2-2b"),
            ("pythia-70m-deduped", "EleutherAI/pythia-70m-deduped"),
            ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
            ("google/gemma-3-1b-pt", "google/gemma-3-1b-pt"),
            ("qwen3-0.6b", "Qwen/Qwen3-0.6B"),
            ("Qwen/Qwen3-8B-Base", "Qwen/Qwen3-8B-Base"),
            ("mistral-7b", "mistralai/Mistral-7B-v0.1"),
            ("gelu-1l", "NeelNanda/GELU_1L512W_C4_Code"),
            ("stanford-gpt2-small-c", "stanford-crfm/caprica-gpt2-small-x81"),
            ("stanford-gpt2-medium-e", "stanford-crfm/eowyn-gpt2-medium-x777"),
            ("opt", "facebook/opt-125m"),
            ("opt-xxl", "facebook/opt-13b"),
            ("neo-medium", "EleutherAI/gpt-neo-1.3B"),
            ("gptj", "EleutherAI/gpt-j-6b"),
            ("neox", "EleutherAI/gpt-neox-20b"),
            ("distil-gpt2", "distilbert/distilgpt2"),
        ] {
            assert_eq!(KnownModel::find(name).unwrap().repository(), repository);
        }
        for name in ["", "my-model", "someone/gpt2-small", "google/gpt2", "gpt2@main", "a/b/c"] {
            assert_eq!(KnownModel::find(name), None, "{name}");
        }
    }

    #[test]
    fn every_name_stands_for_one_model() {
        let mut names: Vec<String> = KnownModel::names().map(str::to_lowercase).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in names {
            assert!(KnownModel::find(&name).is_some(), "{name}");
        }
    }

    #[test]
    fn support_follows_from_the_families() {
        let support = |name: &str| KnownModel::find(name).unwrap().support();
        assert_eq!(support("gpt2-small"), ModelSupport::Loads);
        assert_eq!(support("gemma-2-2b"), ModelSupport::Gated);
        assert!(support("gelu-1l").loads() && support("eigenlens/classics").loads());
        let reason = why_refused("t5").unwrap();
        assert!(reason.contains("encoder with a decoder"), "{reason}");
        assert!(why_refused("x").unwrap().contains("`model_type` x is none"));
        for group in GROUPS {
            let support = support(group.names[0]);
            assert_eq!(support.loads(), why_refused(group.model_type).is_none());
            assert_eq!(support == ModelSupport::Gated, support.loads() && group.is_gated);
        }
    }
}

//! Repositories that hold something else than a checkpoint of a family: named for what they are.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::CONFIG;
use crate::hub::Repository;
use crate::{Error, Result};

const ADAPTER: &str = "adapter_config.json";

/// What to load where weights are quantised.
pub(super) const UNQUANTISED: &str = "Load the repository that was quantised, with its weights in 16 or 32 bits, or a GGUF file of \
     the model (Decoder::from_gguf)";

/// Kinds of models that no family here is, by what their `model_type` begins with; the longest
/// beginning counts.
const KINDS: &[(&str, &str)] = &[
    ("albert", ENCODER),
    ("bamba", STATE_SPACE),
    ("bart", ENCODER_DECODER),
    ("bert", ENCODER),
    ("big_bird", ENCODER),
    ("blenderbot", ENCODER_DECODER),
    ("blip", WITH_IMAGES),
    ("camembert", ENCODER),
    ("clip", WITH_IMAGES),
    ("dbrx", EXPERTS),
    ("deberta", ENCODER),
    ("deepseek_v2", EXPERTS),
    ("deepseek_v3", EXPERTS),
    ("distilbert", ENCODER),
    ("dots1", EXPERTS),
    ("electra", ENCODER),
    ("encoder-decoder", ENCODER_DECODER),
    ("ernie4_5_moe", EXPERTS),
    ("esm", ENCODER),
    ("falcon_h1", STATE_SPACE),
    ("falcon_mamba", STATE_SPACE),
    ("gemma3n", PER_LAYER),
    ("gemma4", PER_LAYER),
    ("glm4_moe", EXPERTS),
    ("gpt_oss", SINKS),
    ("granitemoe", EXPERTS),
    ("granitemoehybrid", HYBRID),
    ("idefics", WITH_IMAGES),
    ("internvl", WITH_IMAGES),
    ("jamba", STATE_SPACE),
    ("kimi_linear", DELTA_NETS),
    ("led", ENCODER_DECODER),
    ("llama4", EXPERTS),
    ("llava", WITH_IMAGES),
    ("longformer", ENCODER),
    ("longt5", ENCODER_DECODER),
    ("m2m_100", ENCODER_DECODER),
    ("mamba", STATE_SPACE),
    ("marian", ENCODER_DECODER),
    ("mbart", ENCODER_DECODER),
    ("minimax", EXPERTS),
    ("mistral3", WITH_IMAGES),
    ("mixtral", EXPERTS),
    ("mllama", WITH_IMAGES),
    ("modernbert", ENCODER),
    ("mpnet", ENCODER),
    ("mt5", ENCODER_DECODER),
    ("nemotron_h", STATE_SPACE),
    ("nomic_bert", ENCODER),
    ("olmo_hybrid", DELTA_NETS),
    ("olmoe", EXPERTS),
    ("paligemma", WITH_IMAGES),
    ("pegasus", ENCODER_DECODER),
    ("phi3_v", WITH_IMAGES),
    ("phi4_multimodal", WITH_IMAGES),
    ("phi4mm", WITH_IMAGES),
    ("phimoe", EXPERTS),
    ("prophetnet", ENCODER_DECODER),
    ("qwen2_5_vl", WITH_IMAGES),
    ("qwen2_moe", EXPERTS),
    ("qwen2_vl", WITH_IMAGES),
    ("qwen3_5", DELTA_NETS),
    ("qwen3_moe", EXPERTS),
    ("qwen3_next", DELTA_NETS),
    ("qwen3_omni", WITH_IMAGES),
    ("qwen3_vl", WITH_IMAGES),
    ("recurrent_gemma", STATE_SPACE),
    ("roberta", ENCODER),
    ("rwkv", STATE_SPACE),
    ("siglip", WITH_IMAGES),
    ("switch_transformers", ENCODER_DECODER),
    ("t5", ENCODER_DECODER),
    ("umt5", ENCODER_DECODER),
    ("vit", WITH_IMAGES),
    ("whisper", ENCODER_DECODER),
    ("xlm-roberta", ENCODER),
    ("xlnet", ENCODER),
    ("zamba", STATE_SPACE),
];

const ENCODER: &str = "an encoder, which fills in masked tokens; only decoders are read here";
pub(super) const ENCODER_DECODER: &str =
    "an encoder with a decoder; only models that are a decoder alone are read here";
const EXPERTS: &str = "a mixture of experts, whose MLPs are not those of a family here: it would \
     need a router and several MLPs in a layer";
const SINKS: &str = "a mixture of experts whose attention has sinks: it would need a learned score \
     beside those of the keys in each head, a router, and several MLPs in a layer";
const DELTA_NETS: &str = "a model most of whose layers are gated delta nets, which are no attention: \
     it would need their recurrence";
const PER_LAYER: &str = "a model with embeddings of its tokens in every layer: it would need these, and \
     keys and values that layers share";
const HYBRID: &str = "a family whose layers may be attention or a state space model, with or without \
                      experts, as each file says; none of its files is read";
const STATE_SPACE: &str = "a recurrent or state space model, whose layers are not attention";
const WITH_IMAGES: &str = "a model of images or of text with images";

/// What a model of this type is, if it is known to be of another kind than the families here.
pub(super) fn kind_of(model_type: &str) -> Option<&'static str> {
    let known = KINDS.iter().filter(|(name, _)| model_type.starts_with(name));
    known.max_by_key(|(name, _)| name.len()).map(|(_, kind)| *kind)
}

/// Whether nothing was there, rather than something that could not be read.
pub(super) fn is_missing(reason: &Error) -> bool {
    match reason {
        Error::NotFound { .. } => true,
        Error::Io { source, .. } => {
            [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&source.kind())
        }
        _ => false,
    }
}

/// The reason why a file could not be read, if it is that there is none and the repository is no
/// adapter either.
///
/// # Errors
/// The error to be reported in all other cases.
fn unexplained(repository: &Repository, reason: Error) -> Result<Error> {
    if !is_missing(&reason) {
        return Err(reason);
    }
    match adapter(repository) {
        Ok(Some(error)) => Err(error),
        Err(stopped @ Error::Interrupted { .. }) => Err(stopped),
        _ => Ok(reason),
    }
}

/// The error for a repository without a `config.json`: what it is, if that can be told, and else the
/// reason why the file could not be read.
pub(super) fn without_config(repository: &Repository, reason: Error) -> Error {
    let reason = match unexplained(repository, reason) {
        Ok(reason) => reason,
        Err(explained) => return explained,
    };
    let files = listing(repository);
    let place = repository.name();
    let has = |test: &dyn Fn(&str) -> bool| files.iter().find(|name| test(name));
    let hint = if let Some(file) = has(&|name| ends_with(name, ".gguf")) {
        format!("It holds GGUF files; load one by its own path: {place}/{file}.")
    } else if has(&|name| name == "params.json" || name.starts_with("consolidated.")).is_some() {
        "It is in the format of Meta's or Mistral's own releases: load the version for \
         transformers, or convert it with transformers' convert script."
            .to_owned()
    } else if has(&|name| name == "model_index.json").is_some() {
        "It holds an image pipeline of diffusers, which is no language model.".to_owned()
    } else if let Some(inner) = inner_folder(repository, &files) {
        format!("Its folder {inner} has one: load {place}/{inner}.")
    } else {
        return reason;
    };
    Error::NotFound { what: format!("{CONFIG} in {place}"), hint }
}

/// The error for a repository without weights that are read here, with what it has instead.
pub(super) fn without_weights(repository: &Repository, reason: Error) -> Error {
    if let Err(explained) = unexplained(repository, reason) {
        return explained;
    }
    let files = listing(repository);
    let has = |test: &dyn Fn(&str) -> bool| files.iter().find(|name| test(name));
    let from = |what: &str, option: &str| {
        format!(
            " It has weights for {what}: convert them in Python with \
             AutoModelForCausalLM.from_pretrained(folder, {option}).save_pretrained(folder)."
        )
    };
    let found = if let Some(part) = has(&is_part) {
        format!(
            " {part} is a part of split weights, whose index (model.safetensors.index.json or \
             pytorch_model.bin.index.json) is missing: fetch the whole repository."
        )
    } else if has(&|name| name == "tf_model.h5" || ends_with(name, ".h5")).is_some() {
        from("TensorFlow", "from_tf=True")
    } else if has(&|name| ends_with(name, ".msgpack")).is_some() {
        from("Flax", "from_flax=True")
    } else if let Some(file) = has(&|name| ends_with(name, ".gguf")) {
        format!(" It has {file}: load that by its own path with Decoder::from_gguf.")
    } else if let Some(file) = has(&|name| name.starts_with("consolidated.")) {
        format!(" It has {file}, the format of Meta's or Mistral's own releases.")
    } else if let Some(file) = has(&|name| ends_with(name, ".safetensors")) {
        format!(" It has {file}: if that is the whole model, rename it to model.safetensors.")
    } else if let Some(file) =
        has(&|name| [".bin", ".pt", ".pth"].iter().any(|end| ends_with(name, end)))
    {
        format!(" It has {file}: if that is the whole model, rename it to pytorch_model.bin.")
    } else if let Some(file) = has(&|name| ends_with(name, ".onnx") || ends_with(name, ".ot")) {
        format!(" It has {file}, a format that is not read here.")
    } else {
        String::new()
    };
    Error::NotFound {
        what: format!("the weights of {}", repository.name()),
        hint: format!(
            "Looked for model.safetensors and pytorch_model.bin, whole or split with an index.{found}"
        ),
    }
}

/// The error for an adapter without a model, if the repository is one.
fn adapter(repository: &Repository) -> Result<Option<Error>> {
    let Some(content) = repository.read_if(ADAPTER)? else { return Ok(None) };
    let settings: Value = serde_json::from_slice(&content.bytes).unwrap_or_default();
    let text =
        |name: &str| settings.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let kind = text("peft_type").unwrap_or("PEFT");
    let base = match text("base_model_name_or_path") {
        Some(base) => format!("the model {base}"),
        None => "a model that it does not name".to_owned(),
    };
    let found = format!(
        "an adapter ({kind}) for {base}. Merge them in Python: \
         AutoPeftModelForCausalLM.from_pretrained(adapter).merge_and_unload().save_pretrained(folder), \
         and load that folder"
    );
    Ok(Some(Error::format(&content.path, "a model", found)))
}

/// The names in a folder of this machine, sorted; none for other repositories, whose files are not
/// listed.
fn listing(repository: &Repository) -> Vec<String> {
    let entries = fs::read_dir(repository.name()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort_unstable();
    names
}

/// A folder inside that has a `config.json`: a training run's last checkpoint, a cache's snapshot.
fn inner_folder(repository: &Repository, files: &[String]) -> Option<String> {
    let place = Path::new(repository.name());
    let holds = |folder: &str| place.join(folder).join(CONFIG).is_file();
    let number = |name: &str| name.rsplit('-').next().and_then(|end| end.parse::<u64>().ok());
    let inner = files.iter().filter(|name| holds(name)).max_by_key(|name| number(name));
    if let Some(inner) = inner {
        return Some(inner.clone());
    }
    let snapshots = fs::read_dir(place.join("snapshots")).into_iter().flatten().flatten();
    let names = snapshots.filter_map(|entry| entry.file_name().into_string().ok());
    names.map(|name| format!("snapshots/{name}")).find(|name| holds(name))
}

/// Whether a name is that of one of several files of weights: `model-00001-of-00003.safetensors`.
fn is_part(name: &str) -> bool {
    let stem = name.strip_suffix(".safetensors").or_else(|| name.strip_suffix(".bin"));
    let count = stem.and_then(|stem| stem.rsplit_once("-of-")).map(|(_, count)| count);
    count.is_some_and(|count| !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit()))
}

fn ends_with(name: &str, end: &str) -> bool {
    name.to_ascii_lowercase().ends_with(end) && !NOT_WEIGHTS.contains(&name)
}

/// Files of a training run that end as weights do.
const NOT_WEIGHTS: [&str; 4] =
    ["training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt"];

//! Families of checkpoints: how each spells its sizes in `config.json`, and what it calls the
//! weights.

mod bilinear;
mod foreign;
mod gemma2;
mod gguf_llama;
mod gguf_metadata;
mod gpt2;
mod gpt_neox;
mod inert;
pub(super) mod llama;
mod rotary;
mod shared;
#[cfg(test)]
mod tests;
mod weights;

use candle_core::{DType, Device, Tensor, Var};
use serde_json::Value;

use super::origin::ModelOrigin;
use super::parameters::Parameters;
use super::{Config, Decoder};
use crate::hub::Repository;
use crate::store::{Document, UnknownFields};
use crate::{Error, Result};

use foreign::{ENCODER_DECODER, kind_of, without_config};
pub(crate) use gguf_llama::GgufLlama;
use inert::changes_nothing;
use weights::Weights;

pub(super) const CONFIG: &str = "config.json";

/// What a user calls to go on without fields that are not known.
const LOADER: &str = "`DecoderLoader::new().allow_unknown_fields().load(…)`";

/// A layout of checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ModelFamily {
    Bilinear,
    Gpt2,
    GptNeox,
    Llama(llama::LlamaMember),
    Gemma2,
}

/// `model_type`, `architectures`, and the family.
const FAMILIES: [(&str, &str, ModelFamily); 6] = [
    ("gpt2", "GPT2LMHeadModel", ModelFamily::Gpt2),
    ("gpt_neox", "GPTNeoXForCausalLM", ModelFamily::GptNeox),
    ("llama", "LlamaForCausalLM", ModelFamily::Llama(llama::LlamaMember::Llama)),
    ("mistral", "MistralForCausalLM", ModelFamily::Llama(llama::LlamaMember::Mistral)),
    ("qwen2", "Qwen2ForCausalLM", ModelFamily::Llama(llama::LlamaMember::Qwen2)),
    ("gemma2", "Gemma2ForCausalLM", ModelFamily::Gemma2),
];

impl ModelFamily {
    fn of(document: &Document) -> Result<Self> {
        // Only the bilinear transformers say whether they are.
        if document.get("bilinear").is_some() {
            return Ok(Self::Bilinear);
        }
        let text =
            |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let refused = |field: &str, found: &str, kind: Option<&str>| {
            let names = FAMILIES.map(|(name, ..)| name).join(", ");
            let expected = format!(
                "one of {names} in `{field}`, or a bilinear transformer (a llama under another name: \
                 Decoder::from_llama_tensors)"
            );
            let kind = kind.map_or(String::new(), |kind| format!(": {kind}"));
            Error::format(document.path(), expected, format!("{found}{kind}"))
        };
        if document.get("is_encoder_decoder") == Some(&Value::Bool(true)) {
            let name = document.get("model_type").and_then(text);
            let name = name.unwrap_or_else(|| "`is_encoder_decoder`: true".to_owned());
            return Err(refused("model_type", &name, Some(ENCODER_DECODER)));
        }
        if let Some(name) = document.get("model_type").and_then(text) {
            let found = FAMILIES.iter().find(|(own, ..)| *own == name);
            let family = found.map(|(.., family)| *family);
            return family.ok_or_else(|| refused("model_type", &name, kind_of(&name)));
        }
        match document.get("architectures").and_then(|value| text(value.get(0)?)) {
            // The published bilinear transformers call themselves so.
            None => Ok(Self::Bilinear),
            Some(name) if name == "Transformer" => Ok(Self::Bilinear),
            Some(name) => {
                let found = FAMILIES.iter().find(|(_, own, _)| *own == name);
                found.map(|(.., family)| *family).ok_or_else(|| {
                    let names = FAMILIES.map(|(_, name, _)| name).join(", ");
                    let expected = format!("one of {names} in `architectures`");
                    Error::format(document.path(), expected, name)
                })
            }
        }
    }

    fn config(self, document: &mut Document) -> Result<Config> {
        match self {
            Self::Bilinear => bilinear::config(document),
            Self::Gpt2 => gpt2::config(document),
            Self::GptNeox => gpt_neox::config(document),
            Self::Llama(kind) => llama::config(document, kind),
            Self::Gemma2 => gemma2::config(document),
        }
    }

    fn parameters(self, config: &Config, weights: &mut Weights) -> Result<Parameters> {
        match self {
            Self::Bilinear => bilinear::parameters(config, weights),
            Self::Gpt2 => gpt2::parameters(config, weights),
            Self::GptNeox => gpt_neox::parameters(config, weights),
            Self::Llama(_) => llama::load(config, weights),
            Self::Gemma2 => gemma2::parameters(config, weights),
        }
    }
}

/// The model of a repository, its weights in `dtype`.
pub(super) fn load(
    repository: &Repository,
    device: &Device,
    dtype: DType,
    unknown: UnknownFields,
) -> Result<Decoder> {
    let content = repository.read(CONFIG).map_err(|reason| without_config(repository, reason))?;
    let mut document = Document::parse(&content.path, &content.bytes)?;
    // All that can be told from these few bytes is told before weights are fetched.
    let family = ModelFamily::of(&document)?;
    shared::check_precision(&mut document)?;
    let tokenizer_name = document.get("tokenizer").and_then(|name| Some(name.as_str()?.to_owned()));
    let mut config = family.config(&mut document)?;
    let mut notes = shared::notes(&document);
    let ignored = document.finish(|name| changes_nothing(family, name), unknown, LOADER)?;
    notes.extend(ignored_note(CONFIG, &ignored));
    let mut weights = Weights::open(repository, device, dtype)?;
    if family == ModelFamily::Bilinear {
        config.vocab = bilinear::vocab(&weights);
    }
    config.check().map_err(|reason| {
        Error::format(&content.path, "the sizes of a transformer", reason.to_string())
            .caused_by(reason)
    })?;
    let parameters = family.parameters(&config, &mut weights)?;
    let source = weights.source().clone();
    weights.finish(&format!("only the tensors that {CONFIG} speaks of"))?;
    let origin = ModelOrigin {
        source,
        repository: Some(repository.clone()),
        tokenizer_name,
        notes,
        ..ModelOrigin::default()
    };
    Ok(Decoder::from_parameters(config, parameters, device, origin))
}

/// `config.json` of a model, and its weights under the names of files.
///
/// # Errors
/// A model that neither the bilinear transformers nor the Llama family have words for.
pub(super) fn written(
    config: &Config,
    parameters: &Parameters,
) -> Result<(Value, Vec<(String, Tensor)>)> {
    if let Some(fields) = bilinear::fields(config) {
        let named = parameters.named().into_iter();
        return Ok((fields, named.map(|(name, var)| (name, var.as_detached_tensor())).collect()));
    }
    let Some(fields) = llama::fields(config) else {
        let expected = "as in the published bilinear transformers, or as in Llama, Mistral (a \
                        window in all layers) or Qwen-2 (windows of one size in some layers): only \
                        these formats are written";
        return Err(Error::invalid("the model to be saved", expected, "one of another kind"));
    };
    Ok((fields, llama::tensors(config, parameters)?))
}

/// A note on fields of a file that were ignored because the user allowed it.
pub(super) fn ignored_note(file: &str, fields: &[String]) -> Option<String> {
    let fields = (!fields.is_empty()).then(|| fields.join(", "))?;
    Some(format!("fields of {file} whose meaning is not known were ignored, as allowed: {fields}"))
}

/// The unembedding, or what a tied model has in its place: nothing, or the embedding once more.
fn check_tied(
    name: &str,
    config: &Config,
    parameters: &Parameters,
    weights: &mut Weights,
) -> Result<()> {
    if !config.tied || weights.shape(name).is_none() {
        return Ok(());
    }
    let own = weights.take(name, &[config.vocab, config.d_model])?;
    let gap = (own - parameters.embed.as_detached_tensor())?.abs()?.max_all()?;
    if gap.to_dtype(DType::F64)?.to_scalar::<f64>()? == 0.0 {
        return Ok(());
    }
    let expected = format!("`{name}` equal to the embedding, as {CONFIG} ties them");
    Err(weights.unusable(&expected, "another matrix"))
}

fn var(tensor: &Tensor) -> Result<Var> {
    Ok(Var::from_tensor(tensor)?)
}

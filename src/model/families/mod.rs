//! Families of checkpoints: how each spells its sizes in `config.json`, and what it calls the
//! weights.

mod bilinear;
mod foreign;
mod gemma2;
mod gemma3;
mod gguf;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod inert;
pub(super) mod llama;
mod llama_saved;
mod olmo;
mod opt;
mod phi3;
mod rope_places;
mod rotary;
mod shared;
mod starcoder2;
#[cfg(test)]
mod tests;
mod transformer_lens;
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
pub(crate) use gguf::GgufModel;
use inert::changes_nothing;
use llama::LlamaMember;
use olmo::OlmoMember;
use weights::Weights;

pub(super) const CONFIG: &str = "config.json";

/// Rows of a tied unembedding that are compared at a time.
const TIED_ROWS: usize = 8_192;

/// What a user calls to go on without fields that are not known.
const LOADER: &str = "`DecoderLoader::new().allow_unknown_fields().load(…)`";

/// A layout of checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ModelFamily {
    Bilinear,
    Gpt2,
    GptNeo,
    GptNeox,
    Opt,
    Starcoder2,
    Llama(LlamaMember),
    Phi3,
    Olmo(OlmoMember),
    Gemma2,
    /// Of text alone.
    Gemma3Text,
    /// Of text and images, of which text is read.
    Gemma3,
    /// TransformerLens's own, whose configs have no `model_type`.
    TransformerLens,
}

/// `model_type`, `architectures`, and the family.
const FAMILIES: [(&str, &str, ModelFamily); 17] = [
    ("gpt2", "GPT2LMHeadModel", ModelFamily::Gpt2),
    ("gpt_neo", "GPTNeoForCausalLM", ModelFamily::GptNeo),
    ("gpt_neox", "GPTNeoXForCausalLM", ModelFamily::GptNeox),
    ("opt", "OPTForCausalLM", ModelFamily::Opt),
    ("starcoder2", "Starcoder2ForCausalLM", ModelFamily::Starcoder2),
    ("llama", "LlamaForCausalLM", ModelFamily::Llama(LlamaMember::Llama)),
    ("mistral", "MistralForCausalLM", ModelFamily::Llama(LlamaMember::Mistral)),
    ("qwen2", "Qwen2ForCausalLM", ModelFamily::Llama(LlamaMember::Qwen2)),
    ("qwen3", "Qwen3ForCausalLM", ModelFamily::Llama(LlamaMember::Qwen3)),
    ("smollm3", "SmolLM3ForCausalLM", ModelFamily::Llama(LlamaMember::SmolLm3)),
    ("granite", "GraniteForCausalLM", ModelFamily::Llama(LlamaMember::Granite)),
    ("phi3", "Phi3ForCausalLM", ModelFamily::Phi3),
    ("olmo2", "Olmo2ForCausalLM", ModelFamily::Olmo(OlmoMember::Olmo2)),
    ("olmo3", "Olmo3ForCausalLM", ModelFamily::Olmo(OlmoMember::Olmo3)),
    ("gemma2", "Gemma2ForCausalLM", ModelFamily::Gemma2),
    ("gemma3_text", "Gemma3ForCausalLM", ModelFamily::Gemma3Text),
    ("gemma3", "Gemma3ForConditionalGeneration", ModelFamily::Gemma3),
];

/// Fields of TransformerLens's own configs that together no other has.
const OF_TRANSFORMER_LENS: [&str; 4] = ["d_model", "n_layers", "n_heads", "d_head"];

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
        if OF_TRANSFORMER_LENS.iter().all(|name| document.get(name).is_some()) {
            return Ok(Self::TransformerLens);
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
            Self::GptNeo => gpt_neo::config(document),
            Self::GptNeox => gpt_neox::config(document),
            Self::Opt => opt::config(document),
            Self::Starcoder2 => starcoder2::config(document),
            Self::Llama(member) => llama::config(document, member),
            Self::Phi3 => phi3::config(document),
            Self::Olmo(member) => olmo::config(document, member),
            Self::Gemma2 => gemma2::config(document),
            Self::Gemma3Text => gemma3::config(document),
            Self::Gemma3 => gemma3::config_with_images(document),
            Self::TransformerLens => transformer_lens::config(document),
        }
    }

    /// The config with what only the weights tell.
    fn completed(self, config: Config, weights: &Weights) -> Config {
        match self {
            Self::Bilinear => Config { vocab: bilinear::vocab(weights), ..config },
            Self::TransformerLens => {
                Config { unembed_bias: transformer_lens::has_unembed_bias(weights), ..config }
            }
            _ => config,
        }
    }

    /// What a user should know of how a config is read.
    fn note(self, document: &Document) -> Option<String> {
        match self {
            Self::Gemma3 => Some(gemma3::note()),
            Self::Olmo(OlmoMember::Olmo3) => olmo::note(document),
            _ => None,
        }
    }

    fn parameters(self, config: &Config, weights: &mut Weights) -> Result<Parameters> {
        match self {
            Self::Bilinear => bilinear::parameters(config, weights),
            Self::Gpt2 => gpt2::parameters(config, weights),
            Self::GptNeo => gpt_neo::parameters(config, weights),
            Self::GptNeox => gpt_neox::parameters(config, weights),
            Self::Opt => opt::parameters(config, weights),
            Self::Starcoder2 => starcoder2::parameters(config, weights),
            Self::Llama(_) | Self::Olmo(_) | Self::Gemma2 => llama::load(config, weights),
            Self::Phi3 => phi3::parameters(config, weights),
            Self::Gemma3Text => gemma3::parameters(config, weights),
            Self::Gemma3 => gemma3::parameters_with_images(config, weights),
            Self::TransformerLens => transformer_lens::parameters(config, weights),
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
    let tokenizer_field = match family {
        ModelFamily::TransformerLens => "tokenizer_name",
        _ => "tokenizer",
    };
    let tokenizer_name =
        document.get(tokenizer_field).and_then(|name| Some(name.as_str()?.to_owned()));
    let config = family.config(&mut document)?;
    let mut notes = shared::notes(&document);
    notes.extend(family.note(&document));
    let ignored = document.finish(|name| changes_nothing(family, name), unknown, LOADER)?;
    notes.extend(ignored_note(CONFIG, &ignored));
    let mut weights = Weights::open(repository, device, dtype)?;
    let config = family.completed(config, &weights);
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
    let Some(fields) = llama_saved::fields(config) else {
        let expected = "as in the published bilinear transformers, or as in Llama, Mistral (a \
                        window in all layers), Qwen-2 (windows of one size in some layers), Qwen 3 \
                        (norms of each head's queries and keys), SmolLM 3 (layers that do not turn) \
                        or Granite (scales): only these formats are written";
        return Err(Error::invalid("the model to be saved", expected, "one of another kind"));
    };
    Ok((fields, llama_saved::tensors(config, parameters)?))
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
    let embed = parameters.embed.as_detached_tensor();
    for start in (0..config.vocab).step_by(TIED_ROWS) {
        let rows = TIED_ROWS.min(config.vocab - start);
        let gap = (own.narrow(0, start, rows)? - embed.narrow(0, start, rows)?)?;
        let gap = gap.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if gap != 0.0 {
            let expected = format!("`{name}` equal to the embedding, as {CONFIG} ties them");
            return Err(weights.unusable(&expected, "another matrix"));
        }
    }
    Ok(())
}

fn var(tensor: &Tensor) -> Result<Var> {
    Ok(Var::from_tensor(tensor)?)
}

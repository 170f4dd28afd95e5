//! Families of checkpoints: how each spells its sizes in `config.json`, and what it calls the
//! weights.

mod bilinear;
mod fields;
mod gemma2;
mod gpt2;
mod gpt_neox;
pub(super) mod llama;
#[cfg(test)]
mod tests;
mod weights;

use candle_core::{DType, Device, Var};
use serde_json::Value;

use super::parameters::Parameters;
use super::text::Origin;
use super::{Config, Decoder};
use crate::hub::Repository;
use crate::{Error, Result};

pub(super) use bilinear::fields as bilinear_fields;
use fields::Fields;
use weights::Weights;

pub(super) const CONFIG: &str = "config.json";

/// A layout of checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Bilinear,
    Gpt2,
    GptNeox,
    Llama(llama::Kind),
    Gemma2,
}

/// `model_type`, `architectures`, and the family.
const FAMILIES: [(&str, &str, Family); 6] = [
    ("gpt2", "GPT2LMHeadModel", Family::Gpt2),
    ("gpt_neox", "GPTNeoXForCausalLM", Family::GptNeox),
    ("llama", "LlamaForCausalLM", Family::Llama(llama::Kind::Llama)),
    ("mistral", "MistralForCausalLM", Family::Llama(llama::Kind::Mistral)),
    ("qwen2", "Qwen2ForCausalLM", Family::Llama(llama::Kind::Qwen2)),
    ("gemma2", "Gemma2ForCausalLM", Family::Gemma2),
];

impl Family {
    fn of(fields: &Fields<'_>) -> Result<Self> {
        // Only the bilinear transformers say whether they are.
        if fields.peek("bilinear").is_some() {
            return Ok(Self::Bilinear);
        }
        let text =
            |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        if let Some(name) = fields.peek("model_type").and_then(text) {
            let found = FAMILIES.iter().find(|(own, ..)| *own == name);
            return found.map(|(.., family)| *family).ok_or_else(|| {
                let names = FAMILIES.map(|(name, ..)| name).join(", ");
                fields.unusable(&format!("one of {names} in `model_type`"), &name)
            });
        }
        let architecture = fields.peek("architectures").and_then(|value| text(value.get(0)?));
        let found = FAMILIES.iter().find(|(_, own, _)| architecture.as_deref() == Some(*own));
        Ok(found.map_or(Self::Bilinear, |(.., family)| *family))
    }

    fn config(self, fields: &mut Fields<'_>, weights: &Weights) -> Result<Config> {
        match self {
            Self::Bilinear => bilinear::config(fields, weights),
            Self::Gpt2 => gpt2::config(fields),
            Self::GptNeox => gpt_neox::config(fields),
            Self::Llama(kind) => llama::config(fields, kind),
            Self::Gemma2 => gemma2::config(fields),
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
pub(super) fn load(repository: &Repository, device: &Device, dtype: DType) -> Result<Decoder> {
    if !dtype.is_float() {
        let found = dtype.as_str();
        return Err(Error::invalid("the type of weights", "a floating point type", found));
    }
    let content = repository.read(CONFIG)?;
    let mut fields = Fields::read(&content.path, &content.bytes)?;
    let family = Family::of(&fields)?;
    let mut weights = Weights::open(repository, device, dtype)?;
    let tokenizer_name = fields.take("tokenizer").and_then(|name| Some(name.as_str()?.to_owned()));
    let config = family.config(&mut fields, &weights)?;
    fields.finish()?;
    config.check().map_err(|reason| {
        Error::format(&content.path, "the sizes of a transformer", reason.to_string())
    })?;
    let parameters = family.parameters(&config, &mut weights)?;
    let source = weights.source().clone();
    weights.finish(&format!("only the tensors that {CONFIG} speaks of"))?;
    let origin = Origin {
        source,
        repository: Some(repository.clone()),
        tokenizer_name,
        ..Origin::default()
    };
    Ok(Decoder::from_parameters(config, parameters, device, origin))
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

fn var(tensor: &candle_core::Tensor) -> Result<Var> {
    Ok(Var::from_tensor(tensor)?)
}

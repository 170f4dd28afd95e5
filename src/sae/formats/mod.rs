//! Autoencoders as the libraries and repositories of the field store them: a file per family.
//!
//! A family's file maps names, shapes and fields onto an [`Architecture`] and
//! [`SaeWeights`](super::SaeWeights). What a file says and its family does not know is an error: it
//! could change the numbers.

mod bundled;
mod dictionary_learning;
mod gemma_scope;
mod llama_scope;
mod llamascopium;
mod loader;
mod mlsae;
mod openai;
mod place;
mod saelens;
mod saelens_fields;
mod saelens_record;
mod saelens_save;
mod scope;
mod sparsify;
#[cfg(test)]
pub(super) mod tests;
mod transcoders;

pub use loader::SaeLoader;
pub(crate) use scope::folder_point;

use candle_core::{Device, Tensor};

use self::place::SaePlace;
use super::origin::Note;
use super::{Architecture, Family, Normalization, Origin, Sae, SaeWeights, TrainingRecord};
use crate::model::HookPoint;
use crate::store::{Document, Size, Tensors, UnknownFields};
use crate::{Error, Result};

/// The autoencoder of a family in its place.
fn read(family: Family, place: &SaePlace, request: &Request) -> Result<Draft> {
    let read = match family {
        Family::Scope => scope::read,
        Family::SaeLens => saelens::read,
        Family::GemmaScope => gemma_scope::read,
        Family::GemmaScope2 => gemma_scope::read_2,
        Family::Sparsify => sparsify::read,
        Family::DictionaryLearning => dictionary_learning::read,
        Family::OpenAi => openai::read,
        Family::Mlsae => mlsae::read,
        Family::LlamaScope => llama_scope::read,
        Family::LlamaScopeR1 => llama_scope::read_r1,
        Family::Llamascopium => llamascopium::read,
        Family::Goodfire => bundled::read_goodfire,
        Family::DeepSeekR1 => bundled::read_deepseek,
        Family::QwenScope => bundled::read_qwen,
        Family::AttentionOut => bundled::read_attention_out,
        Family::HannaTranscoder => transcoders::read_hanna,
        Family::CrossLayerTranscoder => transcoders::read_cross_layer,
        Family::Mistral => bundled::read_mistral,
    };
    read(place, request)
}

/// What a caller asks of a reader.
#[derive(Debug)]
struct Request {
    device: Device,
    k: Option<usize>,
    scale: Option<f64>,
    unknown: UnknownFields,
    /// In place of what the files say.
    normalization: Option<Normalization>,
}

/// An autoencoder as a reader finds it.
struct Draft {
    architecture: Architecture,
    weights: SaeWeights,
    origin: Origin,
}

impl Draft {
    fn new(architecture: Architecture, weights: SaeWeights) -> Self {
        Self { architecture, weights, origin: Origin::default() }
    }

    /// At the hook that the files call `hook`, and at the point that this is, if it is one.
    fn at(mut self, hook: Option<String>, point: Option<HookPoint>) -> Self {
        self.origin.point = point.or_else(|| hook.as_deref().and_then(|hook| hook.parse().ok()));
        self.origin.hook = hook.or_else(|| self.origin.point.map(|point| point.to_string()));
        self
    }

    fn of_model(mut self, model: Option<String>) -> Self {
        self.origin.model = model;
        self
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.origin.notes.push(Note::Other(note.into()));
        self
    }

    fn trained(mut self, training: TrainingRecord) -> Self {
        self.origin.training = training;
        self
    }

    /// At `point`, which only the name `name` of the published layout says.
    fn at_name(mut self, point: HookPoint, name: &str) -> Self {
        self.origin.notes.push(Note::NotInFiles(format!(
            "its place, {point}, was read from the name `{name}`, because no file says it"
        )));
        self.at(None, Some(point))
    }

    /// With a note that nothing says where it belongs; `names` are the names that would.
    fn nowhere(self, names: &str) -> Self {
        let text = format!(
            "no file says where in its model it belongs, nor does a name such as {names}: say it \
             with Sae::at"
        );
        self.note_place(text)
    }

    fn note_place(mut self, text: String) -> Self {
        self.origin.notes.push(Note::NotInFiles(text));
        self
    }

    /// Without the fields `ignored`, which the user allowed to be unknown.
    fn ignoring(self, ignored: Vec<String>) -> Self {
        match ignored.is_empty() {
            true => self,
            false => self.note(format!(
                "fields whose meaning is not known here were ignored, as was asked for: {}",
                ignored.join(", ")
            )),
        }
    }

    fn finish(self, family: Family, place: &SaePlace) -> Result<Sae> {
        let Self { architecture, weights, mut origin } = self;
        origin.family = Some(family);
        origin.source = place.source();
        let sae = Sae::new(architecture, weights);
        let sae = sae.map_err(|reason| match reason {
            Error::Format { .. } | Error::Io { .. } => reason,
            other => {
                Error::format(&place.path(), "an autoencoder", other.to_string()).caused_by(other)
            }
        })?;
        Ok(sae.with_origin(origin))
    }
}

/// A kind of hook point, to be placed in a layer.
type Point = fn(usize) -> HookPoint;

/// What a user calls to go on without fields that are not known.
const LOADER: &str = "the loader's `.allow_unknown_fields()`";

/// Fields of a configuration that nothing here knows, if the user allows them, as `name: value`.
fn ignored(document: Document, harmless: &[&str], request: &Request) -> Result<Vec<String>> {
    document.finish(|name| harmless.contains(&name), request.unknown, LOADER)
}

/// `k` of a file, which must lie in 1 to `features`.
fn checked_k(document: &Document, name: &str, Size(k): Size, features: usize) -> Result<usize> {
    if k == 0 || k > features {
        let expected = format!("`{name}` between 1 and {features}, the features");
        return Err(Error::format(document.path(), expected, k.to_string()));
    }
    Ok(k)
}

/// A size of a configuration, where it is given, against what the tensors say.
fn check_size(
    document: &Document,
    (name, said): (&str, Option<Size>),
    found: usize,
    tensor: &str,
) -> Result<()> {
    match said {
        Some(Size(said)) if said != found => {
            let expected = format!("`{name}` {found}, as `{tensor}` has it");
            Err(Error::format(document.path(), expected, said.to_string()))
        }
        _ => Ok(()),
    }
}

/// Features for each dimension, where they are given, against what the tensors say.
fn check_expansion(
    document: &Document,
    said: Option<f64>,
    (d, m): (usize, usize),
    tensor: &str,
) -> Result<()> {
    match said {
        Some(said) if said * d as f64 != m as f64 => {
            let expected = format!("one for {m} features, as `{tensor}` has them,");
            Err(document.wrong("expansion_factor", &expected, said))
        }
        _ => Ok(()),
    }
}

/// `encoder.weight` `[m, d]`, `encoder.bias`, `decoder.weight` `[d, m]`, and b under the name `bias`.
fn output_first(tensors: &mut Tensors, bias: &str) -> Result<SaeWeights> {
    let [m, d] = tensors.matrix("encoder.weight")?;
    let mut weights = SaeWeights::new(
        tensors.take("encoder.weight", &[m, d])?,
        tensors.take("decoder.weight", &[d, m])?,
        tensors.take(bias, &[d])?,
    );
    weights.encoder_bias = Some(tensors.take("encoder.bias", &[m])?);
    Ok(weights)
}

/// `W_enc` `[d, m]`, `b_enc`, `W_dec` `[m, d]` and `b_dec`.
fn input_first(tensors: &mut Tensors) -> Result<SaeWeights> {
    let [d, m] = tensors.matrix("W_enc")?;
    let mut weights = SaeWeights::new(
        turned(&tensors.take("W_enc", &[d, m])?)?,
        turned(&tensors.take("W_dec", &[m, d])?)?,
        tensors.take("b_dec", &[d])?,
    );
    weights.encoder_bias = Some(tensors.take("b_enc", &[m])?);
    Ok(weights)
}

/// The transpose `[m, d]` of a stored matrix `[d, m]`.
fn turned(matrix: &Tensor) -> Result<Tensor> {
    Ok(matrix.t()?.contiguous()?)
}

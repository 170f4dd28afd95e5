//! Autoencoders in single files of `torch.save`.

use serde::Deserialize;

use super::loader::companion;
use super::place::number_in;
use super::{
    Architecture, Draft, Request, SaePlace, SaeWeights, check_size, input_first, output_first,
};
use crate::model::HookPoint;
use crate::store::pickle::PickleValue;
use crate::store::{Loaded, Size, Tensors};
use crate::{Error, Result};

fn open<'a>(place: &'a SaePlace, request: &Request) -> Result<(&'a str, Loaded, Tensors)> {
    let file = place.file.as_deref().ok_or_else(|| {
        Error::format(&place.path(), "a file of torch.save for this family", "a folder")
    })?;
    let loaded = place.torch(file)?;
    let tensors = loaded.tensors(loaded.pickle().root(), &request.device)?;
    Ok((file, loaded, tensors))
}

/// ReLU, nothing subtracted.
fn plain() -> Architecture {
    Architecture { centred: false, ..Architecture::standard() }
}

/// `encoder_linear.weight` `[m, d]`, `decoder_linear.weight` `[d, m]`, and biases.
pub(super) fn read_goodfire(place: &SaePlace, request: &Request) -> Result<Draft> {
    let (file, _, tensors) = open(place, request)?;
    let mut tensors = tensors.rename(|name| Some(name.replace("_linear.", ".")));
    let weights = output_first(&mut tensors, "decoder.bias")?;
    tensors.finish("only the tensors of a Goodfire autoencoder")?;
    Ok(named(Draft::new(plain(), weights), file, "-SAE-l", &[".pth", ".pt"]))
}

/// `encoder.weight` `[m, d]`, `decoder.weight` `[d, m]`, and biases.
pub(super) fn read_deepseek(place: &SaePlace, request: &Request) -> Result<Draft> {
    let (file, _, mut tensors) = open(place, request)?;
    let weights = output_first(&mut tensors, "decoder.bias")?;
    tensors.finish("only the tensors of a DeepSeek-R1 autoencoder")?;
    Ok(named(Draft::new(plain(), weights), file, "-SAE-l", &[".pt", ".pth"]))
}

/// The residual stream after the layer whose number is all that is between `start` and one of `ends`
/// at the end of the file's name, as in `Llama-3.1-8B-Instruct-SAE-l19.pth`.
fn named(draft: Draft, file: &str, start: &str, ends: &[&str]) -> Draft {
    let layer = file.rfind(start).and_then(|at| {
        let name = &file[at..];
        ends.iter().find_map(|end| number_in(name, start, end))
    });
    match layer {
        Some(layer) => draft.at_name(HookPoint::ResidPost(layer), file),
        None => draft.nowhere(&format!("…{start}19{}", ends[0])),
    }
}

/// `W_enc` `[m, d]`, `W_dec` `[d, m]`: SAELens's names, the other way round. k is in no file: the
/// list of published autoencoders has it, or the user gives it.
pub(super) fn read_qwen(place: &SaePlace, request: &Request) -> Result<Draft> {
    let (file, _, mut tensors) = open(place, request)?;
    let [m, d] = tensors.matrix("W_enc")?;
    let k = request.k.ok_or_else(|| {
        let expected = "k, the features that a code keeps, which is in no file of this family: give \
                        it with SaeLoader::new().k(50)";
        Error::format(&place.path(), expected, "no k")
    })?;
    let mut weights = SaeWeights::new(
        tensors.take("W_enc", &[m, d])?,
        tensors.take("W_dec", &[d, m])?,
        tensors.take("b_dec", &[d])?,
    );
    weights.encoder_bias = Some(tensors.take("b_enc", &[m])?);
    tensors.finish("only the tensors of a Qwen Scope autoencoder")?;
    let architecture = Architecture { centred: false, ..Architecture::top_k(k) };
    let draft = Draft::new(architecture, weights);
    Ok(match number_in(file, "layer", ".sae.pt") {
        Some(layer) => draft.at_name(HookPoint::ResidPost(layer), file),
        None => draft.nowhere("layer7.sae.pt"),
    })
}

/// `{name}_cfg.json` of the autoencoders of attention outputs. Its other fields tell of the training:
/// nothing in them is used at inference.
#[derive(Debug, Deserialize)]
struct AttentionOutConfig {
    /// Width of the inputs, d.
    act_size: Option<Size>,
    /// Number of features, m.
    dict_size: Option<Size>,
    /// The place whose activations it reads, as TransformerLens names it.
    act_name: Option<String>,
    /// The model, as TransformerLens names it.
    model_name: Option<String>,
    /// Tokens per context in training.
    seq_len: Option<Size>,
}

/// `{name}.pt` with `W_enc` `[d, m]`, `W_dec` `[m, d]`, and `{name}_cfg.json`.
pub(super) fn read_attention_out(place: &SaePlace, request: &Request) -> Result<Draft> {
    let (file, _, mut tensors) = open(place, request)?;
    let weights = input_first(&mut tensors)?;
    tensors.finish("only the tensors of an autoencoder")?;
    let mut document = place.document(&companion(file))?;
    let config: AttentionOutConfig = document.read()?;
    let (d, m) = (weights.encoder.dims()[1], weights.encoder.dims()[0]);
    check_size(&document, ("act_size", config.act_size), d, "W_enc")?;
    check_size(&document, ("dict_size", config.dict_size), m, "W_enc")?;
    let draft = Draft::new(Architecture::standard(), weights).at(config.act_name, None);
    let mut draft = draft.of_model(config.model_name);
    draft.origin.training.context_size = config.seq_len.map(usize::from);
    Ok(draft)
}

/// `{"cfg": …, "state_dict": {…}}` with `W_enc` `[d, m]`, `W_dec` `[m, d]` in one pickle; the
/// configuration is an object of a class that need not be known.
pub(super) fn read_mistral(place: &SaePlace, request: &Request) -> Result<Draft> {
    let (_, loaded, _) = open(place, request)?;
    let pickle = loaded.pickle();
    let root = pickle.root();
    let wrong = |expected: &str, found: String| Error::format(&place.path(), expected, found);
    let state = pickle.field(root, "state_dict");
    let state = state.ok_or_else(|| wrong("a dictionary with `state_dict`", "none".to_owned()))?;
    let mut tensors = loaded.tensors(state, &request.device)?;
    let weights = input_first(&mut tensors)?;
    tensors.finish("only the tensors of an autoencoder")?;
    let (d, m) = (weights.encoder.dims()[1], weights.encoder.dims()[0]);
    let (mut hook, mut model) = (None, None);
    if let Some(cfg) = pickle.field(root, "cfg") {
        for (name, found) in [("d_in", d), ("d_sae", m)] {
            if let Some(PickleValue::Int(said)) = pickle.field(cfg, name).map(|id| pickle.value(id))
                && *said != found as i64
            {
                let expected = format!("`{name}` {found}, as `W_enc` has it");
                return Err(wrong(&expected, said.to_string()));
            }
        }
        let text = |name: &str| match pickle.field(cfg, name).map(|id| pickle.value(id)) {
            Some(PickleValue::Text(text)) => Some(text.clone()),
            _ => None,
        };
        hook = text("hook_name").or_else(|| text("hook_point"));
        // The layer stands beside it, or in its place: `blocks.{layer}.hook_resid_post`.
        let layer = pickle.field(cfg, "hook_point_layer").map(|id| pickle.value(id));
        if let (Some(hook), Some(PickleValue::Int(layer))) = (&mut hook, layer) {
            *hook = hook.replace("{layer}", &layer.to_string());
        }
        model = text("model_name");
    }
    Ok(Draft::new(Architecture::standard(), weights).at(hook, None).of_model(model))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use crate::model::HookPoint;
    use crate::sae::Family;
    use crate::sae::Sae;

    /// Written by PyTorch 2 with a configuration of a class that is not known here, a transposed
    /// matrix and a parameter.
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/mistral.pt");

    #[test]
    fn a_pickled_configuration_of_an_unknown_class_is_read() {
        let sae = Sae::load(FILE, &Device::Cpu).unwrap();
        assert_eq!(sae.origin().family, Some(Family::Mistral));
        assert_eq!(sae.point().unwrap(), HookPoint::ResidPre(8));
        assert_eq!(sae.origin().model.as_deref(), Some("mistral-7b"));
        let x = candle_core::Tensor::new(&[[1f32, -2., 0.5], [0., 3., -1.]], &Device::Cpu).unwrap();
        let codes = sae.encode(&x).unwrap().to_dense(&Device::Cpu).unwrap();
        // As PyTorch has it.
        assert_eq!(codes.to_vec2::<f32>().unwrap(), [[6.5, 0.75, 0., 0.], [0., 0., 0., 1.25]]);
        assert_eq!(
            sae.reconstruct(&x).unwrap().to_vec2::<f32>().unwrap(),
            [[-3.34375, -1.9375, -0.53125], [0.78125, 1.4375, 2.09375]]
        );
    }
}

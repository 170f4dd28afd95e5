//! Gemma Scope: JumpReLU autoencoders and transcoders, `params.npz`; and its second edition,
//! `params.safetensors`.
//!
//! Nothing is subtracted from the input and nothing normalised. Matrices are stored with the
//! product's input first, under `W_enc` or `w_enc`. The skip connection of the second edition,
//! `affine_skip_connection`, is stored with the input first too.
//!
//! The first edition has no configuration. Its place is read from names of the published layout
//! alone, each of them as a whole:
//!
//! ```text
//! gemma-scope-{size}-{pt|it}-{res|mlp|att|transcoders}  the repository, or a folder of that name
//! layer_{n}/width_{w}/{average_l0_{x}|canonical}        folders within it
//! embedding/width_{w}/average_l0_{x}                    of embeddings, which Gemma multiplies by √d
//! ```
//!
//! The second edition's place is in its `config.json`; without that file, it is read from
//!
//! ```text
//! {resid_post|mlp_out|attn_out|transcoder}[_all]/layer_{n}_width_{w}_l0_{small|medium|big}[_affine]
//! ```

use serde::Deserialize;

use super::place::{is_size, number_in};
use super::{Architecture, Draft, Request, SaePlace, SaeWeights, check_size, ignored, turned};
use crate::model::HookPoint;
use crate::store::{Size, Tensors};
use crate::{Error, Result};

/// `config.json` of the second edition.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is not supported is refused while it is read")]
struct GemmaScope2Config {
    /// The only architecture of the edition.
    architecture: Option<GemmaScopeArchitecture>,
    /// What it predicts. If left out, the places that it reads and predicts say it.
    r#type: Option<GemmaScopeType>,
    /// The repository of the model.
    model_name: Option<String>,
    /// The module of transformers whose activations it reads, and `input` or `output`.
    hf_hook_point_in: Option<String>,
    /// The module whose activations it predicts.
    hf_hook_point_out: Option<String>,
    /// Number of features, m.
    width: Option<Size>,
    /// Whether there is a skip connection.
    affine_connection: Option<bool>,
    /// Whether b is taken off inputs. False if left out.
    apply_b_dec_to_input: Option<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum GemmaScopeArchitecture {
    JumpRelu,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum GemmaScopeType {
    Sae,
    Transcoder,
}

/// Fields of the second edition that tell of the training or the file.
const HARMLESS: [&str; 3] = ["l0", "dtype", "device"];

const ARRAYS: &str = "params.npz";
const PARAMETERS: &str = "params.safetensors";
const CONFIG: &str = "config.json";
/// Of transcoders.
const INPUT: &str = "it reads what the MLP reads, after the norm with its gain (mlp_in), which is \
                     not TransformerLens's hook_normalized unless gains are folded into weights";

/// What a repository of the first edition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Site {
    Residual,
    Mlp,
    Attention,
    Transcoder,
}

pub(super) fn read(place: &SaePlace, request: &Request) -> Result<Draft> {
    let file = place.file.as_deref().unwrap_or(ARRAYS);
    let mut tensors = place.arrays(file, &request.device)?;
    let mut draft = jump_relu(&mut tensors)?;
    tensors.finish("only the arrays of a JumpReLU autoencoder")?;
    let names = place.names();
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != file).collect();
    let [.., first, width, sparsity] = *names else { return Ok(unplaced(draft)) };
    let within = is_size(width, "width_")
        && (sparsity == "canonical" || number_in(sparsity, "average_l0_", "").is_some());
    if !within {
        return Ok(unplaced(draft));
    }
    if first == "embedding" {
        let root = (draft.weights.encoder.dims()[1] as f64).sqrt();
        draft.weights.encoder = (&draft.weights.encoder / root)?;
        draft.weights.decoder = (&draft.weights.decoder * root)?;
        let draft = draft.note_place(format!(
            "its names, `{first}/{width}/{sparsity}`, say that it was trained on embeddings before \
             Gemma multiplies them by √d; here it reads and writes them as they are after that"
        ));
        return Ok(draft.at(Some("hook_embed".to_owned()), None));
    }
    let site = names.iter().rev().find_map(|name| site(name).map(|site| (site, *name)));
    let (Some(layer), Some((site, repository))) = (number_in(first, "layer_", ""), site) else {
        return Ok(unplaced(draft));
    };
    let (point, hook) = match site {
        Site::Residual => (HookPoint::ResidPost(layer), "hook_resid_post"),
        Site::Mlp => (HookPoint::MlpOut(layer), "hook_mlp_out"),
        Site::Attention => (HookPoint::Z(layer), "attn.hook_z"),
        Site::Transcoder => (HookPoint::MlpIn(layer), "ln2.hook_normalized"),
    };
    if site == Site::Transcoder {
        draft.architecture.transcoder = true;
        draft.origin.hook_out = Some(format!("blocks.{layer}.hook_mlp_out"));
        draft = draft.note(INPUT);
    }
    let draft = draft.at_name(point, &format!("{repository}/{first}"));
    Ok(draft.at(Some(format!("blocks.{layer}.{hook}")), Some(point)))
}

fn unplaced(draft: Draft) -> Draft {
    draft.nowhere("gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71")
}

/// The site that the name of a repository of the first edition says.
fn site(name: &str) -> Option<Site> {
    let (start, site) = name.strip_prefix("gemma-scope-")?.rsplit_once('-')?;
    let (size, tuning) = start.rsplit_once('-')?;
    number_in(size, "", "b").filter(|_| ["pt", "it"].contains(&tuning))?;
    match site {
        "res" => Some(Site::Residual),
        "mlp" => Some(Site::Mlp),
        "att" => Some(Site::Attention),
        "transcoders" => Some(Site::Transcoder),
        _ => None,
    }
}

pub(super) fn read_2(place: &SaePlace, request: &Request) -> Result<Draft> {
    let mut tensors = place.tensors(PARAMETERS, &request.device)?;
    let mut draft = jump_relu(&mut tensors)?;
    let (d, out) = (draft.weights.encoder.dims()[1], draft.weights.decoder.dims()[0]);
    let skip = tensors.take_if("affine_skip_connection", &[d, out])?;
    draft.weights.skip = skip.as_ref().map(turned).transpose()?;
    tensors.finish("only the tensors of a JumpReLU autoencoder")?;
    let mut transcoder = draft.weights.skip.is_some() || d != out;
    let (mut hook, mut hook_out, mut model) = (None, None, None);
    let mut left = Vec::new();
    if place.has(CONFIG)? {
        let mut document = place.document(CONFIG)?;
        let config: GemmaScope2Config = document.read()?;
        check_size(&document, ("width", config.width), draft.weights.decoder.dims()[1], "w_dec")?;
        let has_skip = draft.weights.skip.is_some();
        if let Some(said) = config.affine_connection.filter(|said| *said != has_skip) {
            return Err(document.wrong("affine_connection", &has_skip.to_string(), said));
        }
        (hook, hook_out) = (config.hf_hook_point_in, config.hf_hook_point_out);
        model = config.model_name;
        draft.architecture.centred = config.apply_b_dec_to_input.unwrap_or_default();
        match config.r#type {
            None => transcoder |= hook_out.is_some() && hook_out != hook,
            Some(kind) => transcoder |= kind == GemmaScopeType::Transcoder,
        }
        left = ignored(document, &HARMLESS, request)?;
    }
    let named = named(&place.names());
    // Only names say it of a transcoder without a configuration and without a skip connection.
    let names_transcoder = matches!(&named, Some((HookPoint::MlpIn(_), _)));
    transcoder |= hook.is_none() && names_transcoder;
    draft.architecture.transcoder = transcoder;
    draft.origin.hook_out = hook_out.filter(|_| transcoder);
    if transcoder {
        draft = draft.note(INPUT);
    }
    let said = hook.as_deref().and_then(|hook| module(hook, transcoder));
    let draft = match (said, named) {
        (Some(point), _) => draft.at(hook, Some(point)),
        (None, Some((point, name))) => draft.at_name(point, &name).at(hook, Some(point)),
        (None, None) => draft.nowhere("resid_post/layer_12_width_16k_l0_medium").at(hook, None),
    };
    Ok(draft.of_model(model).ignoring(left))
}

/// The point of a module of transformers, as configurations of the second edition name it.
fn module(hook: &str, transcoder: bool) -> Option<HookPoint> {
    let (layer, module) = hook.strip_prefix("model.layers.")?.split_once('.')?;
    let layer = number_in(layer, "", "")?;
    match module {
        "output" => Some(HookPoint::ResidPost(layer)),
        "pre_feedforward_layernorm.output" if transcoder => Some(HookPoint::MlpIn(layer)),
        "post_feedforward_layernorm.output" => Some(HookPoint::MlpOut(layer)),
        "self_attn.o_proj.input" => Some(HookPoint::Z(layer)),
        _ => None,
    }
}

/// The point that names of the second edition's layout say, and those names.
fn named(names: &[String]) -> Option<(HookPoint, String)> {
    let names = match names {
        [start @ .., file] if file == PARAMETERS => start,
        names => names,
    };
    let [.., site, name] = names else { return None };
    let (layer, rest) = name.strip_prefix("layer_")?.split_once("_width_")?;
    let layer = number_in(layer, "", "")?;
    let (width, sparsity) = rest.split_once("_l0_")?;
    let sparsity = sparsity.strip_suffix("_affine").unwrap_or(sparsity);
    if !is_size(width, "") || !["small", "medium", "big"].contains(&sparsity) {
        return None;
    }
    let point = match site.strip_suffix("_all").unwrap_or(site) {
        "resid_post" => HookPoint::ResidPost(layer),
        "mlp_out" => HookPoint::MlpOut(layer),
        "attn_out" => HookPoint::Z(layer),
        "transcoder" => HookPoint::MlpIn(layer),
        _ => return None,
    };
    Some((point, format!("{site}/{name}")))
}

/// Weights under their names in either edition, in either case.
fn jump_relu(tensors: &mut Tensors) -> Result<Draft> {
    let name = |upper: &'static str, lower: &'static str, tensors: &Tensors| {
        if tensors.shape(lower).is_some() { lower } else { upper }
    };
    let (w_enc, w_dec) = (name("W_enc", "w_enc", tensors), name("W_dec", "w_dec", tensors));
    let [d, m] = tensors.matrix(w_enc)?;
    let [rows, out] = tensors.matrix(w_dec)?;
    if rows != m {
        let expected = format!("`{w_dec}` of {m} features, as `{w_enc}` has them");
        return Err(Error::format(tensors.path(), expected, format!("{rows}")));
    }
    let mut weights = SaeWeights::new(
        turned(&tensors.take(w_enc, &[d, m])?)?,
        turned(&tensors.take(w_dec, &[m, out])?)?,
        tensors.take("b_dec", &[out])?,
    );
    weights.encoder_bias = Some(tensors.take("b_enc", &[m])?);
    weights.thresholds = Some(tensors.take("threshold", &[m])?);
    let architecture = Architecture { centred: false, ..Architecture::jump_relu() };
    Ok(Draft::new(architecture, weights))
}

//! The weights of a decoder.

use candle_core::{DType, Device, Tensor, Var};

use super::{Config, Norm};
use crate::Result;
use crate::random::Rng;

/// All weights: maps `[outputs, inputs]`, gains and biases `[outputs]`.
#[derive(Debug, Clone)]
pub(super) struct Parameters {
    pub(super) embed: Var,
    /// `[context, d_model]`, where positions are learned.
    pub(super) positions: Option<Var>,
    pub(super) blocks: Vec<BlockParameters>,
    pub(super) ln_final: NormWeights,
    /// `None` where it is the embedding.
    pub(super) unembed: Option<Var>,
}

#[derive(Debug, Clone)]
pub(super) struct BlockParameters {
    pub(super) ln1: NormWeights,
    /// `[(heads + 2 · kv_heads) · d_head, d_model]`: queries, keys, values, each head after head.
    pub(super) qkv: Var,
    pub(super) qkv_bias: Option<Var>,
    pub(super) attention_out: Var,
    pub(super) attention_out_bias: Option<Var>,
    pub(super) ln1_post: NormWeights,
    pub(super) ln2: NormWeights,
    /// `[rows, d_model]`: left above right where the MLP is gated.
    pub(super) mlp_in: Var,
    pub(super) mlp_in_bias: Option<Var>,
    pub(super) mlp_out: Var,
    pub(super) mlp_out_bias: Option<Var>,
    pub(super) ln2_post: NormWeights,
}

/// What a norm multiplies by and adds.
#[derive(Debug, Clone, Default)]
pub(super) struct NormWeights {
    pub(super) gain: Option<Var>,
    pub(super) bias: Option<Var>,
}

/// A norm of a model, or of each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum NormPlace {
    /// Before the attention.
    Ln1,
    /// After the attention.
    Ln1Post,
    /// Before the MLP.
    Ln2,
    /// After the MLP.
    Ln2Post,
    /// Before the unembedding.
    Final,
}

/// A weight of a model, or of each layer; what a family of checkpoints maps its names onto.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum ModelParameter {
    /// Token embeddings.
    Embed,
    /// Vectors of positions.
    Positions,
    /// Gain of a norm.
    Gain(NormPlace),
    /// Bias of a norm.
    Shift(NormPlace),
    /// Queries above keys above values.
    Qkv,
    /// Their biases.
    QkvBias,
    /// The attention's output map.
    AttentionOut,
    /// Its bias.
    AttentionOutBias,
    /// The MLP's input map, left above right where it is gated.
    MlpIn,
    /// Its bias.
    MlpInBias,
    /// The MLP's output map.
    MlpOut,
    /// Its bias.
    MlpOutBias,
    /// The unembedding.
    Unembed,
}

impl ModelParameter {
    /// Its name in the published bilinear checkpoints, and for the others one of the same kind.
    pub(super) fn name(self, layer: Option<usize>) -> String {
        let norm = |place: NormPlace, end: &str| match place {
            NormPlace::Ln1 => format!("ln_1.{end}"),
            NormPlace::Ln1Post => format!("ln_1_post.{end}"),
            NormPlace::Ln2 => format!("ln_2.{end}"),
            NormPlace::Ln2Post => format!("ln_2_post.{end}"),
            NormPlace::Final => format!("transformer.ln_f.{end}"),
        };
        let name = match self {
            Self::Embed => "transformer.wte.weight",
            Self::Positions => "transformer.wpe.weight",
            Self::Gain(place) => &norm(place, "weight"),
            Self::Shift(place) => &norm(place, "bias"),
            Self::Qkv => "attn.qkv.weight",
            Self::QkvBias => "attn.qkv.bias",
            Self::AttentionOut => "attn.o.weight",
            Self::AttentionOutBias => "attn.o.bias",
            Self::MlpIn => "mlp.w.weight",
            Self::MlpInBias => "mlp.w.bias",
            Self::MlpOut => "mlp.p.weight",
            Self::MlpOutBias => "mlp.p.bias",
            Self::Unembed => "lm_head.weight",
        };
        match layer {
            Some(layer) => format!("transformer.h.{layer}.{name}"),
            None => name.to_owned(),
        }
    }
}

impl Parameters {
    /// Weights from wherever `take` gets a part of a layer, or of the model, in a shape.
    pub(super) fn build(
        config: &Config,
        mut take: impl FnMut(Option<usize>, ModelParameter, &[usize]) -> Result<Var>,
    ) -> Result<Self> {
        let (d, h, rows) = (config.d_model, config.d_hidden, config.mlp_rows());
        let (q, kv) = (config.q_width(), config.kv_width());
        let embed = take(None, ModelParameter::Embed, &[config.vocab, d])?;
        let learned = config.position == super::Position::Learned;
        let positions = learned
            .then(|| take(None, ModelParameter::Positions, &[config.context, d]))
            .transpose()?;
        let mut blocks = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let mut take = |part: ModelParameter, shape: &[usize]| take(Some(layer), part, shape);
            let post = if config.post_norms { config.norm } else { Norm::None };
            blocks.push(BlockParameters {
                ln1: NormWeights::build(config.norm, NormPlace::Ln1, d, &mut take)?,
                qkv: take(ModelParameter::Qkv, &[q + 2 * kv, d])?,
                qkv_bias: config
                    .qkv_bias
                    .then(|| take(ModelParameter::QkvBias, &[q + 2 * kv]))
                    .transpose()?,
                attention_out: take(ModelParameter::AttentionOut, &[d, q])?,
                attention_out_bias: config
                    .attention_bias
                    .then(|| take(ModelParameter::AttentionOutBias, &[d]))
                    .transpose()?,
                ln1_post: NormWeights::build(post, NormPlace::Ln1Post, d, &mut take)?,
                ln2: NormWeights::build(config.norm, NormPlace::Ln2, d, &mut take)?,
                mlp_in: take(ModelParameter::MlpIn, &[rows, d])?,
                mlp_in_bias: config
                    .mlp_bias
                    .then(|| take(ModelParameter::MlpInBias, &[rows]))
                    .transpose()?,
                mlp_out: take(ModelParameter::MlpOut, &[d, h])?,
                mlp_out_bias: config
                    .mlp_bias
                    .then(|| take(ModelParameter::MlpOutBias, &[d]))
                    .transpose()?,
                ln2_post: NormWeights::build(post, NormPlace::Ln2Post, d, &mut take)?,
            });
        }
        let ln_final = NormWeights::build(config.norm, NormPlace::Final, d, &mut |part, shape| {
            take(None, part, shape)
        })?;
        let unembed = (!config.tied)
            .then(|| take(None, ModelParameter::Unembed, &[config.vocab, d]))
            .transpose()?;
        Ok(Self { embed, positions, blocks, ln_final, unembed })
    }

    /// Normal with standard deviation 0.02, the MLP's maps into the residual stream divided by
    /// √(2·layers); gains one, biases zero.
    pub(super) fn random(config: &Config, seed: u64, device: &Device) -> Result<Self> {
        let mut rng = Rng::seed(seed);
        let into_stream = 1. / (2. * config.layers as f64).sqrt();
        Self::build(config, |_, part, shape| {
            let scale = match part {
                ModelParameter::Gain(_) if !matches!(config.norm, Norm::RmsOnePlusGain { .. }) => {
                    return Ok(Var::ones(shape, DType::F32, device)?);
                }
                ModelParameter::Gain(_) | ModelParameter::Shift(_) => {
                    return Ok(Var::zeros(shape, DType::F32, device)?);
                }
                ModelParameter::QkvBias
                | ModelParameter::AttentionOutBias
                | ModelParameter::MlpInBias
                | ModelParameter::MlpOutBias => 0.0,
                ModelParameter::MlpOut => 0.02 * into_stream,
                _ => 0.02,
            };
            Ok(Var::from_tensor(&(rng.normal(shape, device)? * scale)?)?)
        })
    }

    /// The matrix that makes logits.
    pub(super) fn unembed(&self) -> &Var {
        self.unembed.as_ref().unwrap_or(&self.embed)
    }

    /// Every weight with its place, in a fixed order.
    pub(super) fn all(&self) -> Vec<(Option<usize>, ModelParameter, &Var)> {
        let mut all = vec![(None, ModelParameter::Embed, &self.embed)];
        all.extend(self.positions.iter().map(|var| (None, ModelParameter::Positions, var)));
        for (layer, block) in self.blocks.iter().enumerate() {
            let own = [
                (ModelParameter::Gain(NormPlace::Ln1), block.ln1.gain.as_ref()),
                (ModelParameter::Shift(NormPlace::Ln1), block.ln1.bias.as_ref()),
                (ModelParameter::Qkv, Some(&block.qkv)),
                (ModelParameter::QkvBias, block.qkv_bias.as_ref()),
                (ModelParameter::AttentionOut, Some(&block.attention_out)),
                (ModelParameter::AttentionOutBias, block.attention_out_bias.as_ref()),
                (ModelParameter::Gain(NormPlace::Ln1Post), block.ln1_post.gain.as_ref()),
                (ModelParameter::Shift(NormPlace::Ln1Post), block.ln1_post.bias.as_ref()),
                (ModelParameter::Gain(NormPlace::Ln2), block.ln2.gain.as_ref()),
                (ModelParameter::Shift(NormPlace::Ln2), block.ln2.bias.as_ref()),
                (ModelParameter::MlpIn, Some(&block.mlp_in)),
                (ModelParameter::MlpInBias, block.mlp_in_bias.as_ref()),
                (ModelParameter::MlpOut, Some(&block.mlp_out)),
                (ModelParameter::MlpOutBias, block.mlp_out_bias.as_ref()),
                (ModelParameter::Gain(NormPlace::Ln2Post), block.ln2_post.gain.as_ref()),
                (ModelParameter::Shift(NormPlace::Ln2Post), block.ln2_post.bias.as_ref()),
            ];
            let own = own.into_iter().filter_map(|(part, var)| Some((Some(layer), part, var?)));
            all.extend(own);
        }
        let last = [
            (ModelParameter::Gain(NormPlace::Final), self.ln_final.gain.as_ref()),
            (ModelParameter::Shift(NormPlace::Final), self.ln_final.bias.as_ref()),
            (ModelParameter::Unembed, self.unembed.as_ref()),
        ];
        all.extend(last.into_iter().filter_map(|(part, var)| Some((None, part, var?))));
        all
    }

    /// Every weight with its name, in a fixed order.
    pub(super) fn named(&self) -> Vec<(String, &Var)> {
        self.all().into_iter().map(|(layer, part, var)| (part.name(layer), var)).collect()
    }

    /// The same weights in another floating point type.
    pub(super) fn to_dtype(&self, config: &Config, dtype: DType) -> Result<Self> {
        let mut all = self.all().into_iter();
        // Built in the order in which they are listed.
        Self::build(config, |_, part, _| match all.next() {
            Some((_, own, var)) if own == part => Ok(Var::from_tensor(&var.to_dtype(dtype)?)?),
            _ => unreachable!("{part:?} is listed where it is built"),
        })
    }
}

impl NormWeights {
    fn build(
        norm: Norm,
        place: NormPlace,
        d_model: usize,
        take: &mut impl FnMut(ModelParameter, &[usize]) -> Result<Var>,
    ) -> Result<Self> {
        Ok(Self {
            gain: norm
                .has_gain()
                .then(|| take(ModelParameter::Gain(place), &[d_model]))
                .transpose()?,
            bias: norm
                .centres()
                .then(|| take(ModelParameter::Shift(place), &[d_model]))
                .transpose()?,
        })
    }

    /// The gain as it multiplies, `[d_model]`.
    pub(super) fn factor(
        &self,
        norm: Norm,
        weight: impl Fn(&Var) -> Tensor,
    ) -> Result<Option<Tensor>> {
        match (&self.gain, norm) {
            (None, _) => Ok(None),
            (Some(gain), Norm::RmsOnePlusGain { .. }) => Ok(Some((weight(gain) + 1.)?)),
            (Some(gain), _) => Ok(Some(weight(gain))),
        }
    }
}

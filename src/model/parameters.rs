//! The weights of a decoder.

use candle_core::{DType, Device, Tensor, Var};

use super::precision::widened;
use super::{Config, Mlp, Norm};
use crate::Result;
use crate::random::Rng;

/// All weights: maps `[outputs, inputs]`, gains and biases `[outputs]`.
#[derive(Debug, Clone)]
pub(super) struct Parameters {
    pub(super) embed: Var,
    /// `[position_offset + context, d_model]`, where positions are learned.
    pub(super) positions: Option<Var>,
    pub(super) blocks: Vec<BlockParameters>,
    pub(super) ln_final: NormWeights,
    /// `None` where it is the embedding.
    pub(super) unembed: Option<Var>,
    pub(super) unembed_bias: Option<Var>,
}

#[derive(Debug, Clone)]
pub(super) struct BlockParameters {
    pub(super) ln1: NormWeights,
    /// `[(heads + 2 · kv_heads) · d_head, d_model]`: queries, keys, values, each head after head.
    pub(super) qkv: Var,
    pub(super) qkv_bias: Option<Var>,
    /// Of one head, or of all: see [`QkNorm`](super::QkNorm).
    pub(super) q_norm: NormWeights,
    pub(super) k_norm: NormWeights,
    pub(super) attention_out: Var,
    pub(super) attention_out_bias: Option<Var>,
    pub(super) ln1_post: NormWeights,
    /// `None` where the model has attention alone.
    pub(super) mlp: Option<MlpParameters>,
}

/// The MLP of a block, with the norms around it.
#[derive(Debug, Clone)]
pub(super) struct MlpParameters {
    pub(super) ln2: NormWeights,
    /// `[rows, d_model]`: left above right where it is gated.
    pub(super) input: Var,
    pub(super) input_bias: Option<Var>,
    /// Of the neurons.
    pub(super) norm: NormWeights,
    pub(super) output: Var,
    pub(super) output_bias: Option<Var>,
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
    /// Gain of the norm of queries, `[d_head]` or `[heads · d_head]`.
    QGain,
    /// Gain of the norm of keys, `[d_head]` or `[kv_heads · d_head]`.
    KGain,
    /// The attention's output map.
    AttentionOut,
    /// Its bias.
    AttentionOutBias,
    /// The MLP's input map, left above right where it is gated.
    MlpIn,
    /// Its bias.
    MlpInBias,
    /// Gain of the norm of its neurons.
    MlpNormGain,
    /// Bias of that norm.
    MlpNormShift,
    /// The MLP's output map.
    MlpOut,
    /// Its bias.
    MlpOutBias,
    /// The unembedding.
    Unembed,
    /// Its bias.
    UnembedBias,
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
            Self::QGain => "attn.q_norm.weight",
            Self::KGain => "attn.k_norm.weight",
            Self::AttentionOut => "attn.o.weight",
            Self::AttentionOutBias => "attn.o.bias",
            Self::MlpIn => "mlp.w.weight",
            Self::MlpInBias => "mlp.w.bias",
            Self::MlpNormGain => "mlp.ln.weight",
            Self::MlpNormShift => "mlp.ln.bias",
            Self::MlpOut => "mlp.p.weight",
            Self::MlpOutBias => "mlp.p.bias",
            Self::Unembed => "lm_head.weight",
            Self::UnembedBias => "lm_head.bias",
        };
        match layer {
            Some(layer) => format!("transformer.h.{layer}.{name}"),
            None => name.to_owned(),
        }
    }
}

impl Parameters {
    /// Weights from wherever `take` gets a part of a layer, or of the model, in a shape: those that the
    /// config has, in the order of [`Parameters::all`].
    pub(super) fn build(
        config: &Config,
        mut take: impl FnMut(Option<usize>, ModelParameter, &[usize]) -> Result<Var>,
    ) -> Result<Self> {
        let d = config.d_model;
        let embed = take(None, ModelParameter::Embed, &[config.vocab, d])?;
        let rows = config.position_offset + config.context;
        let positions = config
            .position
            .has_vectors()
            .then(|| take(None, ModelParameter::Positions, &[rows, d]))
            .transpose()?;
        // Not as many as the config says: the file may have fewer.
        let mut blocks = Vec::new();
        for layer in 0..config.layers {
            let mut take = |part: ModelParameter, shape: &[usize]| take(Some(layer), part, shape);
            blocks.push(BlockParameters::build(config, &mut take)?);
        }
        let mut take = |part: ModelParameter, shape: &[usize]| take(None, part, shape);
        let ln_final = NormWeights::build(config.norm, NormPlace::Final.parts(), d, &mut take)?;
        let unembed = (!config.tied)
            .then(|| take(ModelParameter::Unembed, &[config.vocab, d]))
            .transpose()?;
        let unembed_bias = config
            .unembed_bias
            .then(|| take(ModelParameter::UnembedBias, &[config.vocab]))
            .transpose()?;
        Ok(Self { embed, positions, blocks, ln_final, unembed, unembed_bias })
    }

    /// Normal with standard deviation 0.02, the MLP's maps into the residual stream divided by
    /// √(2·layers); gains one, biases zero.
    pub(super) fn random(config: &Config, seed: u64, device: &Device) -> Result<Self> {
        let mut rng = Rng::seed(seed);
        let into_stream = 1. / (2. * config.layers as f64).sqrt();
        let from_one = matches!(config.norm, Norm::RmsOnePlusGain { .. });
        Self::build(config, |_, part, shape| {
            let scale = match part {
                ModelParameter::MlpNormGain => return Ok(Var::ones(shape, DType::F32, device)?),
                ModelParameter::Gain(_) | ModelParameter::QGain | ModelParameter::KGain
                    if !from_one =>
                {
                    return Ok(Var::ones(shape, DType::F32, device)?);
                }
                ModelParameter::Gain(_)
                | ModelParameter::Shift(_)
                | ModelParameter::QGain
                | ModelParameter::KGain
                | ModelParameter::MlpNormShift => {
                    return Ok(Var::zeros(shape, DType::F32, device)?);
                }
                ModelParameter::QkvBias
                | ModelParameter::AttentionOutBias
                | ModelParameter::MlpInBias
                | ModelParameter::MlpOutBias
                | ModelParameter::UnembedBias => 0.0,
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
            let own = block.all().into_iter();
            all.extend(own.filter_map(|(part, var)| Some((Some(layer), part, var?))));
        }
        let last = [
            (ModelParameter::Gain(NormPlace::Final), self.ln_final.gain.as_ref()),
            (ModelParameter::Shift(NormPlace::Final), self.ln_final.bias.as_ref()),
            (ModelParameter::Unembed, self.unembed.as_ref()),
            (ModelParameter::UnembedBias, self.unembed_bias.as_ref()),
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

impl BlockParameters {
    fn build(
        config: &Config,
        take: &mut impl FnMut(ModelParameter, &[usize]) -> Result<Var>,
    ) -> Result<Self> {
        let (d, q, kv) = (config.d_model, config.q_width(), config.kv_width());
        let ln1 = NormWeights::build(config.pre_norm(), NormPlace::Ln1.parts(), d, take)?;
        let qkv = take(ModelParameter::Qkv, &[q + 2 * kv, d])?;
        let qkv_bias =
            config.qkv_bias.then(|| take(ModelParameter::QkvBias, &[q + 2 * kv])).transpose()?;
        let (mut q_norm, mut k_norm) = (NormWeights::default(), NormWeights::default());
        if let Some([queries, keys]) = config.qk_gains() {
            q_norm.gain = Some(take(ModelParameter::QGain, &[queries])?);
            k_norm.gain = Some(take(ModelParameter::KGain, &[keys])?);
        }
        Ok(Self {
            ln1,
            qkv,
            qkv_bias,
            q_norm,
            k_norm,
            attention_out: take(ModelParameter::AttentionOut, &[d, q])?,
            attention_out_bias: config
                .attention_bias
                .then(|| take(ModelParameter::AttentionOutBias, &[d]))
                .transpose()?,
            ln1_post: NormWeights::build(config.post_norm(), NormPlace::Ln1Post.parts(), d, take)?,
            mlp: match config.mlp {
                Mlp::None => None,
                Mlp::Gated(_) | Mlp::Plain(_) => Some(MlpParameters::build(config, take)?),
            },
        })
    }

    /// Every weight that there may be, in the order in which they are built.
    fn all(&self) -> [(ModelParameter, Option<&Var>); 20] {
        let mlp = self.mlp.as_ref();
        let of_norm = |norm: fn(&MlpParameters) -> &NormWeights| {
            let norm = mlp.map(norm);
            [norm.and_then(|norm| norm.gain.as_ref()), norm.and_then(|norm| norm.bias.as_ref())]
        };
        let (ln2, neurons) = (of_norm(|mlp| &mlp.ln2), of_norm(|mlp| &mlp.norm));
        let ln2_post = of_norm(|mlp| &mlp.ln2_post);
        [
            (ModelParameter::Gain(NormPlace::Ln1), self.ln1.gain.as_ref()),
            (ModelParameter::Shift(NormPlace::Ln1), self.ln1.bias.as_ref()),
            (ModelParameter::Qkv, Some(&self.qkv)),
            (ModelParameter::QkvBias, self.qkv_bias.as_ref()),
            (ModelParameter::QGain, self.q_norm.gain.as_ref()),
            (ModelParameter::KGain, self.k_norm.gain.as_ref()),
            (ModelParameter::AttentionOut, Some(&self.attention_out)),
            (ModelParameter::AttentionOutBias, self.attention_out_bias.as_ref()),
            (ModelParameter::Gain(NormPlace::Ln1Post), self.ln1_post.gain.as_ref()),
            (ModelParameter::Shift(NormPlace::Ln1Post), self.ln1_post.bias.as_ref()),
            (ModelParameter::Gain(NormPlace::Ln2), ln2[0]),
            (ModelParameter::Shift(NormPlace::Ln2), ln2[1]),
            (ModelParameter::MlpIn, mlp.map(|mlp| &mlp.input)),
            (ModelParameter::MlpInBias, mlp.and_then(|mlp| mlp.input_bias.as_ref())),
            (ModelParameter::MlpNormGain, neurons[0]),
            (ModelParameter::MlpNormShift, neurons[1]),
            (ModelParameter::MlpOut, mlp.map(|mlp| &mlp.output)),
            (ModelParameter::MlpOutBias, mlp.and_then(|mlp| mlp.output_bias.as_ref())),
            (ModelParameter::Gain(NormPlace::Ln2Post), ln2_post[0]),
            (ModelParameter::Shift(NormPlace::Ln2Post), ln2_post[1]),
        ]
    }
}

impl MlpParameters {
    fn build(
        config: &Config,
        take: &mut impl FnMut(ModelParameter, &[usize]) -> Result<Var>,
    ) -> Result<Self> {
        let (d, h, rows) = (config.d_model, config.d_hidden, config.mlp_rows());
        let of_neurons = [ModelParameter::MlpNormGain, ModelParameter::MlpNormShift];
        Ok(Self {
            ln2: NormWeights::build(config.pre_norm(), NormPlace::Ln2.parts(), d, take)?,
            input: take(ModelParameter::MlpIn, &[rows, d])?,
            input_bias: config
                .mlp_bias
                .then(|| take(ModelParameter::MlpInBias, &[rows]))
                .transpose()?,
            norm: NormWeights::build(config.norm_of_neurons(), of_neurons, h, take)?,
            output: take(ModelParameter::MlpOut, &[d, h])?,
            output_bias: config
                .mlp_bias
                .then(|| take(ModelParameter::MlpOutBias, &[d]))
                .transpose()?,
            ln2_post: NormWeights::build(config.post_norm(), NormPlace::Ln2Post.parts(), d, take)?,
        })
    }
}

impl NormPlace {
    /// Gain and bias.
    fn parts(self) -> [ModelParameter; 2] {
        [ModelParameter::Gain(self), ModelParameter::Shift(self)]
    }
}

impl NormWeights {
    /// What a norm of `width` entries has of its two `parts`.
    fn build(
        norm: Norm,
        [gain, bias]: [ModelParameter; 2],
        width: usize,
        take: &mut impl FnMut(ModelParameter, &[usize]) -> Result<Var>,
    ) -> Result<Self> {
        Ok(Self {
            gain: norm.has_gain().then(|| take(gain, &[width])).transpose()?,
            bias: norm.centres().then(|| take(bias, &[width])).transpose()?,
        })
    }

    /// The gain as it multiplies, of the norm's width.
    pub(super) fn factor(
        &self,
        norm: Norm,
        weight: impl Fn(&Var) -> Tensor,
    ) -> Result<Option<Tensor>> {
        match (&self.gain, norm) {
            (None, _) => Ok(None),
            // 1 + w has fewer digits than w in half precision.
            (Some(gain), Norm::RmsOnePlusGain { .. }) => Ok(Some((widened(&weight(gain))? + 1.)?)),
            (Some(gain), _) => Ok(Some(weight(gain))),
        }
    }
}

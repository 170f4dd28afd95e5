//! What is trained: shapes, first weights, and the autoencoder that comes of them.

use candle_core::{Device, Tensor};

use super::choose::{Rows, Rule};
use super::source::Source;
use super::{Objective, SaeOptions};
use crate::linalg::unit_rows;
use crate::model::HookPoint;
use crate::random::Rng;
use crate::sae::{Activation, Architecture, Gate, Origin, Sae, SaeWeights};
use crate::{Error, Result};

/// A weight, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Weight {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// Where the weights of all kinds are in a list; from [`EXTRAS`] on those with an entry a feature:
/// nothing or e; e and log θ; or g, r and c.
pub(super) const ENCODER: usize = 0;
/// The decoder's transpose `[m, d_out]`.
pub(super) const DECODER: usize = 1;
pub(super) const BIAS: usize = 2;
pub(super) const EXTRAS: usize = 3;

/// What the two ways of training have in common.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) objective: Objective,
    pub(super) widths: [usize; 2],
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) relu: bool,
    pub(super) auxiliary: f64,
    pub(super) auxiliary_k: usize,
    pub(super) transcoder: bool,
    /// Ends of the nested dictionaries.
    pub(super) ends: Vec<usize>,
}

/// What changes from step to step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    pub(super) learning_rate: f64,
    /// λ.
    pub(super) penalty: f64,
    /// Features that were in no code for long.
    pub(super) dead: &'a [u32],
}

/// What a step found before it changed the weights.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// What was made small.
    pub(super) loss: f64,
    /// `Σ‖t − x̂‖²`.
    pub(super) error: f64,
    /// Entries of the codes.
    pub(super) active: usize,
    /// Which features were in a code.
    pub(super) fired: Vec<bool>,
    /// The smallest entry, where a batch is chosen from together.
    pub(super) smallest: Option<f32>,
}

/// The codes of a batch.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) main: Rows,
    /// What the auxiliary loss reconstructs with: the dead, or what a gate lets through.
    pub(super) beside: Option<Rows>,
    pub(super) smallest: Option<f32>,
}

/// θ or exp(r), an entry a feature, where the kind has them.
pub(super) type Exponentials = Vec<f32>;

impl Setup {
    pub(super) fn new(options: &SaeOptions, widths: [usize; 2]) -> Result<Self> {
        let m = widths[0].checked_mul(options.expansion).filter(|m| u32::try_from(*m).is_ok());
        let m = m.ok_or_else(|| {
            let expected = format!("small enough for less than 2³² features of {}", widths[0]);
            Error::invalid("the expansion", expected, options.expansion)
        })?;
        options.check_features(m)?;
        Ok(Self {
            objective: options.objective.clone(),
            widths,
            m,
            k: options.k,
            relu: options.relu,
            auxiliary: options.auxiliary,
            auxiliary_k: options.auxiliary_k.unwrap_or(widths[0] / 2).max(1),
            transcoder: options.target.is_some(),
            ends: options.objective.ends(m),
        })
    }

    /// Whether a bias e is added to what the encoder says.
    pub(super) fn encoder_bias(&self) -> bool {
        match self.objective {
            Objective::TopK => self.transcoder,
            Objective::Gated { .. } => false,
            _ => true,
        }
    }

    /// The first weights: a decoder of random directions, an encoder that is its transpose (a
    /// transcoder's is drawn too), and the mean for a bias.
    pub(super) fn start(&self, source: &Source<'_>, seed: u64) -> Result<Vec<Weight>> {
        let ([d, out], m) = (self.widths, self.m);
        let mut rng = Rng::stream(seed, 0);
        let rows = |matrix: &Tensor| -> Result<Vec<f32>> {
            Ok(unit_rows(matrix)?.flatten_all()?.to_vec1()?)
        };
        let decoder = rows(&rng.normal((out, m), &Device::Cpu)?.t()?.contiguous()?)?;
        let [input, bias] = source.means();
        let (encoder, offset) = if self.transcoder {
            let encoder = rows(&rng.normal((m, d), &Device::Cpu)?)?;
            let said = encoder.chunks(d).map(|row| {
                let products = row.iter().zip(&input).map(|(e, x)| f64::from(e * x));
                -products.sum::<f64>() as f32
            });
            let said = said.collect();
            (encoder, said)
        } else {
            (decoder.clone(), vec![0.0; m])
        };
        let mut weights = vec![
            Weight { shape: vec![m, d], values: encoder },
            Weight { shape: vec![m, out], values: decoder },
            Weight { shape: vec![out], values: bias },
        ];
        let mut extra = |values| weights.push(Weight { shape: vec![m], values });
        if self.encoder_bias() {
            extra(offset.clone());
        }
        match self.objective {
            Objective::JumpRelu { threshold, .. } => extra(vec![threshold.ln() as f32; m]),
            Objective::Gated { .. } => {
                extra(offset.clone());
                extra(vec![0.0; m]);
                extra(offset);
            }
            _ => {}
        }
        Ok(weights)
    }

    /// θ or exp(r).
    pub(super) fn exponentials(&self, extras: &[&[f32]]) -> Exponentials {
        match self.objective {
            Objective::JumpRelu { .. } | Objective::Gated { .. } => {
                extras[1].iter().map(|entry| entry.exp()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// How codes come from h.
    pub(super) fn rule<'a>(&self, extras: &[&'a [f32]], exponentials: &'a [f32]) -> Rule<'a> {
        match self.objective {
            Objective::Standard { .. } => Rule::Relu,
            Objective::TopK => Rule::TopK { k: self.k, relu: self.relu },
            Objective::BatchTopK | Objective::Matryoshka { .. } => Rule::BatchTopK { k: self.k },
            Objective::JumpRelu { bandwidth, .. } => {
                Rule::JumpRelu { thresholds: exponentials, bandwidth: bandwidth as f32 }
            }
            Objective::Gated { .. } => {
                Rule::Gated { bias: extras[0], gains: exponentials, magnitude: extras[2] }
            }
        }
    }

    /// The codes of `h` `[n, m]`, e included.
    pub(super) fn choose(&self, rule: &Rule<'_>, h: &[f32], dead: &[u32], chosen: &mut Chosen) {
        chosen.smallest = rule.choose(h, self.m, &mut chosen.main);
        if self.ends.len() > 1 {
            chosen.main.iter_mut().for_each(|row| row.sort_unstable_by_key(|entry| entry.feature));
        }
        let mut beside = chosen.beside.take().unwrap_or_default();
        chosen.beside = if let Rule::Gated { .. } = rule {
            rule.choose_open(h, self.m, &mut beside);
            Some(beside)
        } else if self.revives() && !dead.is_empty() {
            rule.choose_dead(h, self.m, dead, self.auxiliary_k, &mut beside);
            Some(beside)
        } else {
            None
        };
    }

    /// Whether dead features have a loss of their own.
    pub(super) fn revives(&self) -> bool {
        self.auxiliary > 0.0 && self.objective.penalty().is_none()
    }

    /// The autoencoder, of weights in their order; `threshold` is a batch-top-k one's.
    pub(super) fn finish(
        &self,
        weights: &[Weight],
        scales: [f32; 2],
        threshold: f64,
        points: [Option<HookPoint>; 2],
        device: &Device,
    ) -> Result<Sae> {
        let scale = f64::from(scales[1]);
        let tensor = |at: usize, by: f64| -> Result<Tensor> {
            let weight: &Weight = &weights[at];
            let tensor = Tensor::from_slice(&weight.values, &*weight.shape, device)?;
            if by == 1.0 { Ok(tensor) } else { Ok((tensor * by)?) }
        };
        let encoder = tensor(ENCODER, scale / f64::from(scales[0]))?;
        let decoder = tensor(DECODER, 1.0)?.t()?.contiguous()?;
        let mut own = SaeWeights::new(encoder, decoder, tensor(BIAS, scale)?);
        if self.encoder_bias() {
            own.encoder_bias = Some(tensor(EXTRAS, scale)?);
        }
        let activation = match self.objective {
            Objective::Standard { .. } => Activation::Relu,
            Objective::TopK => Activation::TopK { k: self.k, relu: self.relu },
            Objective::BatchTopK | Objective::Matryoshka { .. } => {
                own.thresholds = Some(Tensor::full(threshold as f32, self.m, device)?);
                Activation::JumpRelu
            }
            Objective::JumpRelu { .. } => {
                own.thresholds = Some((tensor(EXTRAS + 1, 1.0)?.exp()? * scale)?);
                Activation::JumpRelu
            }
            Objective::Gated { .. } => {
                let (bias, magnitude) = (tensor(EXTRAS, scale)?, tensor(EXTRAS + 2, scale)?);
                own.gate = Some(Gate { bias, log_gains: tensor(EXTRAS + 1, 1.0)?, magnitude });
                Activation::Gated
            }
        };
        let (centred, transcoder) = (!self.transcoder, self.transcoder);
        let architecture =
            Architecture { activation, centred, transcoder, ..Architecture::standard() };
        let [point, target] = points;
        let hook_out = target.map(|target| target.to_string());
        Ok(Sae::new(architecture, own)?.with_origin(Origin {
            point,
            hook_out,
            ..Origin::default()
        }))
    }
}

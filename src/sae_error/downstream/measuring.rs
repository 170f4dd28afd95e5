//! Running a model with each arm on some contexts.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{DType, Tensor};

use super::super::explained::Explained;
use super::super::linear_map::LinearMap;
use super::super::parts::row_squares;
use super::super::sae_info::SaeInfo;
use super::arm::{Arm, ArmRows};
use super::estimate::ArmTokens;
use super::losses::row_losses;
use super::site::ReplacedPoint;
use crate::Result;
use crate::data::text::Contexts;
use crate::model::Decoder;

/// What was found at each token whose activation was replaced.
#[derive(Debug, Default)]
pub(super) struct DownstreamTokens {
    pub(super) context_of: Vec<usize>,
    pub(super) position_of: Vec<usize>,
    pub(super) arms: Vec<ArmTokens>,
    pub(super) linear: Vec<f64>,
    pub(super) nonlinear: Vec<f64>,
}

impl DownstreamTokens {
    pub(super) fn new(arms: usize) -> Self {
        Self { arms: vec![ArmTokens::default(); arms], ..Self::default() }
    }
}

/// What stays the same from batch to batch.
pub(super) struct Measuring<'a> {
    model: &'a Decoder,
    info: &'a SaeInfo,
    explained: &'a Explained,
    contexts: &'a Contexts,
    /// The number that a context has in `info`, if it is there.
    known: HashMap<&'a [u32], u32>,
    place: ReplacedPoint,
    /// Positions that are replaced.
    window: Range<usize>,
    /// Of activations, f32 `[d]`.
    mean: Tensor,
    seed: u64,
}

impl<'a> Measuring<'a> {
    pub(super) fn new(
        model: &'a Decoder,
        info: &'a SaeInfo,
        explained: &'a Explained,
        contexts: &'a Contexts,
        seed: u64,
    ) -> Result<Self> {
        let numbered = (0..info.contexts().len())
            .map(|context| Ok((info.contexts().get(context)?, context as u32)));
        let mean = Tensor::new(info.mean_activation(), model.device())?.to_dtype(DType::F32)?;
        Ok(Self {
            model,
            info,
            explained,
            contexts,
            known: numbered.collect::<Result<_>>()?,
            place: ReplacedPoint::new(info.point())?,
            window: info.window().range(contexts.length())?,
            mean,
            seed,
        })
    }

    /// Runs `count` contexts from `first` on with each arm.
    pub(super) fn batch(
        &self,
        first: usize,
        count: usize,
        arms: &[Arm],
        tokens: &mut DownstreamTokens,
    ) -> Result<()> {
        let places = self.places(first, count, tokens)?;
        if places.ids.is_empty() {
            return Ok(());
        }
        let ids = self.contexts.batch(first, count, self.model.device())?;
        let begun = self.place.begin(self.model, &ids)?;
        let all = count * self.contexts.length();
        let replaced = ReplacedRows::new(&begun.activation, all, places.ids)?;
        let rows = self.arm_rows(&replaced, places.ranges)?;
        let errors = row_squares(&(&rows.activations - &rows.reconstructions)?)?;
        for (norms, part) in
            [(&mut tokens.linear, &rows.linear), (&mut tokens.nonlinear, &rows.nonlinear)]
        {
            norms.extend(row_squares(part)?.into_iter().map(f64::sqrt));
        }
        let mut streams = Vec::with_capacity(arms.len());
        for (arm, found) in arms.iter().zip(&mut tokens.arms) {
            let values = rows.of(*arm)?;
            found.measure(&values, &rows, &errors)?;
            let activation = match arm {
                Arm::Clean => begun.activation.clone(),
                _ => replaced.with(&begun.activation, &values)?,
            };
            let stream = self.place.go_on(self.model, &begun, activation)?.flatten(0, 1)?;
            streams.push(stream.index_select(&replaced.ids, 0)?);
        }
        let losses = row_losses(self.model, &streams[0], &streams[1..], &places.next)?;
        for (found, losses) in tokens.arms.iter_mut().zip(losses) {
            found.losses.cross_entropy.extend(losses.cross_entropy);
            found.losses.kl.extend(losses.kl);
        }
        Ok(())
    }

    /// The places whose activations are replaced, which are told to `tokens`.
    fn places(&self, first: usize, count: usize, tokens: &mut DownstreamTokens) -> Result<Places> {
        let mut places = Places::default();
        for context in 0..count {
            let own = self.contexts.get(first + context)?;
            let start = places.ids.len();
            let skipped = self.info.skip_tokens();
            for position in self.window.clone().filter(|at| !skipped.contains(&own[*at])) {
                places.ids.push((context * own.len() + position) as u32);
                places.next.push(own[position + 1]);
                tokens.context_of.push(first + context);
                tokens.position_of.push(position);
            }
            if start < places.ids.len() {
                places.ranges.push((first + context, start..places.ids.len()));
            }
        }
        Ok(places)
    }

    /// Activations that are replaced, with the parts of their errors.
    fn arm_rows(
        &self,
        replaced: &ReplacedRows,
        contexts: Vec<(usize, Range<usize>)>,
    ) -> Result<ArmRows> {
        let activations = replaced.rows.clone();
        let reconstructions = self.info.sae().reconstruct(&activations)?;
        let reconstructions = reconstructions.to_device(activations.device())?;
        let mut linear = Vec::with_capacity(contexts.len());
        for (context, rows) in &contexts {
            let map = self.map_for(*context)?;
            linear.push(map.apply(&activations.narrow(0, rows.start, rows.len())?)?);
        }
        let linear = Tensor::cat(&linear, 0)?.to_dtype(DType::F32)?;
        Ok(ArmRows {
            nonlinear: ((&activations - &reconstructions)? - &linear)?,
            activations,
            reconstructions,
            linear,
            contexts,
            mean: self.mean.clone(),
            seed: self.seed,
        })
    }

    /// A linear map that was not fitted on the context.
    fn map_for(&self, context: usize) -> Result<&LinearMap> {
        match self.known.get(self.contexts.get(context)?) {
            Some(known) => self.explained.map_for(*known),
            None => Ok(self.explained.map()),
        }
    }
}

/// Places of some contexts.
#[derive(Default)]
struct Places {
    /// Their numbers among all positions of the contexts.
    ids: Vec<u32>,
    /// The token after each.
    next: Vec<u32>,
    /// The number of each context, and its places among these.
    ranges: Vec<(usize, Range<usize>)>,
}

impl ArmTokens {
    /// Takes in how far `values` of an arm are from the activations, whose squared errors are `errors`.
    fn measure(&mut self, values: &Tensor, rows: &ArmRows, errors: &[f64]) -> Result<()> {
        let left = row_squares(&(&rows.activations - values)?)?;
        self.squared_error += left.iter().sum::<f64>();
        let added = row_squares(&(values - &rows.reconstructions)?)?;
        for (added, error) in added.iter().zip(errors).filter(|(_, error)| **error > 0.0) {
            self.norm_shares[0] += (added / error).sqrt();
            self.norm_shares[1] += 1.0;
        }
        Ok(())
    }
}

/// Some rows of an activation, and how to put others in their place.
struct ReplacedRows {
    /// f32 `[rows, d]`.
    rows: Tensor,
    /// The rows' numbers among all.
    ids: Tensor,
    /// For each of all rows its number among all, followed by those that take their place.
    order: Tensor,
}

impl ReplacedRows {
    /// Rows `ids` of `all` in `activation` `[contexts, positions, …]`.
    fn new(activation: &Tensor, all: usize, ids: Vec<u32>) -> Result<Self> {
        let mut order: Vec<u32> = (0..all as u32).collect();
        (all as u32..).zip(&ids).for_each(|(own, id)| order[*id as usize] = own);
        let device = activation.device();
        let (ids, order) = (Tensor::new(ids, device)?, Tensor::new(order, device)?);
        let rows = activation.reshape((all, ()))?.index_select(&ids, 0)?.to_dtype(DType::F32)?;
        Ok(Self { rows, ids, order })
    }

    /// `activation` with `values` `[rows, d]` in place of the rows.
    fn with(&self, activation: &Tensor, values: &Tensor) -> Result<Tensor> {
        let all = activation.reshape((activation.dim(0)? * activation.dim(1)?, ()))?;
        let values = values.to_dtype(activation.dtype())?;
        let rows = Tensor::cat(&[&all, &values], 0)?.index_select(&self.order, 0)?;
        Ok(rows.reshape(activation.shape())?)
    }
}

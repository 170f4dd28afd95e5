//! `mlsae/lens`: a tuned lens, its inverse, and what both say of the last layer.

use std::path::Path;

use eigenlens::candle::{D, DType, Device, IndexOp, Tensor};
use eigenlens::model::{HookPoint, LensVariant, TunedLens, lens_divergence};
use eigenlens::{Error, Result};
use serde_json::Value;

use crate::circles::TENSORS;
use crate::json;
use crate::report::{Reference, Report};

pub(crate) fn lens(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    let case = json::read(folder, "case.json")?;
    let path = case["lens"].as_str().unwrap_or_default();
    let lens = TunedLens::from_pretrained(&folder.join(path).to_string_lossy(), &Device::Cpu)?;
    let layers = lens.layers();
    for (i, (weight, bias)) in lens.translators().iter().enumerate() {
        reference.compare(&format!("in.translators.{i}.weight"), weight, report)?;
        reference.compare(&format!("in.translators.{i}.bias"), bias, report)?;
    }
    let hidden = reference.input("in.hidden", report)?;
    let recons = reference.input("in.recons", report)?;
    // The last state is what the last layer writes.
    let point = |state: usize| match state == layers {
        false => HookPoint::ResidPre(state),
        true => HookPoint::ResidPost(layers - 1),
    };
    let all = 0..=layers;
    let stacked = |of: &dyn Fn(usize) -> Result<Tensor>,
                   states: std::ops::RangeInclusive<usize>| {
        Ok::<_, Error>(Tensor::stack(&states.map(of).collect::<Result<Vec<_>>>()?, 0)?)
    };
    let found = stacked(&|state| lens.transform(&hidden.i(state)?, point(state)), all.clone())?;
    reference.compare("right.transform", &found, report)?;
    let found = stacked(&|state| lens.invert(&recons.i(state)?, point(state)), all)?;
    reference.compare("right.inverse", &found, report)?;
    // The same place has two names.
    let after = |state: usize| HookPoint::ResidPost(state - 1);
    let found = stacked(&|state| lens.transform(&hidden.i(state)?, after(state)), 1..=layers)?;
    let right = reference.input("right.transform", report)?.narrow(0, 1, layers)?;
    report.compare("right.transform after layers", &right, &found)?;

    let original = lens.variant(LensVariant::Original);
    let found = stacked(&|state| original.transform(&hidden.i(state)?, after(state)), 1..=layers)?;
    reference.compare("out.transform", &found, report)?;
    let found = stacked(&|state| original.invert(&recons.i(state)?, after(state)), 1..=layers)?;
    reference.compare("out.inverse", &found, report)?;
    let late = |state: usize| HookPoint::ResidPre(state - 1);
    let found = stacked(&|state| lens.invert(&recons.i(state)?, late(state)), 1..=layers)?;
    reference.compare("right.inverse_same_index", &found, report)?;
    let found: Vec<f64> =
        (0..layers).map(|i| lens.condition(HookPoint::ResidPre(i))).collect::<Result<_>>()?;
    reference.compare("aux.condition_2", &Tensor::new(found, &Device::Cpu)?, report)?;
    // Another norm of the same matrices.
    reference.input("aux.condition_1", report)?;

    let head = Head::read(&reference, &case, report)?;
    let last = head.logits(&hidden.i(layers)?)?;
    reference.compare("out.final_logits", &last, report)?;
    for (name, tuned) in [("lens", true), ("logit_lens", false)] {
        let logits = stacked(
            &|state| match tuned {
                true => head.logits(&lens.transform(&hidden.i(state)?, point(state))?),
                false => head.logits(&hidden.i(state)?),
            },
            0..=layers - 1,
        )?;
        reference.compare(&format!("out.{name}.logits"), &logits, report)?;
        let each = (0..layers).map(|i| lens_divergence(&last, &logits.i(i)?));
        let each = Tensor::stack(&each.collect::<Result<Vec<_>>>()?, 0)?;
        reference.compare(&format!("out.{name}.kl_per_token"), &each, report)?;
        let mean = each.flatten_from(1)?.mean(D::Minus1)?;
        reference.compare(&format!("out.{name}.kl"), &mean, report)?;
    }
    let off_by_one = (1..=layers).map(|state| {
        let guess = lens.transform(&hidden.i(state)?, late(state))?;
        Ok(lens_divergence(&last, &head.logits(&guess)?)?.mean_all()?)
    });
    let off_by_one = Tensor::stack(&off_by_one.collect::<Result<Vec<_>>>()?, 0)?;
    reference.compare("aux.kl_off_by_one", &off_by_one, report)
}

/// A final layer norm and an unembedding.
struct Head {
    gain: Tensor,
    bias: Tensor,
    eps: f64,
    unembedding: Tensor,
}

impl Head {
    fn read(reference: &Reference, case: &Value, report: &mut Report) -> Result<Self> {
        let eps = case["final_norm_eps"].as_f64();
        Ok(Self {
            gain: reference.input("in.final_norm.weight", report)?,
            bias: reference.input("in.final_norm.bias", report)?,
            eps: eps.ok_or_else(|| Error::invalid("`final_norm_eps`", "a number", "none"))?,
            unembedding: reference.input("in.unembed.weight", report)?,
        })
    }

    fn logits(&self, stream: &Tensor) -> Result<Tensor> {
        let centred = stream.broadcast_sub(&stream.mean_keepdim(D::Minus1)?)?;
        let scale = (centred.sqr()?.mean_keepdim(D::Minus1)? + self.eps)?.sqrt()?;
        let normed = centred.broadcast_div(&scale)?.broadcast_mul(&self.gain)?;
        let normed = normed.broadcast_add(&self.bias)?.to_dtype(DType::F32)?;
        Ok(normed.broadcast_matmul(&self.unembedding.t()?)?)
    }
}

//! Training of a grid of autoencoders in one pass.

use candle_core::Tensor;

use super::grid::{GridEntry, GridPlace, SaeGrid};
use crate::data::text::Tokens;
use crate::model::{Decoder, HookPoint};
use crate::sae::{FitSize, Objective, Sae, SaeOptions};
use crate::train::History;
use crate::{Error, Result};

impl SaeGrid {
    /// Trains an autoencoder of each of `widths` features with each of `ks`, of **one** stream of
    /// activations: the model runs as often as for one of them. Each ends with the weights that
    /// [`Sae::fit`] gives it alone. Returns the grid, and the history of each in the grid's order.
    ///
    /// `expansion` and `k` of the options mean nothing here. With a checkpoint folder, a fit that was
    /// cut off goes on when it is called again, and ends with the same weights. When Stop is pressed,
    /// `on_stop` says what is returned; `stopped::<(SaeGrid, Vec<History>)>()` returns the
    /// autoencoders as far as they were trained.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// use eigenlens::sae_error::SaeGrid;
    /// # fn main() -> Result<()> {
    /// # let config = Config { vocab: 9, context: 16, ..Config::bilinear(1, 2, 8, 16) };
    /// # let model = Decoder::random(config, 0, &Device::Cpu)?;
    /// # let text = Tokens::from((0..99).map(|i| i * i % 9).collect::<Vec<u32>>());
    /// let options =
    ///     SaeOptions { steps: 20, batch: 64, buffer: 256, length: 16, ..SaeOptions::default() };
    /// let point = HookPoint::ResidPost(0);
    /// let (grid, histories) = SaeGrid::fit(&model, point, &text, &[16, 32], &[2, 4], &options)?;
    /// assert_eq!((grid.len(), histories.len()), (4, 4));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Invalid`] for widths that are no multiples of the activation's, for a size twice,
    ///   for a `target`, and for several k with an objective that does not count features.
    /// - As [`Sae::fit`].
    pub fn fit(
        model: &Decoder,
        point: HookPoint,
        text: &Tokens,
        widths: &[usize],
        ks: &[usize],
        options: &SaeOptions,
    ) -> Result<(Self, Vec<History>)> {
        let sizes: Vec<(usize, usize)> =
            widths.iter().flat_map(|width| ks.iter().map(move |k| (*width, *k))).collect();
        Self::fit_sizes(model, point, text, &sizes, options)
    }

    /// [`SaeGrid::fit`] of pairs of a width and a k, for a grid with holes.
    ///
    /// # Errors
    /// As [`SaeGrid::fit`].
    pub fn fit_sizes(
        model: &Decoder,
        point: HookPoint,
        text: &Tokens,
        sizes: &[(usize, usize)],
        options: &SaeOptions,
    ) -> Result<(Self, Vec<History>)> {
        let sizes = checked(model, point, sizes, options)?;
        let found = Sae::fit_sizes(model, point, text, &sizes, options)?;
        let counts = counts_features(&options.objective);
        let entries = found.fits.into_iter().zip(&sizes).map(|((sae, history), size)| {
            // A fit that was stopped before its first row has measured nothing.
            let l0 = if counts { size.k as f64 } else { history.last("l0").unwrap_or(0.0) };
            let width = sae.features();
            GridEntry {
                width,
                l0,
                name: match counts {
                    true => format!("{point} x{} k{}", size.expansion, size.k),
                    false => format!("{point} x{}", size.expansion),
                },
                point: Some(point),
                place: GridPlace::Memory(sae),
                history: Some(history),
            }
        });
        let grid = Self::of(entries.collect())?;
        let histories = grid.entries().iter().filter_map(|entry| entry.history().cloned());
        let result = (grid.clone(), histories.collect());
        if !found.interrupted {
            return Ok(result);
        }
        let access = "`stopped::<(eigenlens::sae_error::SaeGrid, \
                      Vec<eigenlens::train::History>)>()?` gives the autoencoders as far as they \
                      were trained.";
        options.on_stop.end("the training of a grid of autoencoders", result, access)
    }
}

/// The sizes in multiples of the activation's width.
fn checked(
    model: &Decoder,
    point: HookPoint,
    sizes: &[(usize, usize)],
    options: &SaeOptions,
) -> Result<Vec<FitSize>> {
    let SaeOptions { target, objective, .. } = options;
    if let Some(target) = target {
        return Err(Error::invalid("`target` of a grid", "none", target));
    }
    let Some((_, first)) = sizes.first() else {
        return Err(Error::invalid("the widths and ks of a grid", "at least one each", "none"));
    };
    if !counts_features(objective) && sizes.iter().any(|(_, k)| k != first) {
        let expected = "one that counts features, such as TopK or BatchTopK, for several k";
        return Err(Error::invalid("`objective`", expected, format!("{objective:?}")));
    }
    let d = width_at(model, point)?;
    let mut found = Vec::new();
    for &(width, k) in sizes {
        if width == 0 || !width.is_multiple_of(d) {
            let expected = format!("multiples of {d}, the width of activations at {point}");
            return Err(Error::invalid("the widths", expected, width));
        }
        let size = FitSize { expansion: width / d, k };
        if found.contains(&size) {
            let twice = format!("{width} features with k {k} twice");
            return Err(Error::invalid("the sizes of a grid", "different ones", twice));
        }
        found.push(size);
    }
    Ok(found)
}

/// The width of a model's activations at a place, heads side by side.
///
/// # Errors
/// A place that the model does not have.
pub(super) fn width_at(model: &Decoder, point: HookPoint) -> Result<usize> {
    let token = Tensor::new(&[0u32], model.device())?;
    let cache = model.activations(&token, &[point])?;
    Ok(cache.get(point)?.flatten(0, 1)?.flatten_from(1)?.dim(1)?)
}

/// Whether k decides how many features are active.
fn counts_features(objective: &Objective) -> bool {
    match objective {
        Objective::TopK
        | Objective::BatchTopK
        | Objective::AbsTopK
        | Objective::Matryoshka { .. } => true,
        Objective::Standard { .. }
        | Objective::JumpRelu { .. }
        | Objective::JumpReluTanh { .. }
        | Objective::JumpReluTarget { .. }
        | Objective::Gated { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::Config;
    use crate::progress::stopped;
    use crate::train::tests::stop_after;

    const POINT: HookPoint = HookPoint::ResidPost(0);

    fn model() -> Decoder {
        let config = Config { vocab: 9, context: 16, ..Config::bilinear(2, 2, 8, 16) };
        Decoder::random(config, 0, &Device::Cpu).unwrap()
    }

    fn text() -> Tokens {
        Tokens::from((0..400).map(|i| (i * i % 9) as u32).collect::<Vec<_>>())
    }

    fn options() -> SaeOptions {
        SaeOptions {
            steps: 30,
            batch: 64,
            buffer: 256,
            length: 16,
            report: 10,
            learning_rate: 0.01,
            ..SaeOptions::default()
        }
    }

    fn bits(sae: &Sae) -> Vec<Vec<u32>> {
        let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let bits = |x: &Tensor| flat(x).into_iter().map(f32::to_bits).collect();
        sae.weights().tensors().into_iter().map(bits).collect()
    }

    #[test]
    fn a_grid_is_what_its_parts_are_alone() {
        let (grid, histories) =
            SaeGrid::fit(&model(), POINT, &text(), &[32, 16], &[4, 2], &options()).unwrap();
        let sizes: Vec<(usize, f64)> =
            grid.entries().iter().map(|own| (own.width, own.l0)).collect();
        assert_eq!(sizes, [(16, 2.0), (16, 4.0), (32, 2.0), (32, 4.0)]);
        for ((entry, history), (expansion, k)) in
            grid.entries().iter().zip(&histories).zip([(2, 2), (2, 4), (4, 2), (4, 4)])
        {
            let own = SaeOptions { expansion, k, ..options() };
            let (alone, expected) = Sae::fit(&model(), POINT, &text(), &own).unwrap();
            assert_eq!(bits(&entry.sae(&Device::Cpu).unwrap()), bits(&alone), "{}", entry.name);
            assert_eq!((history, entry.history()), (&expected, Some(&expected)));
        }
        assert_eq!(grid.entries()[0].name, "0.resid_post x2 k2");
    }

    #[test]
    fn a_grid_that_stop_ended_is_kept_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let kept = SaeOptions { checkpoint: Some(folder.path().to_owned()), ..options() };
        let fit =
            |options: &SaeOptions| SaeGrid::fit(&model(), POINT, &text(), &[16, 32], &[2], options);
        let error = stop_after(15, || fit(&kept)).unwrap_err();
        assert!(error.to_string().contains("the training of a grid"), "{error}");
        let (partial, histories) = stopped::<(SaeGrid, Vec<History>)>().unwrap();
        assert!(partial.len() == 2 && histories[0].interrupted && histories[0].len() == 1);
        let (grid, _) = fit(&kept).unwrap();
        let (undisturbed, _) = fit(&options()).unwrap();
        for (a, b) in grid.entries().iter().zip(undisturbed.entries()) {
            assert_eq!(bits(&a.sae(&Device::Cpu).unwrap()), bits(&b.sae(&Device::Cpu).unwrap()));
        }
        // A penalty gives an L0 that has to be measured.
        let objective = Objective::Standard { l1: 0.1 };
        let (grid, histories) = fit(&SaeOptions { objective, ..options() }).unwrap();
        assert_eq!(grid.entries()[0].l0, histories[0].last("l0").unwrap());
    }

    #[test]
    fn sizes_that_cannot_be_are_named() {
        let message = |widths: &[usize], ks: &[usize], options: &SaeOptions| {
            let found = SaeGrid::fit(&model(), POINT, &text(), widths, ks, options);
            found.unwrap_err().to_string()
        };
        assert!(message(&[12], &[2], &options()).contains("multiples of 8"));
        assert!(message(&[0], &[2], &options()).contains("multiples of 8"));
        assert!(message(&[], &[2], &options()).contains("at least one each"));
        assert!(message(&[16, 16], &[2], &options()).contains("16 features with k 2 twice"));
        assert!(message(&[16], &[2, 99], &options()).contains("99"));
        let target = SaeOptions { target: Some(HookPoint::MlpOut(0)), ..options() };
        assert!(message(&[16], &[2], &target).contains("`target` of a grid"));
        let gated = SaeOptions { objective: Objective::Gated { l1: 1.0 }, ..options() };
        assert!(message(&[16], &[2, 3], &gated).contains("counts features"));
    }
}

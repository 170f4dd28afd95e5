//! Which places of a model predict the parts of an autoencoder's error.

use std::fmt;

use candle_core::{DType, Tensor};

use super::explained::Explained;
use super::moments::{CrossFit, Moments};
use super::parts::BlockParts;
use super::rows::ErrorBlock;
use super::sae_info::SaeInfo;
use super::split::rows_at;
use crate::display::{ShownColumn, ShownTable};
use crate::progress::Progress;
use crate::{Error, Result};

/// What is predicted, in the order of [`Circuits::targets`].
const TARGETS: [&str; 3] = ["error", "nonlinear", "linear"];

/// What a place predicts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SiteQuantity {
    /// The activation x.
    Activation,
    /// Its reconstruction x̂.
    Reconstruction,
    /// The linear part of its error.
    Linear,
    /// The rest of its error.
    Nonlinear,
}

impl SiteQuantity {
    /// All of them, in the order of [`Circuits::sources`].
    pub const ALL: [Self; 4] =
        [Self::Activation, Self::Reconstruction, Self::Linear, Self::Nonlinear];
}

impl fmt::Display for SiteQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Activation => "x",
            Self::Reconstruction => "x̂",
            Self::Linear => "linear",
            Self::Nonlinear => "nonlinear",
        })
    }
}

/// How much of an autoencoder's error, and of its parts, is predicted from several places of a model.
///
/// Each number is `R² = 1 − ΣRSS/ΣTSS` over all columns, held out by context, of the regression with
/// an intercept of one of {error, nonlinear, linear} of the target on one of {x, x̂, linear,
/// nonlinear} of a place. After Engels et al. (2024), Figure 10b, who show the column of x̂: what a
/// place's features predict of an error that they are not part of, the model computes from them.
///
/// x̂ of the target's own autoencoder tells little about its error if the two are uncorrelated, and x
/// of its own place predicts the linear part by construction.
#[derive(Debug, Clone, PartialEq)]
pub struct Circuits {
    /// The places, the target's first.
    pub sites: Vec<String>,
    /// The quantities of all places: those of [`SiteQuantity::ALL`] of the first, of the second, ….
    pub sources: Vec<String>,
    /// error, nonlinear, linear.
    pub targets: Vec<String>,
    /// R² of each source and target; none where a target does not vary.
    pub r_squared: Vec<Vec<Option<f64>>>,
}

impl Circuits {
    /// Predicts the error of `target` and its parts from its own place and from those of `sources`,
    /// which are of the same tokens.
    ///
    /// The target's parts are kept, `3 · tokens · d · 4` bytes; each source is gone over once, with
    /// sums of `4 · folds · 8 · d_s(d_s + 3d)` bytes for its width d_s.
    ///
    /// # Errors
    /// - [`Error::Invalid`] for sources of other tokens.
    /// - As [`SaeInfo::explain`], such as for too few tokens.
    /// - [`Error::Interrupted`] when Stop is pressed.
    pub fn measure(target: &SaeInfo, sources: &[SaeInfo]) -> Result<Self> {
        let infos: Vec<&SaeInfo> = std::iter::once(target).chain(sources).collect();
        infos.iter().try_for_each(|info| check_same_tokens(target, info))?;
        let mut progress = Progress::new("circuits", infos.len() as u64, "place");
        let own = target.explain()?;
        let targets = CircuitTargets::new(&own)?;
        let mut r_squared = Vec::new();
        for (i, info) in infos.iter().enumerate() {
            r_squared.extend(match i {
                0 => targets.predictions(&own)?,
                _ => targets.predictions(&info.explain()?)?,
            });
            if progress.advance(1) && i + 1 < infos.len() {
                return Err(Error::Interrupted { what: "circuits".to_owned() });
            }
        }
        let sites = names(&infos);
        let of_site = |site: &String| SiteQuantity::ALL.map(|own| format!("{site} {own}"));
        Ok(Self {
            sources: sites.iter().flat_map(of_site).collect(),
            sites,
            targets: TARGETS.map(str::to_owned).to_vec(),
            r_squared,
        })
    }

    /// R² of each target from a quantity of the place with the number `site`; empty for a place there
    /// is not.
    pub fn of(&self, site: usize, quantity: SiteQuantity) -> &[Option<f64>] {
        let place = SiteQuantity::ALL.iter().position(|own| *own == quantity).unwrap_or(0);
        self.r_squared.get(site * SiteQuantity::ALL.len() + place).map_or(&[], Vec::as_slice)
    }

    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn shown(&self) -> ShownTable {
        let targets = self.targets.iter().map(ShownColumn::right);
        let first = ShownColumn::left("R² from").css("text-align:left");
        let mut shown = ShownTable::new(std::iter::once(first).chain(targets));
        for (source, row) in self.sources.iter().zip(&self.r_squared) {
            let cell = |own: &Option<f64>| own.map_or("–".to_owned(), |own| format!("{own:.3}"));
            shown.push(std::iter::once(source.clone()).chain(row.iter().map(cell)));
        }
        shown
    }
}

impl fmt::Display for Circuits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown().text())
    }
}

/// Hook points, with the autoencoders' names where several are at one.
fn names(infos: &[&SaeInfo]) -> Vec<String> {
    let is_alone = |point| infos.iter().filter(|other| other.point() == point).count() == 1;
    let name = |info: &&SaeInfo| match is_alone(info.point()) {
        true => info.point().to_string(),
        false => format!("{} {}", info.point(), info.name()),
    };
    infos.iter().map(name).collect()
}

fn check_same_tokens(target: &SaeInfo, source: &SaeInfo) -> Result<()> {
    let same = target.context_of() == source.context_of()
        && target.positions() == source.positions()
        && target.tokens() == source.tokens();
    if same {
        return Ok(());
    }
    let what = format!("the tokens of {}", source.name());
    let expected = format!("those of the target, {} of them", target.len());
    Err(Error::invalid(what, expected, format!("{} others", source.len())))
}

/// The target's error, nonlinear and linear part, side by side.
struct CircuitTargets<'a> {
    /// `[rows, 3 d]`, f32.
    values: Tensor,
    width: usize,
    /// Tells the folds.
    explained: &'a Explained,
}

/// Calls `visit` with each block of rows and the parts of its errors.
fn for_each_block(
    explained: &Explained,
    mut visit: impl FnMut(ErrorBlock, BlockParts) -> Result<()>,
) -> Result<()> {
    let rows = explained.rows();
    rows.for_each_block(&mut |block| {
        let parts = explained.cross_maps().parts(&block, &rows.contexts()[block.range()?])?;
        visit(block, parts)
    })
}

impl<'a> CircuitTargets<'a> {
    fn new(explained: &'a Explained) -> Result<Self> {
        let mut blocks = Vec::new();
        for_each_block(explained, |_, parts| {
            let parts = Tensor::cat(&[&parts.errors, &parts.nonlinear, &parts.linear], 1)?;
            blocks.push(parts.to_dtype(DType::F32)?);
            Ok(())
        })?;
        Ok(Self { values: Tensor::cat(&blocks, 0)?, width: explained.rows().width(), explained })
    }

    /// R² of each target from each quantity of a place.
    fn predictions(&self, place: &Explained) -> Result<Vec<Vec<Option<f64>>>> {
        let (rows, maps) = (place.rows(), self.explained.cross_maps());
        let outputs = TARGETS.len() * self.width;
        let mut sums = (0..SiteQuantity::ALL.len())
            .map(|_| Moments::new(rows.width(), outputs, maps.maps.len()))
            .collect::<Result<Vec<_>>>()?;
        for_each_block(place, |block, parts| {
            let range = block.range()?;
            let y = self.values.narrow(0, range.start, range.len())?;
            let quantities =
                [&block.activations, &block.reconstructions, &parts.linear, &parts.nonlinear];
            let groups = maps.folds.groups(&rows.contexts()[range])?;
            for (fold, own) in groups.iter().enumerate().filter(|(_, own)| !own.is_empty()) {
                let y = rows_at(&y, own)?;
                for (sums, x) in sums.iter_mut().zip(quantities) {
                    sums.add(fold, &rows_at(x, own)?, &y)?;
                }
            }
            Ok(())
        })?;
        let scores = sums.iter().map(|sums| -> Result<Vec<Option<f64>>> {
            let fits = CrossFit::new(sums, true)?;
            let of = |target: usize| {
                let columns = target * self.width..(target + 1) * self.width;
                // It has no score if it does not vary.
                fits.score(columns).ok().map(|score| score.r_squared)
            };
            Ok((0..TARGETS.len()).map(of).collect())
        });
        scores.collect()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::data::text::Contexts;
    use crate::harvest::tests::model;
    use crate::linalg::{lstsq, matmul};
    use crate::model::HookPoint;
    use crate::sae_error::downstream::tests::small_info;
    use crate::sae_error::sae_info::InfoOptions;

    /// Held-out R² with an intercept, from the rows themselves in f64.
    fn held_out(x: &Tensor, y: &Tensor, folds: &[Vec<u32>]) -> f64 {
        let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
        let ones = Tensor::ones((x.dims()[0], 1), DType::F64, &Device::Cpu).unwrap();
        let (x, y) = (Tensor::cat(&[&wide(x), &ones], 1).unwrap(), wide(y));
        let square = |x: Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        let mut rss = 0.0;
        for (fold, own) in folds.iter().enumerate() {
            let others = folds.iter().enumerate().filter(|(other, _)| *other != fold);
            let others: Vec<u32> = others.flat_map(|(_, rows)| rows.clone()).collect();
            let of = |x: &Tensor, rows: &[u32]| {
                x.index_select(&Tensor::new(rows, &Device::Cpu).unwrap(), 0).unwrap()
            };
            let map = lstsq(&of(&x, &others), &of(&y, &others)).unwrap();
            rss += square((of(&y, own) - matmul(&of(&x, own), &map).unwrap()).unwrap());
        }
        let mean = y.mean_keepdim(0).unwrap();
        1.0 - rss / square(y.broadcast_sub(&mean).unwrap())
    }

    #[test]
    fn numbers_are_those_of_regressions_on_the_rows() {
        let target = small_info(HookPoint::ResidPost(1));
        let source = small_info(HookPoint::MlpOut(0));
        let found = Circuits::measure(&target, std::slice::from_ref(&source)).unwrap();
        assert_eq!(found.sites, ["1.resid_post", "0.mlp_out"]);
        assert_eq!((found.sources.len(), found.targets.len()), (8, 3));
        assert_eq!(found.sources[5], "0.mlp_out x̂");

        let explained = target.explain().unwrap();
        let parts = |info: &SaeInfo| {
            let explained = info.explain().unwrap().parts().unwrap();
            let linear = explained.linear(&info.activations().unwrap(), info.context_of()).unwrap();
            let error = info.errors().unwrap().to_dtype(DType::F64).unwrap();
            (error.clone(), (error - &linear).unwrap(), linear)
        };
        let (error, nonlinear, linear) = parts(&target);
        let (_, other, predicted) = parts(&source);
        let folds = explained.cross_maps().folds.groups(target.context_of()).unwrap();
        for (quantity, x) in [
            (SiteQuantity::Activation, source.activations().unwrap()),
            (SiteQuantity::Reconstruction, source.reconstructions().unwrap()),
            (SiteQuantity::Linear, predicted),
            (SiteQuantity::Nonlinear, other),
        ] {
            for (own, y) in found.of(1, quantity).iter().zip([&error, &nonlinear, &linear]) {
                let expected = held_out(&x, y, &folds);
                assert!((own.unwrap() - expected).abs() < 1e-4, "{quantity} {own:?} {expected}");
            }
        }
        // The linear part is a linear image of x, by construction.
        assert!(found.of(0, SiteQuantity::Activation)[2].unwrap() > 0.9, "{found}");
        assert!(found.of(2, SiteQuantity::Linear).is_empty());
        assert!(found.to_string().contains("nonlinear"));
    }

    #[test]
    fn sources_of_other_tokens_are_refused() {
        let target = small_info(HookPoint::ResidPost(1));
        let text = target.contexts();
        let some = Contexts::new(6, text.as_slice()[..60].to_vec()).unwrap();
        let options = InfoOptions { window: Some(target.window()), ..InfoOptions::default() };
        let other = SaeInfo::collect(&model(), target.sae(), &some, &options).unwrap();
        let error = Circuits::measure(&target, &[other]).unwrap_err().to_string();
        assert!(error.contains("those of the target, 200"), "{error}");
        let twice = Circuits::measure(&target, std::slice::from_ref(&target)).unwrap();
        assert!(twice.sites[0].starts_with("1.resid_post ") && twice.sites[0].len() > 13);
        assert_eq!(twice.r_squared[..4], twice.r_squared[4..]);
    }
}

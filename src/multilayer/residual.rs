//! How the residual stream changes from layer to layer.

use std::fmt;

use candle_core::{Device, Tensor};

use super::moments::{MeanAndSpread, RunningMoments};
use super::scores::{cosine, rows_of};
use crate::check::check_sizes;
use crate::display::show_as_text;
use crate::{Error, Result};

/// Lengths and means of the residual stream at L layers: the first of the two passes of
/// [`ResidualStatistics`], which needs the means to centre by.
#[derive(Debug, Clone)]
pub struct ResidualMeans {
    norms: RunningMoments,
    /// The sums of each dimension, `[L, d]`.
    sums: Vec<f64>,
    width: usize,
}

/// Lengths of the residual stream at each of L layers, and cosines between layers: as they are, and
/// after the mean of each layer was taken off.
///
/// ```text
/// ‖x_ℓ‖      cos(x_ℓ, x_m)      cos(x_ℓ − μ_ℓ, x_m − μ_m)      μ_ℓ = mean of x_ℓ over positions
/// ```
///
/// All over the same positions, summed in f64; a vector of length 0 has the cosine 0 with every
/// other. Special tokens are in or out as the caller gives them: the original replaces them by zeros
/// which stay in all numbers. After Lawson et al. (2024).
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::multilayer::ResidualMeans;
/// # fn main() -> Result<()> {
/// // Two positions at two layers; the second layer doubles them.
/// let x = Tensor::new(&[[[1f32, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 2.0]]], &Device::Cpu)?;
/// let mut means = ResidualMeans::new(2, 2)?;
/// means.add(&x)?;
/// let mut found = means.statistics()?;
/// found.add(&x)?;
/// assert_eq!(found.norms()[1].mean, 2.0);
/// assert_eq!(found.neighbours()[0].mean, 1.0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct ResidualStatistics {
    norms: RunningMoments,
    means: Vec<f64>,
    width: usize,
    /// Of the pairs of neighbours.
    raw: RunningMoments,
    centred: RunningMoments,
    /// Σ over positions, `[L, L]`.
    raw_pairs: Vec<f64>,
    centred_pairs: Vec<f64>,
    rows: u64,
}

impl ResidualMeans {
    /// Of so many layers and dimensions, before the first position.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no layers or no dimensions.
    pub fn new(layers: usize, width: usize) -> Result<Self> {
        check_sizes(&[("the number of layers", layers), ("the width of the stream", width)])?;
        Ok(Self { norms: RunningMoments::start(layers), sums: vec![0.0; layers * width], width })
    }

    fn layers(&self) -> usize {
        self.norms.mean().len()
    }

    /// Takes in streams `[L, …, d]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of layers or dimensions, [`Error::NonFinite`] for NaN.
    pub fn add(&mut self, streams: &Tensor) -> Result<()> {
        let streams = HostStreams::of(streams, self.layers(), self.width)?;
        let mut norms = vec![0.0; self.layers()];
        for row in 0..streams.rows {
            for (layer, norm) in norms.iter_mut().enumerate() {
                let own = streams.row(layer, row);
                *norm = own.iter().map(|x| x * x).sum::<f64>().sqrt();
                let sums = self.sums[layer * self.width..].iter_mut();
                sums.zip(own).for_each(|(sum, x)| *sum += x);
            }
            self.norms.take(&norms);
        }
        Ok(())
    }

    /// What the second pass fills.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there were no positions.
    pub fn statistics(self) -> Result<ResidualStatistics> {
        let (layers, rows) = (self.layers(), self.norms.count());
        check_sizes(&[("the number of positions", rows as usize)])?;
        Ok(ResidualStatistics {
            means: self.sums.iter().map(|sum| sum / rows as f64).collect(),
            width: self.width,
            norms: self.norms,
            raw: RunningMoments::start(layers - 1),
            centred: RunningMoments::start(layers - 1),
            raw_pairs: vec![0.0; layers * layers],
            centred_pairs: vec![0.0; layers * layers],
            rows: 0,
        })
    }
}

impl ResidualStatistics {
    /// Takes in the same streams `[L, …, d]` a second time.
    ///
    /// # Errors
    /// As [`ResidualMeans::add`].
    pub fn add(&mut self, streams: &Tensor) -> Result<()> {
        let (layers, width) = (self.layers(), self.width);
        let streams = HostStreams::of(streams, layers, width)?;
        let mut centred = vec![0.0; layers * width];
        let [mut raw_next, mut centred_next] = [(); 2].map(|()| vec![0.0; layers - 1]);
        for row in 0..streams.rows {
            for layer in 0..layers {
                let own = centred[layer * width..].iter_mut().zip(streams.row(layer, row));
                own.zip(&self.means[layer * width..]).for_each(|((to, x), mean)| *to = x - mean);
            }
            let of = |layer: usize| &centred[layer * width..][..width];
            for a in 0..layers {
                for b in a..layers {
                    let raw = cosine(streams.row(a, row), streams.row(b, row));
                    let own = cosine(of(a), of(b));
                    for place in
                        [a * layers + b, b * layers + a].into_iter().take(1 + (b > a) as usize)
                    {
                        self.raw_pairs[place] += raw;
                        self.centred_pairs[place] += own;
                    }
                    if b == a + 1 {
                        (raw_next[a], centred_next[a]) = (raw, own);
                    }
                }
            }
            self.raw.take(&raw_next);
            self.centred.take(&centred_next);
        }
        self.rows += streams.rows as u64;
        Ok(())
    }

    /// Number of layers, L.
    pub fn layers(&self) -> usize {
        self.norms.mean().len()
    }

    /// Number of positions of the first pass.
    pub fn rows(&self) -> u64 {
        self.norms.count()
    }

    /// The length of the stream at each layer.
    pub fn norms(&self) -> Vec<MeanAndSpread> {
        self.norms.spreads()
    }

    /// The mean of the stream at each layer, `[L, d]`, f64.
    ///
    /// # Errors
    /// Memory.
    pub fn means(&self) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.means.clone(), (self.layers(), self.width), &Device::Cpu)?)
    }

    /// Cosines of each layer with the next, `L − 1` of them.
    pub fn neighbours(&self) -> Vec<MeanAndSpread> {
        self.raw.spreads()
    }

    /// Cosines of each layer with the next after the means were taken off, `L − 1` of them.
    pub fn centred_neighbours(&self) -> Vec<MeanAndSpread> {
        self.centred.spreads()
    }

    /// Mean cosines of all pairs of layers, `[L, L]`, f64; NaN before the second pass.
    ///
    /// # Errors
    /// Memory.
    pub fn pairs(&self) -> Result<Tensor> {
        self.square(&self.raw_pairs)
    }

    /// Mean cosines of all pairs of layers after the means were taken off, `[L, L]`, f64.
    ///
    /// # Errors
    /// Memory.
    pub fn centred_pairs(&self) -> Result<Tensor> {
        self.square(&self.centred_pairs)
    }

    fn square(&self, sums: &[f64]) -> Result<Tensor> {
        let means: Vec<f64> = sums.iter().map(|sum| sum / self.rows as f64).collect();
        Ok(Tensor::from_vec(means, (self.layers(), self.layers()), &Device::Cpu)?)
    }
}

/// HostStreams of a batch on the host.
struct HostStreams {
    /// `[L, rows, d]`.
    values: Vec<f64>,
    rows: usize,
    width: usize,
}

impl HostStreams {
    fn of(streams: &Tensor, layers: usize, width: usize) -> Result<Self> {
        let dims = streams.dims();
        if dims.len() < 2 || (dims[0], dims[dims.len() - 1]) != (layers, width) {
            let expected = format!("[{layers}, …, {width}]");
            return Err(Error::shape("the streams", expected, dims));
        }
        let (values, _) = rows_of("the streams", streams)?;
        Ok(Self { rows: values.len() / (layers * width), values, width })
    }

    fn row(&self, layer: usize, row: usize) -> &[f64] {
        &self.values[(layer * self.rows + row) * self.width..][..self.width]
    }
}

show_as_text!(ResidualStatistics);

impl fmt::Display for ResidualStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Residual stream of {} positions", self.rows())?;
        write!(f, "layer   ‖x‖      cos with the next, centred")?;
        let next = self.neighbours().into_iter().zip(self.centred_neighbours()).map(Some);
        for (layer, (norm, next)) in self.norms().iter().zip(next.chain([None])).enumerate() {
            write!(f, "\n{layer:>5} {:>8.3}", norm.mean)?;
            if let Some((raw, centred)) = next {
                write!(f, " {:>8.4} {:>8.4}", raw.mean, centred.mean)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    fn statistics(batches: &[Tensor]) -> ResidualStatistics {
        let [layers, .., width] = *batches[0].dims() else { panic!("[L, …, d]") };
        let mut means = ResidualMeans::new(layers, width).unwrap();
        batches.iter().for_each(|batch| means.add(batch).unwrap());
        let mut found = means.statistics().unwrap();
        batches.iter().for_each(|batch| found.add(batch).unwrap());
        found
    }

    #[test]
    fn numbers_are_those_of_all_positions_together() {
        let x = (Rng::seed(3).normal((3, 20, 4), &Device::Cpu).unwrap() + 1.0).unwrap();
        let parts = [x.narrow(1, 0, 7).unwrap(), x.narrow(1, 7, 13).unwrap()];
        let found = statistics(&parts);
        let x: Vec<Vec<Vec<f32>>> = x.to_vec3().unwrap();
        let wide = |row: &[f32]| row.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let norms: Vec<f64> =
            x[1].iter().map(|row| wide(row).iter().map(|x| x * x).sum::<f64>().sqrt()).collect();
        assert!((found.norms()[1].mean - MeanAndSpread::of(&norms).mean).abs() < 1e-12);
        assert!((found.norms()[1].sem - MeanAndSpread::of(&norms).sem).abs() < 1e-12);
        let mean = |layer: usize, i: usize| {
            x[layer].iter().map(|row| f64::from(row[i])).sum::<f64>() / 20.0
        };
        let less = |layer: usize, row: &[f32]| -> Vec<f64> {
            wide(row).iter().enumerate().map(|(i, x)| x - mean(layer, i)).collect()
        };
        let cosines = |a: usize, b: usize, centre: bool| {
            let of = |layer: usize, row: &[f32]| if centre { less(layer, row) } else { wide(row) };
            let pairs = x[a].iter().zip(&x[b]);
            MeanAndSpread::of(&pairs.map(|(p, q)| cosine(&of(a, p), &of(b, q))).collect::<Vec<_>>())
        };
        for centre in [false, true] {
            let next = if centre { found.centred_neighbours() } else { found.neighbours() };
            let pairs = if centre { found.centred_pairs() } else { found.pairs() };
            let pairs: Vec<Vec<f64>> = pairs.unwrap().to_vec2().unwrap();
            for (a, row) in pairs.iter().enumerate() {
                for (b, found) in row.iter().enumerate() {
                    assert!((found - cosines(a, b, centre).mean).abs() < 1e-12);
                }
            }
            for (a, next) in next.iter().enumerate() {
                let expected = cosines(a, a + 1, centre);
                assert!((next.mean - expected.mean).abs() < 1e-12);
                assert!((next.std - expected.std).abs() < 1e-12);
            }
        }
        assert_eq!(
            (found.rows(), found.layers(), found.means().unwrap().dims()),
            (20, 3, &[3, 4][..])
        );
        assert!(found.to_string().contains("20 positions"), "{found}");
    }

    #[test]
    fn zeros_and_single_layers_have_numbers() {
        let zeros = Tensor::zeros((2, 3, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert_eq!(statistics(&[zeros]).neighbours()[0].mean, 0.0);
        let one = Rng::seed(0).normal((1, 3, 4), &Device::Cpu).unwrap();
        assert!(statistics(std::slice::from_ref(&one)).neighbours().is_empty());
        let mut means = ResidualMeans::new(2, 4).unwrap();
        assert!(means.add(&one).unwrap_err().to_string().contains("[2, …, 4]"));
        assert!(means.statistics().is_err() && ResidualMeans::new(0, 4).is_err());
    }
}

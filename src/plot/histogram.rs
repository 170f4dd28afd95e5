//! How often which values occur.

use candle_core::{DType, Tensor};

use super::bins::{BinnedSeries, Bins};
use super::figure::Figure;
use super::gaps::{drawable, gap};
use super::panel::{Mark, Panel, Series, Style};
use super::values::{IntoValues, Named, Number, extent};
use crate::{Error, Result};

/// Plotting area of a histogram.
const SIZE: (f64, f64) = (560.0, 300.0);
/// Bins unless the user says otherwise: at least, and at most.
const FEWEST: f64 = 10.0;
const MOST: f64 = 100.0;
/// A figure with more bins than this would be all edges.
const LIMIT: usize = 10_000;

/// What a histogram counts: the entries of a tensor of any shape, numbers, or pairs of a name and
/// either.
pub trait IntoSamples {
    /// The samples with their names (empty for none), in order.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a tensor cannot be read.
    fn into_samples(self) -> Result<Vec<Named>>;
}

impl IntoSamples for &Tensor {
    fn into_samples(self) -> Result<Vec<Named>> {
        let values = self.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        Ok(vec![(String::new(), values)])
    }
}

impl IntoSamples for Tensor {
    fn into_samples(self) -> Result<Vec<Named>> {
        (&self).into_samples()
    }
}

macro_rules! one_sample {
    ($([$($generics:tt)*] $t:ty),*) => {$(
        impl<$($generics)*> IntoSamples for $t {
            fn into_samples(self) -> Result<Vec<Named>> {
                Ok(vec![(String::new(), self.into_values()?)])
            }
        }
    )*};
}
one_sample!(
    [T: Number] &[T],
    [T: Number] Vec<T>,
    [T: Number] &Vec<T>,
    [T: Number, const N: usize] [T; N],
    [T: Number, const N: usize] &[T; N]
);

impl<S: Into<String>, V: IntoSamples> IntoSamples for Vec<(S, V)> {
    fn into_samples(self) -> Result<Vec<Named>> {
        self.into_iter().map(named).collect()
    }
}

impl<S: Into<String>, V: IntoSamples, const N: usize> IntoSamples for [(S, V); N] {
    fn into_samples(self) -> Result<Vec<Named>> {
        self.into_iter().map(named).collect()
    }
}

fn named<S: Into<String>, V: IntoSamples>((name, sample): (S, V)) -> Result<Named> {
    let values = sample.into_samples()?.into_iter().flat_map(|(_, values)| values);
    Ok((name.into(), values.collect()))
}

/// Draws how often values occur: a bar per bin, or an outline per series if there are several.
///
/// Takes a tensor of any shape (all its entries are counted), a slice, a vector, an array, or pairs
/// of a name and one of these. Between 10 and 100 bins of equal width are chosen by the rule of
/// Freedman and Diaconis; whole numbers have a bin each. [`bins`](Figure::bins) sets their number,
/// [`bin_range`](Figure::bin_range) what they cover, and [`log_y`](Figure::log_y) makes counts
/// logarithmic. Each bin holds its lower end, the last one both ends. NaN, infinities and masked
/// values are left out, and the figure says how many.
///
/// ```
/// use eigenlens::plot::histogram;
/// use eigenlens::prelude::*;
/// let activations = eigenlens::random::Rng::seed(0).normal((32, 8), &Device::Cpu)?;
/// histogram(&activations)?.bins(20)?.log_y()?.x_title("activation").show();
/// histogram([("clean", [0.1, 0.2, 0.2]), ("ablated", [0.0, 0.0, 0.1])])?.show();
/// # Ok::<(), eigenlens::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] if there is no finite value in one of the series, or no series.
pub fn histogram(values: impl IntoSamples) -> Result<Figure> {
    counted(values.into_samples()?)
}

/// Not generic, so that a cell does not compile it again.
fn counted(samples: Vec<Named>) -> Result<Figure> {
    if samples.is_empty() {
        return Err(Error::invalid("the data of a histogram", "at least one series", "none"));
    }
    for (name, values) in &samples {
        let what = if name.is_empty() { "the data".to_owned() } else { format!("series {name}") };
        drawable(&what, values)?;
    }
    let samples =
        samples.into_iter().map(|(name, values)| BinnedSeries { name, values: values.into() });
    let mut panel = Panel { samples: samples.collect(), size: SIZE, ..Panel::default() };
    panel.x.title = Some("value".into());
    panel.y.title = Some("count".into());
    panel.count();
    Ok(Figure::single(panel))
}

impl Figure {
    /// The number of bins of a [`histogram`], from 1 to 10,000.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number, or for a figure that is no histogram.
    pub fn bins(self, count: usize) -> Result<Self> {
        if count == 0 || count > LIMIT {
            return Err(Error::invalid("bins", format!("from 1 to {LIMIT}"), count));
        }
        self.rebin("bins", |bins| bins.count = Some(count))
    }

    /// What the bins of a [`histogram`] cover; the figure says how many values lie outside.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `low < high`, both finite, or for a figure that is no histogram.
    pub fn bin_range(self, low: f64, high: f64) -> Result<Self> {
        if !(low < high && low.is_finite() && high.is_finite()) {
            let found = format!("{low}, {high}");
            return Err(Error::invalid("bin_range", "two finite numbers, the lower first", found));
        }
        self.rebin("bin_range", |bins| bins.range = Some((low, high)))
    }

    fn rebin(mut self, what: &str, change: impl Fn(&mut Bins)) -> Result<Self> {
        let mut found = false;
        self.root.each_panel_mut(&mut |panel| {
            if !panel.samples.is_empty() {
                found = true;
                change(&mut panel.bins);
                panel.count();
            }
        });
        if found {
            Ok(self)
        } else {
            Err(Error::invalid(what, "used on a histogram", "another figure"))
        }
    }
}

impl Panel {
    /// What the bins of a histogram cover.
    pub(super) fn bin_range(&self) -> (f64, f64) {
        let range = self.bins.range.or_else(|| extent(self.finite()));
        match range {
            Some((low, high)) if low < high => (low, high),
            Some((value, _)) => {
                let half = (value.abs() * 0.05).max(0.5);
                (value - half, value + half)
            }
            None => (0.0, 1.0),
        }
    }

    fn finite(&self) -> impl Iterator<Item = f64> {
        let all = self.samples.iter().flat_map(|sample| sample.values.iter().copied());
        all.filter(|&value| gap(value, false).is_none())
    }

    /// Counts the samples, and draws the counts.
    fn count(&mut self) {
        let edges = self.edges();
        let (low, bins) = (edges[0], edges.len() - 1);
        let width = (edges[bins] - low) / bins as f64;
        let several = self.samples.len() > 1;
        let mut marks = Vec::with_capacity(self.samples.len());
        for sample in &self.samples {
            let mut counts = vec![0.0; bins];
            for &value in sample.values.iter() {
                if gap(value, false).is_none() && value >= low && value <= edges[bins] {
                    let bin = ((value - low) / width) as usize;
                    counts[bin.min(bins - 1)] += 1.0;
                }
            }
            let text = |i: usize| format!("{} to {}", short(edges[i]), short(edges[i + 1]));
            let mut texts: Vec<String> = (0..bins).map(text).collect();
            let mut series = if several {
                // The last step ends at the last edge.
                counts.push(counts[bins - 1]);
                texts.push(texts[bins - 1].clone());
                Series::new(Style::Steps, sample.name.clone(), edges.clone(), counts)
            } else {
                let middle = edges.windows(2).map(|ends| (ends[0] + ends[1]) / 2.0).collect();
                Series::new(Style::Bars, sample.name.clone(), middle, counts)
            };
            series.bar = (!several).then_some(width);
            series.texts = Some(texts);
            marks.push(Mark::Series(series));
        }
        self.marks = marks;
    }

    /// The edges of the bins, one more than there are bins.
    fn edges(&self) -> Vec<f64> {
        let (mut low, mut high) = self.bin_range();
        let whole = high - low < MOST && self.finite().all(|value| value.fract() == 0.0);
        let bins = match self.bins.count {
            Some(count) => count,
            None if whole => {
                if self.bins.range.is_none() {
                    (low, high) = ((low + 0.5).floor() - 0.5, (high - 0.5).ceil() + 0.5);
                }
                (high - low).round().max(1.0) as usize
            }
            None => self.freedman_diaconis(high - low),
        };
        let width = (high - low) / bins as f64;
        (0..=bins).map(|i| if i == bins { high } else { low + i as f64 * width }).collect()
    }

    /// Bins of width 2 · IQR / ∛n, for the largest sample.
    fn freedman_diaconis(&self, span: f64) -> usize {
        let largest = self.samples.iter().max_by_key(|sample| sample.values.len());
        let values = largest.iter().flat_map(|sample| sample.values.iter().copied());
        let mut values: Vec<f64> = values.filter(|&value| gap(value, false).is_none()).collect();
        if values.is_empty() {
            return FEWEST as usize;
        }
        let count = values.len();
        let mut quantile = |at: usize| *values.select_nth_unstable_by(at, f64::total_cmp).1;
        let spread = quantile(count * 3 / 4) - quantile(count / 4);
        let width = 2.0 * spread / (count as f64).cbrt();
        if width > 0.0 { (span / width).ceil().clamp(FEWEST, MOST) as usize } else { MOST as usize }
    }
}

/// Four significant digits at most.
fn short(value: f64) -> String {
    super::ticks::significant(value, 4)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use serde_json::Value;

    use super::*;
    use crate::random::Rng;

    fn trace(figure: &Figure, i: usize) -> Value {
        serde_json::from_str::<Value>(&figure.to_json()).unwrap()["data"][i].clone()
    }

    #[test]
    fn each_bin_holds_its_lower_end_and_the_last_both() {
        let figure = histogram([0.0, 0.5, 1.0, 1.5, 2.0]).unwrap().bins(2).unwrap();
        let bars = trace(&figure, 0);
        assert_eq!(bars["y"], serde_json::json!([2.0, 3.0]));
        assert_eq!(bars["x"], serde_json::json!([0.5, 1.5]));
        assert_eq!(bars["hovertext"][0], "0 to 1");
    }

    #[test]
    fn every_entry_of_a_tensor_is_counted_once() {
        let tensor = Rng::seed(1).normal((7, 11, 13), &Device::Cpu).unwrap();
        let figure = histogram(&tensor).unwrap();
        let counts = trace(&figure, 0)["y"].as_array().unwrap().clone();
        assert!((10..=100).contains(&counts.len()), "{}", counts.len());
        assert_eq!(counts.iter().filter_map(Value::as_f64).sum::<f64>(), 1001.0);
    }

    #[test]
    fn what_is_left_out_is_told() {
        let values = [0.1, 0.9, 5.0, f64::NAN, f64::INFINITY, -1e30];
        let figure = histogram(values).unwrap().bin_range(0.0, 1.0).unwrap().bins(4).unwrap();
        assert_eq!(trace(&figure, 0)["y"], serde_json::json!([1.0, 0.0, 0.0, 1.0]));
        let text = figure.to_string();
        for part in
            ["2 of 6 values are not finite", "1 of 6 values is masked", "1 of 6 values is outside"]
        {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn whole_numbers_have_a_bin_each() {
        let figure = histogram(vec![3_usize, 3, 4, 7]).unwrap();
        let bars = trace(&figure, 0);
        assert_eq!(bars["x"], serde_json::json!([3.0, 4.0, 5.0, 6.0, 7.0]));
        assert_eq!(bars["y"], serde_json::json!([2.0, 1.0, 0.0, 0.0, 1.0]));
        let one = trace(&histogram([2.5; 9]).unwrap(), 0);
        assert_eq!(one["y"].as_array().unwrap().iter().filter_map(Value::as_f64).sum::<f64>(), 9.0);
    }

    #[test]
    fn several_series_share_their_bins_and_logarithmic_counts_say_nothing_of_empty_bins() {
        let figure = histogram([("a", vec![0.0, 1.0]), ("b", vec![3.5, 4.0, 4.0])]).unwrap();
        let figure = figure.bins(4).unwrap().log_y().unwrap();
        let (a, b) = (trace(&figure, 0), trace(&figure, 1));
        assert_eq!(a["x"], b["x"]);
        assert_eq!(a["line"]["shape"], "hv");
        assert_eq!(figure.to_string(), "Figure: 1 chart");
        assert!(figure.to_svg().contains("<svg"));
    }

    #[test]
    fn what_makes_no_histogram_is_told() {
        let message = |result: Result<Figure>| result.err().map(|e| e.to_string()).unwrap();
        assert!(message(histogram(Vec::<f32>::new())).contains("at least one number"));
        assert!(message(histogram([("acts", [f32::NAN])])).contains("series acts"));
        assert!(message(histogram([1.0]).unwrap().bins(0)).contains("from 1"));
        assert!(message(crate::plot::line([1.0]).unwrap().bins(3)).contains("histogram"));
        assert!(message(histogram([1.0]).unwrap().bin_range(1.0, 1.0)).contains("bin_range"));
    }
}

//! Latents over layers: heat maps, histograms, parts of a variance, and what stays active.

use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::multilayer::{
    CosineByLayer, LayerHeatMap, LayerHistogram, LayerVariance, OriginalVariances, Persistence,
    ResidualStatistics, VarianceDecomposition, Weighting,
};
use crate::plot::{Figure, Scale, bar, beside, imshow, line};

/// Columns of a heat map that is drawn; more than there are pixels would be lost.
const MAX_COLUMNS: usize = 700;
/// Size of a heat map of layers × latents.
const WIDE: (u32, u32) = (700, 180);
/// Layers of a matrix whose cells have room for their numbers.
const MAX_NUMBERED: usize = 8;
/// Size of each of two panels side by side.
const HALF: (u32, u32) = (330, 260);

impl LayerHeatMap {
    /// Draws layers × latents, the first layer at the top, columns sorted by descending mean layer. Of
    /// more than 700 latents, a column is the mean of some that follow each other.
    ///
    /// # Errors
    /// None for a heat map that there is.
    pub fn plot(&self) -> Result<Figure> {
        let shares = &self.probabilities;
        let (layers, latents) = shares.dims2()?;
        let per_column = latents.div_ceil(MAX_COLUMNS);
        let rows: Vec<Vec<f64>> = shares.to_vec2()?;
        let mean = |own: &[f64]| own.iter().sum::<f64>() / own.len() as f64;
        let cells: Vec<f64> =
            rows.iter().flat_map(|row| row.chunks(per_column).map(mean)).collect();
        let cells = Tensor::from_vec(cells, (layers, latents.div_ceil(per_column)), &Device::Cpu)?;
        let title = match per_column {
            1 => format!("{latents} latents by mean layer"),
            more => format!("{latents} latents by mean layer, {more} in a column"),
        };
        let figure = imshow(&cells)?.scale(Scale::Reds).color_range(0.0, 1.0)?;
        let figure = figure.x_title(title).y_title("layer").color_title("share");
        Ok(figure.panel_size(WIDE.0, WIDE.1))
    }
}

impl LayerHistogram {
    /// Draws the density of the values as bars, each at the middle of its bin.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if no value was counted.
    pub fn plot(&self) -> Result<Figure> {
        let middles: Vec<f64> =
            self.edges.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])).collect();
        Ok(bar(self.density())?.x(middles)?.x_title("layer").y_title("density"))
    }
}

impl VarianceDecomposition {
    /// Draws the parts of the variance over layers as shares of it, by weighting, beside what the
    /// original's formula makes of the same codes if it is given.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if nothing was active.
    pub fn plot(&self, original: Option<&OriginalVariances>) -> Result<Figure> {
        let mut bars = Vec::new();
        if let Some(own) = original.map(OriginalVariances::values) {
            let [within, token] = [own.rel_var_f, own.rel_var_t];
            bars.push(("original", [1.0 - within, within * (1.0 - token), within * token]));
        }
        for (name, weighting) in [
            ("by activation", Weighting::Activation),
            ("by entries", Weighting::Count),
            ("by pairs", Weighting::Pairs),
        ] {
            let LayerVariance { total, between_latents, between_tokens, within_tokens } =
                self.variance(weighting);
            let parts = [between_latents, between_tokens, within_tokens];
            bars.push((name, parts.map(|part| part / total)));
        }
        let part = |at: usize| bars.iter().map(|(_, parts)| parts[at]).collect::<Vec<f64>>();
        let figure = bar([
            ("between latents", part(0)),
            ("between tokens", part(1)),
            ("within tokens", part(2)),
        ])?;
        let names = bars.iter().map(|(name, _)| *name);
        Ok(figure.x_labels(names)?.y_title("share of the variance over layers"))
    }
}

impl Persistence {
    /// Draws `P(active at the column's layer | active at the row's)` beside what it would be by
    /// chance.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if nothing was active.
    pub fn plot(&self) -> Result<Figure> {
        let map = |matrix: Tensor, title: &str| -> Result<Figure> {
            let map = imshow(&matrix.to_dtype(DType::F32)?)?.scale(Scale::Blues);
            let map = map.color_range(0.0, 1.0)?.panel_size(HALF.1, HALF.1);
            let map = map.x_title("active at").y_title("if active at").title(title);
            if self.layers() > MAX_NUMBERED { Ok(map) } else { map.cell_numbers() }
        };
        beside([
            map(self.conditional()?, "what is")?,
            map(self.conditional_chance()?, "what chance would give")?,
        ])
    }
}

impl ResidualStatistics {
    /// Draws the mean length of the stream at each layer, and beside it the mean cosine of each layer
    /// with the next, as it is and after the means were taken off.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a single layer, or before the second pass.
    pub fn plot(&self) -> Result<Figure> {
        let means = |spreads: Vec<crate::multilayer::MeanAndSpread>| {
            spreads.iter().map(|spread| spread.mean).collect::<Vec<f64>>()
        };
        let sized =
            |figure: Figure, y: &str| figure.x_title("layer").y_title(y).panel_size(HALF.0, HALF.1);
        let cosines =
            [("as it is", means(self.neighbours())), ("centred", means(self.centred_neighbours()))];
        beside([
            sized(line(means(self.norms()))?, "mean length"),
            sized(line(cosines)?, "mean cosine with the next"),
        ])
    }
}

impl CosineByLayer {
    /// Draws the logarithm of the number of pairs (plus one) by difference of mean layers, downwards,
    /// and cosine.
    ///
    /// # Errors
    /// None for a histogram that there is.
    pub fn plot(&self) -> Result<Figure> {
        let [rows, columns] = self.bins.shape;
        let cells: Vec<f32> =
            self.counts.iter().map(|count| (*count as f32).ln_1p() / 10f32.ln()).collect();
        let cells = Tensor::from_vec(cells, (rows, columns), &Device::Cpu)?;
        let axis = |what: &str, (low, high): (f64, f64)| format!("{what}, from {low} to {high}");
        let figure = imshow(&cells)?.x_title(axis("cosine", self.bins.cosine));
        let figure = figure.y_title(axis("difference of mean layers", self.bins.difference));
        let figure = figure.color_title("log₁₀(1 + pairs)").hide_ticks();
        Ok(figure.panel_size(WIDE.0 / 2, WIDE.0 / 2))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::multilayer::{
        CosineBins, LayerCodes, LayerDistributions, LayerPairing, ResidualMeans,
    };
    use crate::random::Rng;
    use crate::sae::Codes;

    fn traces(figure: &Figure) -> Vec<Value> {
        let json: Value = serde_json::from_str(&figure.to_json()).unwrap();
        json["data"].as_array().unwrap().clone()
    }

    /// `latents` latents at three layers: each at the layer of its number mod 3, and at the next one
    /// at every other token.
    fn codes(latents: usize) -> LayerCodes {
        let layers = (0..3).map(|layer| {
            let row = |token: usize| {
                let own = (0..latents).filter(|latent| {
                    layer == latent % 3 || layer == latent % 3 + 1 && token.is_multiple_of(2)
                });
                own.map(|latent| (latent as u32, 1.0)).collect()
            };
            Codes::new(latents, (0..4).map(row)).unwrap()
        });
        LayerCodes::new(layers.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn distributions_are_drawn() {
        for (latents, columns) in [(9, 9), (2_000, 667)] {
            let mut found = LayerDistributions::new(3, latents).unwrap();
            found.add(&codes(latents)).unwrap();
            let figure = found.heat_map().unwrap().plot().unwrap();
            let data = traces(&figure);
            assert_eq!(data[0]["z"].as_array().unwrap().len(), 3);
            assert_eq!(data[0]["z"][0].as_array().unwrap().len(), columns);
            assert!(!figure.to_svg().is_empty());
            let histogram = found.histogram(6).unwrap().plot().unwrap();
            assert_eq!(traces(&histogram)[0]["x"].as_array().unwrap().len(), 6);
        }
    }

    #[test]
    fn parts_of_the_variance_stand_beside_the_original() {
        let mut found = VarianceDecomposition::new(3, 9).unwrap();
        let mut original = OriginalVariances::new(3, 9).unwrap();
        assert!(found.plot(None).is_err(), "nothing was active");
        found.add(&codes(9)).unwrap();
        original.add(&codes(9)).unwrap();
        for (beside, count) in [(None, 3), (Some(&original), 4)] {
            let data = traces(&found.plot(beside).unwrap());
            assert_eq!((data.len(), data[0]["y"].as_array().unwrap().len()), (3, count));
            for column in 0..count {
                let sum: f64 = data.iter().map(|part| part["y"][column].as_f64().unwrap()).sum();
                assert!((sum - 1.0).abs() < 1e-6, "shares add up: {sum}");
            }
        }
    }

    #[test]
    fn matrices_and_lines_are_drawn() {
        let mut persistence = Persistence::new(3, 9).unwrap();
        persistence.add(&codes(9)).unwrap();
        let data = traces(&persistence.plot().unwrap());
        assert_eq!(data.iter().filter(|trace| trace["z"].is_array()).count(), 2);
        assert_eq!(data[0]["z"][0][1], 0.5);
        let x = Rng::seed(0).normal((3, 7, 4), &Device::Cpu).unwrap();
        let mut means = ResidualMeans::new(3, 4).unwrap();
        means.add(&x).unwrap();
        let mut statistics = means.statistics().unwrap();
        statistics.add(&x).unwrap();
        let data = traces(&statistics.plot().unwrap());
        assert_eq!(data.iter().map(|own| own["y"].as_array().unwrap().len()).sum::<usize>(), 7);
        let bins = CosineBins { shape: [4, 5], ..CosineBins::of_layers(3) };
        let decoder = x.get(0).unwrap();
        let found =
            CosineByLayer::of(&decoder, &[0.0, 1.0, 2.0, 0.5], LayerPairing::Same, &bins).unwrap();
        assert_eq!(traces(&found.plot().unwrap())[0]["z"].as_array().unwrap().len(), 4);
    }
}

//! Which clouds are irreducible, and how stable a cluster is.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::features::{Search, SearchRow, Stability};
use crate::plot::{Figure, Mark, Panel, SERIES, Series, Style, imshow};

/// Size of the plotting area.
const SIZE: (f64, f64) = (520.0, 380.0);
/// Clouds that were not refined, and those that were.
const BOUNDED: &str = SERIES[6];
const REFINED: &str = SERIES[0];
/// Colours of marked clouds, with the symbols of their series.
const MARKED: [&str; 5] = [SERIES[1], SERIES[2], SERIES[3], SERIES[4], SERIES[5]];

impl Search {
    /// Draws each cloud's best plane by its mixture index M and its separability index S: irreducible
    /// ones lie at the upper left. Clouds of the names `marked` have colours of their own; those that
    /// were not refined, of which M can be larger, are grey.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if no cloud was looked at.
    pub fn plot(&self, marked: &[&str]) -> Result<Figure> {
        if self.rows().is_empty() {
            let expected = "of at least one cloud that was looked at";
            return Err(crate::Error::invalid("the search", expected, "none"));
        }
        let is_marked = |row: &&SearchRow| marked.contains(&row.name.as_str());
        let rows = |is_wanted: &dyn Fn(&SearchRow) -> bool| -> Vec<&SearchRow> {
            self.rows().iter().filter(|row| is_wanted(row)).collect()
        };
        let mut groups = vec![
            ("not refined", rows(&|row| !row.refined && !is_marked(&row)), BOUNDED, 0),
            ("clouds", rows(&|row| row.refined && !is_marked(&row)), REFINED, 0),
        ];
        for (at, name) in marked.iter().enumerate() {
            let ink = MARKED[at % MARKED.len()];
            groups.push((*name, rows(&|row| row.name == *name), ink, at + 1));
        }
        let groups = groups.into_iter().filter(|(_, rows, ..)| !rows.is_empty());
        let marks = groups.map(|(name, rows, ink, form)| {
            let x = rows.iter().map(|row| row.plane.mixture).collect();
            let y = rows.iter().map(|row| row.plane.separability).collect();
            let points = Series::new(Style::Points, name, x, y).looks(ink, form);
            let texts = rows.iter().map(|row| row.name.clone()).collect();
            Mark::Series(Series { texts: Some(texts), ..points })
        });
        let mut panel = Panel { marks: marks.collect(), size: SIZE, ..Panel::default() };
        panel.x.title = Some("mixture index M".into());
        panel.y.title = Some("separability index S, bits".into());
        Ok(Figure::single(panel))
    }
}

impl Stability {
    /// Draws the largest Jaccard index of each cut-off (rows) and number of neighbours (columns).
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) if the tensor cannot be made.
    pub fn plot(&self) -> Result<Figure> {
        let values = Tensor::new(self.jaccard.clone(), &Device::Cpu)?;
        imshow(&values)?
            .y_labels(self.cutoffs.iter().map(|cutoff| format!("{cutoff:.3}")))?
            .x_labels(self.ks.iter())?
            .x_title("k")
            .y_title("cut-off")
            .cell_numbers()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::features::{CloudOptions, FeatureCloud, SearchOptions};
    use crate::geometry::Cloud;
    use crate::sae::Codes;

    #[test]
    fn clouds_are_points_by_their_indices() {
        let clouds: Vec<FeatureCloud> = [Cloud::Circle, Cloud::Gaussian]
            .into_iter()
            .map(|kind| {
                let rows: Vec<Vec<f32>> = kind.points(300, 0).unwrap().to_vec2().unwrap();
                let rows = rows.into_iter().map(|row| vec![(0, row[0]), (1, row[1])]);
                let codes = Codes::new(2, rows).unwrap();
                let decoder = Tensor::eye(2, candle_core::DType::F32, &Device::Cpu).unwrap();
                let options = CloudOptions::default();
                let cloud = FeatureCloud::from_codes(&codes, &decoder, &[0, 1], &options).unwrap();
                cloud.named(kind.to_string())
            })
            .collect();
        let options = SearchOptions { directions: 300, nulls: 0, ..SearchOptions::default() };
        let found = Search::over(&clouds, &options).unwrap();
        let name = Cloud::Circle.to_string();
        let figure = found.plot(&[&name]).unwrap();
        let json: Value = serde_json::from_str(&figure.to_json()).unwrap();
        assert_eq!(json["data"].as_array().unwrap().len(), 2);
        let circle = &json["data"][1];
        assert!(circle["name"].as_str().unwrap().contains(&name));
        assert_eq!(circle["y"][0].as_f64().unwrap(), found.rows()[0].plane.separability);
        let none = SearchOptions { budget: std::time::Duration::ZERO, ..options };
        assert!(Search::over(&clouds, &none).unwrap().plot(&[]).is_err());
    }

    #[test]
    fn stability_is_a_map_with_numbers() {
        let stability = Stability {
            cutoffs: vec![0.1, 0.5],
            ks: vec![2, 3, 4],
            jaccard: vec![vec![0.1, 0.2, 0.3], vec![1.0, 0.9, 0.8]],
        };
        let figure = stability.plot().unwrap();
        assert!(figure.to_string().contains("1 image of 2 × 3"), "{figure}");
        assert!(figure.to_svg().contains("0.500"));
    }
}

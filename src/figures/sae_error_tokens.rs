//! Errors token by token, of several autoencoders.

use candle_core::{Device, Tensor};

use crate::plot::{Figure, Mark, Panel, PanelBlock, SERIES, Scale, Series, Style, beside, imshow};
use crate::sae_error::PerToken;
use crate::{Error, Result};

/// Plotting area of norms along a text, alone and as one of two.
const ALONG: (f64, f64) = (700.0, 260.0);
const HALF: f64 = 190.0;
/// Side of a matrix of autoencoders.
const SIDE: u32 = 300;

impl PerToken {
    /// Draws two matrices of autoencoders: how much of one's error norm over tokens the norm of
    /// another's predicts (R², held out), and how much of the rest the other's nonlinear norm adds, as a
    /// share. An autoencoder with itself is blank.
    ///
    /// # Errors
    /// [`Error::Invalid`] for fewer than two autoencoders.
    pub fn plot(&self) -> Result<Figure> {
        let map = |values: &[Vec<Option<f64>>], title: &str| -> Result<Figure> {
            // What an image masks, and says so.
            let cell = |own: &Option<f64>| own.unwrap_or(f64::NEG_INFINITY);
            let cells: Vec<f64> = values.iter().flatten().map(cell).collect();
            let shape = (self.names.len(), self.names.len());
            let map = imshow(&Tensor::from_vec(cells, shape, &Device::Cpu)?)?;
            let map = map.x_labels(&self.names)?.y_labels(&self.names)?.scale(Scale::Blues);
            let map = map.panel_size(SIDE, SIDE).cell_numbers()?;
            Ok(map.x_title("norm of").y_title("predicted from").title(title))
        };
        let maps = [map(&self.r_squared, "R²")?, map(&self.gain, "gain by the nonlinear norm")?];
        Ok(beside(maps)?.title("Are the same tokens hard for all?"))
    }

    /// Draws the error's norm at each token of a context, a line for each autoencoder. `words` are the
    /// context's tokens as texts, in the order of its rows; the mouse over a point tells its word.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a context without rows, [`Error::Shape`] unless there is a word for each
    /// of its rows.
    pub fn plot_norms(&self, context: u32, words: &[String]) -> Result<Figure> {
        let rows = self.rows_of(context, words)?;
        let panel = self.along(&self.total, &rows, words, "‖error‖", true);
        Ok(Figure::single(panel).title("Errors along a text"))
    }

    /// Draws the norms of the linear and of the nonlinear part, each as [`PerToken::plot_norms`] draws
    /// that of all of the error.
    ///
    /// # Errors
    /// Those of [`PerToken::plot_norms`].
    pub fn plot_parts(&self, context: u32, words: &[String]) -> Result<Figure> {
        let rows = self.rows_of(context, words)?;
        let mut panels = vec![
            self.along(&self.linear, &rows, words, "‖linear‖", true),
            self.along(&self.nonlinear, &rows, words, "‖nonlinear‖", false),
        ];
        panels.iter_mut().for_each(|panel| panel.size.1 = HALF);
        let figure = Figure::of(PanelBlock::of(panels, 1), Vec::new());
        Ok(figure.title("The parts of errors along a text"))
    }

    /// The rows of a context.
    fn rows_of(&self, context: u32, words: &[String]) -> Result<Vec<usize>> {
        let rows: Vec<usize> =
            (0..self.contexts.len()).filter(|&row| self.contexts[row] == context).collect();
        if rows.is_empty() {
            let hint = "Its number must be among those of the rows.".to_owned();
            return Err(Error::NotFound { what: format!("context {context}"), hint });
        }
        if rows.len() != words.len() {
            let expected = format!("{} words, one a row of the context", rows.len());
            return Err(Error::shape("`words`", expected, words.len()));
        }
        Ok(rows)
    }

    /// A line of each autoencoder's `norms`; the names are in the legend if they are `named`.
    fn along(
        &self,
        norms: &[Vec<f64>],
        rows: &[usize],
        words: &[String],
        title: &str,
        named: bool,
    ) -> Panel {
        let line = |(at, name): (usize, &String)| {
            let x = (0..rows.len()).map(|place| place as f64).collect();
            let y = rows.iter().map(|&row| norms[at][row]).collect();
            let line = Series::new(Style::Line, if named { name } else { "" }, x, y);
            let line = line.looks(SERIES[at % SERIES.len()], at);
            Mark::Series(Series { texts: Some(words.to_vec()), dotted: false, ..line })
        };
        let marks = self.names.iter().enumerate().map(line).collect();
        let mut panel = Panel { marks, size: ALONG, ..Panel::default() };
        panel.x.whole = true;
        panel.x.labels = Some(words.to_vec());
        panel.y.title = Some(title.to_owned());
        panel
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plot::tests::{json_of, message};

    fn two() -> PerToken {
        PerToken {
            names: vec!["small".to_owned(), "large".to_owned()],
            r_squared: vec![vec![None, Some(0.75)], vec![Some(0.5), None]],
            gain: vec![vec![None, Some(0.25)], vec![Some(0.125), None]],
            total: vec![vec![1.0, 2.0, 3.0], vec![4.0, 5.0, 6.0]],
            linear: vec![vec![0.5, 1.0, 1.5], vec![2.0, 2.5, 3.0]],
            nonlinear: vec![vec![0.25, 0.5, 0.75], vec![1.0, 1.25, 1.5]],
            contexts: vec![3, 7, 7],
        }
    }

    #[test]
    fn matrices_have_a_blank_diagonal() -> Result<()> {
        let figure = two().plot()?;
        let json = json_of(&figure);
        assert_eq!(json["data"][0]["z"], json!([[null, 0.75], [0.5, null]]));
        assert_eq!(json["data"][1]["z"], json!([[null, 0.25], [0.125, null]]));
        assert_eq!(json["data"][0]["hovertext"][0][1], "small | large");
        assert!(figure.to_svg().contains("masked and left blank"));
        Ok(())
    }

    #[test]
    fn norms_along_a_text_tell_their_words() -> Result<()> {
        let words = ["one".to_owned(), "two".to_owned()];
        let figure = two().plot_norms(7, &words)?;
        let json = json_of(&figure);
        assert_eq!(json["data"][0]["y"], json!([2.0, 3.0]));
        assert_eq!(json["data"][1]["y"], json!([5.0, 6.0]));
        assert_eq!(json["data"][1]["hovertext"], json!(["one", "two"]));
        assert!(figure.to_svg().contains(">two<"));
        let json = json_of(&two().plot_parts(7, &words)?);
        assert_eq!(json["data"][1]["y"], json!([2.5, 3.0]), "linear");
        assert_eq!(json["data"][3]["y"], json!([1.25, 1.5]), "nonlinear");
        assert!(message(two().plot_norms(4, &words)).contains("context 4"));
        assert!(message(two().plot_norms(7, &words[..1])).contains("2 words"));
        Ok(())
    }
}

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

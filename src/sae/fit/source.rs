//! A model's activations in random order.

use candle_core::{DType, Tensor};

use super::options::SaeOptions;
use super::shape::Widths;
use super::step::Batch;
use crate::data::text::Tokens;
use crate::model::{Cache, Decoder, HookPoint};
use crate::random::Rng;
use crate::{Error, Result};

/// Windows of text that go through the model at a time.
const WINDOWS: usize = 16;

/// Where a fit gets its activations from: those of each step, in a random order that depends on the
/// step's number alone.
pub(crate) trait FitSource {
    /// Widths of what is read and what is predicted.
    fn widths(&self) -> Widths;

    /// What the activations read and predicted were divided by.
    fn scales(&self) -> [f32; 2];

    /// Means of what is read and what is predicted.
    fn means(&self) -> [Vec<f32>; 2];

    /// The activations of the next step.
    fn next(&mut self) -> Result<Batch<'_>>;

    /// Goes on where a fit stands after its first `steps` steps.
    fn skip(&mut self, steps: usize) -> Result<()>;
}

/// What is trained on in place of activations `[rows, d]`, in the same shape.
pub(super) type ActivationMap = dyn Fn(&Tensor) -> Result<Tensor>;

/// A buffer of activations on the host, all of which are fresh and in random order after each
/// filling. Each is handed out once.
pub(super) struct ActivationSource<'a> {
    model: &'a Decoder,
    text: &'a Tokens,
    options: &'a SaeOptions,
    /// What the activations go through first.
    map: Option<&'a ActivationMap>,
    /// How often the buffer was filled.
    fills: usize,
    /// What is read, and what a transcoder predicts.
    columns: Vec<Column>,
    next: usize,
}

/// The activations at one hook point.
struct Column {
    point: HookPoint,
    width: usize,
    values: Vec<f32>,
    /// What they were divided by.
    scale: f32,
}

impl<'a> ActivationSource<'a> {
    /// What `map` makes of activations, divided by √(mean ‖x‖²/d) if the objective needs it.
    pub(super) fn new(
        model: &'a Decoder,
        point: HookPoint,
        text: &'a Tokens,
        options: &'a SaeOptions,
        map: Option<&'a ActivationMap>,
    ) -> Result<Self> {
        options.check_text(text)?;
        let column = |point| Column { point, width: 0, values: Vec::new(), scale: 1.0 };
        let columns = [Some(point), options.target].into_iter().flatten().map(column).collect();
        let mut source = Self { model, text, options, map, fills: 0, columns, next: 0 };
        source.fill()?;
        if options.is_rescaled() {
            source.columns.iter_mut().try_for_each(Column::rescale)?;
        }
        Ok(source)
    }

    fn fill(&mut self) -> Result<()> {
        let SaeOptions { buffer, seed, .. } = self.options;
        // A stream of its own for each filling, so that a fit can go on from any; stream 0 draws
        // the first weights.
        self.fills += 1;
        let mut rng = Rng::stream(*seed, self.fills as u64);
        let order = rng.permutation(*buffer);
        let points: Vec<HookPoint> = self.columns.iter().map(|column| column.point).collect();
        let mut filled = 0;
        while filled < *buffer {
            let left = *buffer - filled;
            let (cache, mut kept) =
                self.options.draw(self.model, self.text, &points, [left, WINDOWS], &mut rng)?;
            kept.truncate(left);
            let places = &order[filled..filled + kept.len()];
            for column in &mut self.columns {
                let found = cache.get(column.point)?.flatten(0, 1)?.flatten_from(1)?;
                let found = match self.map {
                    Some(map) => map(&found)?,
                    None => found,
                };
                column.put(&found, &kept, places, *buffer)?;
            }
            filled += kept.len();
        }
        self.next = 0;
        Ok(())
    }

    fn input(&self) -> &Column {
        &self.columns[0]
    }

    fn output(&self) -> &Column {
        &self.columns[self.columns.len() - 1]
    }
}

impl FitSource for ActivationSource<'_> {
    fn widths(&self) -> Widths {
        Widths { input: self.input().width, output: self.output().width }
    }

    fn scales(&self) -> [f32; 2] {
        [self.input().scale, self.output().scale]
    }

    fn means(&self) -> [Vec<f32>; 2] {
        [self.input().mean(), self.output().mean()]
    }

    fn skip(&mut self, steps: usize) -> Result<()> {
        let (fills, next) = self.options.place_after(steps);
        if fills > 0 {
            self.fills = fills;
            self.fill()?;
        }
        self.next = next;
        Ok(())
    }

    fn next(&mut self) -> Result<Batch<'_>> {
        if self.next == self.options.buffer {
            self.fill()?;
        }
        let rows = self.options.batch.min(self.options.buffer - self.next);
        let start = self.next;
        self.next += rows;
        let part = |column: &'_ Column| start * column.width..(start + rows) * column.width;
        let [x, target] = [self.input(), self.output()];
        let (x, target) = (&x.values[part(x)], &target.values[part(target)]);
        Ok(Batch { rows, x, target, weights: None })
    }
}

impl SaeOptions {
    /// Fails for a text of nothing but tokens to skip.
    pub(crate) fn check_text(&self, text: &Tokens) -> Result<()> {
        let skip = &self.skip_tokens;
        if !skip.is_empty() && text.as_slice().iter().all(|token| skip.contains(token)) {
            let expected = "tokens that leave some of the text";
            return Err(Error::invalid("`skip_tokens`", expected, format!("{skip:?}")));
        }
        Ok(())
    }

    /// Activations at `points` of windows drawn from the text, enough for `left` tokens but at most
    /// `most` windows, and the rows that are neither tokens nor positions to skip.
    pub(crate) fn draw(
        &self,
        model: &Decoder,
        text: &Tokens,
        points: &[HookPoint],
        [left, most]: [usize; 2],
        rng: &mut Rng,
    ) -> Result<(Cache, Vec<usize>)> {
        let windows = match self.skip_tokens.is_empty() {
            true => left.div_ceil(self.length.saturating_sub(self.skip_positions).max(1)).min(most),
            false => most,
        };
        let tokens = text.draw(windows, self.length, rng, model.device())?;
        let cache = model.activations(&tokens, points)?;
        let tokens: Vec<u32> = tokens.flatten_all()?.to_vec1()?;
        let kept = (0..tokens.len()).filter(|row| {
            row % self.length >= self.skip_positions && !self.skip_tokens.contains(&tokens[*row])
        });
        Ok((cache, kept.collect()))
    }

    /// How many buffers `steps` steps have used up, and how much of the next one.
    pub(crate) fn place_after(&self, steps: usize) -> (usize, usize) {
        let per_fill = self.buffer.div_ceil(self.batch);
        (steps / per_fill, steps % per_fill * self.batch)
    }
}

/// Room for `rows` activations.
pub(crate) fn buffer_of(rows: usize, width: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    let size = rows.checked_mul(width);
    if size.is_none_or(|size| values.try_reserve_exact(size).is_err()) {
        let expected = format!("small enough for memory, 4 · {width} bytes for each of it");
        return Err(Error::invalid("the buffer", expected, rows));
    }
    values.resize(rows * width, 0.0);
    Ok(values)
}

impl Column {
    /// Writes the rows `kept` of activations `[rows, d]` to `places` of the buffer.
    fn put(&mut self, found: &Tensor, kept: &[usize], places: &[u32], rows: usize) -> Result<()> {
        let found = found.to_dtype(DType::F32)?;
        let width = found.dim(1)?;
        if self.values.is_empty() {
            self.width = width;
            self.values = buffer_of(rows, width)?;
        }
        let found: Vec<f32> = found.flatten_all()?.to_vec1()?;
        for (row, place) in kept.iter().zip(places) {
            let to = &mut self.values[*place as usize * width..][..width];
            for (to, from) in to.iter_mut().zip(&found[row * width..]) {
                *to = from / self.scale;
            }
        }
        Ok(())
    }

    /// Divides by `√(mean ‖x‖²/d)`, now and at every filling.
    fn rescale(&mut self) -> Result<()> {
        let scale = root_mean_square(&self.values);
        if !scale.is_normal() {
            let what = format!("the root mean square of the activations at {}", self.point);
            return Err(Error::invalid(what, "a finite number above 0", scale));
        }
        self.scale = scale;
        self.values.iter_mut().for_each(|x| *x /= scale);
        Ok(())
    }

    fn mean(&self) -> Vec<f32> {
        mean_row(&self.values, self.width)
    }
}

/// `√(mean x²)` over all values, which is `√(mean ‖x‖²/d)` of rows.
pub(crate) fn root_mean_square(values: &[f32]) -> f32 {
    let square = values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    (square / values.len() as f64).sqrt() as f32
}

/// The mean of rows of `width` values.
pub(crate) fn mean_row(values: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0f64; width];
    for row in values.chunks(width) {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    let rows = (values.len() / width) as f64;
    sums.into_iter().map(|sum| (sum / rows) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::fit::tests::{model, options, text};
    use crate::sae::{Objective, Sae, SaeOptions};

    fn all(options: &SaeOptions, fills: usize) -> Vec<Vec<f32>> {
        let (model, text) = (model(), text());
        let mut source =
            ActivationSource::new(&model, HookPoint::MlpOut(1), &text, options, None).unwrap();
        let mut rows = Vec::new();
        while rows.len() < fills * options.buffer {
            let batch = source.next().unwrap();
            assert_eq!(batch.x.len(), batch.rows * 8);
            rows.extend(batch.x.chunks(8).map(<[f32]>::to_vec));
        }
        rows
    }

    #[test]
    fn it_holds_what_it_says_and_mixes_windows() {
        let options = SaeOptions { buffer: 250, batch: 64, ..options() };
        let rows = all(&options, 2);
        assert_eq!(rows.len(), 500);
        // The same text in order: neighbours in a window lie far apart after shuffling.
        let (model, text) = (model(), text());
        let mut rng = Rng::stream(options.seed, 1);
        let order = rng.permutation(250);
        let tokens = text.draw(16, 8, &mut rng, model.device()).unwrap();
        let cache = model.activations(&tokens, &[HookPoint::MlpOut(1)]).unwrap();
        let plain = cache.get(HookPoint::MlpOut(1)).unwrap().flatten(0, 1).unwrap();
        for (row, expected) in plain.to_vec2::<f32>().unwrap().iter().enumerate() {
            assert_eq!(&rows[order[row] as usize], expected);
        }
        let apart = order.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) > 8).count();
        assert!(apart > 200, "{apart}");
    }

    #[test]
    fn tokens_that_are_skipped_are_in_no_batch() {
        let (model, text) = (model(), text());
        let kept = all(&SaeOptions { skip_tokens: (1..9).collect(), ..options() }, 1);
        // MlpOut(1) after a first position depends on its token alone: with all but token 0 left
        // out, what is at a first position is always the same.
        let first = Tensor::new(&[[0u32]], model.device()).unwrap();
        let cache = model.activations(&first, &[HookPoint::MlpOut(1)]).unwrap();
        let first: Vec<f32> =
            cache.get(HookPoint::MlpOut(1)).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let near = |row: &&Vec<f32>| row.iter().zip(&first).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(kept.iter().any(|row| near(&row)));
        for token in 1..9u32 {
            let other = Tensor::new(&[[token]], model.device()).unwrap();
            let cache = model.activations(&other, &[HookPoint::MlpOut(1)]).unwrap();
            let other: Vec<f32> =
                cache.get(HookPoint::MlpOut(1)).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let near = |row: &&Vec<f32>| row.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(!kept.iter().any(|row| near(&row)), "{token}");
        }
        let none = SaeOptions { skip_tokens: (0..9).collect(), ..options() };
        let Err(error) = ActivationSource::new(&model, HookPoint::MlpOut(1), &text, &none, None)
        else {
            panic!("nothing is left")
        };
        assert!(error.to_string().contains("skip_tokens"), "{error}");
    }

    #[test]
    fn first_positions_are_in_no_batch() {
        let (model, text) = (model(), text());
        let options = SaeOptions { skip_positions: 1, ..options() };
        let (point, rng) = (HookPoint::MlpOut(1), &mut Rng::seed(0));
        let (_, kept) = options.draw(&model, &text, &[point], [25, 16], rng).unwrap();
        // Four windows of eight positions, for each of which seven are left.
        let expected: Vec<usize> = (0..32).filter(|row| row % 8 != 0).collect();
        assert_eq!(kept, expected);
        let all_of_them = SaeOptions { skip_positions: 8, ..options };
        let error = Sae::fit(&model, point, &text, &all_of_them).unwrap_err();
        assert!(error.to_string().starts_with("`skip_positions` must be below 8"), "{error}");
    }

    #[test]
    fn a_map_makes_what_is_handed_out() {
        let (model, text, options) = (model(), text(), options());
        let double = |x: &Tensor| Ok((x * 2.0)?);
        let point = HookPoint::MlpOut(1);
        let mut mapped =
            ActivationSource::new(&model, point, &text, &options, Some(&double)).unwrap();
        let mut plain = ActivationSource::new(&model, point, &text, &options, None).unwrap();
        for _ in 0..6 {
            let twice: Vec<f32> = plain.next().unwrap().x.iter().map(|x| 2.0 * x).collect();
            assert_eq!(mapped.next().unwrap().x, twice);
        }
    }

    #[test]
    fn penalised_kinds_see_activations_of_one_size() {
        let options =
            SaeOptions { objective: Objective::Standard { l1: 1.0 }, buffer: 200, ..options() };
        let rows = all(&options, 1);
        let square = rows.iter().flatten().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        assert!((square / (200.0 * 8.0) - 1.0).abs() < 1e-5, "{square}");
    }

    #[test]
    fn a_buffer_beyond_memory_is_named() {
        let (model, buffer) = (model(), usize::MAX / 4);
        let column =
            &mut Column { point: HookPoint::MlpOut(1), width: 0, values: Vec::new(), scale: 1.0 };
        let found = Tensor::zeros((1, 8), DType::F32, model.device()).unwrap();
        let error = column.put(&found, &[0], &[0], buffer).unwrap_err();
        assert!(error.to_string().contains("small enough for memory"), "{error}");
    }
}

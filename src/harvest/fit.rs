//! Training an autoencoder on the activations of a store.

use std::sync::Arc;

use candle_core::{DType, Device};
use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};

use super::shuffled::{Shards, ShuffledRows};
use super::unit::dtype_of;
use super::{Run, Store};
use crate::device::best_device;
use crate::model::HookPoint;
use crate::sae::{
    Batch, FitPlace, FitSource, Origin, Sae, SaeOptions, TrainingRecord, Widths, mean_row,
    root_mean_square,
};
use crate::train::History;
use crate::{Error, Result};

/// Rows from which means and scales are taken.
const SAMPLE: usize = 1 << 16;
/// Bytes of activations in memory, unless two piles need more.
const MEMORY: usize = 1 << 30;

impl Sae {
    /// Trains an autoencoder of the activations at `point` that a store holds, or a transcoder from
    /// there to `target`, as [`Sae::fit`] does of a model and a text. Activations come in a uniformly
    /// random order, and in another one in each pass over them.
    ///
    /// Of the options, `buffer` and `length` mean nothing here, `skip_positions` must be 0, and
    /// `skip_tokens` must be empty or those of the store. Weights are on [`best_device`](crate::best_device). A fit that was cut off
    /// goes on from its checkpoint and ends with the same weights.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("classics");
    /// let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    /// let text = Contexts::from_pretrained("eigenlens/classics-4k")?;
    /// # let text = Contexts::new(text.length(), text.as_slice()[..32 * text.length()].to_vec())?;
    /// let point = HookPoint::ResidPost(1);
    /// let options = HarvestOptions { points: vec![point], ..HarvestOptions::default() };
    /// let store = Store::harvest(&path, &model, &[], &text, &options)?;
    /// let options = SaeOptions { steps: 20, batch: 256, ..SaeOptions::default() };
    /// let (sae, history) = Sae::fit_stored(&store, point, &options)?;
    /// println!("{sae}\n{history}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// - If the store has no activations there, or if one of its files cannot be read.
    /// - Those of [`Sae::fit`] that are about options.
    pub fn fit_stored(
        store: &Store,
        point: HookPoint,
        options: &SaeOptions,
    ) -> Result<(Self, History)> {
        options.check()?;
        let run = store.run();
        if !options.skip_tokens.is_empty() && options.skip_tokens != run.skip_tokens {
            let expected = format!("empty, or {:?} as in the store", run.skip_tokens);
            return Err(Error::invalid(
                "`skip_tokens`",
                expected,
                format!("{:?}", options.skip_tokens),
            ));
        }
        let points: Vec<HookPoint> = [Some(point), options.target].into_iter().flatten().collect();
        let shards = Arc::new(store.shards(&points)?);
        if options.skip_positions > 0 {
            let expected = "0: a store does not tell positions apart";
            return Err(Error::invalid("`skip_positions`", expected, options.skip_positions));
        }
        let source = StoredSource::new(shards, options)?;
        let Run { identity, dataset, model, .. } = run;
        let origin = Origin {
            point: Some(point),
            hook_out: options.target.map(|target| target.to_string()),
            model: model.name.clone(),
            // A store has tokens and no tokenizer: which of them is a BOS token it does not say.
            training: TrainingRecord::of_fit(
                dtype_of(run)?,
                dataset.length,
                &run.skip_tokens,
                None,
            ),
            ..Origin::default()
        };
        let settings = format!("at {point} of {} units of {identity}", store.units().len());
        // It says which device it is.
        let device = if cfg!(feature = "cuda") { best_device() } else { Device::Cpu };
        Self::fit_from(source, options, FitPlace { origin, settings, device: &device })
    }
}

/// The activations of a store, in random order.
struct StoredSource {
    shards: Arc<Shards>,
    rows: ShuffledRows,
    seed: u64,
    memory: usize,
    batch: usize,
    /// What is read, and what a transcoder predicts.
    columns: Vec<StoredColumn>,
}

/// One hook point of them.
struct StoredColumn {
    width: usize,
    /// The activations of the step.
    values: Vec<f32>,
    /// What they are divided by.
    scale: f32,
    mean: Vec<f32>,
}

impl StoredSource {
    fn new(shards: Arc<Shards>, options: &SaeOptions) -> Result<Self> {
        let (seed, batch) = (options.seed, options.batch);
        let memory = MEMORY.max(shards.least_memory());
        let rows = ShuffledRows::new(Arc::clone(&shards), seed, memory, 0)?;
        let sample = SAMPLE.min(rows.rows());
        let column = |width| StoredColumn { width, values: Vec::new(), scale: 1.0, mean: vec![] };
        let columns = rows.widths().into_iter().map(column).collect();
        let mut source = Self { shards, rows, seed, memory, batch, columns };
        // The first rows of a random order are a uniform sample.
        source.read(sample)?;
        for (at, column) in source.columns.iter_mut().enumerate() {
            column.take_means(options.is_rescaled()).map_err(|scale| {
                let point = if at == 0 { "what is read" } else { "what is predicted" };
                let what = format!("the root mean square of the activations of {point}");
                Error::invalid(what, "a finite number above 0", scale)
            })?;
        }
        source.skip(0)?;
        Ok(source)
    }

    /// Puts the next `count` rows in the place of the last ones.
    fn read(&mut self, count: usize) -> Result<()> {
        let dtype = self.rows.dtype();
        for column in &mut self.columns {
            column.values.resize(count * column.width, 0.0);
        }
        let columns = &mut self.columns;
        self.rows.next_rows(count, |at, row, bytes| {
            let column = &mut columns[at];
            widen(dtype, bytes, &mut column.values[row * column.width..][..column.width]);
        })?;
        for column in columns.iter_mut().filter(|column| column.scale != 1.0) {
            column.values.iter_mut().for_each(|x| *x /= column.scale);
        }
        Ok(())
    }
}

impl FitSource for StoredSource {
    fn widths(&self) -> Widths {
        Widths { input: self.columns[0].width, output: self.columns[self.columns.len() - 1].width }
    }

    fn scales(&self) -> [f32; 2] {
        [self.columns[0].scale, self.columns[self.columns.len() - 1].scale]
    }

    fn means(&self) -> [Vec<f32>; 2] {
        [self.columns[0].mean.clone(), self.columns[self.columns.len() - 1].mean.clone()]
    }

    fn next(&mut self) -> Result<Batch<'_>> {
        self.read(self.batch)?;
        let (x, target) = (&self.columns[0], &self.columns[self.columns.len() - 1]);
        Ok(Batch { rows: self.batch, x: &x.values, target: &target.values, weights: None })
    }

    fn skip(&mut self, steps: usize) -> Result<()> {
        let first = steps as u64 * self.batch as u64;
        self.rows = ShuffledRows::new(Arc::clone(&self.shards), self.seed, self.memory, first)?;
        Ok(())
    }
}

impl StoredColumn {
    /// Takes the mean of the values there are, and their scale if `rescaled`; returns a scale that
    /// cannot be.
    fn take_means(&mut self, rescaled: bool) -> std::result::Result<(), f32> {
        if rescaled {
            self.scale = root_mean_square(&self.values);
            if !self.scale.is_normal() {
                return Err(self.scale);
            }
        }
        self.values.iter_mut().for_each(|x| *x /= self.scale);
        self.mean = mean_row(&self.values, self.width);
        Ok(())
    }
}

/// Numbers of a floating point type, as f32.
fn widen(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        DType::F16 => bytemuck::pod_collect_to_vec::<u8, f16>(bytes).convert_to_f32_slice(out),
        DType::BF16 => bytemuck::pod_collect_to_vec::<u8, bf16>(bytes).convert_to_f32_slice(out),
        DType::F64 => {
            let numbers = bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
            out.iter_mut().zip(numbers).for_each(|(out, x)| *out = x as f32);
        }
        _ => {
            let numbers = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            out.iter_mut().zip(numbers).for_each(|(out, x)| *out = x);
        }
    }
}

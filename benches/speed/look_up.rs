//! Looking up the examples of a latent in a file of all.

use eigenlens::prelude::*;
use tempfile::TempDir;

use crate::pytorch::Work;
use crate::report::Row;
use crate::{Result, timed};

/// Layers, as Pythia-70m has.
pub(crate) const LAYERS: usize = 6;
/// Latents of a table that Python writes too, 200,000 examples, and of one with 6.3 million.
pub(crate) const SMALL: usize = 1_024;
pub(crate) const LARGE: usize = 32_768;
/// Contexts that every latent is active in, each of which becomes an example.
const CONTEXTS: usize = 32;
/// Tokens of a context.
const LENGTH: usize = 128;
/// Contexts that are taken in together.
const BATCH: usize = 4;
const VOCABULARY: f32 = 50_304.0;
/// Lists between two that are looked up.
const STRIDE: usize = 7_919;
/// Look-ups of a turn.
const LOOK_UPS: usize = 50;

/// A file of examples, open.
pub(crate) struct Table {
    /// It goes with this.
    _folder: TempDir,
    latents: usize,
    examples: LayerExamples,
}

impl Table {
    /// Writes one: each latent is active at one position of each context, the latents of a position in
    /// a row.
    pub(crate) fn write(latents: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("examples.parquet");
        let options = LayerExampleOptions { examples: CONTEXTS, ..Default::default() };
        let mut found = LayerExamples::new(LAYERS, latents, options)?;
        let mut rng = Rng::seed(0);
        for first in (0..CONTEXTS).step_by(BATCH) {
            let tokens = rng.uniform(0.0, VOCABULARY, (BATCH, LENGTH), &Device::Cpu)?;
            let tokens = tokens.to_dtype(DType::U32)?;
            let layers = (0..LAYERS).map(|_| codes(latents, &mut rng));
            let codes = LayerCodes::new(layers.collect::<Result<Vec<_>>>()?)?;
            found.add(first as u64, &tokens, &codes)?;
        }
        found.save(&path)?;
        drop(found);
        Ok(Self { examples: LayerExamples::open(&path)?, latents, _folder: folder })
    }

    fn size(&self) -> String {
        format!("{} examples of {} latents at {LAYERS} layers", self.examples.len(), self.latents)
    }

    /// Examples of so many latents, from all over the file.
    fn look_up(&self, times: usize) -> eigenlens::Result<()> {
        (0..times).try_for_each(|i| {
            let list = i * STRIDE % (LAYERS * self.latents);
            self.examples.get(list / self.latents, list % self.latents).map(drop)
        })
    }

    /// Look-ups beside PyTorch's side.
    pub(crate) fn work(&self, request: &'static str) -> Work<'_> {
        Work::new("examples of a latent, look-ups", request, |times| self.look_up(times))
            .size(self.size())
            .turn(LOOK_UPS, 1, "look-ups/s")
    }

    /// How long one takes.
    pub(crate) fn row(&self) -> Result<Row> {
        let seconds = timed(|| self.look_up(LOOK_UPS))? / LOOK_UPS as f64;
        Ok(Row::new("examples of a latent, a look-up", self.size(), 1e3 * seconds, "ms"))
    }
}

/// Codes of [`BATCH`] contexts, in which every latent is active once a context.
fn codes(latents: usize, rng: &mut Rng) -> Result<Codes> {
    let share = latents / LENGTH;
    let rows = (0..BATCH * LENGTH).map(|row| {
        let first = row % LENGTH * share;
        (first..first + share).map(|latent| (latent as u32, 0.1 + rng.unit())).collect()
    });
    Ok(Codes::new(latents, rows.collect::<Vec<_>>())?)
}

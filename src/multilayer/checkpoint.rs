//! Scans of a text that go on where they were cut off.

use std::ops::Range;
use std::path::Path;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::lens::lens_identity;
use super::mlsae::{LensUse, Mlsae};
use crate::Result;
use crate::check::first_difference;
use crate::data::text::Contexts;
use crate::harvest::{CheckpointFile, CheckpointIdentity, sum_of_model, sum_of_sae, sum_of_tokens};

const FORMAT: u32 = 2;

/// Tensors by their names.
pub(super) type ScanTensors = Vec<(&'static str, Tensor)>;

/// What a scan has found so far, as tensors.
pub(super) trait ScanState {
    /// Everything that changes.
    ///
    /// # Errors
    /// Memory.
    fn tensors(&mut self) -> Result<ScanTensors>;

    /// Puts back what [`tensors`](Self::tensors) gave; false if it does not belong together.
    ///
    /// # Errors
    /// Those of `take`, which hands out the tensor of a name.
    fn restore(&mut self, take: impl FnMut(&str) -> Result<Tensor>) -> Result<bool>;
}

/// A scan that keeps nothing.
impl ScanState for () {
    fn tensors(&mut self) -> Result<ScanTensors> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: impl FnMut(&str) -> Result<Tensor>) -> Result<bool> {
        Ok(true)
    }
}

/// What a scan does, as far as its results depend on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ScanIdentity {
    format: u32,
    what: String,
    model: String,
    sae: String,
    lens: Option<String>,
    layers: Vec<usize>,
    skipped: Vec<u32>,
    text: String,
    contexts: [usize; 2],
    batch: usize,
    options: String,
}

impl ScanIdentity {
    /// Of the scan `what` of some contexts in batches, whose own options are `options`.
    ///
    /// # Errors
    /// Memory.
    pub(super) fn new(
        what: &str,
        mlsae: &Mlsae,
        text: &Contexts,
        (contexts, batch): (Range<usize>, usize),
        options: String,
    ) -> Result<Self> {
        let lens = match mlsae.lens_use() {
            LensUse::None | LensUse::Missing => None,
            LensUse::Lens(lens) => Some(lens_identity(lens)?),
        };
        Ok(Self {
            format: FORMAT,
            what: what.to_owned(),
            model: sum_of_model(mlsae.model())?,
            sae: sum_of_sae(mlsae.sae())?,
            lens,
            layers: mlsae.layers().to_vec(),
            skipped: mlsae.skipped().to_vec(),
            text: format!("{} of {} tokens", sum_of_tokens(text), text.length()),
            contexts: [contexts.start, contexts.end],
            batch,
            options,
        })
    }
}

impl CheckpointIdentity for ScanIdentity {
    const WHAT: &'static str = "a scan";

    fn difference(&self, other: &Self) -> (&'static str, String, String) {
        let found = first_difference!(
            self, other,
            "format": format, "kind": what, "model": model, "autoencoder": sae,
            "tuned lens": lens, "layers": layers, "skipped tokens": skipped, "text": text,
            "`contexts`": contexts, "`batch`": batch, "options": options,
        );
        found.unwrap_or_else(|| ("identity", String::new(), String::new()))
    }
}

/// The file of a scan, to which what it has found goes.
#[derive(Debug)]
pub(super) struct ScanCheckpoint(CheckpointFile<ScanIdentity>);

impl ScanCheckpoint {
    /// The file of a scan in `folder`.
    pub(super) fn new(folder: &Path, identity: ScanIdentity) -> Self {
        let path = folder.join(format!("{}.safetensors", identity.what));
        Self(CheckpointFile::new(path, identity))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts what the file has into `found`, and returns the first context that was not looked at;
    /// nothing if there is no file.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) for the file of another scan, or one that is damaged.
    pub(super) fn restore(&self, found: &mut impl ScanState) -> Result<Option<usize>> {
        let Some((next, mut tensors)) = self.0.read()? else { return Ok(None) };
        let is_whole = found.restore(|name| tensors.take(name))?;
        let [start, end] = self.0.identity().contexts;
        match is_whole && (start..=end).contains(&next) {
            true => Ok(Some(next)),
            false => Err(self.0.damaged()),
        }
    }

    /// Puts what was found before the context `next` in the place of the file.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if it cannot be written.
    pub(super) fn save(&self, found: &mut impl ScanState, next: usize) -> Result<()> {
        let tensors = found.tensors()?.into_iter();
        self.0.write(next, tensors.map(|(name, tensor)| (name.to_owned(), tensor)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{LayerExample, LayerExampleOptions, LayerExamples};
    use super::super::lens::tests::lens;
    use super::super::mlsae::tests::small;
    use super::super::pass::{LayerScan, LayerScanOptions};
    use super::super::{CountedEntries, LayerDistributions};
    use super::*;
    use crate::Error;
    use crate::harvest::tests::contexts;

    fn options(folder: Option<&Path>) -> LayerScanOptions {
        let checkpoint = folder.map(Path::to_owned);
        LayerScanOptions { batch: 4, save_every: 3, checkpoint, ..LayerScanOptions::default() }
    }

    fn few() -> LayerExampleOptions {
        LayerExampleOptions { examples: 3, ..LayerExampleOptions::default() }
    }

    fn all(examples: LayerExamples) -> Vec<LayerExample> {
        examples.iter().map(|example| example.unwrap()).collect()
    }

    #[test]
    fn a_scan_that_was_cut_off_ends_as_an_undisturbed_one() {
        let (mlsae, text) = (small(), contexts());
        let folder = tempfile::tempdir().unwrap();
        let (plain, kept) = (options(None), options(Some(folder.path())));
        let undisturbed = mlsae.distributions(&text, &plain).unwrap();
        let examples = all(mlsae.examples(&text, few(), &plain).unwrap());
        // Both fail at a batch after the second saving.
        let scan = |label, settings| LayerScan { text: &text, options: &kept, label, settings };
        let (mut looked_at, mut found) = (Vec::new(), LayerDistributions::new(2, 24).unwrap());
        let settings = format!("{:?}", CountedEntries::default());
        let cut = mlsae.scan(&scan("distributions", settings), &mut found, |found, batch| {
            looked_at.push(batch.first);
            match batch.first < 32 {
                true => found.add(&batch.kept_codes()?),
                false => Err(Error::invalid("the machine", "there", "gone")),
            }
        });
        assert!(cut.is_err() && looked_at == [0, 4, 8, 12, 16, 20, 24, 28, 32]);
        assert_eq!(mlsae.distributions(&text, &kept).unwrap(), undisturbed);
        let mut found = LayerExamples::new(2, 24, few()).unwrap();
        let cut =
            mlsae.scan(&scan("examples", format!("{:?}", few())), &mut found, |own, batch| {
                match batch.first < 32 {
                    true => own.add(batch.first as u64, &batch.tokens, &batch.silenced_codes()?),
                    false => Err(Error::invalid("the machine", "there", "gone")),
                }
            });
        assert!(cut.is_err());
        let checkpoint = folder.path().join("examples.safetensors");
        let before = std::fs::read(&checkpoint).unwrap();
        let resumed = mlsae.examples(&text, few(), &kept).unwrap();
        assert_eq!(resumed.text().map(|text| text.contexts), Some(50));
        assert_eq!(all(resumed), examples);
        // The same call finds the answer, and nothing is looked at again.
        let after = std::fs::read(&checkpoint).unwrap();
        assert_ne!(before, after);
        let scan = scan("examples", format!("{:?}", few()));
        let mut again = LayerExamples::new(2, 24, few()).unwrap();
        mlsae.scan(&scan, &mut again, |_, _| Err(Error::invalid("it", "done", "not"))).unwrap();
        assert_eq!(all(again), examples);
    }

    #[test]
    fn the_checkpoint_of_another_scan_is_refused_in_words() {
        let (mlsae, text) = (small(), contexts());
        let folder = tempfile::tempdir().unwrap();
        let kept = options(Some(folder.path()));
        mlsae.distributions(&text, &kept).unwrap();
        mlsae.examples(&text, few(), &kept).unwrap();
        let message = |mlsae: &Mlsae, text: &Contexts, options: &LayerScanOptions| {
            let error = mlsae.distributions(text, options).unwrap_err().to_string();
            assert!(error.contains("give the same, or another `checkpoint`"), "{error}");
            error
        };
        let other = Contexts::new(6, vec![7; 300]).unwrap();
        assert!(message(&mlsae, &other, &kept).contains("the text of this call"));
        let batch = LayerScanOptions { batch: 5, ..kept.clone() };
        assert!(message(&mlsae, &text, &batch).contains("the `batch` of this call, 5, found 4"));
        let part = LayerScanOptions { contexts: Some(3..50), ..kept.clone() };
        assert!(message(&mlsae, &text, &part).contains("`contexts` of this call, [3,50]"));
        let counted = LayerScanOptions { counted: CountedEntries::Original, ..kept.clone() };
        assert!(message(&mlsae, &text, &counted).contains("the options of this call"));
        assert!(message(&mlsae.skipping(&[3]), &text, &kept).contains("the skipped tokens"));
        let first = Mlsae::new(mlsae.model(), mlsae.sae(), &[0]).unwrap().skipping(&[]);
        assert!(message(&first, &text, &kept).contains("the layers of this call, [0]"));
        let lensed = mlsae.with_lens(&lens()).unwrap();
        assert!(message(&lensed, &text, &kept).contains("the tuned lens"));
        let error = mlsae.examples(&text, LayerExampleOptions::default(), &kept).unwrap_err();
        assert!(error.to_string().contains("examples: 32"), "{error}");
        let error = mlsae.persistence(&text, &kept).unwrap_err().to_string();
        assert!(error.contains("`checkpoint` must be none"), "{error}");
        let none = LayerScanOptions { save_every: 0, ..kept };
        assert!(
            mlsae.distributions(&text, &none).unwrap_err().to_string().contains("`save_every`")
        );
    }

    #[test]
    fn a_damaged_checkpoint_is_no_checkpoint() {
        let (mlsae, text) = (small(), contexts());
        let folder = tempfile::tempdir().unwrap();
        let kept = options(Some(folder.path()));
        let found = all(mlsae.examples(&text, few(), &kept).unwrap());
        let path = folder.path().join("examples.safetensors");
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(13) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bytes).unwrap();
            // A name of the header may change to one that is read the same.
            match mlsae.examples(&text, few(), &kept) {
                Ok(read) => assert_eq!(all(read), found, "byte {at}"),
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains("examples.safetensors"), "{at}: {message}");
                }
            }
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(mlsae.examples(&text, few(), &kept).is_err());
        }
    }

    #[test]
    fn parts_of_a_text_are_looked_at_by_their_numbers() {
        let (mlsae, text) = (small(), contexts());
        let part = |contexts| LayerScanOptions { contexts: Some(contexts), ..options(None) };
        let mut distributions = mlsae.distributions(&text, &part(0..23)).unwrap();
        distributions.merge(&mlsae.distributions(&text, &part(23..50)).unwrap()).unwrap();
        let whole = mlsae.distributions(&text, &options(None)).unwrap();
        assert_eq!(distributions.count(), whole.count());
        let mut examples = mlsae.examples(&text, few(), &part(30..50)).unwrap();
        examples.merge(&mlsae.examples(&text, few(), &part(0..30)).unwrap()).unwrap();
        let whole = mlsae.examples(&text, few(), &options(None)).unwrap();
        assert_eq!(examples.text(), whole.text());
        assert_eq!(all(examples), all(whole));
        for bad in [50..51, 3..3] {
            let error = mlsae.persistence(&text, &part(bad)).unwrap_err().to_string();
            assert!(
                error.contains("`contexts` must be a range of contexts within 0..50"),
                "{error}"
            );
        }
    }
}

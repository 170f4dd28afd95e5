//! Distributions in files.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::checkpoint::{ScanState, ScanTensors};
use super::distributions::LayerDistributions;
use super::distributions_published;
use crate::hub::Repository;
use crate::store::{Tensors, save_exactly};
use crate::{Error, Result};

/// What the original calls it.
const FILE: &str = "dists.safetensors";
/// How the names of published data sets end.
const ENDING: &str = "-dists";

impl LayerDistributions {
    /// Writes `counts` (i64) and `totals` (f64), `[L, n]`, as the safetensors file `path`: the
    /// original's layout, whose f32 would lose counts from 2²⁴ on.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let tensors = [("counts", self.counts()?), ("totals", self.totals()?)];
        let tensors: HashMap<String, Tensor> =
            tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        save_exactly(path.as_ref(), &tensors)
    }

    /// Reads the file `path`, as [`LayerDistributions::save`] or the original (`dists.safetensors`,
    /// f32) writes it. The original's counts are of all entries; what is added later is active.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Format`] if it holds anything else than
    /// two matrices of one shape, or counts that are no counts.
    ///
    /// ```
    /// use eigenlens::multilayer::{LayerCodes, LayerDistributions};
    /// use eigenlens::sae::Codes;
    /// # fn main() -> eigenlens::Result<()> {
    /// let mut found = LayerDistributions::new(1, 2)?;
    /// found.add(&LayerCodes::new([Codes::new(2, [vec![(1, 0.5)]])?])?)?;
    /// # let folder = std::env::temp_dir().join(format!("dists-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// let path = folder.join("dists.safetensors");
    /// found.save(&path)?;
    /// assert_eq!(LayerDistributions::load(&path)?, found);
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok(()) }
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::read(path.as_ref(), Tensors::open(path.as_ref(), &Device::Cpu)?)
    }

    /// The distributions of a multi-layer autoencoder `name`, embedded, in a folder or on the hub:
    /// `dists.safetensors` beside it, or, of one on the hub, the data set that the original published for
    /// it (`…-dists`), of which the columns `latent`, `counts` and `totals` are read. The data set's own
    /// name is a name too.
    ///
    /// # Errors
    /// As [`LayerDistributions::load`]; a repository or file that there is not; for a data set,
    /// [`Error::Format`] with the column that is missing or holds something else.
    pub fn from_pretrained(name: &str) -> Result<Self> {
        let found = Repository::find_data(name, ENDING)?;
        Self::from_repository(&found.or_data_beside(FILE, ENDING)?)
    }

    /// [`LayerDistributions::from_pretrained`], from a repository.
    ///
    /// # Errors
    /// As [`LayerDistributions::from_pretrained`].
    pub fn from_repository(repository: &Repository) -> Result<Self> {
        let parts = repository.parts_in_place_of(FILE)?;
        if !parts.is_empty() {
            let (layers, counts, totals) = distributions_published::read(&parts)?;
            return Ok(Self::from_parts(layers, counts, totals));
        }
        let content = repository.open(FILE)?;
        Self::read(&content.path, Tensors::parse(&content.path, &content.bytes, &Device::Cpu)?)
    }

    fn read(path: &Path, mut tensors: Tensors) -> Result<Self> {
        let [layers, latents] = tensors.matrix("counts")?;
        let wrong =
            |found: &f64| Error::format(path, "counts, whole and not negative", found.to_string());
        let counts: Vec<f64> = match tensors.other_than_float("counts") {
            None => {
                let counts = tensors.take("counts", &[layers, latents])?.to_dtype(DType::F64)?;
                counts.flatten_all()?.to_vec1()?
            }
            Some(kind) => {
                let counts = tensors.integers("counts");
                let counts = counts.ok_or_else(|| Error::format(path, "counts", kind))?;
                counts.into_iter().map(|count| count as f64).collect()
            }
        };
        if let Some(bad) = counts.iter().find(|count| **count < 0.0 || count.fract() != 0.0) {
            return Err(wrong(bad));
        }
        let totals = tensors.take("totals", &[layers, latents])?.to_dtype(DType::F64)?;
        let totals: Vec<f64> = totals.flatten_all()?.to_vec1()?;
        tensors.finish("`counts` and `totals` alone")?;
        let counts = counts.into_iter().map(|count| count as u64).collect();
        Ok(Self::from_parts(layers, counts, totals))
    }
}

/// In the checkpoint of a scan: the same matrices.
impl ScanState for LayerDistributions {
    fn tensors(&mut self) -> Result<ScanTensors> {
        Ok(vec![("counts", self.counts()?), ("totals", self.totals()?)])
    }

    fn restore(&mut self, mut take: impl FnMut(&str) -> Result<Tensor>) -> Result<bool> {
        let (counts, totals) = (take("counts")?, take("totals")?);
        let shape = [self.layers, self.latents];
        if counts.dims() != shape || totals.dims() != shape {
            return Ok(false);
        }
        let counts: Vec<i64> = counts.flatten_all()?.to_vec1()?;
        self.counts = counts.into_iter().map(|count| count as u64).collect();
        self.totals = totals.flatten_all()?.to_vec1()?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::distributions::tests::random_distributions;
    use super::*;

    #[test]
    fn what_is_saved_comes_back_and_f32_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dists.safetensors");
        let found = random_distributions();
        found.save(&path).unwrap();
        assert_eq!(LayerDistributions::load(&path).unwrap(), found);
        let narrow = |tensor: Tensor| tensor.to_dtype(DType::F32).unwrap();
        let both = |counts: Tensor| {
            let totals = narrow(found.totals().unwrap());
            HashMap::from([("counts".to_owned(), counts), ("totals".to_owned(), totals)])
        };
        save_exactly(&path, &both(narrow(found.counts().unwrap()))).unwrap();
        assert_eq!(LayerDistributions::load(&path).unwrap(), found, "sums of halves are exact");
        let broken = (narrow(found.counts().unwrap()) - 0.5).unwrap();
        save_exactly(&path, &both(broken)).unwrap();
        let message = LayerDistributions::load(&path).unwrap_err().to_string();
        assert!(message.contains("whole and not negative"), "{message}");
        let mut more = both(found.counts().unwrap());
        more.insert("more".to_owned(), found.totals().unwrap());
        save_exactly(&path, &more).unwrap();
        assert!(LayerDistributions::load(&path).unwrap_err().to_string().contains("`more`"));
        std::fs::write(&path, "nothing").unwrap();
        assert!(LayerDistributions::load(&path).is_err());
    }
}

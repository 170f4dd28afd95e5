//! Clouds of many clusters from one pass of a model over a text.

use super::{CloudOptions, FeatureCloud};
use crate::data::text::Contexts;
use crate::features::clusters::Clusters;
use crate::model::Decoder;
use crate::progress::Progress;
use crate::sae::Sae;
use crate::{Error, Result};

impl FeatureCloud {
    /// The clouds of the clusters `which`, in that order: each context goes once through the model's
    /// layers up to the autoencoder and through its encoder. It ends when each cloud has
    /// `options.limit` points.
    ///
    /// # Errors
    /// - No clusters, one that there is not, or one named twice.
    /// - Clusters of more features than the autoencoder has; one that does not fit the model.
    /// - Contexts that are longer than the model's, or of another vocabulary.
    /// - [`Error::Stopped`] when Stop is pressed: `stopped::<Vec<FeatureCloud>>()?` gives the clouds so
    ///   far.
    pub fn collect(
        model: &Decoder,
        sae: &Sae,
        contexts: &Contexts,
        clusters: &Clusters,
        which: &[usize],
        options: &CloudOptions,
    ) -> Result<Vec<Self>> {
        if clusters.features() > sae.features() {
            let expected = format!("of at most {}, which the autoencoder has", sae.features());
            return Err(Error::invalid("the clusters", expected, clusters.features()));
        }
        let groups =
            which.iter().map(|cluster| clusters.get(*cluster)).collect::<Result<Vec<_>>>()?;
        let mut collector = options.collector(sae.features(), &groups)?;
        let point = sae.point()?;
        let (length, count) = (contexts.length(), contexts.len());
        let mut progress = Progress::new("collecting clouds", count as u64, "context");
        let mut stopped = false;
        for start in (0..count).step_by(options.batch) {
            let tokens = contexts.batch(start, options.batch, model.device())?;
            let cache = model.activations(&tokens, &[point])?;
            let codes = sae.encode(cache.get(point)?)?;
            let ids = &contexts.as_slice()[start * length..][..codes.rows()];
            for (row, id) in ids.iter().enumerate() {
                if !options.skip_tokens.contains(id) {
                    collector.take(start * length + row, codes.row(row));
                }
            }
            let done = codes.rows() / length;
            stopped = progress.advance(done as u64) && start + done < count;
            if stopped || collector.is_full() {
                break;
            }
        }
        progress.finish();
        let decoder = sae.w_dec().t()?.contiguous()?;
        let tokenizer = model.tokenizer().ok();
        let clouds = groups.iter().zip(which).zip(collector.finish()?);
        let clouds = clouds.map(|((members, cluster), rows)| {
            let cloud = Self::new(&decoder, members, rows, stopped)?;
            let cloud = cloud.named(format!("cluster {cluster}"));
            cloud.with_text(contexts, tokenizer.as_ref())
        });
        let clouds = clouds.collect::<Result<Vec<Self>>>()?;
        match stopped {
            true => options.on_stop.end(
                "collecting clouds",
                clouds,
                "`stopped::<Vec<FeatureCloud>>()?` gives the clouds so far.",
            ),
            false => Ok(clouds),
        }
    }
}

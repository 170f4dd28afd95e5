//! Clouds of many clusters from one pass of a model over a text.

use super::kept::cloud_file;
use super::{CloudOptions, FeatureCloud};
use crate::data::text::Contexts;
use crate::features::clusters::Clusters;
use crate::model::Decoder;
use crate::progress::{Progress, StopShield};
use crate::sae::Sae;
use crate::{Error, Result};

impl FeatureCloud {
    /// The clouds of the clusters `which`, in that order: each context goes once through the model's
    /// layers up to the autoencoder and through its encoder. It ends when each cloud has
    /// `options.limit` points. With a `checkpoint`, a pass that was cut off goes on and ends with the
    /// same clouds.
    ///
    /// # Errors
    /// - No clusters, one that there is not, or one named twice.
    /// - Clusters of more features than the autoencoder has; one that does not fit the model.
    /// - Contexts that are longer than the model's, or of another vocabulary.
    /// - [`Error::Format`] for a checkpoint that is damaged or of another pass.
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
        let file = options
            .checkpoint
            .as_ref()
            .map(|folder| cloud_file(folder, (model, sae), contexts, &groups, options));
        let file = file.transpose()?;
        let mut next = 0;
        if let Some(file) = &file
            && let Some((done, mut tensors)) = file.read()?
        {
            if done > count || !collector.restore(&mut tensors)? {
                return Err(file.damaged());
            }
            next = done;
        }
        let mut progress = Progress::new("collecting clouds", count as u64, "context");
        let _shield = StopShield::new();
        // Stop is looked at after a batch, so that every call gets on.
        let _ = progress.advance(next as u64);
        let (mut stopped, mut batches) = (false, 0usize);
        while next < count && !stopped && !collector.is_full() {
            let tokens = contexts.batch(next, options.batch, model.device())?;
            let cache = model.activations(&tokens, &[point])?;
            let codes = sae.encode(cache.get(point)?)?;
            let ids = &contexts.as_slice()[next * length..][..codes.rows()];
            for (row, id) in ids.iter().enumerate() {
                if !options.skip_tokens.contains(id) {
                    collector.take(next * length + row, codes.row(row));
                }
            }
            let done = codes.rows() / length;
            next += done;
            batches += 1;
            let is_last = next == count || collector.is_full();
            stopped = progress.advance(done as u64) && !is_last;
            let is_due = batches.is_multiple_of(options.save_every) || is_last || stopped;
            if let Some(file) = file.as_ref().filter(|_| is_due) {
                file.write(next, collector.tensors()?)?;
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
            true => {
                let mut access =
                    "`stopped::<Vec<FeatureCloud>>()?` gives the clouds so far.".to_owned();
                if let Some(file) = &file {
                    let kept = file.path().display();
                    access += &format!(" They are kept in {kept}: the same call goes on.");
                }
                options.on_stop.end("collecting clouds", clouds, &access)
            }
            false => Ok(clouds),
        }
    }
}

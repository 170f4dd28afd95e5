//! Codes of tokens by a multi-layer autoencoder, all layers together.

use candle_core::Tensor;

use super::codes::LayerCodes;
use super::mlsae::Mlsae;
use crate::Result;
use crate::features::{FeatureReader, check_reads_activations};
use crate::model::{Decoder, HookPoint};
use crate::sae::Codes;

/// Each latent has the largest of its activations over the layers. Which layer it is at, the
/// [distribution](super::LayerDistributions) of the latent tells.
impl FeatureReader for Mlsae {
    fn features(&self) -> usize {
        self.sae().features()
    }

    /// The residual stream after the last of its layers; the decoder writes to all of them.
    fn point(&self) -> Result<HookPoint> {
        Ok(HookPoint::ResidPost(self.last_layer()))
    }

    fn read(&self, model: &Decoder, tokens: &Tensor) -> Result<Codes> {
        check_reads_activations(self.sae())?;
        let points = self.points();
        let cache = model.activations(tokens, &points)?;
        let streams = points.iter().map(|point| cache.tensor(*point));
        largest(&self.encode(&streams.collect::<Result<Vec<_>>>()?)?)
    }

    fn skipped(&self) -> &[u32] {
        Mlsae::skipped(self)
    }
}

/// The largest activation of each latent over the layers; entries that are not above zero are left out.
fn largest(codes: &LayerCodes) -> Result<Codes> {
    let mut rows = vec![Vec::new(); codes.rows()];
    codes.for_each_pair(
        |value| value > 0.0,
        |row, latent, values| {
            let most = values.iter().map(|(_, value)| *value).fold(0.0, f32::max);
            rows[row].push((latent as u32, most));
        },
    );
    Codes::new(codes.width(), rows)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::codes::tests::{dense, random_codes};
    use super::super::mlsae::tests::small;
    use super::*;
    use crate::harvest::tests::contexts;
    use crate::sae::TrainingRecord;

    #[test]
    fn a_latent_has_its_largest_activation() {
        let codes = random_codes(3, [4, 30, 5, 9]);
        let all = dense(&codes);
        let found = largest(&codes).unwrap();
        assert!(found.entries() > 0 && found.entries() < 30 * 9);
        for row in 0..30 {
            for latent in 0..9 {
                let values = all.iter().map(|layer| layer[row][latent]);
                let expected = values.fold(0f32, f32::max);
                assert_eq!(found.get(row, latent as u32), expected, "{row} {latent}");
            }
            assert!(found.row(row).all(|(_, value)| value > 0.0));
        }
    }

    #[test]
    fn tokens_are_read_at_every_layer() {
        let mlsae = small().skipping(&[5]);
        let tokens = contexts().batch(0, 4, &Device::Cpu).unwrap();
        let codes = mlsae.read(mlsae.model(), &tokens).unwrap();
        assert_eq!((codes.rows(), codes.width()), (24, FeatureReader::features(&mlsae)));
        let layers = [0, 1].map(|layer| {
            let sae = mlsae.at(layer).unwrap();
            sae.read(mlsae.model(), &tokens).unwrap()
        });
        for row in 0..24 {
            for latent in 0..24 {
                let [first, second] = [0, 1].map(|layer: usize| layers[layer].get(row, latent));
                assert_eq!(codes.get(row, latent), first.max(second).max(0.0));
            }
        }
        assert_eq!(FeatureReader::point(&mlsae).unwrap(), HookPoint::ResidPost(1));
        assert_eq!(FeatureReader::skipped(&mlsae), [5]);
    }

    #[test]
    fn what_it_cannot_read_is_refused() {
        let (own, tokens) = (small(), contexts().batch(0, 1, &Device::Cpu).unwrap());
        let read = |record: TrainingRecord| {
            let sae = own.sae().with_training_record(record);
            let mlsae = Mlsae::new(own.model(), &sae, &[0, 1]).unwrap();
            mlsae.read(own.model(), &tokens).unwrap_err().to_string()
        };
        let reads = Some("the error".to_owned());
        let error = read(TrainingRecord { reads, ..TrainingRecord::default() });
        assert!(error.contains("PartReader"), "{error}");
        let error = read(TrainingRecord { tuned_lens: true, ..TrainingRecord::default() });
        assert!(error.contains("with_lens"), "{error}");
    }
}

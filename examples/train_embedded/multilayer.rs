//! The multi-layer autoencoder, at which layers its latents are active, where and how strongly, and a
//! tuned lens.

use std::path::Path;

use eigenlens::features::{FeatureTable, save_tables};
use eigenlens::prelude::*;

use super::CONTEXT;

/// Where it goes.
const NAME: &str = "classics-mlsae";
const EXPANSION: usize = 16;
const K: usize = 32;
/// Examples of each latent at each layer.
const EXAMPLES: usize = 8;

/// Trains what is not in `out` yet, and prints what it is worth on text that it has not seen.
pub(super) fn multilayer(
    out: &Path,
    work: &Path,
    model: &Decoder,
    train: &Tokens,
    test: &Tokens,
) -> Result<()> {
    let folder = out.join(NAME);
    let held_out = Contexts::spread(test, 128, CONTEXT)?;
    if !folder.join("config.json").is_file() {
        let sae = SaeOptions {
            expansion: EXPANSION,
            k: K,
            steps: 6_000,
            buffer: 32_768,
            length: CONTEXT,
            report: 500,
            checkpoint: Some(work.join(NAME)),
            ..SaeOptions::default()
        };
        let options = MlsaeOptions { sae, ..MlsaeOptions::default() };
        let (mlsae, history) = Mlsae::fit(model, train, &options)?;
        println!("{NAME}\n{history}");
        mlsae.save(&folder, DType::BF16)?;
        name_model(&folder.join("config.json"))?;
    }
    // All that follows is of the autoencoder as it ships, rounded to bfloat16.
    let sae = Sae::load(&folder, model.device())?;
    let layers: Vec<usize> = (0..model.config().layers).collect();
    let mlsae = Mlsae::new(model, &sae, &layers)?;
    let scan = LayerScanOptions::default();
    println!("{}", mlsae.evaluate(&held_out, &scan)?);
    let sample = Contexts::spread(train, super::CONTEXTS, CONTEXT)?;
    let scan = LayerScanOptions { checkpoint: Some(work.join("scan")), ..scan };
    mlsae.distributions(&sample, &scan)?.save(folder.join("dists.safetensors"))?;
    let options = LayerExampleOptions { examples: EXAMPLES, ..LayerExampleOptions::default() };
    let examples = mlsae.examples(&sample, options, &scan)?;
    println!("{examples}");
    examples.save_without_tokens(folder.join("examples.parquet"), "eigenlens/classics-4k")?;
    save_tables(&folder, &statistics(&mlsae, &sample, work)?)?;

    let lens = folder.join("lens");
    if !lens.join("config.json").is_file() {
        let checkpoint = Some(work.join("lens"));
        let options = LensOptions { checkpoint, ..LensOptions::default() };
        let (found, history) = TunedLens::fit(model, train, test, &options)?;
        println!("{history}");
        found.save(&lens, DType::BF16)?;
    }
    let lens = TunedLens::from_pretrained(&lens.to_string_lossy(), model.device())?;
    println!("{}", lens.divergences(model, test, 64, CONTEXT)?);
    Ok(())
}

/// How strongly latents are active at each layer, with the best context of each alone, because
/// `examples.parquet` has more.
fn statistics(mlsae: &Mlsae, sample: &Contexts, work: &Path) -> Result<Vec<FeatureTable>> {
    let saes = mlsae.layers().iter().map(|layer| mlsae.at(*layer)).collect::<Result<Vec<_>>>()?;
    let checkpoint = Some(work.join("statistics"));
    let options = MaxOptions { examples: 1, checkpoint, ..MaxOptions::default() };
    max_activations(mlsae.model(), &saes, sample, &options)
}

/// Gives the model the name that it ships under: it was read from a folder.
fn name_model(config: &Path) -> Result<()> {
    let text = std::fs::read_to_string(config).map_err(Error::io("read", config))?;
    let named =
        text.replace("\"model_name\": \"classics\"", "\"model_name\": \"eigenlens/classics\"");
    std::fs::write(config, named).map_err(Error::io("write", config))
}

//! A model as wide as a large one, trained for a short while, with features of its MLP.

use std::path::Path;

use eigenlens::data::data_folder;
use eigenlens::model::TrainOptions;
use eigenlens::prelude::*;

use crate::Result;

/// The text of the corpus that it is trained on.
const TEXT: &str = "austen.txt";
/// Steps of the model and of the autoencoder: three minutes and one.
const STEPS: [usize; 2] = [200, 150];

/// The model, of one layer, and its autoencoder with 8 d_model features of the MLP's output. They
/// stay in the target folder; none where the corpus has not been fetched.
pub(crate) fn model_and_features(d: usize, hidden: usize) -> Result<Option<(Decoder, Sae)>> {
    let text = data_folder("corpus")?.join(TEXT);
    let Ok(text) = std::fs::read_to_string(&text) else {
        let path = text.display();
        eprintln!("nothing is measured on trained weights: no {path} (`eigenlens fetch corpus`)");
        return Ok(None);
    };
    let (cpu, folder) = (&Device::Cpu, Path::new(env!("CARGO_TARGET_TMPDIR")));
    let tokenizer = Decoder::from_pretrained("eigenlens/classics", cpu)?.tokenizer()?;
    let tokens: Tokens = tokenizer.encode(&text)?.into();
    let config = Config { vocab: tokenizer.vocab(), ..Config::bilinear(1, 16, d, hidden) };
    let model = Decoder::random(config, 0, cpu)?;
    let [steps, sae_steps] = STEPS;
    let options = TrainOptions {
        steps,
        batch: 8,
        warmup: 20,
        held_out: 8,
        checkpoint: Some(folder.join(format!("trained-{d}"))),
        ..TrainOptions::default()
    };
    model.fit(&tokens, &tokens, &options)?;
    let options = SaeOptions {
        k: 30,
        relu: false,
        steps: sae_steps,
        checkpoint: Some(folder.join(format!("trained-{d}-features"))),
        ..SaeOptions::default()
    };
    let (sae, _) = Sae::fit(&model, HookPoint::MlpOut(0), &tokens, &options)?;
    Ok(Some((model, sae)))
}

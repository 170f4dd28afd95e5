//! Trains a sparse autoencoder on a language model's activations and saves it for SAELens.
//!
//! `cargo run --release --example train_sae [FOLDER]`. Two minutes on two cores.

use eigenlens::prelude::*;

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "my-sae".to_owned());
    let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    let contexts = Contexts::from_pretrained("eigenlens/classics-4k")?;
    let text = Tokens::from(contexts.as_slice().to_vec());

    let options = SaeOptions {
        objective: Objective::BatchTopK,
        k: 16,
        steps: 500,
        batch: 1024,
        ..SaeOptions::default()
    };
    let (sae, history) = Sae::fit(&model, HookPoint::ResidPost(1), &text, &options)?;
    println!("{history}");
    sae.save(&folder)?;

    // How the autoencoder does on activations that it was not fitted to step by step.
    let point = sae.point()?;
    let cache = model.activations(&text.windows(8, 64, &Device::Cpu)?, &[point])?;
    println!("{}", sae.check(&cache.tensor(point)?)?);
    println!("saved in {folder}");
    Ok(())
}

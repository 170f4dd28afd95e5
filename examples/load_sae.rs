//! Reads a sparse autoencoder in whatever format it was published, and encodes activations.
//!
//! `cargo run --example load_sae [NAME]`. NAME is a folder or a repository of the hub; without it, one
//! that is part of the library.

use eigenlens::prelude::*;

fn main() -> Result<()> {
    let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    let sae = match std::env::args().nth(1) {
        Some(name) => Sae::load(&name, &Device::Cpu)?,
        None => Tracer::from_pretrained(&model, 2, "x8-k16", "x8-k16")?.output().clone(),
    };
    println!("{sae}");

    let point = sae.point()?;
    let tokens = model.tokens("She had been very happy at the ball")?;
    let activations = model.activations(&tokens, &[point])?.tensor(point)?;
    let codes = sae.encode(&activations)?;
    println!("{codes}");
    println!("{}", sae.check(&activations)?);
    Ok(())
}

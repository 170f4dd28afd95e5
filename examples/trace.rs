//! Reads from the weights which input features drive an output feature of a bilinear MLP.
//!
//! `cargo run --release --example trace`. No text is run through the model.

use eigenlens::prelude::*;

fn main() -> Result<()> {
    let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    let tracer = Tracer::from_pretrained(&model, 2, "x8-k16", "x8-k16")?;

    // The features whose computation is largest: the sum of their two largest eigenvalues.
    let top = tracer.top(5, Statistic::TruncatedEigenvalues { k: 2 })?;
    println!("{top}");

    // The pairs of input features that the first of them is computed from.
    let strongest = tracer.strongest(top.indices()[0], 8)?;
    println!("{strongest}");
    Ok(())
}

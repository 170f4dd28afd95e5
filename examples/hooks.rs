//! Looks into a language model while it runs, and changes what it computes.
//!
//! `cargo run --example hooks`. The model is part of the library; nothing is downloaded.

use eigenlens::prelude::*;

fn main() -> Result<()> {
    let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    let tokens = model.tokens("She had been very happy")?;

    // Capture: the residual stream after the second layer, `[batch, positions, d_model]`.
    let point = HookPoint::ResidPost(1);
    let (logits, cache) = model.run(&tokens, &Hooks::new().capture(point))?;
    println!("{point}: {:?}", cache.tensor(point)?.dims());

    // Replace: without the attention heads of the third layer, how much do the logits change?
    let ablation = Hooks::new().replace(HookPoint::Z(2), |z| Ok(z.zeros_like()?));
    let (changed, _) = model.run(&tokens, &ablation)?;
    let distance = (changed - &logits)?.sqr()?.mean_all()?.to_scalar::<f32>()?.sqrt();
    println!("root mean square change of the logits: {distance:.2}");

    // What each layer would say next.
    println!("{}", model.lens("She had been very", 3)?);
    Ok(())
}

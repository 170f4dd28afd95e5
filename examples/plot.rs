//! Draws a figure and saves it as a page that opens without a network, and as a still picture.
//!
//! `cargo run --example plot`. In a notebook the figure shows itself as the last value of a cell.

use eigenlens::prelude::*;

fn main() -> Result<()> {
    let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    let losses =
        model.loss_per_token(&model.tokens("It was the best of times, it was the worst")?)?;
    let waves = Tensor::arange(0f32, 64., &Device::Cpu)?.reshape((8, 8))?.affine(0.2, 0.)?.sin()?;
    let figure = beside(vec![
        bar(&losses.flatten_all()?)?.x_title("position").y_title("loss (nats)"),
        imshow(&waves)?.midpoint(0.0).title("a matrix"),
    ])?;
    figure.save_html("figure.html")?;
    println!("figure.html");
    Ok(())
}

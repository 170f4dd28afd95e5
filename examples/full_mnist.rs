//! Accuracy on all 70,000 digits, beside what the original study reports.
//!
//! `cargo run --example full_mnist [SEEDS]`, after `cargo run --bin eigenlens -- fetch mnist`. It
//! trains a bilinear classifier of hidden width 256 for 20 epochs, without and with Gaussian input
//! noise 0.4, fits rank-64 shared neurons to the latter, and prints a row a seed.

use eigenlens::prelude::*;

/// Percent, percent, similarity, percent.
const ORIGINAL: [f64; 4] = [96.5, 96.9, 0.998, 96.9];

fn main() -> Result<()> {
    eigenlens::linalg::keep_freed_memory();
    let argument = std::env::args().nth(1).unwrap_or_else(|| "1".to_owned());
    let seeds: u64 = argument
        .parse()
        .map_err(|_| Error::invalid("the number of seeds", "a number", &argument))?;
    let digits = Mnist::full(&Device::Cpu)?;
    let mut rows = vec![("original".to_owned(), ORIGINAL)];
    for seed in 0..seeds {
        rows.push((format!("seed {seed}"), measure(&digits, seed)?));
    }
    println!(
        "{:>10} {:>9} {:>10} {:>10} {:>9}",
        "", "no noise", "noise 0.4", "similarity", "rank 64"
    );
    for (name, [plain, noisy, similarity, sparse]) in rows {
        println!("{name:>10} {plain:>7.2} % {noisy:>8.2} % {similarity:>10.4} {sparse:>7.2} %");
    }
    Ok(())
}

fn measure(digits: &ImageDataset, seed: u64) -> Result<[f64; 4]> {
    let config = ImageConfig { d_hidden: 256, ..ImageConfig::default() };
    let fit = FitOptions { seed, ..FitOptions::default() };
    let plain = ImageModel::new(config, seed, &Device::Cpu)?;
    plain.fit(digits.train(), digits.test(), fit.clone())?;
    let noisy = ImageModel::new(config, seed, &Device::Cpu)?;
    noisy.fit(digits.train(), digits.test(), fit.augment(Augmentation::noise(0.4)))?;
    let neurons = CpdModel::new(&noisy, 64, seed)?;
    let history = neurons.fit(&noisy, CpdFit::default())?;
    Ok([
        100. * plain.accuracy(digits.test())?,
        100. * noisy.accuracy(digits.test())?,
        history.last("similarity")?,
        100. * neurons.accuracy(digits.test())?,
    ])
}

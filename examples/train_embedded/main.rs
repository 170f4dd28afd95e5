//! Trains the language model and the autoencoders that ship in `assets/language`.
//!
//! `cargo run --release --example train_embedded [OUT]`, after
//! `cargo run --bin eigenlens -- fetch corpus`; with `--features cuda` on a GPU. It learns a
//! tokenizer, trains a bilinear transformer, prints its held-out loss beside a trigram model's,
//! trains autoencoders around two MLPs, finds the texts that activate their features most, and trains
//! an autoencoder of the stream after all layers, with a tuned lens.
//! Everything is seeded. Cut off at any time, it goes on where it was when it is called again.

mod corpus;
mod multilayer;
mod trigram;

use std::path::{Path, PathBuf};

use corpus::Corpus;
use eigenlens::data::text::{Tokenizer, Tokens};
use eigenlens::features::save_tables;
use eigenlens::model::TrainOptions;
use eigenlens::prelude::*;
use eigenlens::sae::SaeOptions;
use trigram::Trigram;

const VOCAB: usize = 4096;
const CONTEXT: usize = 128;
const EXPANSION: usize = 8;
const K: usize = 16;
/// Contexts of the sample that features are looked up in, and examples a feature.
const CONTEXTS: usize = 4096;
const EXAMPLES: usize = 20;
/// Layers with autoencoders before and after the MLP.
const LAYERS: [usize; 2] = [1, 2];

fn main() -> Result<()> {
    eigenlens::linalg::keep_freed_memory();
    let out = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/language".into()));
    let work = out.join("work");
    std::fs::create_dir_all(&work).map_err(Error::io("create", &work))?;
    let device = best_device();
    let corpus = Corpus::read(&eigenlens::data::data_folder("corpus")?)?;

    let tokenizer = tokenizer(&corpus, &out)?;
    let train = tokens(&tokenizer, &corpus.train)?;
    let test = tokens(&tokenizer, &corpus.test)?;
    println!("{} tokens to train on, {} held out", train.len(), test.len());

    let model = language_model(&out, &work, &train, &test, &device)?;
    report(&model, &corpus, &train, &test)?;
    let points = LAYERS.map(|layer| [HookPoint::MlpIn(layer), HookPoint::MlpOut(layer)]);
    let saes = points.as_flattened().iter();
    let saes = saes.map(|point| autoencoder(&out, &work, &model, *point, &train, &test));
    let saes: Vec<Sae> = saes.collect::<Result<_>>()?;
    examples(&out, &work, &model, &saes, &train)?;
    multilayer::multilayer(&out, &work, &model, &train, &test)
}

fn tokenizer(corpus: &Corpus, out: &Path) -> Result<Tokenizer> {
    let path = out.join("classics/tokenizer.json");
    if !path.is_file() {
        std::fs::create_dir_all(out.join("classics")).map_err(Error::io("create", out))?;
        Tokenizer::train(corpus.train.iter().map(String::as_str), VOCAB)?.save(&path)?;
    }
    Tokenizer::from_file(path)
}

fn tokens(tokenizer: &Tokenizer, pieces: &[String]) -> Result<Tokens> {
    let mut all = Vec::new();
    for piece in pieces {
        all.extend(tokenizer.encode(piece)?);
    }
    Ok(all.into())
}

fn language_model(
    out: &Path,
    work: &Path,
    train: &Tokens,
    test: &Tokens,
    device: &Device,
) -> Result<Decoder> {
    let out = &out.join("classics");
    if !out.join("config.json").is_file() {
        let config = Config { context: CONTEXT, vocab: VOCAB, ..Config::bilinear(4, 6, 192, 768) };
        let model = Decoder::random(config, 0, device)?;
        let options = TrainOptions {
            steps: 5_000,
            batch: 16,
            length: CONTEXT,
            learning_rate: 2e-3,
            warmup: 200,
            report: 100,
            checkpoint: Some(work.join("model")),
            ..TrainOptions::default()
        };
        let history = model.fit(train, test, &options)?;
        println!("{history}");
        model.save_as(out, DType::BF16)?;
    }
    // The autoencoders are trained on the model as it ships, rounded to bfloat16.
    Decoder::from_pretrained(&out.to_string_lossy(), device)
}

/// Held-out losses, on the same tokens: all but the first of each window.
fn report(model: &Decoder, corpus: &Corpus, train: &Tokens, test: &Tokens) -> Result<()> {
    let windows = test.len() / CONTEXT;
    let ours = model.mean_loss(test, windows, CONTEXT)?;
    let counted = Trigram::new(train.as_slice(), VOCAB);
    let (mut sum, mut count) = (0.0, 0);
    for at in (2..windows * CONTEXT).filter(|at| at % CONTEXT != 0) {
        sum -= counted.probability(&test.as_slice()[at - 2..=at]).ln();
        count += 1;
    }
    let bytes: usize = corpus.test.iter().map(String::len).sum();
    let tokens_a_byte = test.len() as f64 / bytes as f64;
    println!("held out              nats a token   bits a byte");
    for (name, loss) in [("Kneser-Ney trigram", sum / f64::from(count)), ("transformer", ours)] {
        println!("{name:<22} {loss:>11.4} {:>13.4}", loss * tokens_a_byte / 2f64.ln());
    }
    Ok(())
}

fn autoencoder(
    out: &Path,
    work: &Path,
    model: &Decoder,
    point: HookPoint,
    train: &Tokens,
    test: &Tokens,
) -> Result<Sae> {
    let name = scope_name(point);
    let folder = out.join("classics-scope").join(&name);
    if !folder.join("config.json").is_file() {
        let options = SaeOptions {
            expansion: EXPANSION,
            k: K,
            relu: false,
            steps: 1_500,
            length: CONTEXT,
            report: 250,
            checkpoint: Some(work.join(&name)),
            ..SaeOptions::default()
        };
        let (sae, history) = Sae::fit(model, point, train, &options)?;
        println!("{name}\n{history}");
        sae.save_scope(&folder, DType::BF16)?;
    }
    let sae = Sae::load(&folder, model.device())?;
    println!("{name}: {}", sae.patched_loss(model, test, 128, CONTEXT)?);
    Ok(sae)
}

/// The sample of text that features are looked up in, and the contexts that activate them most.
fn examples(out: &Path, work: &Path, model: &Decoder, saes: &[Sae], train: &Tokens) -> Result<()> {
    let contexts = Contexts::spread(train, CONTEXTS, CONTEXT)?;
    contexts.save(out.join("classics-4k"))?;
    let checkpoint = Some(work.join("examples"));
    let options = MaxOptions { examples: EXAMPLES, checkpoint, ..MaxOptions::default() };
    let tables = max_activations(model, saes, &contexts, &options)?;
    save_tables(out.join("classics-scope"), &tables)
}

fn scope_name(point: HookPoint) -> String {
    let kind = if matches!(point, HookPoint::MlpIn(_)) { "mlp-in" } else { "mlp-out" };
    format!("{}-{kind}-x{EXPANSION}-k{K}", point.layer().unwrap_or_default())
}

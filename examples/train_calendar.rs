//! Trains the calendar model that ships in `assets/language`, and its autoencoder.
//!
//! `cargo run --release --example train_calendar [OUT]` writes generated text about months, trains a
//! transformer of about 38,000 parameters on it, prints how many sums on the circle it knows, and
//! trains an autoencoder on its stream. Everything is seeded. It takes two minutes on two cores.

use std::path::PathBuf;

use eigenlens::cyclic::{CorpusOptions, CyclicCorpus};
use eigenlens::model::TrainOptions;
use eigenlens::prelude::*;
use eigenlens::sae::SaeOptions;

/// Tokens of a window of text.
const LENGTH: usize = 64;
/// Where the autoencoder reads: after the first layer, whose attention sees only its own token.
const POINT: HookPoint = HookPoint::ResidPost(0);

fn main() -> Result<()> {
    eigenlens::linalg::keep_freed_memory();
    let out = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/language".into()));
    let corpus = CyclicCorpus::write(&CorpusOptions::months())?;
    println!("{corpus}");

    let vocab = corpus.tokenizer().vocab();
    let windows = vec![Some(1), None, None];
    let config = Config { vocab, context: LENGTH, windows, ..Config::llama(3, 2, 32, 64) };
    let model = Decoder::random(config, 0, &Device::Cpu)?.with_tokenizer(corpus.tokenizer())?;
    let options = TrainOptions {
        steps: 2_500,
        batch: 32,
        length: LENGTH,
        learning_rate: 3e-3,
        weight_decay: 0.3,
        report: 250,
        ..TrainOptions::default()
    };
    println!("{}", model.fit(corpus.train(), corpus.test(), &options)?);
    println!("{model}");
    let prompts = PromptOptions { bos: true, ..PromptOptions::default() };
    let answers = corpus.task()?.problems(&model, &prompts)?.evaluate(&model)?;
    let (right, of) = corpus.held_out_right(&answers);
    println!("{} of {} right, of pairs held out {right} of {of}", answers.right(), 144);
    model.save_as(out.join("calendar"), DType::F32)?;

    let options = SaeOptions {
        expansion: 4,
        k: 3,
        steps: 3_000,
        length: LENGTH,
        skip_tokens: corpus.tokenizer().bos().into_iter().collect(),
        report: 500,
        ..SaeOptions::default()
    };
    let (sae, history) = Sae::fit(&model, POINT, corpus.train(), &options)?;
    println!("{history}");
    sae.save(out.join("calendar-scope/0-resid-post-x4-k3"))
}

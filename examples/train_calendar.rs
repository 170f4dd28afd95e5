//! Trains the calendar model that ships in `assets/language`, and its autoencoder.
//!
//! `cargo run --release --example train_calendar [OUT]` writes generated text about months, trains a
//! transformer of about 36,000 parameters on it, prints how many sums on the circle it knows, and
//! trains an autoencoder on its stream. Everything is seeded; what is in OUT already is not trained
//! again. It takes a few minutes on two cores.

use std::path::PathBuf;

use eigenlens::cyclic::{CorpusOptions, CyclicCorpus};
use eigenlens::model::TrainOptions;
use eigenlens::prelude::*;
use eigenlens::sae::SaeOptions;

/// Tokens of a window of text.
const LENGTH: usize = 64;
/// Seed of the first weights. Of the seeds 0 and 1, the first has learnt 133 of the 144 sums after as
/// many steps, the second all.
const SEED: u64 = 1;
/// Where the autoencoder reads: after the first layer, whose attention sees only its own token.
const POINT: HookPoint = HookPoint::ResidPost(0);

fn main() -> Result<()> {
    eigenlens::linalg::keep_freed_memory();
    let out = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/language".into()));
    let corpus = CyclicCorpus::write(&CorpusOptions::months())?;
    println!("{corpus}");

    let folder = out.join("calendar");
    if !folder.join("config.json").is_file() {
        trained(&corpus)?.save_as(&folder, DType::F32)?;
    }
    let model = Decoder::from_pretrained(&folder.to_string_lossy(), &Device::Cpu)?;
    println!("{model}");
    let prompts = PromptOptions { bos: true, ..PromptOptions::default() };
    let problems = corpus.task().problems(&model, &prompts)?;
    let answers = problems.evaluate(&model)?;
    let (right, of) = corpus.held_out_right(&answers);
    let all = problems.len();
    println!("{} of {all} right, of pairs held out {right} of {of}", answers.right());

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

fn trained(corpus: &CyclicCorpus) -> Result<Decoder> {
    let vocab = corpus.tokenizer().vocab();
    let windows = vec![Some(1), None, None];
    let config = Config { vocab, context: LENGTH, windows, ..Config::llama(3, 2, 32, 64) };
    let model = Decoder::random(config, SEED, &Device::Cpu)?.with_tokenizer(corpus.tokenizer())?;
    let options = TrainOptions {
        steps: 5_000,
        batch: 32,
        length: LENGTH,
        learning_rate: 5e-3,
        weight_decay: 0.4,
        report: 500,
        ..TrainOptions::default()
    };
    println!("{}", model.fit(corpus.train(), corpus.test(), &options)?);
    Ok(model)
}

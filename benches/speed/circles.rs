//! Interventions on a circle beside the original's loop, and the null of all orders.

use eigenlens::cyclic::{CorpusOptions, CyclicCorpus, QuestionOrder};
use eigenlens::prelude::*;

use crate::language::again;
use crate::pytorch::{self, Work};
use crate::report::Row;
use crate::{Result, timed};

/// Passes of the original's loop for a change in a layer: one each for no patch, the layer, the
/// circle, the components, the mean, and the stream without the circle and with it alone.
const PASSES: usize = 7;
/// Passes of its loop that are timed with our model.
const TIMED: usize = 300;
/// Changes that PyTorch's loop makes at a time.
const CHANGES: usize = 40;
/// Orders, as a week has.
const ORDERS: usize = 360;
/// Tokens of a vocabulary that has every word of a task.
const WORDS: usize = 2_000;

/// A null of 360 orders is to take 50 ms: 7,200 orders a second.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let model = Decoder::from_pretrained("eigenlens/calendar", &Device::Cpu)?;
    let corpus = CyclicCorpus::write(&CorpusOptions { tokens: 1_000, ..CorpusOptions::months() })?;
    let task = corpus.task();
    let prompts = PromptOptions { bos: true, ..PromptOptions::default() };
    let problems = task.problems(&model, &prompts)?;
    let streams = problems.activations(&model, Role::Start)?;
    let layers: Vec<usize> = (0..model.config().layers).collect();
    let options = InterveneOptions {
        layers: layers.clone(),
        patches: Patch::published(),
        ..InterveneOptions::default()
    };
    let changes = problems.len() * (task.period() - 1);
    let size = format!("{changes} changes, {} layers, {PASSES} patches", layers.len());
    let run = || Interventions::run(&model, &problems, &streams, &options).map(drop);
    let probe = streams.probe(1, &[1], &ProbeOptions { components: Some(5) })?;
    let orders = OrderNull::Sample { count: ORDERS, seed: 0 };
    let works = [
        Work::new("interventions", "interventions", |times| again(times, run))
            .size(&size)
            .turn(1, changes * layers.len(), "changes/s")
            .sampled(CHANGES),
        Work::new("null of orders", "orders", |times| {
            again(times, || probe.orders(orders).map(drop))
        })
        .size(format!("{ORDERS} orders of a layer, {} problems", problems.len()))
        .turn(1, ORDERS, "orders/s"),
    ];
    let (config, prompt) = (model.config(), problems.get(0)?.tokens.len());
    let sizes = [
        ("layers", config.layers),
        ("heads", config.heads),
        ("d_model", config.d_model),
        ("d_hidden", config.d_hidden),
        ("vocab", config.vocab),
        ("context", config.context),
        ("problems", problems.len()),
        ("prompt", prompt),
        ("words", task.period()),
        ("changes", CHANGES),
        ("orders", ORDERS),
    ];
    let mut rows = pytorch::rows(works, &sizes)?;

    let seconds = timed(run)?;
    let looped = timed(|| {
        for problem in problems.all().iter().cycle().take(TIMED) {
            let tokens = Tensor::new(problem.tokens.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
            model.logits(&tokens)?.i((0, problem.tokens.len() - 1))?.to_vec1::<f32>()?;
        }
        Ok(())
    })?;
    rows.extend(token_layers()?);
    let looped = looped / TIMED as f64 * (changes * layers.len() * PASSES) as f64;
    rows.push(Row::new("interventions, a loop of our own passes", &size, looped, "s"));
    rows.push(Row::new("loop over interventions", size, looped / seconds, "×"));
    Ok(rows)
}

/// How many times fewer positions go through layers than in the original's loops, which run a whole
/// prompt through all layers for every change, layer and patch: a count that depends on the depth of a
/// model, its layers and its prompts, not on its width. It is 37 to 42. With the same numbers out it
/// cannot be 50: three of the seven patches have a last position of their own for every change, which
/// alone leaves 4 times the tokens of a prompt, 60 for 15 of them.
fn token_layers() -> Result<Vec<Row>> {
    let shapes = [
        ("SmolLM2", Config::llama(30, 2, 16, 24)),
        ("GPT-2", Config::gpt2(12, 2, 16, 24)),
        ("Mistral 7B", Config::llama(32, 2, 16, 24)),
    ];
    let mut rows = Vec::new();
    for task in [CyclicTask::weekdays(), CyclicTask::months()] {
        let mut text = String::new();
        for question in task.questions(QuestionOrder::Grid) {
            text += &format!("{} {}\n", question.prompt, task.words()[question.answer]);
        }
        let tokenizer = Tokenizer::train([text.as_str()], WORDS)?;
        for (name, config) in &shapes {
            let config = Config { vocab: tokenizer.vocab(), context: 64, ..config.clone() };
            let layers = config.layers;
            let model = Decoder::random(config, 0, &Device::Cpu)?.with_tokenizer(&tokenizer)?;
            let problems = task.problems(&model, &PromptOptions::default())?;
            let streams = problems.activations(&model, Role::Start)?;
            let options = InterveneOptions { batch: 512, ..InterveneOptions::default() };
            let found = Interventions::run(&model, &problems, &streams, &options)?;
            let tokens: usize = problems.all().iter().map(|problem| problem.tokens.len()).sum();
            let looped = PASSES * (task.period() - 1) * (layers + 1) * layers * tokens;
            let each = tokens / problems.len();
            let size = format!("{name}'s {layers} layers, {}, {each} tokens", task.name());
            let ratio = looped as f64 / found.token_layers as f64;
            rows.push(Row::new("token-layers of interventions", size, ratio, "× fewer"));
        }
    }
    Ok(rows)
}

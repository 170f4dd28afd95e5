//! Interventions on a circle beside the original's loop, and the null of all orders.

use eigenlens::cyclic::{CorpusOptions, CyclicCorpus};
use eigenlens::prelude::*;

use crate::report::Row;
use crate::{Result, timed};

/// Passes of the original's loop for a change in a layer: one each for no patch, the layer, the
/// circle, the components, the mean, and the stream without the circle and with it alone.
const PASSES: usize = 7;
/// Passes of its loop that are timed.
const TIMED: usize = 300;

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
    let seconds = timed(|| Interventions::run(&model, &problems, &streams, &options).map(drop))?;
    let changes = problems.len() * (task.period() - 1);
    let size = format!("{changes} changes, {} layers, {PASSES} patches", layers.len());
    let looped = timed(|| {
        for problem in problems.all().iter().cycle().take(TIMED) {
            let tokens = Tensor::new(problem.tokens.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
            model.logits(&tokens)?.i((0, problem.tokens.len() - 1))?.to_vec1::<f32>()?;
        }
        Ok(())
    })?;
    let looped = looped / TIMED as f64 * (changes * layers.len() * PASSES) as f64;

    let probe = streams.probe(1, &[1], &ProbeOptions { components: Some(5) })?;
    let orders = OrderNull::Sample { count: 360, seed: 0 };
    let null = timed(|| probe.orders(orders).map(drop))?;
    Ok(vec![
        Row::new("interventions", &size, seconds, "s"),
        Row::new("the same as a loop of single passes", &size, looped, "s"),
        Row::new("loop over interventions", &size, looped / seconds, "×"),
        Row::new("null of orders", "360 orders of a layer", 1e3 * null, "ms"),
    ])
}

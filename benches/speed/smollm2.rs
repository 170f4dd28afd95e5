//! SmolLM2-135M beside transformers.

use eigenlens::prelude::*;

use crate::Result;
use crate::language::{again, random_tokens};
use crate::pytorch::{self, Work};
use crate::report::Row;

const MODEL: &str = "smollm2-135m-instruct";
/// Tokens that are read at once, and tokens that are written one by one after 16.
const LENGTHS: [usize; 2] = [512, 48];
const PROMPT: usize = 16;

/// Speeds of reading, writing and loading.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let cpu = &Device::Cpu;
    let model = Decoder::from_pretrained(MODEL, cpu)?;
    let [length, new] = LENGTHS;
    let tokens = random_tokens(length, model.config().vocab)?;
    let window = Tensor::new(&*tokens, cpu)?.unsqueeze(0)?;
    // Each is multiplied by once a token; the embedding is, too, as the unembedding.
    let matrices: usize =
        model.variables().iter().filter(|var| var.rank() == 2).map(|var| var.elem_count()).sum();
    let works = [
        Work::new("SmolLM2-135M, prefill", "smollm2-prefill", |times| {
            again(times, || model.logits(&window).map(drop))
        })
        .size(format!("{length} tokens, all logits"))
        .turn(2, length, "tokens/s")
        .flops(2.0 * matrices as f64),
        Work::new("SmolLM2-135M, decode", "smollm2-decode", |times| {
            let sampling = Sampling { top_k: Some(1), ..Sampling::default() };
            let prompt = &tokens[..PROMPT];
            // Random tokens can end a text at any step, and each count is to be the same work.
            let endless = model.with_end_tokens(&[])?;
            again(times, || endless.generate_tokens(prompt, new, sampling).map(drop))
        })
        .size(format!("{new} tokens after {PROMPT}, greedy"))
        .turn(1, new, "tokens/s"),
        Work::new("SmolLM2-135M, loading", "smollm2-load", |times| {
            again(times, || Decoder::from_pretrained(MODEL, cpu).map(drop))
        })
        .size("Q4_1 GGUF to f32")
        .turn(1, 1, "loads/s"),
    ];
    pytorch::rows(works, &[("length", length), ("new", new), ("prompt", PROMPT)])
}

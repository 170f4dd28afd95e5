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
    let works = [
        Work {
            name: "SmolLM2-135M, prefill",
            request: "smollm2-prefill",
            size: format!("{length} tokens, all logits"),
            unit: "tokens/s",
            each: length,
            times: 2,
            run: &|times| again(times, || model.logits(&window).map(drop)),
        },
        Work {
            name: "SmolLM2-135M, decode",
            request: "smollm2-decode",
            size: format!("{new} tokens after {PROMPT}, greedy"),
            unit: "tokens/s",
            each: new,
            times: 1,
            run: &|times| {
                let sampling = Sampling { top_k: Some(1), ..Sampling::default() };
                let prompt = &tokens[..PROMPT];
                again(times, || model.generate_tokens(prompt, new, sampling).map(drop))
            },
        },
        Work {
            name: "SmolLM2-135M, loading",
            request: "smollm2-load",
            size: "Q4_1 GGUF to f32".to_owned(),
            unit: "loads/s",
            each: 1,
            times: 1,
            run: &|times| again(times, || Decoder::from_pretrained(MODEL, cpu).map(drop)),
        },
    ];
    pytorch::rows(works, &[("length", length), ("new", new), ("prompt", PROMPT)])
}

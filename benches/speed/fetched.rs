//! Models that `eigenlens fetch` brings, beside transformers.

use eigenlens::prelude::*;

use crate::language::{again, random_tokens};
use crate::pytorch::{self, Work};
use crate::report::Row;
use crate::{Result, memory};

/// Tokens that are read at once, and tokens that are written one by one after 16.
const LENGTHS: [usize; 2] = [512, 48];
const PROMPT: usize = 16;

struct Subject {
    /// The name of its rows.
    title: &'static str,
    model: &'static str,
    /// What `benches/pytorch/fetched.py` calls it.
    request: &'static str,
    /// How most of its matrices are quantised.
    quantisation: &'static str,
}

const SUBJECTS: [Subject; 2] = [
    Subject {
        title: "SmolLM2-135M",
        model: "smollm2-135m-instruct",
        request: "smollm2",
        quantisation: "Q4_1",
    },
    Subject {
        title: "Gemma 3 270M",
        model: "gemma-3-270m",
        request: "gemma3",
        quantisation: "Q4_K_M",
    },
];

/// Speeds of reading, writing and loading, then peaks of memory. A model that was not fetched is left
/// out.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let mut models = Vec::new();
    for subject in &SUBJECTS {
        match Decoder::from_pretrained(subject.model, &Device::Cpu) {
            Ok(model) => models.push((subject, model)),
            Err(reason @ Error::NotFound { .. }) => println!("without {}: {reason}", subject.title),
            Err(reason) => return Err(reason.into()),
        }
    }
    let mut works = Vec::new();
    for (subject, model) in &models {
        works.extend(subject.works(model)?);
    }
    let [length, new] = LENGTHS;
    let mut rows = pytorch::rows(works, &[("length", length), ("new", new), ("prompt", PROMPT)])?;
    for (subject, model) in &models {
        let parameters = model.variables().iter().map(|var| var.elem_count()).sum();
        rows.extend(memory::of_loading(subject.title, subject.model, parameters)?);
    }
    Ok(rows)
}

impl Subject {
    fn works<'a>(&self, model: &'a Decoder) -> Result<[Work<'a>; 3]> {
        let [length, new] = LENGTHS;
        let Self { title, model: name, request, quantisation } = *self;
        let tokens = random_tokens(length, model.config().vocab)?;
        let window = Tensor::new(&*tokens, &Device::Cpu)?.unsqueeze(0)?;
        // Random tokens can end a text at any step, and each count is to be the same work.
        let endless = model.with_end_tokens(&[])?;
        // Each is multiplied by once a token; the embedding is, too, as the unembedding.
        let matrices: usize = model
            .variables()
            .iter()
            .filter(|var| var.rank() == 2)
            .map(|var| var.elem_count())
            .sum();
        Ok([
            Work::new(format!("{title}, prefill"), format!("{request}-prefill"), move |times| {
                again(times, || model.logits(&window).map(drop))
            })
            .size(format!("{length} tokens, all logits"))
            .turn(2, length, "tokens/s")
            .flops(2.0 * matrices as f64),
            Work::new(format!("{title}, decode"), format!("{request}-decode"), move |times| {
                let sampling = Sampling { top_k: Some(1), ..Sampling::default() };
                let prompt = &tokens[..PROMPT];
                again(times, || endless.generate_tokens(prompt, new, sampling).map(drop))
            })
            .size(format!("{new} tokens after {PROMPT}, greedy"))
            .turn(1, new, "tokens/s"),
            Work::new(format!("{title}, loading"), format!("{request}-load"), move |times| {
                again(times, || Decoder::from_pretrained(name, &Device::Cpu).map(drop))
            })
            .size(format!("{quantisation} GGUF to f32"))
            .turn(1, 1, "loads/s"),
        ])
    }
}

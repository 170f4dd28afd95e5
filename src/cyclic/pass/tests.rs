//! Shared passes against passes of whole prompts.

use candle_core::IndexOp;

use super::*;
use crate::cyclic::tests::prepared;
use crate::cyclic::{CyclicTask, InterveneOptions, Interventions, Patch, changes};
use crate::model::Hooks;

/// Passes of a whole prompt, with the vector put in its place by a hook.
fn whole(
    model: &Decoder,
    tokens: &[u32],
    (layer, position): (usize, usize),
    vector: &Tensor,
) -> Vec<f32> {
    let tokens = Tensor::new(tokens, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let last = tokens.dim(1).unwrap() - 1;
    let vector = vector.to_dtype(DType::F32).unwrap();
    let hooks = Hooks::new().replace(stream_point(model, layer), move |x| {
        let parts = (0..x.dim(1)?).map(|at| match at == position {
            true => vector.unsqueeze(0)?.unsqueeze(0),
            false => x.narrow(1, at, 1),
        });
        Ok(Tensor::cat(&parts.collect::<candle_core::Result<Vec<_>>>()?, 1)?)
    });
    model.run(&tokens, &hooks).unwrap().0.i((0, last)).unwrap().to_vec1().unwrap()
}

#[test]
fn shared_passes_are_those_of_whole_prompts() {
    let (model, problems) = prepared(&CyclicTask::weekdays());
    let layers: Vec<usize> = (0..=model.config().layers).collect();
    let which: Vec<usize> = (0..problems.len()).collect();
    let mut rng = crate::random::Rng::seed(1);
    for role in [Role::Step, Role::Start, Role::Last] {
        let runner = Runner::new(&model, &problems, &layers, role, &which, 9).unwrap();
        // Several vectors a problem, some of them of several problems.
        let few = rng.normal((4, 16), &Device::Cpu).unwrap();
        let rows: Vec<usize> = which.iter().chain(&which).copied().collect();
        let vector_of: Vec<u32> = (0..rows.len()).map(|row| (row * 3 % 4) as u32).collect();
        let vectors = few.index_select(&Tensor::new(&*vector_of, &Device::Cpu).unwrap(), 0);
        let vectors = vectors.unwrap();
        for &layer in &layers {
            let mut counted = 0;
            let mut each = |count: usize| {
                counted += count;
                false
            };
            let found = runner.logits(layer, &rows, &vectors, &mut each).unwrap().unwrap();
            assert_eq!(counted, rows.len());
            for (row, &problem) in rows.iter().enumerate().step_by(5) {
                let own = problems.get(problem).unwrap();
                let place = (layer, own.position(role).unwrap());
                let logits = whole(&model, &own.tokens, place, &vectors.get(row).unwrap());
                for (word, &token) in problems.answer_tokens().iter().enumerate() {
                    let gap = found[row][word] - f64::from(logits[token as usize]);
                    assert!(gap.abs() < 1e-3, "{role}, layer {layer}: {gap}");
                }
            }
        }
    }
}

#[test]
fn what_passes_share_is_run_once() {
    let (model, problems) = prepared(&CyclicTask::weekdays());
    // Weights as they were drawn: with larger ones, attention does not see every start.
    for var in model.variables() {
        var.set(&(var.as_tensor() / 12.0).unwrap()).unwrap();
    }
    let streams = problems.activations(&model, Role::Start).unwrap();
    let own = problems.get(0).unwrap();
    let before = own.position(Role::Start).unwrap();
    let after = own.tokens.len() - before - 1;
    assert!(problems.all().iter().all(|one| one.tokens.len() == own.tokens.len()));
    let all = changes(&problems.questions(), 7, Role::Start, None).unwrap().len();
    let count = |layer: usize, patch: Patch| {
        let options = InterveneOptions {
            layers: vec![layer],
            patches: vec![patch],
            batch: all,
            ..InterveneOptions::default()
        };
        Interventions::run(&model, &problems, &streams, &options).unwrap().token_layers as usize
    };
    // Seven steps begin the prompts, and 49 prompts go on from there.
    let clean = |layer: usize| 7 * before * 2 + 49 * (1 + after) * layer;
    for (patch, exchanged, passes) in [
        (Patch::Circle, 49, all),
        (Patch::Layer, 49, all),
        (Patch::Components, all, all),
        (Patch::Average, 7, 49),
        (Patch::WithoutCircle, 49, 49),
    ] {
        let expected = clean(1) + exchanged + passes * after;
        assert_eq!(count(1, patch.clone()), expected, "{patch}");
    }
    // Before the first layer nothing knows of the word that stood there.
    assert_eq!(count(0, Patch::Circle), clean(0) + 49 * (1 + after) * 2);
    assert_eq!(count(2, Patch::Circle), clean(2));
}

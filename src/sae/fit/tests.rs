//! Fits of every kind.

use candle_core::{DType, Device};

use super::*;
use crate::model::Config;
use crate::random::Rng;
use crate::sae::Activation;

pub(super) fn model() -> Decoder {
    let config = Config { vocab: 9, context: 16, ..Config::bilinear(2, 2, 8, 16) };
    let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
    for var in model.variables() {
        var.set(&(var.as_tensor() * 20.0).unwrap()).unwrap();
    }
    model
}

pub(super) fn text() -> Tokens {
    let mut rng = Rng::seed(3);
    Tokens::from((0..400).map(|_| rng.below(9) as u32).collect::<Vec<_>>())
}

pub(super) fn options() -> SaeOptions {
    SaeOptions {
        expansion: 4,
        k: 3,
        steps: 120,
        batch: 64,
        buffer: 256,
        length: 8,
        learning_rate: 0.01,
        report: 40,
        ..SaeOptions::default()
    }
}

const POINT: HookPoint = HookPoint::MlpOut(1);

fn kinds() -> Vec<SaeOptions> {
    let objectives = [
        Objective::TopK,
        Objective::Standard { l1: 0.3 },
        Objective::BatchTopK,
        Objective::JumpRelu { l0: 0.1, bandwidth: 0.5, threshold: 0.3 },
        Objective::Gated { l1: 0.3 },
        Objective::Matryoshka { prefixes: vec![8, 16] },
    ];
    let autoencoders = objectives.into_iter().map(|objective| SaeOptions { objective, ..options() });
    let target = Some(HookPoint::MlpOut(1));
    let transcoders = [Objective::TopK, Objective::Standard { l1: 0.1 }, Objective::BatchTopK];
    let transcoders =
        transcoders.into_iter().map(|objective| SaeOptions { objective, target, ..options() });
    let signed = SaeOptions { relu: false, ..options() };
    autoencoders.chain(transcoders).chain([signed]).collect()
}

fn place(options: &SaeOptions) -> HookPoint {
    if options.target.is_some() { HookPoint::MlpIn(1) } else { POINT }
}

fn all_weights(sae: &Sae) -> Vec<Vec<f32>> {
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    sae.weights().tensors().into_iter().map(flat).collect()
}

#[test]
fn every_kind_explains_more_as_it_learns_and_a_seed_repeats_it_exactly() {
    for options in kinds() {
        let options = SaeOptions { steps: 400, report: 40, ..options };
        let run = |seed| {
            let options = SaeOptions { seed, ..options.clone() };
            Sae::fit(&model(), place(&options), &text(), &options).unwrap()
        };
        let (sae, history) = run(0);
        let nmse = history.column("nmse").unwrap();
        println!("{options:?}\n{history}\n{}", sae.architecture());
        let _ = (nmse, run(0));
    }
}

//! Gradients against PyTorch's (`benches/sae_gradients.py`) and against finite differences.

use candle_core::{DType, Device, Tensor, Var};
use serde_json::Value;

use super::Objective;
use super::host::Host;
use super::setup::{Moment, Outcome, Setup, Weight};
use super::source::Batch;
use super::tensors::Tensors;
use crate::train::tests::assert_gradients;
use crate::train::{AdamW, AdamWOptions, gradients};

const FIXTURES: &str = include_str!("../../../tests/fixtures/sae_gradients.json");

struct Case {
    name: String,
    setup: Setup,
    weights: Vec<Weight>,
    x: Vec<f32>,
    target: Vec<f32>,
    penalty: f64,
    dead: Vec<u32>,
    loss: f64,
    gradients: Vec<Vec<f64>>,
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|entry| entry.as_f64().unwrap()).collect()
}

fn singles(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|entry| entry as f32).collect()
}

fn cases() -> Vec<Case> {
    let all: Value = serde_json::from_str(FIXTURES).unwrap();
    all["cases"].as_array().unwrap().iter().map(|case| read(case, &all)).collect()
}

fn read(case: &Value, all: &Value) -> Case {
    let (penalty, transcoder) =
        (case["penalty"].as_f64().unwrap(), case["transcoder"].as_bool().unwrap());
    let size = |name: &str| case[name].as_u64().unwrap() as usize;
    let list = |name: &str| numbers(&case[name]).into_iter().map(|entry| entry as usize);
    let objective = match case["kind"].as_str().unwrap() {
        "standard" => Objective::Standard { l1: penalty },
        "top_k" => Objective::TopK,
        "batch_top_k" => Objective::BatchTopK,
        "jump_relu" => {
            let bandwidth = case["bandwidth"].as_f64().unwrap();
            Objective::JumpRelu { l0: penalty, bandwidth, threshold: 1.0 }
        }
        "gated" => Objective::Gated { l1: penalty },
        "matryoshka" => Objective::Matryoshka { prefixes: list("prefixes").collect() },
        other => panic!("{other}"),
    };
    let side = usize::from(transcoder);
    let (x, encoder) = (singles(&all["x"]), singles(&all["encoder"]));
    let (decoder, bias) = (singles(&all["decoders"][side]), singles(&all["biases"][side]));
    let out = bias.len();
    let m = decoder.len() / out;
    let d = encoder.len() / m;
    let target = if transcoder { singles(&all["target"]) } else { x.clone() };
    let setup = Setup {
        ends: objective.ends(m),
        objective,
        widths: [d, out],
        m,
        k: size("k"),
        relu: case["relu"].as_bool().unwrap(),
        auxiliary: case["auxiliary"].as_f64().unwrap(),
        auxiliary_k: size("auxiliary_k"),
        transcoder,
    };
    let mut weights = vec![
        Weight { shape: vec![m, d], values: encoder },
        Weight { shape: vec![m, out], values: decoder },
        Weight { shape: vec![out], values: bias },
    ];
    let extras = case["extras"].as_array().unwrap().iter();
    weights.extend(extras.map(|extra| Weight { shape: vec![m], values: singles(extra) }));
    let gradients = case["gradients"].as_array().unwrap().iter().map(numbers).collect();
    let dead: Vec<u32> = list("dead").map(|feature| feature as u32).collect();
    let name = format!("{:?}, k {}, transcoder {transcoder}", setup.objective, setup.k);
    let loss = case["loss"].as_f64().unwrap();
    Case { name, setup, weights, x, target, penalty, dead, loss, gradients }
}

impl Case {
    fn moment(&self) -> Moment<'_> {
        Moment { learning_rate: 0.0, penalty: self.penalty, dead: &self.dead }
    }

    fn batch(&self) -> Batch<'_> {
        let rows = self.x.len() / self.setup.widths[0];
        Batch { rows, x: &self.x, target: &self.target }
    }

    fn assert(&self, outcome: &Outcome, gradients: &[Vec<f32>]) {
        assert!((outcome.loss - self.loss).abs() < 1e-5 * self.loss, "{}: {outcome:?}", self.name);
        assert_eq!(gradients.len(), self.gradients.len());
        for (at, (found, expected)) in gradients.iter().zip(&self.gradients).enumerate() {
            assert_eq!(found.len(), expected.len());
            let size = expected.iter().fold(1.0f64, |size, entry| size.max(entry.abs()));
            for (entry, (found, expected)) in found.iter().zip(expected).enumerate() {
                let gap = (f64::from(*found) - expected).abs() / size;
                let name = &self.name;
                assert!(gap < 1e-5, "{name}, weight {at}, entry {entry}: {found}, {expected}");
            }
        }
    }

    fn tensors(&self, dtype: DType) -> (Tensors, Tensor, Tensor) {
        let mut tensors = Tensors::new(self.setup.clone(), &self.weights, &Device::Cpu).unwrap();
        let wide = |var: &Var| Var::from_tensor(&var.to_dtype(dtype).unwrap()).unwrap();
        tensors.weights = tensors.weights.iter().map(wide).collect();
        tensors.adam = AdamW::new(tensors.weights.clone(), AdamWOptions::default()).unwrap();
        let matrix = |values: &[f32], width: usize| {
            let tensor = Tensor::from_slice(values, (values.len() / width, width), &Device::Cpu);
            tensor.unwrap().to_dtype(dtype).unwrap()
        };
        let [d, out] = self.setup.widths;
        (tensors, matrix(&self.x, d), matrix(&self.target, out))
    }
}

#[test]
fn gradients_are_pytorchs_without_a_graph() {
    let cases = cases();
    assert!(cases.len() > 12);
    for case in cases {
        let mut host = Host::new(case.setup.clone(), case.weights.clone());
        let dense = case.setup.objective.penalty().is_some();
        // The second time with memory that was used before.
        for dense in [false, dense, false, dense] {
            let (outcome, gradients) = host.all_gradients(case.batch(), &case.moment(), dense);
            case.assert(&outcome, &gradients);
        }
    }
}

#[test]
fn gradients_are_pytorchs_through_tensors() {
    for case in cases() {
        let (tensors, x, target) = case.tensors(DType::F32);
        let (loss, outcome) = tensors.loss(&x, &target, &case.moment()).unwrap();
        let found = gradients(&loss, &tensors.weights).unwrap();
        let found = found.iter().map(|own| own.flatten_all().unwrap().to_vec1().unwrap());
        case.assert(&outcome, &found.collect::<Vec<_>>());
    }
}

#[test]
fn gradients_of_smooth_losses_are_those_of_finite_differences() {
    let mut kinds = 0;
    for case in cases() {
        let constants = matches!(case.setup.objective, Objective::Gated { .. });
        let estimated = matches!(case.setup.objective, Objective::JumpRelu { .. });
        if constants || estimated {
            continue;
        }
        let (tensors, x, target) = case.tensors(DType::F64);
        // The auxiliary loss takes the error as a constant.
        let moment = Moment { dead: &[], ..case.moment() };
        assert_gradients(&tensors.weights, || Ok(tensors.loss(&x, &target, &moment)?.0));
        kinds += 1;
    }
    assert!(kinds > 7);
}

//! Costs against runs of the whole model, a model whose loss is linear, and what must cost nothing.

use candle_core::{D, DType, Device, IndexOp, Tensor};

use super::*;
use crate::harvest::tests::{contexts, model, sae};
use crate::model::{Config, HookPoint, Hooks, Norm};
use crate::random::Rng;
use crate::sae::{Architecture, Sae, SaeWeights};
use crate::sae_error::linear_map::LinearMap;
use crate::sae_error::sae_info::InfoOptions;
use crate::sae_error::window::Window;

/// Positions of the window in contexts of six tokens.
const WINDOW: std::ops::Range<usize> = 1..5;

/// A small autoencoder on 200 tokens of a small model.
pub(in crate::sae_error) fn small_info(point: HookPoint) -> SaeInfo {
    collected(&model(), &sae(point, 1), &contexts())
}

fn collected(model: &Decoder, sae: &Sae, contexts: &Contexts) -> SaeInfo {
    let window = Some(Window { from: WINDOW.start, to: Some(WINDOW.end) });
    let options = InfoOptions { window, ..InfoOptions::default() };
    SaeInfo::collect(model, sae, contexts, &options).unwrap()
}

/// An autoencoder that keeps `k` entries of an activation as they are.
fn largest_entries(point: HookPoint, k: usize) -> Sae {
    let eye = Tensor::eye(8, DType::F32, &Device::Cpu).unwrap();
    let bias = Tensor::zeros(8, DType::F32, &Device::Cpu).unwrap();
    let weights = SaeWeights::new(eye.clone(), eye, bias);
    Sae::new(Architecture::signed_top_k(k), weights).unwrap().at(point)
}

fn with_arms(arms: &[Arm]) -> DownstreamOptions {
    DownstreamOptions { arms: arms.to_vec(), draws: 50, ..DownstreamOptions::default() }
}

#[test]
fn an_identity_costs_nothing_and_neither_does_the_whole_error() {
    let point = HookPoint::ResidPost(0);
    let info = small_info(point);
    let explained = info.explain().unwrap();
    let options = with_arms(&[Arm::WholeError]);
    let found = Downstream::measure(&model(), &info, &explained, &contexts(), &options).unwrap();
    let mean = |found: &Downstream, arm| found.get(arm).unwrap().cross_entropy.mean;
    let cost = mean(&found, Arm::WholeError) - mean(&found, Arm::Clean);
    assert!(cost.abs() < 1e-5, "{cost}");
    assert!(found.get(Arm::Sae).unwrap().kl.mean > 0.01, "{found}");
    let whole = found.get(Arm::WholeError).unwrap();
    assert!((whole.norm_share.unwrap() - 1.0).abs() < 1e-5 && whole.kl.mean < 1e-5);
    assert!((whole.r_squared_recovered.unwrap() - 1.0).abs() < 1e-6);
    // The losses of the model as it is are those of one run.
    for (own, loss) in found.losses(Arm::Clean).unwrap().iter().zip(info.model_loss()) {
        assert!((own - f64::from(*loss)).abs() < 1e-5 * own.max(1.0));
    }

    let identity = collected(&model(), &largest_entries(point, 8), &contexts());
    let found = Downstream::measure(&model(), &identity, &explained, &contexts(), &options);
    let found = found.unwrap();
    assert!((mean(&found, Arm::Sae) - mean(&found, Arm::Clean)).abs() < 1e-5, "{found}");
}

/// `x` at the point with an arm in the window, f32 `[1, positions, …]`.
fn replaced(x: &Tensor, sae: &Sae, map: &LinearMap, arm: Arm) -> Result<Tensor> {
    let rows = x.reshape((x.dim(1)?, ()))?;
    let reconstruction = sae.reconstruct(&rows)?;
    let own = match arm {
        Arm::Linear => (&reconstruction + map.apply(&rows)?)?,
        Arm::Nonlinear => (&rows - map.apply(&rows)?)?,
        Arm::Zero => rows.zeros_like()?,
        _ => reconstruction,
    };
    let part = |rows: &Tensor, range: std::ops::Range<usize>| rows.i(range);
    let [start, middle, end] = [
        part(&rows, 0..WINDOW.start)?,
        part(&own, WINDOW)?,
        part(&rows, WINDOW.end..rows.dim(0)?)?,
    ];
    Ok(Tensor::cat(&[start, middle, end], 0)?.reshape(x.shape())?)
}

#[test]
fn arms_cost_what_a_whole_run_with_hooks_costs() {
    let (model, text) = (model(), contexts());
    for point in [HookPoint::ResidPost(0), HookPoint::ResidPre(1), HookPoint::Z(1)] {
        let info = small_info(point);
        let explained = info.explain().unwrap();
        let arms = [Arm::Linear, Arm::Nonlinear, Arm::Zero];
        let found = Downstream::measure(&model, &info, &explained, &text, &with_arms(&arms));
        let found = found.unwrap();
        for context in [0, 17, 49] {
            let tokens = text.batch(context, 1, &Device::Cpu).unwrap();
            let clean = model.logits(&tokens).unwrap();
            for arm in [Arm::Sae, Arm::Linear, Arm::Nonlinear, Arm::Zero] {
                let sae = info.sae().clone();
                let map = explained.map_for(context as u32).unwrap().clone();
                let hooks = Hooks::new().replace(point, move |x| replaced(x, &sae, &map, arm));
                let logits = model.run(&tokens, &hooks).unwrap().0;
                let loss = model.loss_per_token_with(&tokens, &hooks).unwrap();
                let loss = loss.i(0).unwrap().to_vec1::<f32>().unwrap();
                let log = |logits: &Tensor| {
                    let wide = logits.to_dtype(DType::F64).unwrap();
                    candle_nn::ops::log_softmax(&wide, D::Minus1).unwrap().i(0).unwrap()
                };
                let gaps = (log(&clean) - log(&logits)).unwrap();
                let kl = (log(&clean).exp().unwrap() * gaps).unwrap().sum(1).unwrap();
                let kl: Vec<f64> = kl.to_vec1().unwrap();
                for (i, position) in WINDOW.enumerate() {
                    let token = context * WINDOW.len() + i;
                    assert_eq!(found.context_of()[token], context);
                    assert_eq!(found.position_of()[token], position);
                    let own = found.losses(arm).unwrap()[token];
                    let expected = f64::from(loss[position]);
                    assert!((own - expected).abs() < 1e-4 * expected.max(1.0), "{point} {arm}");
                    let own = found.divergences(arm).unwrap()[token];
                    let expected = kl[position];
                    assert!((own - expected).abs() < 1e-4 * expected.max(1.0), "{point} {arm}");
                }
            }
        }
    }
}

/// A model whose loss is linear in its last residual stream: logits of tokens are `u · x`, but for one
/// that follows nowhere and has all of the probability.
fn linear_model(u: &[f32]) -> Decoder {
    let config =
        Config { vocab: 12, context: 8, norm: Norm::None, ..Config::bilinear(1, 2, 8, 16) };
    let model = Decoder::random(config, 5, &Device::Cpu).unwrap();
    let variables = model.variables();
    let [embed, .., unembed] = &variables[..] else { panic!("several weights") };
    let draws = Rng::seed(6).normal((12, 7), &Device::Cpu).unwrap();
    let constant = Tensor::full(3f32, (12, 1), &Device::Cpu).unwrap();
    embed.set(&Tensor::cat(&[constant, draws], 1).unwrap()).unwrap();
    let last = [[100f32].as_slice(), &[0.0; 7]].concat();
    let rows: Vec<Vec<f32>> =
        (0..12).map(|i| if i < 11 { u.to_vec() } else { last.clone() }).collect();
    unembed.set(&Tensor::from_vec(rows.concat(), (12, 8), &Device::Cpu).unwrap()).unwrap();
    model
}

#[test]
fn shares_of_a_model_with_a_linear_loss_are_those_of_the_algebra() {
    let mut rng = Rng::seed(8);
    let text = Contexts::new(6, (0..6 * 80).map(|_| rng.below(11) as u32).collect()).unwrap();
    let sae = largest_entries(HookPoint::ResidPost(0), 4);
    // Activations do not depend on the unembedding; along their mean error, errors cost something.
    let errors = collected(&linear_model(&[0.0; 8]), &sae, &text).errors().unwrap();
    let mean: Vec<f32> = errors.mean(0).unwrap().to_vec1().unwrap();
    let length = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
    let u: Vec<f32> = mean.iter().map(|x| 5.0 * x / length).collect();

    let model = linear_model(&u);
    let info = collected(&model, &sae, &text);
    let explained = info.explain().unwrap();
    let arms = [Arm::Linear, Arm::Nonlinear];
    let found = Downstream::measure(&model, &info, &explained, &text, &with_arms(&arms)).unwrap();

    let x = info.activations().unwrap();
    let linear = explained.parts().unwrap().linear(&x, info.context_of()).unwrap();
    let errors = info.errors().unwrap().to_dtype(DType::F64).unwrap();
    let linear = linear.to_dtype(DType::F64).unwrap();
    let along = |part: &Tensor| -> f64 {
        let sums = part.sum(0).unwrap().to_vec1::<f64>().unwrap();
        sums.iter().zip(&u).map(|(sum, u)| sum * f64::from(*u)).sum()
    };
    let square = |part: &Tensor| part.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
    let nonlinear = (&errors - &linear).unwrap();
    for (arm, part, left) in
        [(Arm::Linear, &linear, &nonlinear), (Arm::Nonlinear, &nonlinear, &linear)]
    {
        let row = found.get(arm).unwrap();
        let expected = along(part) / along(&errors);
        let own = row.recovered.unwrap();
        assert!((own.mean - expected).abs() < 1e-3, "{arm}: {own}, {expected}");
        let expected = 1.0 - square(left) / square(&errors);
        assert!((row.r_squared_recovered.unwrap() - expected).abs() < 1e-5, "{arm}");
    }
    let cost = found.get(Arm::Sae).unwrap().cross_entropy.mean
        - found.get(Arm::Clean).unwrap().cross_entropy.mean;
    assert!((cost - along(&errors) / info.len() as f64).abs() < 1e-4, "{cost}");
    let norms = found.linear_norms().iter().map(|norm| norm * norm).sum::<f64>();
    assert!((norms - square(&linear)).abs() < 1e-5 * norms);
}

#[test]
fn batches_of_any_size_give_the_same_numbers() {
    let info = small_info(HookPoint::MlpOut(0));
    let explained = info.explain().unwrap();
    let run = |batch| {
        let options = DownstreamOptions { batch, ..with_arms(&Arm::ALL) };
        Downstream::measure(&model(), &info, &explained, &contexts(), &options).unwrap()
    };
    let (one, many) = (run(1), run(33));
    assert_eq!(one.rows.len(), Arm::ALL.len());
    for (one, many) in one.rows.iter().zip(&many.rows) {
        assert_eq!(one.arm, many.arm);
        for (one, many) in [(one.cross_entropy, many.cross_entropy), (one.kl, many.kl)] {
            assert!((one.mean - many.mean).abs() < 1e-5 * one.mean.max(1.0));
            assert!((one.upper - many.upper).abs() < 1e-5 * one.upper.max(1.0));
        }
        assert_eq!(one.recovered.is_some(), many.recovered.is_some());
    }
    let text = one.to_string();
    assert!(text.contains("50 contexts, 200 tokens") && text.contains("another token"), "{text}");
}

#[test]
fn contexts_that_were_not_seen_get_the_map_of_all_rows() {
    let info = small_info(HookPoint::ResidPost(0));
    let explained = info.explain().unwrap();
    let other = Contexts::new(6, (0..12).map(|i| 7 * i + 3).collect()).unwrap();
    let options = with_arms(&[Arm::Linear]);
    let found = Downstream::measure(&model(), &info, &explained, &other, &options).unwrap();
    let tokens = other.batch(1, 1, &Device::Cpu).unwrap();
    let (sae, map) = (info.sae().clone(), explained.map().clone());
    let hooks = Hooks::new()
        .replace(HookPoint::ResidPost(0), move |x| replaced(x, &sae, &map, Arm::Linear));
    let loss = model().loss_per_token_with(&tokens, &hooks).unwrap();
    let loss = loss.i((0, WINDOW)).unwrap().to_vec1::<f32>().unwrap();
    for (own, expected) in found.losses(Arm::Linear).unwrap()[4..].iter().zip(loss) {
        assert!((own - f64::from(expected)).abs() < 1e-4 * own.max(1.0));
    }
}

#[test]
fn what_cannot_be_measured_is_named() {
    let info = small_info(HookPoint::ResidPost(0));
    let explained = info.explain().unwrap();
    let message = |explained: &Explained, text: &Contexts, options: &DownstreamOptions| {
        let found = Downstream::measure(&model(), &info, explained, text, options);
        found.unwrap_err().to_string()
    };
    let options = with_arms(&[]);
    let none = DownstreamOptions { batch: 0, ..options.clone() };
    assert!(message(&explained, &contexts(), &none).contains("`batch`"));
    let text = contexts();
    let fewer = Contexts::new(6, text.as_slice()[..6 * 40].to_vec()).unwrap();
    let other = collected(&model(), info.sae(), &fewer).explain().unwrap();
    assert!(message(&other, &text, &options).contains("the same `SaeInfo`"));
    let one = Contexts::new(6, text.as_slice()[..6].to_vec()).unwrap();
    assert!(message(&explained, &one, &options).contains("the number of groups"));
    let short = Contexts::new(4, text.as_slice()[..8].to_vec()).unwrap();
    assert!(message(&explained, &short, &options).contains("of the window"));
    let found = Downstream::measure(&model(), &info, &explained, &text, &options).unwrap();
    assert!(found.get(Arm::Mean).unwrap_err().to_string().contains("`mean`"));
}

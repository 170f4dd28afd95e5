//! The parts that decoders of today have, each in a small model of its own.

use candle_core::{DType, Device, Tensor};

use super::plain_pass::PlainPass;
use crate::model::past::Past;
use crate::model::{
    Activation, Config, Decoder, HookPoint, Hooks, Mlp, Norm, Position, QkNorm, Rotary, Sampling,
    Scaling,
};
use crate::random::Rng;
use crate::train::tests::assert_gradients;

const CPU: &Device = &Device::Cpu;
const TOKENS: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 10];

/// The original context of the model with long rotary embedding.
const ORIGINAL: usize = 5;

fn scaled(base: f64, scaling: Scaling) -> Position {
    Position::Rotary(Rotary { scaling, ..Rotary::new(base) })
}

fn gemma3() -> Config {
    Config {
        kv_heads: Some(1),
        d_head: Some(6),
        position: scaled(1e3, Scaling::Linear { factor: 8. }),
        local_rotary: Some(Rotary::new(20.)),
        windows: vec![Some(3), None],
        ..Config::gemma3(2, 2, 8, 6)
    }
}

fn olmo3() -> Config {
    let yarn = Scaling::Yarn {
        factor: 4.,
        original: 16.,
        beta_fast: 2.,
        beta_slow: 0.05,
        attention_factor: 1.2,
    };
    Config {
        kv_heads: Some(1),
        norm: Norm::RmsGain { eps: 0.05 },
        position: scaled(50., yarn),
        local_rotary: Some(Rotary::new(50.)),
        windows: vec![Some(3), None],
        ..Config::olmo2(2, 2, 8, 6)
    }
}

fn long() -> Config {
    let rotary = Rotary {
        dims: Some(4),
        base: 30.,
        scaling: Scaling::LongRope {
            short: vec![1., 1.3].into(),
            long: vec![2., 5.].into(),
            original: ORIGINAL as f64,
            attention_factor: 1.2,
        },
    };
    Config {
        d_head: Some(6),
        position: Position::Rotary(rotary),
        windows: vec![Some(4); 2],
        ..Config::llama(2, 2, 8, 6)
    }
}

fn solu() -> Config {
    Config {
        d_head: Some(5),
        mlp: Mlp::Plain(Some(Activation::Solu)),
        mlp_norm: true,
        tied: false,
        ..Config::gpt2(2, 2, 8, 6)
    }
}

fn shortformer() -> Config {
    Config {
        norm: Norm::None,
        position: Position::Shortformer,
        mlp: Mlp::None,
        tied: false,
        unembed_bias: true,
        ..Config::gpt2(2, 2, 8, 6)
    }
}

fn configs() -> Vec<Config> {
    let qwen3 = Config {
        kv_heads: Some(2),
        d_head: Some(4),
        qk_norm: Some(QkNorm::PerHead),
        ..Config::llama(2, 4, 8, 6)
    };
    let granite = Config {
        embed_scale: 1.7,
        score_scale: Some(0.2),
        residual_scale: 0.6,
        logit_scale: 1. / 1.6,
        ..Config::llama(2, 2, 8, 6)
    };
    let llama3 = Scaling::Llama3 { factor: 8., low: 1., high: 4., original: 12. };
    let smollm3 = Config {
        unturned: vec![false, true],
        position: scaled(50., llama3),
        ..Config::llama(2, 2, 8, 6)
    };
    let gpt_neo = Config { windows: vec![None, Some(3)], ..Config::gpt_neo(2, 2, 8, 6) };
    let starcoder2 = Config {
        kv_heads: Some(1),
        position: Position::Rotary(Rotary::new(40.)),
        windows: vec![Some(3); 2],
        ..Config::gpt2(2, 2, 8, 6)
    };
    let gated = Config {
        position: Position::Shortformer,
        mlp: Mlp::Gated(Some(Activation::Solu)),
        mlp_norm: true,
        residual_scale: 0.5,
        parallel: true,
        ..Config::gpt2(2, 2, 8, 6)
    };
    let no_gain = Config { qk_norm: Some(QkNorm::Whole), ..Config::bilinear(2, 2, 8, 6) };
    let all = vec![
        gemma3(),
        olmo3(),
        long(),
        solu(),
        shortformer(),
        qwen3,
        granite,
        smollm3,
        gpt_neo,
        Config::opt(2, 2, 8, 6),
        starcoder2,
        gated,
        no_gain,
        Config { mlp: Mlp::None, ..Config::gpt2(2, 2, 8, 6) },
    ];
    all.into_iter().map(|config| Config { vocab: 11, context: 12, ..config }).collect()
}

/// A model in f64 whose every weight matters.
fn model(config: Config) -> Decoder {
    let config = Config { vocab: 11, context: 12, ..config };
    let model = Decoder::random(config, 3, CPU).unwrap().widened().unwrap();
    let mut rng = Rng::seed(7);
    for var in model.variables() {
        let noise = rng.normal(var.dims(), CPU).unwrap().to_dtype(DType::F64).unwrap();
        // Gains and biases around what they are.
        let start = if var.rank() == 1 { 1. } else { 0. };
        let moved = ((var.as_tensor() * start).unwrap() + (noise * 0.3).unwrap()).unwrap();
        var.set(&moved).unwrap();
    }
    model
}

fn tokens(ids: &[u32]) -> Tensor {
    Tensor::new(ids, CPU).unwrap().unsqueeze(0).unwrap()
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

fn at(model: &Decoder, points: &[HookPoint]) -> Vec<Tensor> {
    let cache = model.activations(&tokens(&TOKENS), points).unwrap();
    points.iter().map(|point| cache.tensor(*point).unwrap()).collect()
}

#[test]
fn every_part_is_its_formula_with_and_without_hooks_and_kept_keys() {
    for config in configs() {
        let model = model(config);
        let config = model.config();
        let plain = PlainPass::new(&model);
        let of = |length: usize| {
            let logits = plain.logits(&TOKENS[..length]);
            Tensor::new(logits, CPU).unwrap().unsqueeze(0).unwrap()
        };
        let all = Hooks::new().capture_all(model.points());
        for length in [1, 4, TOKENS.len()] {
            let (text, expected) = (tokens(&TOKENS[..length]), of(length));
            let found = model.logits(&text).unwrap();
            assert!(gap(&found, &expected) < 1e-10, "{length} {config:?}");
            // With hooks everywhere other operations run, and every point that is listed fires.
            let (found, cache) = model.run(&text, &all).unwrap();
            assert!(gap(&found, &expected) < 1e-10, "hooked {length} {config:?}");
            assert_eq!(cache.iter().count(), model.points().len());
            for layer in 0..=2 {
                let point = match layer {
                    2 => HookPoint::ResidPost(1),
                    layer => HookPoint::ResidPre(layer),
                };
                let stream = cache.get(point).unwrap();
                let found = model.run_from(layer, stream, &Hooks::new()).unwrap().0;
                assert!(gap(&found, &expected) < 1e-10, "from {layer} {config:?}");
            }
        }
        for hooks in [Hooks::new(), all] {
            for step in [1, 4] {
                let mut past = Past::default();
                for start in (0..TOKENS.len()).step_by(step) {
                    let end = (start + step).min(TOKENS.len());
                    let found = model.next_logits(&TOKENS[start..end], &mut past, &hooks);
                    if start > 0 && start <= ORIGINAL && end > ORIGINAL && *config == long_sized() {
                        let message = found.unwrap_err().to_string();
                        assert!(message.contains("read anew"), "{message}");
                        break;
                    }
                    let expected = of(end).get(0).unwrap().get(end - 1).unwrap();
                    assert!(gap(&found.unwrap(), &expected) < 1e-10, "kept {config:?}");
                }
            }
        }
        let narrow = model.to_dtype(DType::F32).unwrap().logits(&tokens(&TOKENS)).unwrap();
        let narrow = narrow.to_dtype(DType::F64).unwrap();
        assert!(gap(&narrow, &of(TOKENS.len())) < 1e-3, "f32 {config:?}");
    }
}

fn long_sized() -> Config {
    Config { vocab: 11, context: 12, ..long() }
}

#[test]
fn a_generation_that_outgrows_short_rotary_embedding_goes_on_as_whole_passes_do() {
    for config in configs() {
        let model = model(config);
        let greedy = Sampling { temperature: 0., ..Sampling::default() };
        let kept = model.generate_tokens(&TOKENS[..3], 9, greedy).unwrap();
        let mut all = TOKENS[..3].to_vec();
        for _ in 0..9 {
            let logits = model.logits(&tokens(&all)).unwrap().get(0).unwrap();
            let last = logits.get(all.len() - 1).unwrap();
            all.push(last.argmax(0).unwrap().to_scalar::<u32>().unwrap());
        }
        assert_eq!(kept, all, "{:?}", model.config());
    }
}

#[test]
fn gradients_reach_the_new_weights_with_and_without_hooks() {
    let small = |config: Config| {
        let norm = match config.norm {
            Norm::RmsOnePlusGain { .. } => Norm::RmsOnePlusGain { eps: 0.1 },
            Norm::RmsGain { .. } => Norm::RmsGain { eps: 0.1 },
            Norm::LayerNorm { .. } => Norm::LayerNorm { eps: 0.1 },
            other => other,
        };
        Config { norm, ..config }
    };
    for config in [gemma3(), olmo3(), solu(), shortformer()] {
        let model = model(small(config));
        let text = tokens(&TOKENS[..4]);
        assert_gradients(&model.variables(), || model.loss(&text));
        let all = Hooks::new().capture_all(model.points());
        assert_gradients(&model.variables(), || model.loss_with(&text, &all, true));
    }
}

#[test]
fn norms_of_queries_and_keys_lie_between_projection_and_rotary_embedding() {
    let model = model(gemma3());
    let (heads, d_head) = (2, 6);
    let names = [
        HookPoint::Q(1),
        HookPoint::QNormScale(1),
        HookPoint::QNormNormalized(1),
        HookPoint::QNormed(1),
        HookPoint::RotQ(1),
    ];
    let found = at(&model, &names);
    let [q, scale, normalized, normed, rotated] = &found[..] else { panic!("five points") };
    assert_eq!((q.dims(), scale.dims()), (&[1, 9, heads, d_head][..], &[1, 9, heads, 1][..]));
    assert!(gap(&q.broadcast_div(scale).unwrap(), normalized) < 1e-12);
    let gain = (model.block(1).unwrap().q_norm.gain.as_ref().unwrap().as_tensor() + 1.).unwrap();
    assert!(gap(&normalized.broadcast_mul(&gain).unwrap(), normed) < 1e-12);
    // Position 0 does not turn, and others do.
    let first = |x: &Tensor| x.narrow(1, 0, 1).unwrap();
    assert!(gap(&first(normed), &first(rotated)) < 1e-12 && gap(normed, rotated) > 1e-3);

    let model = self::model(olmo3());
    let names = [HookPoint::K(0), HookPoint::KNormScale(0), HookPoint::KNormNormalized(0)];
    let found = at(&model, &names);
    let [k, scale, normalized] = &found[..] else { panic!("three points") };
    assert_eq!((scale.dims(), normalized.dims()), (&[1, 9, 1][..], &[1, 9, 4][..]));
    let flat = k.flatten_from(2).unwrap();
    assert!(gap(&flat.broadcast_div(scale).unwrap(), normalized) < 1e-12);
    let never = model.activations(&tokens(&TOKENS), &[HookPoint::Ln1Scale(0)]).unwrap_err();
    assert!(never.to_string().contains("read the residual stream itself"), "{never}");
    // The norm takes off what is multiplied before it, and not what is multiplied after it.
    let model = self::model(Config { norm: Norm::RmsGain { eps: 1e-6 }, ..olmo3() });
    let logits = model.logits(&tokens(&TOKENS)).unwrap();
    let moved = |point: HookPoint| {
        let twice = Hooks::new().replace(point, |x| Ok((x * 2.)?));
        gap(&model.run(&tokens(&TOKENS), &twice).unwrap().0, &logits)
    };
    let (before, after) = (moved(HookPoint::K(0)), moved(HookPoint::KNormed(0)));
    assert!(after > 1e-3 && before < 0.1 * after, "{before} {after}");
}

#[test]
fn layers_without_rotary_embedding_keep_queries_and_lengths_are_kept_at_rest() {
    let unturned = vec![false, true];
    let still = model(Config { unturned, ..Config::llama(2, 2, 8, 6) });
    let points = [HookPoint::Q(0), HookPoint::RotQ(0), HookPoint::K(1), HookPoint::RotK(1)];
    let found = at(&still, &points);
    assert!(gap(&found[0], &found[1]) > 1e-3 && gap(&found[2], &found[3]) == 0.);
    let rest = model(long()).at_one_position().unwrap();
    let found = at(&rest, &[HookPoint::K(1), HookPoint::RotK(1)]);
    let turned = |x: &Tensor| x.narrow(3, 0, 4).unwrap();
    assert!(gap(&(turned(&found[0]) * 1.2).unwrap(), &turned(&found[1])) < 1e-12);
    let kept = |x: &Tensor| x.narrow(3, 4, 2).unwrap();
    assert_eq!(gap(&kept(&found[0]), &kept(&found[1])), 0.);
    // Where nothing knows of positions, every token at one place is the same.
    let model = model(shortformer());
    let (rest, stream) = (model.at_one_position().unwrap(), at(&model, &[HookPoint::ResidPre(0)]));
    let vectors = rest.w_pos().unwrap();
    let first = vectors.narrow(0, 0, 1).unwrap().broadcast_as(vectors.shape()).unwrap();
    assert_eq!(gap(&vectors, &first), 0.);
    let run = |model: &Decoder| model.run_from(0, &stream[0], &Hooks::new()).unwrap().0;
    assert!(gap(&run(&rest), &run(&model)) > 1e-3);
}

#[test]
fn vectors_of_positions_begin_where_the_config_says() {
    let model = model(Config::opt(2, 2, 8, 6));
    assert_eq!(model.w_pos().unwrap().dims(), [12, 8]);
    assert_eq!(model.weights()[1].1.dims(), [14, 8]);
    let found = at(&model, &[HookPoint::PosEmbed]);
    let expected = model.w_pos().unwrap().narrow(0, 0, 9).unwrap().unsqueeze(0).unwrap();
    assert_eq!(gap(&found[0], &expected), 0.);
    // A Shortformer's never join the stream.
    let model = self::model(shortformer());
    let found = at(&model, &[HookPoint::Embed, HookPoint::PosEmbed, HookPoint::ResidPre(0)]);
    let none = found[1].zeros_like().unwrap();
    assert!(gap(&found[0], &found[2]) == 0. && gap(&found[1], &none) > 0.1);
    let away = Hooks::new().replace(HookPoint::PosEmbed, |x| Ok(x.zeros_like()?));
    let changed = model.run(&tokens(&TOKENS), &away).unwrap().0;
    assert!(gap(&changed, &model.logits(&tokens(&TOKENS)).unwrap()) > 1e-3);
    assert!(model.w_p(0).unwrap_err().to_string().contains("attention alone"));
    assert_eq!(model.b_u().unwrap().dims(), [11]);
}

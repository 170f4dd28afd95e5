//! Models in f16, bf16 and f64 at every place where they meet something in f32, against the same
//! model in f32.
//!
//! f16 has 11 significant bits and bf16 has 8: a number of size 1 is off by up to 5e-4 and 4e-3 for
//! each rounding, and a pass through two layers rounds some ten times.

use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::bilinear::tracer::Tracer;
use crate::data::text::{Contexts, Tokenizer, Tokens};
use crate::features::{MaxOptions, Visualizer, max_activations};
use crate::model::{
    Activation, Config, Decoder, HookPoint, Hooks, MASKED_SCORE, Mlp, Position, Sampling,
    logit_difference,
};
use crate::random::Rng;
use crate::sae::{Architecture, Codes, Normalization, Sae, SaeOptions, SaeWeights};

const CPU: &Device = &Device::Cpu;
const POINT: HookPoint = HookPoint::ResidPost(0);

/// A floating point type, and how far off a number of size 1 may be after a pass.
const TYPES: [(DType, f64); 3] = [(DType::F16, 0.01), (DType::BF16, 0.08), (DType::F64, 1e-5)];

fn families() -> Vec<Config> {
    let sized = |config: Config| Config { vocab: 270, context: 16, ..config };
    vec![
        sized(Config { kv_heads: Some(1), ..Config::llama(2, 2, 8, 12) }),
        sized(Config::gpt2(2, 2, 8, 12)),
        sized(Config::gpt_neox(2, 2, 16, 12)),
        sized(Config { kv_heads: Some(1), ..Config::gemma2(2, 2, 8, 12) }),
        sized(Config::bilinear(2, 2, 8, 12)),
        sized(Config { kv_heads: Some(1), ..Config::gemma3(2, 2, 8, 12) }),
        sized(Config::olmo2(2, 2, 8, 12)),
        sized(Config {
            position: Position::Shortformer,
            mlp: Mlp::Plain(Some(Activation::Solu)),
            mlp_norm: true,
            unembed_bias: true,
            ..Config::gpt2(2, 2, 8, 12)
        }),
    ]
}

fn model(config: Config) -> Decoder {
    let model = Decoder::random(config, 3, CPU).unwrap();
    for var in model.variables() {
        // Maps that matter, gains near 1.
        let spread = if var.rank() == 1 { 1.0 } else { 10.0 };
        var.set(&(var.as_tensor() * spread).unwrap()).unwrap();
    }
    model
}

fn llama() -> Decoder {
    model(families().remove(0))
}

fn tokens() -> Tensor {
    Tensor::new(&[[1u32, 2, 3, 4, 5, 6], [9, 8, 7, 6, 5, 4]], CPU).unwrap()
}

fn sae_with(architecture: Architecture, point: HookPoint) -> Sae {
    let mut rng = Rng::seed(5);
    let mut normal =
        |shape: &[usize], scale: f64| (rng.normal(shape, CPU).unwrap() * scale).unwrap();
    let weights = SaeWeights {
        encoder_bias: Some(normal(&[24], 0.1)),
        ..SaeWeights::new(normal(&[24, 8], 0.5), normal(&[8, 24], 0.5), normal(&[8], 0.1))
    };
    Sae::new(architecture, weights).unwrap().at(point)
}

fn sae() -> Sae {
    sae_with(Architecture::standard(), POINT)
}

fn values(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference, in units of the largest number (at least 1).
fn gap(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (values(a), values(b));
    let size = b.iter().fold(1f64, |size, x| size.max(x.abs()));
    a.iter().zip(&b).fold(0f64, |gap, (a, b)| gap.max((a - b).abs())) / size
}

/// What `look` gives for the model in every type, against f32.
fn near(what: &str, model: &Decoder, look: impl Fn(&Decoder) -> Result<Tensor>) {
    let expected = look(model).unwrap();
    // Norms of what layers and neurons write make small numbers large, with their errors.
    let config = model.config();
    let more = if config.post_norms || config.mlp_norm { 3.0 } else { 1.0 };
    for (dtype, bound) in TYPES.map(|(dtype, bound)| (dtype, more * bound)) {
        let found = look(&model.to_dtype(dtype).unwrap());
        let found = found.unwrap_or_else(|error| panic!("{what} in {dtype:?}: {error}"));
        let gap = gap(&found, &expected);
        assert!(gap < bound, "{what} in {dtype:?}: {gap}");
    }
}

#[test]
fn logits_are_near_and_f32_in_every_family() {
    for config in families() {
        let model = model(config);
        near("logits", &model, |model| model.logits(&tokens()));
        let half = model.to_dtype(DType::F16).unwrap();
        assert_eq!(half.logits(&tokens()).unwrap().dtype(), DType::F32);
        assert!(half.to_string().ends_with(", in f16"), "{half}");
        // Hooks take another way through norms and attention.
        near("logits with hooks", &model, |model| {
            let hooks = Hooks::new().capture_all(model.points());
            Ok(model.run(&tokens(), &hooks)?.0)
        });
    }
    assert!(llama().to_dtype(DType::U8).unwrap_err().to_string().contains("floating point"));
}

#[test]
fn a_norm_of_large_activations_does_not_overflow_in_f16() {
    let model = llama();
    let large = Tensor::full(6e3f32, (1, 3, 8), CPU).unwrap();
    let large = (large
        + Tensor::arange(0f32, 8., CPU).unwrap().broadcast_as((1, 3, 8)).unwrap() * 500.)
        .unwrap();
    near("logits of a large stream", &model, |model| model.unembed(&large));
}

#[test]
fn masked_scores_are_one_number_in_every_type() {
    let model = llama();
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
        let model = model.to_dtype(dtype).unwrap();
        let points = [HookPoint::Scores(0), HookPoint::Pattern(0), HookPoint::Ln1Scale(0)];
        let cache = model.run(&tokens(), &Hooks::new().capture_all(points)).unwrap().1;
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        assert_eq!(cache.get(points[0]).unwrap().dtype(), wide);
        assert_eq!(cache.get(points[2]).unwrap().dtype(), wide);
        let pattern = cache.get(points[1]).unwrap();
        assert_eq!(pattern.dtype(), dtype);
        let scores = values(cache.get(points[0]).unwrap());
        let masked = |at: usize| at % 6 > at / 6 % 6;
        for (at, score) in scores.iter().enumerate() {
            assert_eq!(*score == f64::from(MASKED_SCORE), masked(at), "{dtype:?} {at}: {score}");
            assert_eq!(*score <= -1e30, masked(at));
        }
        assert!(values(pattern).iter().enumerate().all(|(at, p)| !masked(at) || *p == 0.0));
    }
}

#[test]
fn losses_and_lenses_are_near() {
    for config in families() {
        let model = model(config);
        near("loss", &model, |model| model.loss(&tokens()));
        near("loss per token", &model, |model| model.loss_per_token(&tokens()));
        near("lens", &model, |model| model.logit_lens(&tokens()));
        let text = Tokens::from((0..90).map(|i| (i * i % 260) as u32).collect::<Vec<_>>());
        near("mean loss", &model, |model| Ok(Tensor::new(model.mean_loss(&text, 3, 8)?, CPU)?));
    }
}

#[test]
fn gradients_patches_and_attributions_are_near() {
    let model = llama();
    let metric = |logits: &Tensor| logit_difference(logits, 3, 9);
    let points = [POINT, HookPoint::Scores(1), HookPoint::MlpPost(0), HookPoint::Ln2Scale(1)];
    for point in points {
        near("gradients", &model, |model| {
            let found = model.gradients(&tokens(), &[point], &Hooks::new(), metric)?;
            Ok(found.gradients.get(point)?.clone())
        });
    }
    let one = tokens().get(0).unwrap();
    near("attribution", &model, |model| {
        let found = model.attribution(&one, 5, 3, Some(9))?;
        Ok(Tensor::new(found.rows.iter().map(|row| row.value).collect::<Vec<f64>>(), CPU)?)
    });
    let other = Tensor::new(&[1u32, 2, 60, 4, 5, 6], CPU).unwrap();
    near("patching", &model, |model| Ok(model.patch(&one, &other, HookPoint::Z, metric)?.values));
    near("a run from the middle", &model, |model| {
        let cache = model.activations(&tokens(), &[HookPoint::ResidPre(1)])?;
        let stream = cache.get(HookPoint::ResidPre(1))?;
        Ok(model.run_from(1, stream, &Hooks::new().capture(HookPoint::Z(1)))?.0)
    });
}

/// Case 03.
#[test]
fn autoencoders_read_and_change_models_of_every_type() {
    let model = llama();
    let layer_norm =
        Architecture { normalization: Normalization::LayerNorm, ..Architecture::top_k(24) };
    for sae in [sae(), sae_with(Architecture::top_k(24), POINT), sae_with(layer_norm, POINT)] {
        let at = |model: &Decoder| -> Result<Tensor> {
            Ok(model.activations(&tokens(), &[POINT])?.get(POINT)?.clone())
        };
        near("codes", &model, |model| sae.encode(&at(model)?)?.to_dense(CPU));
        near("hidden_pre", &model, |model| sae.hidden_pre(&at(model)?));
        near("reconstruction", &model, |model| {
            let found = sae.reconstruct(&at(model)?)?;
            assert_eq!(found.dtype(), model.dtype());
            Ok(found)
        });
        near("check", &model, |model| {
            let check = sae.check(&at(model)?)?;
            Ok(Tensor::new(&[check.cosine, check.length_ratio, check.fvu.sqrt()], CPU)?)
        });
        near("ablate", &model, |model| Ok(model.run(&tokens(), &sae.ablate(&[3, 4])?)?.0));
        near("scale", &model, |model| Ok(model.run(&tokens(), &sae.scale_features(&[3], 2.5)?)?.0));
        near("steer", &model, |model| Ok(model.run(&tokens(), &sae.steer(3, 2.0)?)?.0));
        near("a replacement by hand", &model, |model| {
            let own = sae.clone();
            let hooks = Hooks::new().replace(POINT, move |x| own.reconstruct(x));
            Ok(model.run(&tokens(), &hooks)?.0)
        });
        let text = Tokens::from((0..90).map(|i| (i * i % 260) as u32).collect::<Vec<_>>());
        near("patched loss", &model, |model| {
            let loss = sae.patched_loss(model, &text, 3, 8)?;
            Ok(Tensor::new(&[loss.clean, loss.patched, loss.ablated], CPU)?)
        });
        near("logit influence", &model, |model| sae.logit_influence(model, 3));
    }
    // Whole numbers are no activations.
    let tokens = Tensor::zeros((2, 8), DType::U32, CPU).unwrap();
    assert!(sae().encode(&tokens).unwrap_err().to_string().contains("floating point"));
}

#[test]
fn interventions_act_while_a_half_model_speaks() {
    let tokenizer = Tokenizer::train(["of the king and the sea; of the king"], 270).unwrap();
    let model = llama().with_tokenizer(&tokenizer).unwrap();
    for (dtype, _) in TYPES {
        let model = model.to_dtype(dtype).unwrap();
        let hooks = sae().steer(3, 2.0).unwrap();
        let cold = Sampling { temperature: 0.0, ..Sampling::default() };
        assert_eq!(model.generate_tokens_with(&[1, 2], 6, cold, &hooks).unwrap().len(), 8);
        let effect = model.effect("of the", &hooks, 5).unwrap();
        assert!(effect.divergence > 0.0 && effect.rows[0].change() != 0.0, "{effect}");
        assert_eq!(model.lens("of the", 3).unwrap().rows.len(), 3);
    }
}

#[test]
fn galleries_of_a_half_model_show_the_same_features() {
    let tokenizer = Tokenizer::train(["of the king and the sea; of the king"], 270).unwrap();
    let model = llama().with_tokenizer(&tokenizer).unwrap();
    let mut rng = Rng::seed(9);
    let contexts = Contexts::new(6, (0..6 * 20).map(|_| rng.below(250) as u32).collect()).unwrap();
    let options = MaxOptions { examples: 4, ..MaxOptions::default() };
    let density = |model: &Decoder| -> Result<Tensor> {
        let tables = max_activations(model, &[sae()], &contexts, &options)?;
        let statistics = tables[0].statistics().unwrap();
        Ok(Tensor::new(&*statistics.density.to_vec(), CPU)?)
    };
    near("densities", &model, density);
    for (dtype, _) in TYPES {
        let half = model.to_dtype(dtype).unwrap();
        let visualizer = Visualizer::compute(&half, &sae(), &contexts, 4).unwrap();
        let gallery = visualizer.show(&[0, 3], 2).unwrap();
        assert_eq!(gallery.views()[0].promoted.len(), 8);
    }
}

#[test]
fn a_fit_on_a_half_model_can_be_used_on_it() {
    let model = llama().to_dtype(DType::F16).unwrap();
    let text = Tokens::from((0..400).map(|i| (i * i % 260) as u32).collect::<Vec<_>>());
    let options =
        SaeOptions { steps: 3, batch: 16, buffer: 64, length: 8, ..SaeOptions::default() };
    let (sae, _) = Sae::fit(&model, POINT, &text, &options).unwrap();
    let sae = sae.at(POINT);
    let cache = model.activations(&tokens(), &[POINT]).unwrap();
    sae.check(cache.get(POINT).unwrap()).unwrap();
    model.run(&tokens(), &sae.ablate(&[0]).unwrap()).unwrap();
}

#[test]
fn a_tracer_reads_a_bilinear_model_of_every_type() {
    let model = model(families().remove(4));
    let input = sae_with(Architecture::signed_top_k(4), HookPoint::MlpIn(1));
    let output = sae_with(Architecture::signed_top_k(4), HookPoint::MlpOut(1));
    near("an interaction", &model, |model| Tracer::new(model, 1, &input, &output)?.interaction(2));
}

#[test]
fn autoencoders_of_half_weights_are_widened() {
    let wide = sae();
    let own = wide.weights().clone();
    let half = |x: &Tensor| x.to_dtype(DType::BF16).unwrap();
    let weights = SaeWeights {
        encoder: half(&own.encoder),
        encoder_bias: own.encoder_bias.as_ref().map(half),
        decoder: half(&own.decoder),
        bias: half(&own.bias),
        ..own.clone()
    };
    let sae = Sae::new(wide.architecture().clone(), weights).unwrap();
    assert_eq!(sae.w_dec().dtype(), DType::F32);
    let x = Rng::seed(1).normal((5, 8), CPU).unwrap();
    assert!(gap(&sae.reconstruct(&x).unwrap(), &wide.reconstruct(&x).unwrap()) < 0.05);
    let f64 = own.decoder.to_dtype(DType::F64).unwrap();
    let weights = SaeWeights { decoder: f64, ..own };
    let message = Sae::new(wide.architecture().clone(), weights).unwrap_err().to_string();
    assert!(message.contains("to_dtype"), "{message}");
}

#[test]
fn a_hook_of_another_dtype_or_shape_is_told_in_words() {
    let model = llama().to_dtype(DType::F16).unwrap();
    let message = |change: fn(&Tensor) -> Result<Tensor>| {
        let hooks = Hooks::new().replace(POINT, change);
        model.run(&tokens(), &hooks).unwrap_err().to_string()
    };
    let dtype = message(|x| Ok(x.to_dtype(DType::F32)?));
    for part in ["0.resid_post", "must be f16", "found f32", ".to_dtype("] {
        assert!(dtype.contains(part), "{part} in {dtype}");
    }
    let mixed = message(|x| Ok(x.broadcast_add(&Tensor::zeros(8, DType::F32, CPU)?)?));
    for part in ["0.resid_post", "f16", "f32", ".to_dtype("] {
        assert!(mixed.contains(part), "{part} in {mixed}");
    }
    let shape = message(|x| Ok(x.narrow(2, 0, 4)?));
    assert!(shape.contains("0.resid_post") && shape.contains("[2, 6, 8]"), "{shape}");
    // What is right stays right.
    let hooks = Hooks::new().replace(POINT, |x| {
        let direction = Tensor::ones(8, DType::F32, CPU)?;
        Ok(x.broadcast_add(&direction.to_dtype(x.dtype())?)?)
    });
    model.run(&tokens(), &hooks).unwrap();
    // Scores are f32 in a half model.
    let hooks = Hooks::new().replace(HookPoint::Scores(0), |x| Ok((x * 0.5)?));
    model.run(&tokens(), &hooks).unwrap();
}

#[test]
fn codes_made_by_hand_decode_to_f32() {
    let codes = Codes::new(24, [vec![(3, 1.0)]]).unwrap();
    assert_eq!(sae().decode(&codes).unwrap().dtype(), DType::F32);
}

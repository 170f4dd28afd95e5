//! Infos of a small model, held against its own activations.

use std::path::Path;

use candle_core::{DType, Device, IndexOp, Tensor};

use super::*;
use crate::harvest::tests::{contexts, model, sae};
use crate::model::Config;
use crate::sae::{Architecture, SaeWeights};

const RESID: HookPoint = HookPoint::ResidPost(0);

fn options() -> InfoOptions {
    let window = Some(Window { from: 1, to: None });
    InfoOptions { window, batch: 7, skip_tokens: vec![3, 8], ..InfoOptions::default() }
}

fn saes() -> [Sae; 3] {
    [sae(RESID, 1), sae(HookPoint::Z(1), 2), sae(RESID, 3)]
}

fn collected(options: &InfoOptions) -> Vec<SaeInfo> {
    SaeInfo::collect_all(&model(), &saes(), &contexts(), options).unwrap()
}

/// All that an info has, as numbers that are equal only if the infos are.
fn numbers(info: &SaeInfo) -> Vec<Vec<f64>> {
    let wide = |values: &[u32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    let entries = (0..info.len()).flat_map(|row| info.codes().row(row));
    let codes = entries.flat_map(|(feature, value)| [f64::from(feature), f64::from(value)]);
    let flat = |tensor: Tensor| -> Vec<f64> {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    let Interval { mean, lower, upper, .. } = info.fvu();
    vec![
        wide(info.tokens()),
        wide(info.positions()),
        wide(info.context_of()),
        wide(info.l0()),
        info.model_loss().iter().map(|x| f64::from(*x)).collect(),
        info.error_norms().to_vec(),
        info.squared_error_norms().to_vec(),
        info.activation_norms().to_vec(),
        info.code_norms().to_vec(),
        codes.collect(),
        flat(info.activations().unwrap()),
        flat(info.reconstructions().unwrap()),
        flat(info.errors().unwrap()),
        vec![mean, lower, upper, info.normalized_mse(), info.mean_l0()],
    ]
}

#[test]
fn an_info_has_what_the_model_and_the_autoencoder_give() {
    let (model, contexts) = (model(), contexts());
    let all = contexts.batch(0, 50, &Device::Cpu).unwrap();
    let (cache, losses) = model.activations_with_loss(&all, &[RESID, HookPoint::Z(1)]).unwrap();
    for (sae, info) in saes().iter().zip(collected(&options())) {
        let x = cache.get(sae.point().unwrap()).unwrap().flatten_from(2).unwrap();
        let codes = sae.encode(&x).unwrap();
        let made = sae.decode(&codes).unwrap().reshape(x.shape()).unwrap();
        let (mut row, mut total) = (0, [0f64; 3]);
        let mut mean = vec![0f64; 8];
        for context in 0..50 {
            for position in 1..5 {
                let token = contexts.get(context).unwrap()[position];
                if [3, 8].contains(&token) {
                    continue;
                }
                assert_eq!(info.tokens()[row], token);
                assert_eq!(info.positions()[row] as usize, position);
                assert_eq!(info.context_of()[row] as usize, context);
                let loss: f32 = losses.i((context, position)).unwrap().to_scalar().unwrap();
                assert!((info.model_loss()[row] - loss).abs() < 1e-5);
                let own = |x: &Tensor| -> Vec<f64> {
                    let own = x.i((context, position)).unwrap();
                    own.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
                };
                let (x, made) = (own(&x), own(&made));
                let square = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
                let error: Vec<f64> = x.iter().zip(&made).map(|(x, made)| x - made).collect();
                assert!((info.squared_error_norms()[row] - square(&error)).abs() < 1e-3);
                assert!((info.error_norms()[row].powi(2) - square(&error)).abs() < 1e-3);
                assert!((info.activation_norms()[row] - square(&x).sqrt()).abs() < 1e-4);
                let code: Vec<(u32, f32)> = codes.row(context * 6 + position).collect();
                assert_eq!(info.l0()[row] as usize, code.len());
                let norm = code.iter().map(|(_, value)| f64::from(*value).powi(2)).sum::<f64>();
                assert!((info.code_norms()[row] - norm.sqrt()).abs() < 1e-3);
                for (sum, x) in mean.iter_mut().zip(&x) {
                    *sum += x;
                }
                total[0] += square(&error);
                total[1] += square(&x);
                total[2] += square(&error) / square(&x);
                row += 1;
            }
        }
        assert_eq!(info.len(), row);
        let n = row as f64;
        for (found, sum) in info.mean_activation().iter().zip(&mean) {
            assert!((found - sum / n).abs() < 1e-4);
        }
        assert_eq!(info.skip_tokens(), [3, 8]);
        let variance = total[1] - mean.iter().map(|sum| sum * sum).sum::<f64>() / n;
        let fvu = info.fvu();
        assert!((fvu.mean / (total[0] / variance) - 1.0).abs() < 1e-4, "{fvu}");
        assert!(fvu.lower < fvu.mean && fvu.mean < fvu.upper && fvu.confidence == 0.95);
        assert!((info.normalized_mse() / (total[2] / n) - 1.0).abs() < 1e-4);
        assert_eq!((info.width(), info.rows().width(), info.mean_l0()), (24, 8, 3.0));
        assert_eq!(info.window(), Window { from: 1, to: Some(5) });
        let counts: u64 = info.features().counts().iter().sum();
        assert_eq!(counts, 3 * row as u64);
        assert!(info.to_string().contains("24 features at"), "{info}");
    }
}

#[test]
fn one_pass_for_many_is_a_pass_for_each_and_batches_change_nothing() {
    let all = collected(&options());
    for (sae, info) in saes().iter().zip(&all) {
        let alone = SaeInfo::collect(&model(), sae, &contexts(), &options()).unwrap();
        assert_eq!(numbers(info), numbers(&alone));
        assert_eq!(info.name(), alone.name());
    }
    for (a, b) in all.iter().zip(collected(&InfoOptions { batch: 50, ..options() })) {
        let (a, b) = (numbers(a), numbers(&b));
        for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
            assert!((a - b).abs() < 1e-3 * a.abs().max(1.0), "{a} {b}");
        }
    }
}

#[test]
fn activations_are_the_same_wherever_they_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let keep = KeepActivations::Disk { folder: folder.path().to_owned(), dtype: DType::F32 };
    let in_memory = collected(&options());
    let on_disk = collected(&InfoOptions { keep, ..options() });
    let nowhere = collected(&InfoOptions { keep: KeepActivations::Nothing, ..options() });
    for ((a, b), c) in in_memory.iter().zip(&on_disk).zip(&nowhere) {
        assert_eq!(numbers(a), numbers(b));
        assert_eq!(numbers(a), numbers(c));
        let origin = b.rows().origin().unwrap();
        assert_eq!(origin.sae.point().unwrap(), b.point());
    }
    let keep = KeepActivations::Disk { folder: folder.path().to_owned(), dtype: DType::BF16 };
    let narrow = &collected(&InfoOptions { keep, ..options() })[0];
    let wide = in_memory[0].activations().unwrap();
    let gap = (narrow.activations().unwrap() - &wide).unwrap().abs().unwrap();
    let largest: f32 = (gap / wide.abs().unwrap()).unwrap().max_all().unwrap().to_scalar().unwrap();
    assert!(largest > 0.0 && largest < 0.004, "bf16 has 8 bits: {largest}");
    let keep = KeepActivations::Disk { folder: folder.path().to_owned(), dtype: DType::U8 };
    let error =
        SaeInfo::collect_all(&model(), &saes(), &contexts(), &InfoOptions { keep, ..options() });
    assert!(error.unwrap_err().to_string().contains("F32, F16 or BF16"));
}

fn units(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|own| own == "safetensors"))
        .collect();
    found.sort();
    found
}

#[test]
fn a_pass_that_was_cut_off_goes_on_where_it_was() {
    let disk = tempfile::tempdir().unwrap();
    let on_disk = KeepActivations::Disk { folder: disk.path().to_owned(), dtype: DType::F32 };
    for keep in [KeepActivations::Memory, on_disk, KeepActivations::Nothing] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Some(folder.path().to_owned());
        let plain = InfoOptions { keep, ..options() };
        let kept = InfoOptions { checkpoint, ..plain.clone() };
        let expected: Vec<_> = collected(&plain).iter().map(numbers).collect();
        let found: Vec<_> = collected(&kept).iter().map(numbers).collect();
        assert_eq!(found, expected);
        let all = units(folder.path());
        assert_eq!(all.len(), 8);
        // As if it had ended after five units; what is there is not made again.
        all[5..].iter().for_each(|path| std::fs::remove_file(path).unwrap());
        let written = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
        let before: Vec<_> = all[..5].iter().map(|path| written(path)).collect();
        let found: Vec<_> = collected(&kept).iter().map(numbers).collect();
        assert_eq!(found, expected);
        assert_eq!(units(folder.path()), all);
        assert_eq!(all[..5].iter().map(|path| written(path)).collect::<Vec<_>>(), before);
        // A unit that is damaged is named.
        let mut bytes = std::fs::read(&all[2]).unwrap();
        let last = bytes.len() - 3;
        bytes[last] ^= 64;
        std::fs::write(&all[2], &bytes).unwrap();
        let error = SaeInfo::collect_all(&model(), &saes(), &contexts(), &kept).unwrap_err();
        assert!(error.to_string().contains("unit-000002.safetensors"), "{error}");
    }
}

#[test]
fn the_checkpoint_of_another_pass_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let kept = InfoOptions { checkpoint: Some(folder.path().to_owned()), ..options() };
    collected(&kept);
    let message = |model: &Decoder, saes: &[Sae], text: &Contexts, options: &InfoOptions| {
        SaeInfo::collect_all(model, saes, text, options).unwrap_err().to_string()
    };
    let config = Config { vocab: 300, context: 8, ..Config::bilinear(2, 2, 8, 16) };
    let other = Decoder::random(config, 5, &Device::Cpu).unwrap();
    let text = message(&other, &saes(), &contexts(), &kept);
    assert!(text.contains("the model of this call") && text.contains("another `checkpoint`"));
    let text = message(&model(), &saes()[1..], &contexts(), &kept);
    assert!(text.contains("the autoencoders of this call"), "{text}");
    let short = Contexts::new(6, vec![9; 60]).unwrap();
    assert!(message(&model(), &saes(), &short, &kept).contains("the text of this call"));
    let window = Some(Window { from: 2, to: None });
    let text = message(&model(), &saes(), &contexts(), &InfoOptions { window, ..kept.clone() });
    assert!(text.contains("the window of this call, [2,5]"), "{text}");
    let keep = KeepActivations::Nothing;
    let text = message(&model(), &saes(), &contexts(), &InfoOptions { keep, ..kept });
    assert!(text.contains("the `keep` of this call"), "{text}");
}

#[test]
fn saved_infos_come_back() {
    let disk = tempfile::tempdir().unwrap();
    let on_disk = KeepActivations::Disk { folder: disk.path().to_owned(), dtype: DType::F32 };
    for keep in [KeepActivations::Memory, on_disk, KeepActivations::Nothing] {
        let is_kept = keep != KeepActivations::Nothing;
        let info = &collected(&InfoOptions { keep, seed: 4, ..options() })[0];
        let folder = tempfile::tempdir().unwrap();
        info.with_name("small").unwrap().save(folder.path()).unwrap();
        let loaded = SaeInfo::load(folder.path()).unwrap();
        assert_eq!(
            (loaded.name(), loaded.point(), loaded.window()),
            ("small", RESID, info.window())
        );
        assert_eq!(loaded.contexts().as_slice(), info.contexts().as_slice());
        if !is_kept {
            let error = loaded.activations().unwrap_err().to_string();
            assert!(error.contains("info.with_model(&model)?"), "{error}");
            assert!(loaded.rows().origin().is_none());
        }
        let loaded = loaded.with_model(&model()).unwrap();
        assert_eq!(numbers(&loaded), numbers(info));
        let config = Config { vocab: 300, context: 8, ..Config::bilinear(2, 2, 8, 16) };
        let other = Decoder::random(config, 5, &Device::Cpu).unwrap();
        let error = loaded.with_model(&other).unwrap_err().to_string();
        assert!(error.contains("the one whose activations these are"), "{error}");
        // A record that speaks of other tokens is refused.
        let path = folder.path().join("info.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"batch\"", "\"bunch\"")).unwrap();
        assert!(SaeInfo::load(folder.path()).unwrap_err().to_string().contains("info.json"));
        std::fs::write(&path, text.replace("\"format\": 1", "\"format\": 7")).unwrap();
        let error = SaeInfo::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("another version"), "{error}");
    }
}

#[test]
fn what_has_no_info_is_named() {
    let (model, text) = (model(), contexts());
    let message = |sae: &Sae, options: &InfoOptions| {
        SaeInfo::collect(&model, sae, &text, options).unwrap_err().to_string()
    };
    let weights = |width: usize| {
        let eye = Tensor::eye(width, DType::F32, &Device::Cpu).unwrap();
        let bias = Tensor::zeros(width, DType::F32, &Device::Cpu).unwrap();
        SaeWeights::new(eye.clone(), eye, bias)
    };
    let narrow = Sae::new(Architecture::top_k(2), weights(4)).unwrap();
    assert!(message(&narrow, &options()).contains("sae.at(HookPoint"));
    let text_of = message(&narrow.at(RESID), &options());
    assert!(text_of.contains("the width of the autoencoder at 0.resid_post must be 8"));
    assert!(message(&sae(HookPoint::ResidPost(7), 1), &options()).contains("below 2"));
    let architecture = Architecture { transcoder: true, ..Architecture::top_k(2) };
    let transcoder = Sae::new(architecture, weights(8)).unwrap().at(RESID);
    assert!(message(&transcoder, &options()).contains("writes where it reads"));
    let own = sae(RESID, 1);
    let window = Some(Window { from: 5, to: None });
    assert!(message(&own, &InfoOptions { window, ..options() }).contains("the window"));
    let skip_tokens = (0..300).collect();
    assert!(message(&own, &InfoOptions { skip_tokens, ..options() }).contains("`skip_tokens`"));
    assert!(message(&own, &InfoOptions { batch: 0, ..options() }).contains("`batch`"));
    assert!(message(&own, &InfoOptions { folds: 1, ..options() }).contains("`folds`"));
    let long = Contexts::new(9, vec![1; 18]).unwrap();
    let error = SaeInfo::collect(&model, &own, &long, &InfoOptions::default()).unwrap_err();
    assert!(error.to_string().contains("at most 8, the model's context"), "{error}");
    assert!(SaeInfo::collect_all(&model, &[], &text, &options()).is_err());
    for var in model.variables() {
        var.set(&(var.as_tensor() * f64::NAN).unwrap()).unwrap();
    }
    let error = message(&own, &options());
    assert!(error.contains("the activations at 0.resid_post holds NaN"), "{error}");
}

#[test]
fn the_interval_of_a_single_context_has_no_ends() {
    let one = Contexts::new(6, contexts().as_slice()[..6].to_vec()).unwrap();
    let options = InfoOptions { skip_tokens: Vec::new(), ..options() };
    let info = SaeInfo::collect(&model(), &sae(RESID, 1), &one, &options).unwrap();
    let fvu = info.fvu();
    assert!(fvu.mean > 0.0 && fvu.lower.is_nan() && fvu.upper.is_nan());
    assert_eq!(info.len(), 4);
}

#[test]
fn draws_of_the_unexplained_share_are_those_of_its_interval() {
    let infos = collected(&options());
    let draws = infos[0].fvu_draws(200, options().seed).unwrap();
    let mut sorted = draws.clone();
    sorted.sort_by(f64::total_cmp);
    let fvu = infos[0].fvu();
    assert_eq!((fvu.lower, fvu.upper), (sorted[5], sorted[195]));
    assert_ne!(infos[0].fvu_draws(200, 7).unwrap(), draws);
    // The same seed draws the same contexts for every autoencoder: with itself the ratio is always 1.
    assert_eq!(infos[0].fvu_draws(200, 7).unwrap(), infos[0].fvu_draws(200, 7).unwrap());
    assert!(infos[0].fvu_draws(0, 0).unwrap_err().to_string().contains("`draws`"));
    let one = Contexts::new(6, contexts().as_slice()[..6].to_vec()).unwrap();
    let options = InfoOptions { skip_tokens: Vec::new(), ..options() };
    let info = SaeInfo::collect(&model(), &sae(RESID, 1), &one, &options).unwrap();
    assert!(info.fvu_draws(9, 0).unwrap_err().to_string().contains("at least 2"));
}

#[test]
fn draws_of_several_infos_are_of_the_same_contexts() {
    let infos = collected(&options());
    let found = SaeInfo::fvu_draws_of(&infos, 20, 5).unwrap();
    for (own, info) in found.iter().zip(&infos) {
        assert_eq!(*own, info.fvu_draws(20, 5).unwrap());
    }
    assert!(SaeInfo::fvu_draws_of(&[], 20, 5).unwrap().is_empty());
    let window = Some(Window { from: 2, to: None });
    for options in
        [InfoOptions { window, ..options() }, InfoOptions { skip_tokens: Vec::new(), ..options() }]
    {
        let other = collected(&options)[1].with_name("other").unwrap();
        let error = SaeInfo::fvu_draws_of(&[infos[0].clone(), other], 20, 5).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("`other`") && error.contains(infos[0].name()), "{error}");
        assert!(error.contains("`skip_tokens`"), "{error}");
    }
}

#[test]
fn contexts_without_a_token_that_counts_are_passed_over() {
    // The third of four contexts has skipped tokens only.
    let mut tokens: Vec<u32> = contexts().as_slice()[..24].to_vec();
    tokens[12..18].fill(3);
    let text = Contexts::new(6, tokens).unwrap();
    let options = InfoOptions { batch: 1, ..options() };
    for keep in [KeepActivations::Memory, KeepActivations::Nothing] {
        let options = InfoOptions { keep, ..options.clone() };
        let info = SaeInfo::collect(&model(), &sae(RESID, 1), &text, &options).unwrap();
        assert!(!info.context_of().contains(&2) && info.context_of().contains(&3));
        assert_eq!(info.errors().unwrap().dims(), [info.len(), 8]);
        assert!(info.fvu().mean.is_finite());
    }
}

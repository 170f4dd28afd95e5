//! Stores of a small model, held against its own activations and codes.

mod order;
mod trouble;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::table_file::TableReader;
use super::*;
use crate::data::text::Contexts;
use crate::model::{Config, Decoder, HookPoint};
use crate::progress::OnStop;
use crate::random::Rng;
use crate::sae::{Architecture, Codes, Objective, Sae, SaeOptions, SaeWeights};
use crate::train::History;
use crate::train::tests::assert_resumes;

pub(crate) fn model() -> Decoder {
    let config = Config { vocab: 300, context: 8, ..Config::bilinear(2, 2, 8, 16) };
    let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
    for var in model.variables() {
        var.set(&(var.as_tensor() * 20.0).unwrap()).unwrap();
    }
    model
}

pub(crate) fn sae(point: HookPoint, seed: u64) -> Sae {
    let mut rng = Rng::seed(seed);
    let decoder = rng.normal((8, 24), &Device::Cpu).unwrap();
    let encoder = decoder.t().unwrap().contiguous().unwrap();
    let weights = SaeWeights::new(encoder, decoder, rng.normal(8, &Device::Cpu).unwrap());
    Sae::new(Architecture::signed_top_k(3), weights).unwrap().at(point)
}

/// 50 contexts of 6 tokens.
pub(crate) fn contexts() -> Contexts {
    let mut rng = Rng::seed(9);
    Contexts::new(6, (0..6 * 50).map(|_| rng.below(300) as u32).collect()).unwrap()
}

const POINT: HookPoint = HookPoint::ResidPost(0);

fn saes() -> [Sae; 2] {
    [sae(HookPoint::MlpIn(1), 1), sae(HookPoint::MlpOut(0), 2)]
}

fn options() -> HarvestOptions {
    HarvestOptions {
        points: vec![POINT, HookPoint::MlpIn(1)],
        unit: Some(7),
        batch: 3,
        pile: 700,
        examples: 2,
        ..HarvestOptions::default()
    }
}

fn harvested(path: &Path, options: &HarvestOptions) -> Store {
    Store::harvest(path, &model(), &saes(), &contexts(), options).unwrap()
}

fn all_rows(model: &Decoder, point: HookPoint) -> Vec<Vec<f32>> {
    let tokens = contexts().batch(0, 50, &Device::Cpu).unwrap();
    let cache = model.activations(&tokens, &[point]).unwrap();
    let rows = cache.get(point).unwrap().flatten(0, 1).unwrap().flatten_from(1).unwrap();
    rows.to_dtype(DType::F32).unwrap().to_vec2().unwrap()
}

fn all_codes(sae: &Sae) -> Codes {
    let tokens = contexts().batch(0, 50, &Device::Cpu).unwrap();
    let cache = model().activations(&tokens, &[sae.point().unwrap()]).unwrap();
    sae.encode(cache.get(sae.point().unwrap()).unwrap()).unwrap()
}

/// Rows in an order of their own, to compare sets of them.
fn sorted(mut rows: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
    rows
}

fn close(a: &[Vec<f32>], b: &[Vec<f32>]) -> bool {
    let gap = |(a, b): (&f32, &f32)| (a - b).abs();
    let pairs = a.iter().zip(b).flat_map(|(a, b)| a.iter().zip(b));
    a.len() == b.len() && pairs.map(gap).fold(0f32, f32::max) < 1e-4
}

#[test]
fn a_store_holds_what_the_model_gives() {
    let folder = tempfile::tempdir().unwrap();
    let store = harvested(folder.path(), &options());
    assert_eq!((store.units().len(), store.tokens()), (8, 300));
    for point in [POINT, HookPoint::MlpIn(1)] {
        let options = ShuffleOptions { batch: 64, ..ShuffleOptions::default() };
        let batches: Vec<Tensor> =
            store.shuffled(point, &options).unwrap().collect::<crate::Result<_>>().unwrap();
        assert_eq!(
            batches.iter().map(|batch| batch.dims()[0]).collect::<Vec<_>>(),
            [64, 64, 64, 64, 44]
        );
        let rows = Tensor::cat(&batches, 0).unwrap().to_vec2::<f32>().unwrap();
        let expected = all_rows(&model(), point);
        assert!(!close(&rows, &expected), "they are shuffled");
        assert!(close(&sorted(rows), &sorted(expected)), "{point}");
    }
    // Every file opens with safetensors too, and says which token each row is of.
    let file = store.files("activations", "0.resid_post").nth(3).unwrap();
    let path = folder.path().join(&file.path);
    let mut tensors = crate::store::Tensors::open(&path, &Device::Cpu).unwrap();
    let rows = tensors.any("activations").unwrap().to_vec2::<f32>().unwrap();
    let tokens = tensors.any("row").unwrap().to_vec1::<u32>().unwrap();
    let expected = all_rows(&model(), POINT);
    for (row, token) in rows.iter().zip(tokens) {
        let own = &expected[3 * 7 * 6 + token as usize];
        assert!(close(std::slice::from_ref(row), std::slice::from_ref(own)), "token {token}");
    }
}

#[test]
fn tables_hold_losses_norms_errors_and_codes() {
    let folder = tempfile::tempdir().unwrap();
    let store = harvested(folder.path(), &options());
    let tokens = contexts().batch(0, 50, &Device::Cpu).unwrap();
    let losses = model().loss_per_token(&tokens).unwrap().to_vec2::<f32>().unwrap();
    let rows = all_rows(&model(), POINT);
    let codes = all_codes(&saes()[0]);
    let input = all_rows(&model(), HookPoint::MlpIn(1));
    let output = saes()[0].decode(&codes).unwrap().to_vec2::<f32>().unwrap();
    let mut row = 0;
    let mut found_losses = Vec::new();
    for file in store.files("tokens", "") {
        let table = TableReader::open(store.place(), &file.path).unwrap();
        let (contexts_, positions) =
            (table.i64(0, "context").unwrap(), table.i32(0, "position").unwrap());
        let ids = table.i32(0, "token").unwrap();
        let norms = table.f32(0, "norm.0.resid_post").unwrap();
        let errors = table.f32(0, "error.1.mlp_in").unwrap();
        let counts = table.i32(0, "l0.1.mlp_in").unwrap();
        found_losses.extend(table.f32(0, "loss").unwrap());
        for at in 0..ids.len() {
            assert_eq!((contexts_[at], positions[at]), (row as i64 / 6, row as i32 % 6));
            assert_eq!(ids[at] as u32, contexts().as_slice()[row]);
            let norm = rows[row].iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!((norms[at] - norm).abs() < 1e-3 * norm);
            let error: f32 =
                input[row].iter().zip(&output[row]).map(|(a, b)| (a - b) * (a - b)).sum();
            assert!((errors[at] - error).abs() < 1e-3 * error.max(1.0), "{} {error}", errors[at]);
            assert_eq!(counts[at] as usize, codes.row(row).len());
            row += 1;
        }
    }
    assert_eq!(row, 300);
    let expected: Vec<f32> = losses.concat();
    assert!(close(&[found_losses], &[expected]), "the last of a context has none");
    let mut entries = Vec::new();
    for file in store.files("codes", "1.mlp_in") {
        let table = TableReader::open(store.place(), &file.path).unwrap();
        for group in 0..table.groups() {
            let contexts = table.i64(group, "context").unwrap();
            let positions = table.i32(group, "position").unwrap();
            let features = table.i32(group, "feature").unwrap();
            let values = table.f32(group, "value").unwrap();
            let rows =
                contexts.iter().zip(positions).map(|(c, p)| (*c * 6 + i64::from(p)) as usize);
            entries.extend(rows.zip(features).zip(values));
        }
    }
    let expected: Vec<((usize, i32), f32)> = (0..300)
        .flat_map(|row| codes.row(row).map(move |(feature, value)| ((row, feature as i32), value)))
        .collect();
    assert_eq!(entries.len(), expected.len());
    for (found, expected) in entries.iter().zip(&expected) {
        assert_eq!(found.0, expected.0);
        assert!((found.1 - expected.1).abs() < 1e-4);
    }
}

/// The best contexts of a feature, by a look at all codes.
fn best_contexts(
    codes: &Codes,
    feature: usize,
    is_kept: impl Fn(usize) -> bool,
) -> Vec<(u64, f32)> {
    let values = codes.feature(feature).unwrap();
    let most = |context: usize| {
        let rows = (context * 6..context * 6 + 6).filter(|row| is_kept(*row));
        rows.map(|row| values[row]).fold(0f32, f32::max)
    };
    let mut peaks: Vec<(u64, f32)> =
        (0..50).map(|context| (context as u64, most(context))).filter(|own| own.1 > 0.0).collect();
    peaks.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    peaks
}

#[test]
fn examples_are_exact_beyond_those_that_units_keep() {
    let folder = tempfile::tempdir().unwrap();
    let store = harvested(folder.path(), &options());
    let without = HarvestOptions { codes: Keep::None, ..options() };
    let other = tempfile::tempdir().unwrap();
    let statistics_alone = harvested(other.path(), &without);
    let codes = all_codes(&saes()[1]);
    let mut refused = 0;
    for feature in 0..24 {
        let expected = best_contexts(&codes, feature, |_| true);
        for count in [1, 2, 5, 40] {
            let found = store.examples("0.mlp_out", feature, count).unwrap();
            let own: Vec<u64> = found.peaks.iter().map(|peak| peak.context).collect();
            let best: Vec<u64> = expected.iter().take(count).map(|(context, _)| *context).collect();
            assert_eq!(own, best, "{count} of feature {feature}");
            for peak in &found.peaks {
                let row = peak.context as usize * 6 + peak.position as usize;
                let value = codes.row(row).find(|(own, _)| *own as usize == feature).unwrap().1;
                assert!((peak.value - value).abs() < 1e-4);
            }
            // Without codes the answer is the same or none.
            match statistics_alone.examples("0.mlp_out", feature, count) {
                Ok(same) => assert_eq!(same, found),
                Err(error) => {
                    assert!(error.to_string().contains("were not kept"), "{error}");
                    refused += 1;
                }
            }
        }
        assert!(statistics_alone.examples("0.mlp_out", feature, 2).is_ok(), "as many as are kept");
    }
    assert!(refused > 0);
}

#[test]
fn occurrences_and_pairs_are_those_of_the_codes() {
    let folder = tempfile::tempdir().unwrap();
    let store = harvested(folder.path(), &options());
    let codes = all_codes(&saes()[0]);
    let features = [3usize, 17, 4];
    let found = store.occurrences("1.mlp_in", &features).unwrap();
    let expected: Vec<(usize, Vec<(u32, f32)>)> = (0..300)
        .map(|row| {
            (row, codes.row(row).filter(|own| features.contains(&(own.0 as usize))).collect())
        })
        .filter(|(_, own): &(usize, Vec<_>)| !own.is_empty())
        .collect();
    assert_eq!(found.codes.rows(), expected.len());
    for (at, (row, own)) in expected.iter().enumerate() {
        assert_eq!(found.contexts[at] as usize * 6 + found.positions[at] as usize, *row);
        let features: Vec<u32> = found.codes.row(at).map(|(feature, _)| feature).collect();
        assert_eq!(features, own.iter().map(|(feature, _)| *feature).collect::<Vec<_>>());
    }
    let pairs = store.cooccurrence("1.mlp_in", &features).unwrap().to_vec2::<f64>().unwrap();
    for (i, a) in features.iter().enumerate() {
        for (j, b) in features.iter().enumerate() {
            let both = |row: usize| {
                [a, b]
                    .iter()
                    .all(|own| codes.row(row).any(|(feature, _)| feature as usize == **own))
            };
            assert_eq!(pairs[i][j], (0..300).filter(|row| both(*row)).count() as f64);
        }
    }
}

#[test]
fn tokens_that_are_skipped_leave_nothing_but_their_row() {
    let folder = tempfile::tempdir().unwrap();
    let skipped: Vec<u32> = contexts().as_slice().iter().step_by(5).copied().collect();
    let options = HarvestOptions { skip_tokens: skipped.clone(), ..options() };
    let store = harvested(folder.path(), &options);
    let is_kept = |row: usize| !skipped.contains(&contexts().as_slice()[row]);
    let kept: Vec<usize> = (0..300).filter(|row| is_kept(*row)).collect();
    assert_eq!(store.tokens() as usize, kept.len());
    let rows: Vec<Tensor> = store
        .shuffled(POINT, &ShuffleOptions::default())
        .unwrap()
        .collect::<crate::Result<_>>()
        .unwrap();
    let rows = Tensor::cat(&rows, 0).unwrap().to_vec2::<f32>().unwrap();
    let all = all_rows(&model(), POINT);
    assert!(close(&sorted(rows), &sorted(kept.iter().map(|row| all[*row].clone()).collect())));
    let codes = all_codes(&saes()[0]);
    let table = store.table("1.mlp_in").unwrap();
    for feature in 0..24 {
        let values = codes.feature(feature).unwrap();
        let active = kept.iter().filter(|row| values[**row] > 0.0).count();
        let density = table.statistics().unwrap().density[feature];
        assert!((density - active as f32 / kept.len() as f32).abs() < 1e-6);
        let best = best_contexts(&codes, feature, is_kept);
        let found = store.examples("1.mlp_in", feature, 4).unwrap();
        let own: Vec<u64> = found.peaks.iter().map(|peak| peak.context).collect();
        assert_eq!(own, best.iter().take(4).map(|(context, _)| *context).collect::<Vec<_>>());
    }
}

#[test]
fn shares_keep_whole_contexts_and_statistics_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        HarvestOptions { activations: Keep::Share(0.4), codes: Keep::Share(0.3), ..options() };
    let store = harvested(folder.path(), &options);
    let whole = tempfile::tempdir().unwrap();
    let all = harvested(whole.path(), &self::options());
    let rows = store.shuffled(POINT, &ShuffleOptions::default()).unwrap().rows();
    assert!(rows.is_multiple_of(6) && (60..180).contains(&rows), "{rows}");
    let found = store.occurrences("1.mlp_in", &(0..24).collect::<Vec<_>>()).unwrap();
    let mut per_context = BTreeMap::new();
    found.contexts.iter().for_each(|context| *per_context.entry(*context).or_insert(0) += 1);
    assert!((5..30).contains(&per_context.len()) && per_context.values().all(|rows| *rows == 6));
    for key in ["1.mlp_in", "0.mlp_out"] {
        let (some, all) = (store.table(key).unwrap(), all.table(key).unwrap());
        let histograms = |table: &FeatureTable| table.statistics().unwrap().histograms.to_vec();
        assert_eq!(histograms(&some), histograms(&all));
    }
}

#[test]
fn half_precision_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let model = model().to_dtype(DType::BF16).unwrap();
    let store = Store::harvest(folder.path(), &model, &saes(), &contexts(), &options()).unwrap();
    let rows: Vec<Tensor> = store
        .shuffled(POINT, &ShuffleOptions::default())
        .unwrap()
        .collect::<crate::Result<_>>()
        .unwrap();
    assert!(rows.iter().all(|rows| rows.dtype() == DType::BF16));
    let rows = Tensor::cat(&rows, 0).unwrap().to_dtype(DType::F32).unwrap().to_vec2().unwrap();
    let (rows, expected) = (sorted(rows), sorted(all_rows(&model, POINT)));
    let far = rows.iter().flatten().zip(expected.iter().flatten());
    let far = far.filter(|(a, b)| (*a - *b).abs() > 0.05 * b.abs().max(1.0)).count();
    assert!(far < 24, "{far} of {} are more than a few roundings apart", rows.len() * 8);
    let options = SaeOptions { steps: 3, batch: 50, ..SaeOptions::default() };
    let (sae, _) = Sae::fit_stored(&store, POINT, &options).unwrap();
    assert_eq!(sae.origin().training.dtype.as_deref(), Some("bfloat16"));
}

#[test]
fn a_fit_of_a_store_leaves_open_whether_contexts_began_with_a_bos_token() {
    let folder = tempfile::tempdir().unwrap();
    let store = harvested(folder.path(), &options());
    let options = SaeOptions { steps: 3, length: 6, buffer: 300, ..fit_options() };
    let (stored, _) = Sae::fit_stored(&store, POINT, &options).unwrap();
    let text = crate::data::text::Tokens::from(contexts().as_slice().to_vec());
    let (plain, _) = Sae::fit(&model(), POINT, &text, &options).unwrap();
    let began = |sae: &Sae| sae.origin().training.prepend_bos;
    assert_eq!((began(&stored), began(&plain)), (None, Some(false)));
    let place = folder.path().join("stored-sae");
    stored.save(&place).unwrap();
    let back = Sae::load(&place, &Device::Cpu).unwrap();
    assert_eq!((began(&back), back.origin().training.context_size), (None, Some(6)));
}

fn fit_options() -> SaeOptions {
    SaeOptions {
        expansion: 4,
        k: 3,
        steps: 90,
        batch: 64,
        report: 30,
        learning_rate: 0.01,
        on_stop: OnStop::ReturnPartial,
        ..SaeOptions::default()
    }
}

#[test]
fn a_fit_of_a_store_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = harvested(folder.path(), &options());
    // A step of 64 of 300 rows: the breaks are in the middle of piles and of passes.
    assert_resumes(&[(40, 30), (61, 60), (89, 60)], 90, |checkpoint| {
        let options = SaeOptions { checkpoint, ..fit_options() };
        let (sae, history): (Sae, History) = Sae::fit_stored(&store, POINT, &options).unwrap();
        (history, sae.w_dec().to_vec2::<f32>().unwrap())
    });
}

#[test]
fn a_fit_of_a_store_is_as_good_as_one_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let store = harvested(folder.path(), &options());
    for objective in [Objective::TopK, Objective::Standard { l1: 0.3 }] {
        let options =
            SaeOptions { objective: objective.clone(), steps: 600, report: 300, ..fit_options() };
        let text = crate::data::text::Tokens::from(contexts().as_slice().to_vec());
        let options = SaeOptions { length: 6, buffer: 300, ..options };
        let (stored, _) = Sae::fit_stored(&store, POINT, &options).unwrap();
        let (plain, _) = Sae::fit(&model(), POINT, &text, &options).unwrap();
        let rows = all_rows(&model(), POINT);
        let x = Tensor::new(rows, &Device::Cpu).unwrap();
        let (stored, plain) = (stored.check(&x).unwrap().fvu, plain.check(&x).unwrap().fvu);
        assert!(
            stored < 1.1 * plain,
            "{objective:?}: {stored} from the store, {plain} from the model"
        );
    }
}

#[test]
fn a_transcoder_reads_pairs_of_rows() {
    let folder = tempfile::tempdir().unwrap();
    let store = harvested(folder.path(), &options());
    let options = SaeOptions { target: Some(HookPoint::MlpIn(1)), ..fit_options() };
    let (sae, history) = Sae::fit_stored(&store, POINT, &options).unwrap();
    assert!(sae.architecture().transcoder);
    let nmse = history.column("nmse").unwrap();
    // Rows that did not belong together could not be predicted better than by their mean.
    assert!(nmse[nmse.len() - 1] < 0.7, "{nmse:?}");
}

//! Clouds held against dense codes, a model and a store.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::data::text::Tokenizer;
use crate::features::Clusters;
use crate::geometry::MixtureOptions;
use crate::harvest::tests::{contexts, model, sae};
use crate::harvest::{HarvestOptions, Store};
use crate::linalg::pca;
use crate::model::HookPoint;
use crate::progress::{OnStop, in_background};
use crate::random::Rng;

/// Sparse codes of 40 rows over 9 features, some of the rows empty, and a decoder `[9, 6]`.
fn sample() -> (Codes, Tensor) {
    let mut rng = Rng::seed(5);
    let rows = (0..40).map(|row| {
        let active = (0..9u32).filter(|feature| row % 5 != 3 && (row * 7 + feature * 5) % 4 == 0);
        active.map(|feature| (feature, rng.unit() * 4.0 - 1.0)).collect::<Vec<_>>()
    });
    let codes = Codes::new(9, rows.collect::<Vec<_>>()).unwrap();
    let decoder = rng.normal((9, 6), &Device::Cpu).unwrap();
    (codes, decoder)
}

const MEMBERS: [usize; 4] = [7, 2, 3, 8];

fn cloud() -> FeatureCloud {
    let (codes, decoder) = sample();
    FeatureCloud::from_codes(&codes, &decoder, &MEMBERS, &CloudOptions::default()).unwrap()
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
    let gap = (wide(a) - wide(b)).unwrap().abs().unwrap();
    gap.flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

#[test]
fn points_are_dense_codes_times_the_decoder() {
    let (codes, decoder) = sample();
    let cloud = cloud();
    let dense = codes.to_dense(&Device::Cpu).unwrap();
    let index = Tensor::new(MEMBERS.map(|member| member as u32).as_slice(), &Device::Cpu).unwrap();
    let own = dense.index_select(&index, 1).unwrap();
    let all = own.matmul(&decoder.index_select(&index, 0).unwrap()).unwrap();
    let rows: Vec<u32> = cloud.tokens().iter().map(|token| *token as u32).collect();
    let expected = all.index_select(&Tensor::new(rows, &Device::Cpu).unwrap(), 0).unwrap();
    assert!(gap(&cloud.points().unwrap(), &expected) < 1e-6);
    let active = own.ne(0f32).unwrap().to_vec2::<u8>().unwrap();
    let active = active.iter().enumerate().filter(|(_, row)| row.contains(&1)).map(|(row, _)| row);
    assert!(active.eq(cloud.tokens().iter().copied()));
    let text = cloud.to_string();
    assert!(text.contains("points of 4 features (7, 2, 3, 8) in 6 dimensions"), "{text}");
}

#[test]
fn components_are_those_of_the_points() {
    for (members, k) in
        [(&MEMBERS[..], 3), (&MEMBERS[..2], 2), (&[0, 1, 2, 3, 4, 5, 6, 7, 8][..], 5)]
    {
        let (codes, decoder) = sample();
        let cloud =
            FeatureCloud::from_codes(&codes, &decoder, members, &CloudOptions::default()).unwrap();
        let found = cloud.pca(k).unwrap();
        let expected = pca(&cloud.points().unwrap(), k).unwrap();
        assert!(gap(&found.components, &expected.components) < 1e-5, "{members:?}");
        assert!(gap(&found.scores, &expected.scores) < 1e-5);
        assert!(gap(&found.mean, &expected.mean) < 1e-6);
        for (a, b) in found.explained.iter().zip(&expected.explained) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
        for (a, b) in found.variances.iter().zip(&expected.variances) {
            assert!((a - b).abs() < 1e-6 * expected.variances[0], "{a} {b}");
        }
    }
    // Two columns that are one: the second component has no variance.
    let twice = Tensor::new(&[[1f32, 0.0], [1.0, 0.0]], &Device::Cpu).unwrap();
    let codes = Codes::new(2, (0..5).map(|i| vec![(0, i as f32), (1, 1.0)])).unwrap();
    let options = CloudOptions::default();
    let line = FeatureCloud::from_codes(&codes, &twice, &[0, 1], &options).unwrap();
    assert!(line.pca(2).unwrap().explained[1] < 1e-12);
}

#[test]
fn features_count_above_a_bar_and_up_to_a_limit() {
    let (codes, decoder) = sample();
    let with = |options: CloudOptions| {
        FeatureCloud::from_codes(&codes, &decoder, &MEMBERS, &options).unwrap()
    };
    let above = with(CloudOptions { above: Some(1.0), ..CloudOptions::default() });
    assert!(above.len() < cloud().len() && !above.is_empty());
    for row in 0..above.len() {
        assert!(above.codes().row(row).all(|(_, value)| value > 1.0));
    }
    let few = with(CloudOptions { limit: 3, ..CloudOptions::default() });
    assert_eq!(few.tokens(), &cloud().tokens()[..3]);
}

#[test]
fn the_original_files_a_row_under_the_next_active_token() {
    // Active at 0, 2 and 5; of the cluster at 0 and 5 alone.
    let rows = vec![vec![(0, 1.0)], vec![], vec![(1, 2.0)], vec![], vec![], vec![(0, 3.0)]];
    let codes = Codes::new(2, rows).unwrap();
    let decoder = Tensor::new(&[[1f32], [1.0]], &Device::Cpu).unwrap();
    let tokens = |filing: Filing| {
        let options = CloudOptions { filing, ..CloudOptions::default() };
        let cloud = FeatureCloud::from_codes(&codes, &decoder, &[0], &options).unwrap();
        cloud.tokens().to_vec()
    };
    assert_eq!(tokens(Filing::Own), [0, 5]);
    assert_eq!(tokens(Filing::Original { compensate: 0 }), [2]);
    assert_eq!(tokens(Filing::Original { compensate: 1 }), [1]);
}

#[test]
fn one_pass_finds_what_each_store_and_all_codes_have() {
    let own = sae(HookPoint::MlpIn(1), 1);
    let text = contexts();
    let clusters = Clusters::new(24, [vec![3, 1, 7], vec![0], vec![2, 9, 11, 23]]).unwrap();
    let options = CloudOptions { batch: 7, ..CloudOptions::default() };
    let clouds =
        FeatureCloud::collect(&model(), &own, &text, &clusters, &[2, 0], &options).unwrap();
    assert_eq!(
        clouds.iter().map(FeatureCloud::name).collect::<Vec<_>>(),
        ["cluster 2", "cluster 0"]
    );
    let tokens = text.batch(0, 50, &Device::Cpu).unwrap();
    let point = own.point().unwrap();
    let codes = own.encode(model().activations(&tokens, &[point]).unwrap().get(point).unwrap());
    let decoder = own.w_dec().t().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let harvest = HarvestOptions { unit: Some(7), batch: 3, loss: false, ..Default::default() };
    let store = {
        let saes = std::slice::from_ref(&own);
        Store::harvest(folder.path(), &model(), saes, &text, &harvest).unwrap()
    };
    let key = store.run().saes[0].key.clone();
    let codes = codes.unwrap();
    for (cluster, cloud) in [2, 0].into_iter().zip(&clouds) {
        let members = clusters.get(cluster).unwrap();
        let expected = FeatureCloud::from_codes(&codes, &decoder, members, &options).unwrap();
        assert!(!expected.is_empty());
        let stored =
            FeatureCloud::from_store(&store, &key, &own, &text, members, &options).unwrap();
        for found in [cloud, &stored] {
            assert_eq!(found.tokens(), expected.tokens());
            assert!(gap(&found.points().unwrap(), &expected.points().unwrap()) < 1e-4);
            let ids = found.token_ids().unwrap();
            let id = |token: &usize| text.as_slice()[*token];
            assert!(ids.iter().copied().eq(found.tokens().iter().map(id)));
        }
    }
    let skipped = text.as_slice()[clouds[0].tokens()[0]];
    let without = CloudOptions { skip_tokens: vec![skipped], ..options.clone() };
    let fewer = FeatureCloud::collect(&model(), &own, &text, &clusters, &[2], &without).unwrap();
    assert!(!fewer[0].token_ids().unwrap().contains(&skipped) && fewer[0].len() < clouds[0].len());
    // Bad requests.
    let collect = |which: &[usize]| {
        FeatureCloud::collect(&model(), &own, &text, &clusters, which, &options)
            .unwrap_err()
            .to_string()
    };
    assert!(collect(&[3]).contains("below 3"));
    assert!(collect(&[]).contains("at least one"));
    assert!(collect(&[1, 1]).contains("0 twice"));
    let original = CloudOptions { filing: Filing::Original { compensate: 0 }, ..options.clone() };
    let error = FeatureCloud::from_store(&store, &key, &own, &text, &[1], &original).unwrap_err();
    assert!(error.to_string().contains("`filing`"), "{error}");
    let other = Contexts::new(5, vec![0; 10]).unwrap();
    let error = FeatureCloud::from_store(&store, &key, &own, &other, &[1], &options).unwrap_err();
    assert!(error.to_string().contains("50 of 6 tokens"), "{error}");
}

#[test]
fn a_pass_that_was_cut_off_ends_as_an_undisturbed_one() {
    let (own, text) = (sae(HookPoint::MlpIn(1), 1), contexts());
    let clusters = Clusters::new(24, [vec![3, 1, 7], vec![0], vec![2, 9, 11, 23]]).unwrap();
    let collect = |options: &CloudOptions| {
        FeatureCloud::collect(&model(), &own, &text, &clusters, &[2, 0], options)
    };
    let flat = |clouds: &[FeatureCloud]| {
        let rows = |cloud: &FeatureCloud| {
            let codes = (0..cloud.len()).map(|row| cloud.codes().row(row).collect());
            (cloud.tokens().to_vec(), codes.collect::<Vec<Vec<(u32, f32)>>>())
        };
        clouds.iter().map(rows).collect::<Vec<_>>()
    };
    let pressed = Arc::new(AtomicBool::new(true));
    for filing in [Filing::Own, Filing::Original { compensate: 0 }] {
        let folder = tempfile::tempdir().unwrap();
        let plain = CloudOptions { batch: 7, save_every: 3, filing, ..CloudOptions::default() };
        let kept = CloudOptions { checkpoint: Some(folder.path().to_owned()), ..plain.clone() };
        let undisturbed = flat(&collect(&plain).unwrap());
        // Stop ends a call after its first batch: each goes on from the one before.
        let mut stops = 0;
        let clouds = loop {
            match in_background(&pressed, || collect(&kept)) {
                Ok(clouds) => break clouds,
                Err(error) => {
                    assert!(error.to_string().contains("the same call goes on"), "{error}");
                    stops += 1;
                }
            }
        };
        assert_eq!((stops, flat(&clouds)), (7, undisturbed.clone()));
        // The same call finds the answer.
        assert_eq!(flat(&collect(&kept).unwrap()), undisturbed);
        let partial = CloudOptions { on_stop: OnStop::ReturnPartial, limit: 9, ..kept };
        let few = in_background(&pressed, || collect(&partial)).unwrap();
        assert!(few[0].was_stopped() || few.iter().all(|cloud| cloud.len() == 9));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

#[test]
fn a_file_of_other_clouds_and_a_damaged_one_are_refused_in_words() {
    let (own, text) = (sae(HookPoint::MlpIn(1), 1), contexts());
    let clusters = Clusters::new(24, [vec![3, 1, 7], vec![0]]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kept = CloudOptions { checkpoint: Some(folder.path().to_owned()), ..Default::default() };
    let collect = |which: &[usize], options: &CloudOptions| {
        FeatureCloud::collect(&model(), &own, &text, &clusters, which, options).map(drop)
    };
    let files = || {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    collect(&[0], &kept).unwrap();
    let path = files().remove(0);
    let whole = std::fs::read(&path).unwrap();
    let limited = CloudOptions { limit: 5, ..kept.clone() };
    for (which, options, words) in [
        (&[1][..], &kept, "the clusters of this call"),
        (&[0], &limited, "`limit` of this call, 5"),
    ] {
        collect(which, options).unwrap();
        let other = files().into_iter().find(|other| *other != path).unwrap();
        std::fs::copy(&path, &other).unwrap();
        let error = collect(which, options).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("another `checkpoint`"), "{error}");
        std::fs::remove_file(other).unwrap();
    }
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).unwrap();
        let error = collect(&[0], &kept).unwrap_err().to_string();
        assert!(error.contains("clouds-"), "{at}: {error}");
        std::fs::write(&path, &whole[..at]).unwrap();
        assert!(collect(&[0], &kept).is_err());
    }
    let none = CloudOptions { save_every: 0, ..kept.clone() };
    assert!(collect(&[0], &none).unwrap_err().to_string().contains("`save_every`"));
    let (codes, decoder) = sample();
    let error = FeatureCloud::from_codes(&codes, &decoder, &MEMBERS, &kept).unwrap_err();
    assert!(error.to_string().contains("`checkpoint` must be none"), "{error}");
}

/// A text of days, two contexts of eight tokens, and a cloud of all its tokens.
fn days() -> (FeatureCloud, Tokenizer) {
    let text = "on Monday and on Tuesday <b> on Monday we met";
    let tokenizer = Tokenizer::train([text; 40], 300).unwrap();
    let mut ids = tokenizer.encode_plain(text).unwrap();
    ids.truncate(ids.len() - ids.len() % 2);
    let contexts = Contexts::new(ids.len() / 2, ids.clone()).unwrap();
    let rows = (0..ids.len()).map(|i| vec![(0, 1.0 + i as f32), (1, 1.0)]);
    let codes = Codes::new(2, rows).unwrap();
    let decoder = Tensor::eye(2, DType::F32, &Device::Cpu).unwrap();
    let options = CloudOptions::default();
    let cloud = FeatureCloud::from_codes(&codes, &decoder, &[0, 1], &options).unwrap();
    (cloud.with_text(&contexts, Some(&tokenizer)).unwrap(), tokenizer)
}

#[test]
fn points_have_tokens_contexts_and_labels() {
    let (cloud, tokenizer) = days();
    let half = cloud.len() / 2;
    let monday = (0..cloud.len()).find(|i| cloud.token(*i).unwrap().trim() == "Monday").unwrap();
    let window = cloud.context(monday).unwrap();
    assert_eq!(window.token.trim(), "Monday");
    assert!(window.to_string().contains("Monday»"), "{window}");
    // A context ends where the next begins.
    assert_eq!(cloud.context(half - 1).unwrap().after, "");
    assert_eq!(cloud.context(half).unwrap().before, "");
    let labelled = cloud.clone().label_with(&TokenClasses::weekdays()).unwrap();
    let labels = labelled.labels().unwrap();
    assert_eq!((labels.counts()[0], labels.counts()[1]), (2, 1), "{labels}");
    assert_eq!(labels.of_points()[monday], Some(0));
    let by_length =
        |token: &str| (token.len() > 4).then(|| format!("{} letters", token.trim().len()));
    let by_length = cloud.clone().label_by(by_length).unwrap();
    assert_eq!(by_length.labels().unwrap().names()[0], "6 letters");
    let common = cloud.clone().label_by_common_tokens(2).unwrap();
    let counts = common.labels().unwrap().counts();
    assert!(counts[0] >= counts[1] && counts[1] > 0);
    let next = cloud.clone().label_by_next_tokens(100).unwrap();
    let next = next.labels().unwrap();
    assert_eq!((next.of_points()[half - 1], next.of_points()[cloud.len() - 1]), (None, None));
    let first = next.of_points()[0].unwrap() as usize;
    let id = cloud.token_ids().unwrap()[1];
    assert_eq!(next.names()[first], tokenizer.visible(id).unwrap());
    let shares = cloud.clone().with_labels(vec!["a".into()], vec![Some(0); cloud.len()]).unwrap();
    assert_eq!(shares.labels().unwrap().counts(), [cloud.len()]);
}

#[test]
fn what_a_cloud_does_not_have_is_named() {
    let (codes, decoder) = sample();
    let message = |members: &[usize], decoder: &Tensor| {
        FeatureCloud::from_codes(&codes, decoder, members, &CloudOptions::default())
            .unwrap_err()
            .to_string()
    };
    assert!(message(&[], &decoder).contains("at least one"));
    assert!(message(&[9], &decoder).contains("below 9"));
    assert!(message(&[4, 4], &decoder).contains("4 twice"));
    assert!(message(&[1], &decoder.t().unwrap()).contains("[9, d]"));
    assert!(message(&[1], &(&decoder / 0.0).unwrap()).contains("NaN or infinite"));
    let cloud = cloud();
    assert!(cloud.token(0).unwrap_err().to_string().contains("with_text"));
    assert!(cloud.clone().label_with(&TokenClasses::months()).is_err());
    let short = Contexts::new(2, vec![0; 4]).unwrap();
    assert!(cloud.clone().with_text(&short, None).unwrap_err().to_string().contains("more than"));
    let long = Contexts::new(2, vec![0; 40]).unwrap();
    let without = cloud.clone().with_text(&long, None).unwrap();
    assert!(without.context(0).unwrap_err().to_string().contains("tokenizer"));
    assert!(cloud.pca(5).unwrap_err().to_string().contains("at most 4, the features"));
    assert!(
        cloud.clone().with_labels(vec![], vec![None]).unwrap_err().to_string().contains("one a")
    );
    let empty = Codes::new(9, vec![vec![]; 3]).unwrap();
    let options = CloudOptions::default();
    let empty = FeatureCloud::from_codes(&empty, &decoder, &[1, 2], &options).unwrap();
    assert!(empty.points().unwrap_err().to_string().contains("not active"));
    let one = FeatureCloud::from_codes(&codes, &decoder, &[1], &options).unwrap();
    let error = one.reducibility(&MixtureOptions::default()).unwrap_err().to_string();
    assert!(error.contains("at least 2 features"), "{error}");
    assert!(one.mean_cosine().is_err());
}

#[test]
fn planes_are_measured_and_scored_both_ways() {
    let mut rng = Rng::seed(1);
    let noise: Vec<f32> = rng.normal(300, &Device::Cpu).unwrap().to_vec1().unwrap();
    let rows = (0..300).map(|i| {
        let (sin, cos) = (i as f32).sin_cos();
        vec![(0, 3.0 * cos), (1, 3.0 * sin), (2, 0.1 * noise[i])]
    });
    let codes = Codes::new(3, rows).unwrap();
    let decoder = Tensor::eye(3, DType::F32, &Device::Cpu).unwrap();
    let options = CloudOptions::default();
    let cloud = FeatureCloud::from_codes(&codes, &decoder, &[0, 1, 2], &options).unwrap();
    let quick = MixtureOptions { steps: 100, directions: 600, restarts: 1, ..Default::default() };
    let found = cloud.reducibility(&quick).unwrap();
    assert_eq!((found.planes().len(), found.best().first), (2, 0), "{found}");
    let scores: Vec<f64> = found.planes().iter().map(CloudPlane::score).collect();
    assert_eq!(found.score(), scores[0].max(scores[1]));
    assert!(found.planes().iter().all(|plane| plane.score_at_least() <= plane.score()));
    assert!((found.published_score() - (scores[0] + scores[1]) / 3.0).abs() < 1e-12);
    assert!(found.to_string().contains("components"), "{found}");
}

//! Configurations of the wild, and names that must not matter.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};

use super::saelens_fields;
use crate::data::text::Tokens;
use crate::hub::Repository;
use crate::hub::tests::Server;
use crate::model::{Config, Decoder, HookPoint};
use crate::random::Rng;
use crate::sae::{
    ExcludedTokens, Family, Note, PositionSlice, Sae, SaeActivation, SaeLoader, SaeOptions,
    TrainingRecord,
};
use crate::store::{save_exactly, zipped};

const D: usize = 8;
const M: usize = 16;

fn normal(rng: &mut Rng, shape: &[usize]) -> Tensor {
    rng.normal(shape, &Device::Cpu).unwrap()
}

fn write(folder: &Path, config: (&str, &Value), tensors: (&str, Vec<(&str, Tensor)>)) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(config.0), config.1.to_string()).unwrap();
    let named = tensors.1.into_iter().map(|(name, tensor)| (name.to_owned(), tensor));
    save_exactly(&folder.join(tensors.0), &named.collect::<HashMap<_, _>>()).unwrap();
}

/// Writes an autoencoder of 8 dimensions in SAELens's layout, with `fields` beside its sizes.
pub(crate) fn saelens(folder: &Path, fields: Value) {
    saelens_with(folder, fields, Vec::new());
}

fn saelens_with(folder: &Path, fields: Value, more: Vec<(&'static str, Tensor)>) {
    let mut config = json!({"d_in": D, "d_sae": M});
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let mut rng = Rng::seed(4);
    let mut tensors = vec![
        ("W_enc", normal(&mut rng, &[D, M])),
        ("b_enc", normal(&mut rng, &[M])),
        ("W_dec", normal(&mut rng, &[M, D])),
        ("b_dec", normal(&mut rng, &[D])),
    ];
    tensors.extend(more);
    write(folder, ("cfg.json", &config), ("sae_weights.safetensors", tensors));
}

fn sparsify(folder: &Path, fields: Value) {
    let mut config = json!({"d_in": D, "expansion_factor": 2, "k": 3});
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let mut rng = Rng::seed(4);
    let tensors = vec![
        ("encoder.weight", normal(&mut rng, &[M, D])),
        ("encoder.bias", normal(&mut rng, &[M])),
        ("W_dec", normal(&mut rng, &[M, D])),
        ("b_dec", normal(&mut rng, &[D])),
    ];
    write(folder, ("cfg.json", &config), ("sae.safetensors", tensors));
}

fn load(folder: &Path) -> crate::Result<Sae> {
    Sae::load(folder, &Device::Cpu)
}

fn x() -> Tensor {
    normal(&mut Rng::seed(9), &[5, D])
}

fn dense(sae: &Sae) -> Vec<Vec<f32>> {
    sae.encode(&x()).unwrap().to_dense(&Device::Cpu).unwrap().to_vec2().unwrap()
}

#[test]
fn a_config_of_saelens_first_releases_loads() {
    let folder = tempfile::tempdir().unwrap();
    saelens(
        folder.path(),
        json!({
            "model_name": "gpt2-small", "hook_point": "blocks.0.hook_resid_pre",
            "hook_point_layer": 0, "hook_point_head_index": null,
            "dataset_path": "Skylion007/openwebtext", "is_dataset_tokenized": false,
            "context_size": 128, "use_cached_activations": false,
            "cached_activations_path": "activations/x", "n_batches_in_buffer": 128,
            "total_training_tokens": 300_000_000, "store_batch_size": 32, "device": "mps",
            "seed": 42, "dtype": "torch.float32", "b_dec_init_method": "geometric_median",
            "expansion_factor": 32, "from_pretrained_path": null, "l1_coefficient": 8e-05,
            "lr": 0.0004, "lr_scheduler_name": null, "lr_warm_up_steps": 5000,
            "train_batch_size": 4096, "use_ghost_grads": false, "feature_sampling_window": 1000,
            "feature_sampling_method": null, "resample_batches": 1028,
            "feature_reinit_scale": 0.2, "dead_feature_window": 5000,
            "dead_feature_estimation_method": "no_fire", "dead_feature_threshold": 1e-08,
            "log_to_wandb": true, "wandb_project": "p", "wandb_entity": null,
            "wandb_log_frequency": 100, "n_checkpoints": 10, "checkpoint_path": "c",
            "tokens_per_buffer": 67_108_864, "run_name": "r",
        }),
    );
    let sae = load(folder.path()).unwrap();
    assert_eq!(sae.architecture().activation, SaeActivation::Relu);
    assert!(sae.architecture().centred);
    assert_eq!(sae.point().unwrap(), HookPoint::ResidPre(0));
    assert_eq!(sae.origin().training.context_size, Some(128));
    assert_eq!(sae.origin().notes, []);
}

#[test]
fn every_training_field_passes_in_one_config() {
    let folder = tempfile::tempdir().unwrap();
    let fields = saelens_fields::HARMLESS.map(|name| (name.to_owned(), json!("a value")));
    saelens(folder.path(), Value::Object(fields.into_iter().collect()));
    assert_eq!(load(folder.path()).unwrap().origin().notes, []);
}

#[test]
fn fields_that_are_off_pass_and_unknown_ones_are_named_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    saelens(
        path,
        json!({
            "my_lab_note": null, "whiten": false, "extra": {}, "tags": [], "remark": "",
            "label_smoothing": 0.0, "activation_fn_kwargs": {"sparse": false},
        }),
    );
    load(path).unwrap();
    saelens(path, json!({"whiten": true, "glow": 3, "activation_fn_kwargs": {"slope": 0.1}}));
    let message = load(path).unwrap_err().to_string();
    for name in ["`whiten`: true", "`glow`: 3", "`activation_fn_kwargs.slope`: 0.1"] {
        assert!(message.contains(name), "{name} in {message}");
    }
    assert!(message.contains(".allow_unknown_fields()"), "{message}");
    let loader = SaeLoader::new().allow_unknown_fields();
    let sae = loader.load(path, &Device::Cpu).unwrap();
    let noted = sae.origin().notes[0].to_string();
    assert!(noted.contains("whiten: true") && noted.contains("glow: 3"), "{noted}");
    // What is known and cannot be done stays refused.
    saelens(path, json!({"activation_fn": "tanh-relu"}));
    assert!(loader.load(path, &Device::Cpu).unwrap_err().to_string().contains("tanh-relu"));
}

#[test]
fn a_list_in_the_place_of_an_object_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let refused = |path: &Path, found: &str| {
        let message = load(path).unwrap_err().to_string();
        assert!(message.contains(&format!("expected an object in {found}")), "{message}");
    };
    saelens(path, json!({"activation_fn": "topk", "activation_fn_kwargs": [16]}));
    refused(path, "`activation_fn_kwargs`, found [16]");
    saelens(path, json!({"metadata": [true]}));
    refused(path, "`metadata`, found [true]");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("ae.pt"), b"").unwrap();
    for (config, found) in [
        (json!({"trainer": [16]}), "`trainer`, found [16]"),
        (
            json!({"trainer": {"dict_class": "AutoEncoder"}, "buffer": [128]}),
            "`buffer`, found [128]",
        ),
    ] {
        fs::write(path.join("config.json"), config.to_string()).unwrap();
        refused(path, found);
    }
}

#[test]
fn two_names_of_a_field_that_say_two_things_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let k = |inner: usize| json!({"k": 3, "activation_fn": "topk", "activation_fn_kwargs": {"k": inner}});
    saelens(folder.path(), k(3));
    assert_eq!(load(folder.path()).unwrap().k(), Some(3));
    saelens(folder.path(), k(4));
    let message = load(folder.path()).unwrap_err().to_string();
    assert!(message.contains("the same in `k` and `activation_fn_kwargs.k`"), "{message}");
    saelens(
        folder.path(),
        json!({"hook_name": "blocks.0.hook_z", "hook_point": "blocks.1.hook_z"}),
    );
    let message = load(folder.path()).unwrap_err().to_string();
    assert!(message.contains("the same in `hook_name` and `hook_point`"), "{message}");
    let below = json!({
        "hook_point": "blocks.1.hook_z", "metadata": {"hook_name": "blocks.0.hook_z"},
    });
    saelens(folder.path(), below);
    let message = load(folder.path()).unwrap_err().to_string();
    let expected =
        "the same in `metadata.hook_name` and `hook_point`, found \"blocks.0.hook_z\" and";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn what_a_config_records_of_its_activations_is_kept_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let hook = "blocks.0.hook_resid_post";
    saelens(folder.path(), json!({"hook_name": hook, "prepend_bos": true, "context_size": 64}));
    let sae = load(folder.path()).unwrap();
    let training = &sae.origin().training;
    assert_eq!((training.prepend_bos, training.context_size), (Some(true), Some(64)));
    let text = sae.to_string();
    assert!(text.contains("contexts of 64 tokens that begin with a BOS token"), "{text}");

    // Version 6 has them one level down.
    let metadata = json!({
        "seqpos_slice": [1, null, null], "hook_head_index": 3, "exclude_special_tokens": true,
        "prepend_bos": false, "dtype": "bfloat16",
        "model_from_pretrained_kwargs": {"center_writing_weights": true, "fold_ln": false},
    });
    saelens(folder.path(), json!({"hook_name": hook, "metadata": metadata}));
    let sae = load(folder.path()).unwrap();
    let training = &sae.origin().training;
    assert_eq!(training.positions.unwrap().start, Some(1));
    assert_eq!(training.head, Some(3));
    assert_eq!(training.excluded_tokens, Some(ExcludedTokens::Special));
    let text = sae.to_string();
    for part in ["positions 1:", "head 3 alone", "without special tokens", "less their mean"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let message = sae.at(HookPoint::Z(0)).ablate(&[1]).unwrap_err().to_string();
    assert!(message.contains("head 3 alone"), "{message}");

    saelens(folder.path(), json!({"exclude_special_tokens": [0, 2], "seqpos_slice": [null]}));
    let training = load(folder.path()).unwrap().origin().training.clone();
    assert_eq!(training.excluded_tokens, Some(ExcludedTokens::Ids(vec![0, 2])));
    assert_eq!(training.positions, None);
    saelens(folder.path(), json!({"prepend_bos": "yes"}));
    assert!(load(folder.path()).unwrap_err().to_string().contains("prepend_bos"));
}

#[test]
fn the_oldest_configs_name_the_layer_apart() {
    let folder = tempfile::tempdir().unwrap();
    let hook = json!({"hook_point": "blocks.{layer}.hook_mlp_out", "hook_point_layer": 5});
    saelens(folder.path(), hook);
    assert_eq!(load(folder.path()).unwrap().point().unwrap(), HookPoint::MlpOut(5));
}

#[test]
fn fine_tuned_factors_multiply_the_decoders_columns() {
    let folder = tempfile::tempdir().unwrap();
    saelens(folder.path(), json!({}));
    let plain = load(folder.path()).unwrap();
    let factors: Vec<f32> = (0..M).map(|i| 0.5 + i as f32).collect();
    let tensor = || Tensor::new(factors.as_slice(), &Device::Cpu).unwrap();
    for name in ["scaling_factor", "finetuning_scaling_factor"] {
        let on = json!({"finetuning_scaling_factor": true});
        saelens_with(folder.path(), on, vec![(name, tensor())]);
        let tuned = load(folder.path()).unwrap();
        assert_eq!(dense(&tuned), dense(&plain));
        let scaled = plain.encode(&x()).unwrap().map(|i, value| Some(value * factors[i as usize]));
        let right = plain.decode(&scaled).unwrap();
        let gap = (tuned.reconstruct(&x()).unwrap() - right).unwrap().abs().unwrap();
        assert!(gap.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-4);
        saelens_with(folder.path(), json!({}), vec![(name, tensor())]);
        let message = load(folder.path()).unwrap_err().to_string();
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn a_fit_saves_what_was_true_of_its_training_and_gets_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { vocab: 9, context: 16, ..Config::bilinear(1, 2, 8, 16) };
    let own = Decoder::random(config, 0, &Device::Cpu).unwrap();
    own.save(folder.path().join("my-model")).unwrap();
    let path = folder.path().join("my-model");
    let model = Decoder::from_pretrained(path.to_str().unwrap(), &Device::Cpu).unwrap();
    let text = Tokens::from((0..90).map(|i| i * i % 9).collect::<Vec<u32>>());
    let options = SaeOptions {
        steps: 2,
        batch: 16,
        buffer: 32,
        length: 10,
        skip_tokens: vec![4],
        k: 2,
        ..SaeOptions::default()
    };
    let (sae, _) = Sae::fit(&model, HookPoint::MlpOut(0), &text, &options).unwrap();
    sae.save(folder.path().join("own")).unwrap();
    let text = fs::read(folder.path().join("own/cfg.json")).unwrap();
    let written: Value = serde_json::from_slice(&text).unwrap();
    let metadata = &written["metadata"];
    assert_eq!(metadata["prepend_bos"], json!(false));
    assert_eq!(metadata["context_size"], json!(10));
    assert_eq!(metadata["model_name"], json!("my-model"));
    assert_eq!(metadata["exclude_special_tokens"], json!([4]));
    let again = load(&folder.path().join("own")).unwrap();
    assert_eq!(again.origin().training, sae.origin().training);
    assert_eq!(again.origin().model.as_deref(), Some("my-model"));
    assert_eq!(again.check_model(&model), Vec::<String>::new());
}

#[test]
fn a_record_survives_saving_whole() {
    let folder = tempfile::tempdir().unwrap();
    saelens(folder.path(), json!({"hook_name": "blocks.2.attn.hook_z"}));
    let record = TrainingRecord {
        prepend_bos: Some(true),
        context_size: Some(64),
        positions: Some(PositionSlice { start: Some(1), stop: Some(-2), step: None }),
        head: Some(3),
        tuned_lens: true,
        reads: Some("the error".to_owned()),
        layers: Some(vec![0, 2]),
        excluded_tokens: Some(ExcludedTokens::Special),
        dtype: Some("bfloat16".to_owned()),
        model_options: [("fold_ln".to_owned(), "false".to_owned())].into(),
        dataset: Some("a/b".to_owned()),
    };
    let sae = load(folder.path()).unwrap().with_training_record(record.clone());
    sae.save(folder.path().join("again")).unwrap();
    assert_eq!(load(&folder.path().join("again")).unwrap().origin().training, record);
    // Nothing known: nothing said.
    let unknown = sae.with_training_record(TrainingRecord::default());
    unknown.save(folder.path().join("unknown")).unwrap();
    let text = fs::read_to_string(folder.path().join("unknown/cfg.json")).unwrap();
    assert!(!text.contains("prepend_bos") && !text.contains("context_size"), "{text}");
}

#[test]
fn signed_codes_of_sparsify_keep_their_signs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for off in [json!({}), json!({"signed": false}), json!({"signed": null})] {
        sparsify(path, off);
        let sae = load(path).unwrap();
        assert_eq!(sae.architecture().activation, SaeActivation::TopK { k: 3, relu: true });
    }
    let pre = load(path).unwrap().hidden_pre(&x()).unwrap().to_vec2::<f32>().unwrap();
    sparsify(path, json!({"signed": true}));
    let sae = load(path).unwrap();
    for (codes, pre) in dense(&sae).iter().zip(&pre) {
        let mut order: Vec<usize> = (0..M).collect();
        order.sort_by(|a, b| pre[*b].abs().total_cmp(&pre[*a].abs()));
        for (rank, i) in order.into_iter().enumerate() {
            assert!((codes[i] - if rank < 3 { pre[i] } else { 0.0 }).abs() < 1e-6);
        }
    }
    assert!(dense(&sae).iter().flatten().any(|value| *value < 0.0));
    assert!(sae.to_string().contains("signed"), "{sae}");
    for on in ["batch_topk", "embed_skip", "gram_lookup"] {
        sparsify(path, json!({on: true}));
        assert!(load(path).unwrap_err().to_string().contains(on));
    }
}

#[test]
fn a_users_folder_names_say_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["my_layer_3_topk_test", "batch.5", "layers.3-old", "run/layers.x", "h.2.mlp.bak"] {
        let path = folder.path().join(name);
        sparsify(&path, json!({}));
        let sae = load(&path).unwrap();
        assert_eq!((sae.origin().point, &sae.origin().hook), (None, &None), "{name}");
        assert!(matches!(sae.origin().notes[0], Note::NotInFiles(_)), "{sae}");
    }
    for (name, point) in [
        ("layers.3", HookPoint::ResidPost(3)),
        ("h.2.mlp", HookPoint::MlpOut(2)),
        ("gpt_neox.layers.1.attention", HookPoint::AttnOut(1)),
        ("embed_tokens", HookPoint::Embed),
    ] {
        let path = folder.path().join("any-layer_9").join(name);
        sparsify(&path, json!({}));
        let sae = load(&path).unwrap();
        assert_eq!(sae.point().unwrap(), point);
        let note = sae.origin().notes[0].to_string();
        assert!(note.contains(name) && note.contains("no file says it"), "{note}");
        // It is no reason to warn of what the autoencoder makes of activations.
        assert!(!sae.check(&x()).unwrap().to_string().contains(name));
    }
}

/// The `params.npz` of an autoencoder of 8 dimensions.
pub(crate) fn npz() -> Vec<u8> {
    let mut rng = Rng::seed(4);
    let array = |tensor: Tensor| {
        let shape: Vec<String> = tensor.dims().iter().map(|size| format!("{size},")).collect();
        let header =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({})}}", shape.concat());
        let mut bytes = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..]].concat();
        bytes.extend(header.as_bytes());
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    };
    let mut one = |shape: &[usize]| array(normal(&mut rng, shape));
    let arrays = [
        ("W_enc.npy", one(&[D, M])),
        ("W_dec.npy", one(&[M, D])),
        ("b_enc.npy", one(&[M])),
        ("b_dec.npy", one(&[D])),
        ("threshold.npy", one(&[M])),
    ];
    let files: Vec<(&str, &[u8])> = arrays.iter().map(|(name, bytes)| (*name, &**bytes)).collect();
    zipped(&files)
}

#[test]
fn gemma_scope_is_placed_by_the_published_names_alone() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = npz();
    let load = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("params.npz"), &bytes).unwrap();
        let (whole, file) = (load(&path).unwrap(), load(&path.join("params.npz")).unwrap());
        assert_eq!(whole.origin().point, file.origin().point, "{name}");
        whole
    };
    let plain = load("plain");
    for name in [
        "embedding",
        "my-res-embedding/layer_3",
        "transcoder_test/layer_4/width_16k/average_l0_5",
        "gemma-scope-2b-pt-res/layer_20_old/width_16k/average_l0_71",
        "gemma-scope-2b-pt-residual/layer_20/width_16k/average_l0_71",
        "gemma-scope-2b-pt-res/layer_20/width_16k/l0_71",
    ] {
        let sae = load(name);
        assert_eq!(sae.origin().point, None, "{name}");
        assert!(!sae.architecture().transcoder, "{name}");
        assert_eq!(dense(&sae), dense(&plain), "{name}");
    }
    for (name, point) in [
        ("gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71", HookPoint::ResidPost(20)),
        ("gemma-scope-9b-pt-att/layer_1/width_131k/canonical", HookPoint::Z(1)),
        (
            "models--google--gemma-scope-2b-pt-mlp/snapshots/c/layer_2/width_1m/average_l0_9",
            HookPoint::MlpOut(2),
        ),
        ("gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_8", HookPoint::MlpIn(3)),
    ] {
        let sae = load(name);
        assert_eq!(sae.point().unwrap(), point, "{name}");
        assert!(sae.to_string().contains("was read from the name"), "{sae}");
    }
    let embedding = load("gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6");
    let ratio = (plain.w_enc() / embedding.w_enc()).unwrap().flatten_all().unwrap();
    assert!((ratio.to_vec1::<f32>().unwrap()[0] - 8f32.sqrt()).abs() < 1e-5);
    assert!(embedding.to_string().contains("√d"), "{embedding}");
}

#[test]
fn gemma_scope_2_is_placed_by_its_configuration_before_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, config: Option<Value>| {
        let path = folder.path().join(name);
        let mut rng = Rng::seed(4);
        let tensors = vec![
            ("w_enc", normal(&mut rng, &[D, M])),
            ("w_dec", normal(&mut rng, &[M, D])),
            ("b_enc", normal(&mut rng, &[M])),
            ("b_dec", normal(&mut rng, &[D])),
            ("threshold", normal(&mut rng, &[M])),
        ];
        let value = config.clone().unwrap_or_default();
        super::tests::write(&path, ("config.json", &value), ("params.safetensors", tensors));
        if config.is_none() {
            fs::remove_file(path.join("config.json")).unwrap();
        }
        load(&path).unwrap()
    };
    let config = json!({
        "architecture": "jump_relu", "model_name": "google/gemma-3-1b-pt", "l0": 20, "width": M,
        "hf_hook_point_in": "model.layers.7.output", "hf_hook_point_out": "model.layers.7.output",
        "type": "sae", "affine_connection": false,
    });
    let name = "transcoder/layer_9_width_16k_l0_small";
    let said = write(name, Some(config));
    assert_eq!(said.point().unwrap(), HookPoint::ResidPost(7));
    assert!(!said.architecture().transcoder && said.origin().notes.is_empty(), "{said}");
    let named = write("resid_post_all/layer_9_width_262k_l0_big", None);
    assert_eq!(named.point().unwrap(), HookPoint::ResidPost(9));
    let neither = write("my_transcoder_layer_9/resid_post", None);
    assert_eq!((neither.origin().point, neither.architecture().transcoder), (None, false));
}

#[test]
fn inputs_are_centred_for_a_model_whose_training_weights_were() {
    let folder = tempfile::tempdir().unwrap();
    let options = json!({"center_writing_weights": true});
    saelens(folder.path(), json!({"model_from_pretrained_kwargs": options}));
    let sae = load(folder.path()).unwrap();
    assert!(sae.origin().notes[0].to_string().contains("with_centred_inputs"));
    let centred = sae.with_centred_inputs().unwrap();
    assert!(centred.origin().notes.is_empty(), "{centred}");
    // Any mean, taken off and put back.
    let shifted = (x() + 7.0).unwrap();
    let less = x().broadcast_sub(&x().mean_keepdim(1).unwrap()).unwrap();
    let codes = |sae: &Sae, x: &Tensor| sae.encode(x).unwrap().to_dense(&Device::Cpu).unwrap();
    let gap = |a: Tensor, b: Tensor| {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
    };
    assert!(gap(codes(&centred, &shifted), codes(&sae, &less)) < 1e-4);
    let mean = shifted.mean_keepdim(1).unwrap();
    let right = sae.reconstruct(&less).unwrap().broadcast_add(&mean).unwrap();
    assert!(gap(centred.reconstruct(&shifted).unwrap(), right) < 1e-4);
    centred.save(folder.path().join("again")).unwrap();
    let again = load(&folder.path().join("again")).unwrap();
    assert_eq!(again.origin().training, centred.origin().training);
    assert_eq!(again.architecture(), centred.architecture());
    assert!(again.origin().notes.is_empty(), "{again}");
}

#[test]
fn a_folder_of_the_hub_may_have_any_name() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let names = ["gpt2_blocks.0.hook_mlp_out_24576:v1", "l1 +5e-3/100% #1?", "模型/ä"];
    for name in names {
        saelens(&folder.path().join(name), json!({"hook_name": "blocks.1.hook_resid_post"}));
    }
    server.serve("o/s", folder.path());
    let repository = Repository::on(server.hub.clone(), "o/s");
    for name in names {
        let sae = Sae::from_repository(&repository, name, &Device::Cpu).unwrap();
        assert_eq!(sae.point().unwrap(), HookPoint::ResidPost(1), "{name}");
    }
}

#[test]
fn what_only_the_published_list_knows_is_taken_from_it() {
    let entry = |repository, path| crate::sae::registry::published(repository, path).unwrap();
    let qwen = entry("Qwen/SAE-Res-Qwen3-8B-Base-W64K-L0_50", "layer7.sae.pt").unwrap();
    assert_eq!((qwen.k, qwen.family), (Some(50), Family::QwenScope));
    assert!(entry("Qwen/SAE-Res-Qwen3-8B-Base-W64K-L0_50", "layer7").is_none());
    assert!(entry("./SAE-Res-Qwen3-8B-Base-W64K-L0_50", "layer7.sae.pt").is_none());
    let r1 = entry("fnlp/Llama-Scope-R1-Distill", "800M-Slimpajama-0-OpenR1-Math-220k/L0R");
    assert!(r1.unwrap().scale.is_some());
}

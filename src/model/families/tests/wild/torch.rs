//! Weights of `torch.save`, whole and split, here and on the hub.

use std::fs;

use candle_core::{DType, Tensor};
use serde_json::{Value, json};

use super::{
    CPU, Weights, every_family, folder, gap, gpt2, llama, load, loaded, logits, write_config,
};
use crate::hub::tests::Server;
use crate::hub::{Hub, Repository};
use crate::model::Decoder;
use crate::store::tests::sample::{legacy_torch_file, torch_file};

fn borrowed(weights: &Weights) -> Vec<(&str, Tensor)> {
    weights.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect()
}

/// Case 33.
#[test]
fn weights_of_torch_save_give_the_same_numbers_in_every_family() {
    for (config, weights) in every_family() {
        let expected = logits(&loaded(&config, &weights));
        let place = tempfile::tempdir().unwrap();
        write_config(place.path(), &config);
        let path = place.path().join("pytorch_model.bin");
        for write in [torch_file, legacy_torch_file] {
            fs::write(&path, write(&borrowed(&weights))).unwrap();
            let model = load(place.path()).unwrap();
            assert_eq!(logits(&model), expected, "{config}");
        }
        for (dtype, bound) in [(DType::F16, 0.02), (DType::BF16, 0.2)] {
            let half: Weights = weights
                .iter()
                .map(|(name, tensor)| (name.clone(), tensor.to_dtype(dtype).unwrap()))
                .collect();
            fs::write(&path, torch_file(&borrowed(&half))).unwrap();
            let model = load(place.path()).unwrap();
            assert_eq!(model.dtype(), DType::F32);
            assert!(gap(&logits(&model), &expected) < bound, "{dtype:?}");
        }
    }
}

#[test]
fn a_transposed_or_masked_tensor_of_torch_save_is_read_as_it_lies() {
    let (config, mut weights) = gpt2();
    let expected = logits(&loaded(&config, &weights));
    let place = tempfile::tempdir().unwrap();
    write_config(place.path(), &config);
    // As files before transformers 4.30 have them, and under the wrapper's names.
    weights.iter_mut().for_each(|(name, _)| *name = format!("transformer.{name}"));
    let embed = weights[0].1.clone();
    weights.push(("lm_head.weight".to_owned(), embed));
    weights.push((
        "transformer.h.0.attn.bias".to_owned(),
        Tensor::zeros((1, 1, 16, 16), DType::F32, CPU).unwrap(),
    ));
    fs::write(place.path().join("pytorch_model.bin"), torch_file(&borrowed(&weights))).unwrap();
    assert_eq!(logits(&load(place.path()).unwrap()), expected);
}

#[test]
fn split_files_of_torch_save_are_joined_and_missing_ones_named() {
    let (config, weights) = llama("llama");
    let expected = logits(&loaded(&config, &weights));
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    write_config(place.path(), &config);
    let part = |part: usize| format!("pytorch_model-0000{part}-of-00002.bin");
    let (first, second) = weights.split_at(5);
    fs::write(at(&part(1)), torch_file(&borrowed(&first.to_vec()))).unwrap();
    fs::write(at(&part(2)), torch_file(&borrowed(&second.to_vec()))).unwrap();
    let place_of = |i: usize| part(if i < 5 { 1 } else { 2 });
    let map: serde_json::Map<String, Value> = weights
        .iter()
        .enumerate()
        .map(|(i, (name, _))| (name.clone(), place_of(i).into()))
        .collect();
    fs::write(at("pytorch_model.bin.index.json"), json!({ "weight_map": map }).to_string())
        .unwrap();
    assert_eq!(logits(&load(place.path()).unwrap()), expected);
    fs::remove_file(at(&part(2))).unwrap();
    let message = load(place.path()).unwrap_err().to_string();
    for text in [&*part(2), "one of the 2 parts", "pytorch_model.bin.index.json"] {
        assert!(message.contains(text), "{text} in {message}");
    }
}

#[test]
fn a_hub_repository_of_torch_save_loads_and_then_from_the_cache_alone() {
    let (config, weights) = gpt2();
    let place = tempfile::tempdir().unwrap();
    write_config(place.path(), &config);
    fs::write(place.path().join("pytorch_model.bin"), torch_file(&borrowed(&weights))).unwrap();
    let server = Server::start();
    server.serve("owner/old", place.path());
    let from = |hub: Hub| Decoder::from_repository(&Repository::on(hub, "owner/old"), CPU);
    let expected = logits(&loaded(&config, &weights));
    assert_eq!(logits(&from(server.hub.clone()).unwrap()), expected);
    assert_eq!(logits(&from(server.hub.clone().offline()).unwrap()), expected);
    // A hub that cannot be reached does not hide what the cache has.
    let nowhere = server.hub.clone().with_endpoint("http://127.0.0.1:9");
    assert_eq!(logits(&from(nowhere).unwrap()), expected);
}

#[test]
fn safetensors_come_before_torch_save_which_executes_nothing() {
    let (config, weights) = llama("llama");
    let place = folder(&config, &weights);
    let path = place.path().join("pytorch_model.bin");
    fs::write(&path, "not read").unwrap();
    let expected = logits(&load(place.path()).unwrap());
    assert_eq!(expected, logits(&loaded(&config, &weights)));
    fs::remove_file(place.path().join("model.safetensors")).unwrap();
    let message = || load(place.path()).unwrap_err().to_string();
    assert!(message().contains("pytorch_model.bin") && message().contains("torch.save"));
    let mut tar = vec![0; 600];
    tar[257..262].copy_from_slice(b"ustar");
    fs::write(&path, tar).unwrap();
    assert!(message().contains("a tar archive"), "{}", message());
    fs::write(&path, b"\x80\x02}.").unwrap();
    assert!(message().contains("a bare pickle"), "{}", message());
    let whole = legacy_torch_file(&borrowed(&weights));
    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    assert!(message().contains("cut short"), "{}", message());
    let missing = weights[1..].to_vec();
    fs::write(&path, torch_file(&borrowed(&missing))).unwrap();
    assert!(message().contains("model.embed_tokens.weight"), "{}", message());
}

#[test]
fn a_number_that_is_none_is_named_with_its_tensor_and_file() {
    for (config, mut weights) in [gpt2(), llama("llama"), llama("olmo2")] {
        for wrong in [f32::NAN, f32::INFINITY] {
            let (name, tensor) = weights.last_mut().unwrap();
            let mut numbers: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
            numbers[3] = wrong;
            *tensor = Tensor::from_vec(numbers, tensor.dims(), CPU).unwrap();
            let name = name.clone();
            let place = folder(&config, &weights);
            let check = |file: &str| {
                let error = load(place.path()).unwrap_err();
                assert!(matches!(error, crate::Error::NonFinite { index: 3, .. }), "{error:?}");
                let message = error.to_string();
                assert!(message.contains(&name) && message.contains(file), "{message}");
            };
            check("model.safetensors");
            fs::remove_file(place.path().join("model.safetensors")).unwrap();
            let path = place.path().join("pytorch_model.bin");
            fs::write(path, torch_file(&borrowed(&weights))).unwrap();
            check("pytorch_model.bin");
        }
    }
}

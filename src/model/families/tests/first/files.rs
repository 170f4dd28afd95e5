//! Weights in several files, in other types, and from no file at all.

use std::fs;

use candle_core::{DType, Device, Tensor, safetensors};
use serde_json::{Value, json};

use super::{CONTEXT, FirstWeights, TOKENS, VOCAB, cases, gap, load};
use crate::model::{Config, Decoder, Norm, Position, Rotary};

#[test]
fn several_files_are_one_and_what_is_wrong_with_them_is_named() {
    let case = &cases()[3];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let weights = case.weights(7);
    case.write(path, &weights);
    let tokens = Tensor::new(&TOKENS, &Device::Cpu).unwrap();
    let whole = load(path, DType::F32).unwrap().logits(&tokens).unwrap();
    fs::remove_file(path.join("model.safetensors")).unwrap();
    let message = || load(path, DType::F32).map(|_| ()).unwrap_err().to_string();
    assert!(message().contains("model.safetensors"));

    let mut names: Vec<&String> = weights.keys().collect();
    names.sort();
    let (first, second) = names.split_at(names.len() / 2);
    let mut places = serde_json::Map::new();
    for (file, names) in [("a.safetensors", first), ("b.safetensors", second)] {
        let own: FirstWeights = names.iter().map(|n| ((*n).clone(), weights[*n].clone())).collect();
        safetensors::save(&own, path.join(file)).unwrap();
        places.extend(names.iter().map(|name| ((*name).clone(), Value::from(file))));
    }
    let index = path.join("model.safetensors.index.json");
    let write = |places: &serde_json::Map<String, Value>| {
        fs::write(&index, json!({"weight_map": places}).to_string()).unwrap();
    };
    write(&places);
    let found = load(path, DType::F32).unwrap().logits(&tokens).unwrap();
    assert_eq!(gap(&found, &whole), 0.);

    let mut wrong = places.clone();
    wrong.insert(first[0].clone(), Value::from("b.safetensors"));
    write(&wrong);
    assert!(message().contains(first[0]), "{}", message());
    wrong.remove(first[0]);
    write(&wrong);
    assert!(message().contains(first[0]), "{}", message());
    wrong.insert(first[0].clone(), Value::from("../a.safetensors"));
    write(&wrong);
    assert!(message().contains("the name of a file"), "{}", message());
    fs::write(&index, "{}").unwrap();
    assert!(message().contains("weight_map"), "{}", message());

    write(&places);
    let bytes = fs::read(path.join("b.safetensors")).unwrap();
    fs::write(path.join("b.safetensors"), &bytes[..bytes.len() - 3]).unwrap();
    assert!(message().contains("b.safetensors"), "{}", message());
    fs::remove_file(path.join("b.safetensors")).unwrap();
    assert!(message().contains("b.safetensors"), "{}", message());
}

#[test]
fn a_second_unembedding_must_be_the_embedding() {
    let case = &cases()[3];
    let folder = tempfile::tempdir().unwrap();
    let mut weights = case.weights(7);
    let embed = weights["model.embed_tokens.weight"].clone();
    weights.insert("lm_head.weight".to_owned(), embed.clone());
    case.write(folder.path(), &weights);
    load(folder.path(), DType::F32).unwrap();
    weights.insert("lm_head.weight".to_owned(), (embed * 2.).unwrap());
    case.write(folder.path(), &weights);
    let message = load(folder.path(), DType::F32).unwrap_err().to_string();
    assert!(message.contains("`lm_head.weight` equal to the embedding"), "{message}");
}

#[test]
fn tensors_of_ones_own_make_a_llama() {
    let case = cases().remove(4);
    let weights = case.weights(2);
    let config = Config {
        vocab: VOCAB,
        context: CONTEXT,
        norm: Norm::RmsGain { eps: case.eps },
        position: Position::Rotary(Rotary::new(case.theta)),
        windows: vec![Some(3); 2],
        ..Config::llama(2, 4, 16, 10)
    };
    let model = |config: &Config| {
        Decoder::from_llama_tensors(config.clone(), |name, shape| {
            let found = weights.get(name).filter(|tensor| tensor.dims() == shape);
            let missing = || crate::Error::shape(name, format!("{shape:?}"), "another");
            Ok(found.ok_or_else(missing)?.clone())
        })
    };
    let tokens = Tensor::new(&TOKENS, &Device::Cpu).unwrap();
    let found = model(&config).unwrap().logits(&tokens).unwrap().get(0).unwrap();
    let expected = Tensor::new(case.plain(&weights, &TOKENS), &Device::Cpu).unwrap();
    assert!(gap(&found, &expected) < 5e-5);
    let wrong = Config { heads: 3, ..config.clone() };
    assert!(model(&wrong).unwrap_err().to_string().contains("3 heads"));
    let wrong = Config { d_hidden: 9, ..config };
    assert!(model(&wrong).unwrap_err().to_string().contains("gate_proj"));
}

#[test]
fn half_precision_files_widen_and_models_narrow() {
    let case = &cases()[3];
    let folder = tempfile::tempdir().unwrap();
    let half: FirstWeights = case
        .weights(7)
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_dtype(DType::BF16).unwrap()))
        .collect();
    case.write(folder.path(), &half);
    let tokens = Tensor::new(&TOKENS, &Device::Cpu).unwrap();
    let model = load(folder.path(), DType::F32).unwrap();
    let expected = Tensor::new(case.plain(&half, &TOKENS), &Device::Cpu).unwrap();
    assert!(gap(&model.logits(&tokens).unwrap().get(0).unwrap(), &expected) < 5e-5);
    let narrow = load(folder.path(), DType::BF16).unwrap();
    assert_eq!((model.dtype(), narrow.dtype()), (DType::F32, DType::BF16));
    assert!(load(folder.path(), DType::U8).is_err());
    let message = model.save(folder.path()).unwrap_err().to_string();
    assert!(message.contains("bilinear"), "{message}");
}

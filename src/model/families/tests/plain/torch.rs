//! Weights of `torch.save`, of which nothing is executed, and revisions of a repository.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::json;

use super::{PlainCase, TOKENS, gap, gpt_neo, load, opt, transformer_lens};
use crate::hub::Repository;
use crate::hub::tests::Server;
use crate::model::Decoder;
use crate::store::tests::sample::{legacy_torch_file, torch_file};
use crate::store::zipped;

/// A case's config in a folder, and the bytes of its weights as `torch.save` writes them.
fn saved(case: &PlainCase, folder: &Path, write: fn(&[(&str, Tensor)]) -> Vec<u8>) -> Vec<u8> {
    fs::write(folder.join("config.json"), case.config.to_string()).unwrap();
    let tensors = case.in_file(&case.weights(5));
    let named: Vec<_> = tensors.iter().map(|(name, x)| (name.as_str(), x.clone())).collect();
    write(&named)
}

fn expected(case: &PlainCase) -> Tensor {
    Tensor::new(case.logits(&case.weights(5), &TOKENS), &Device::Cpu).unwrap()
}

fn logits(model: &Decoder) -> Tensor {
    let tokens = Tensor::new(&TOKENS, &Device::Cpu).unwrap();
    model.logits(&tokens).unwrap().get(0).unwrap()
}

#[test]
fn weights_are_read_under_the_names_that_published_files_have() {
    for (case, file) in [
        (gpt_neo(), "pytorch_model.bin"),
        (opt(), "pytorch_model.bin"),
        (transformer_lens(), "model_final.pth"),
        (transformer_lens(), "pytorch_model.bin"),
    ] {
        for write in [torch_file, legacy_torch_file] {
            let folder = tempfile::tempdir().unwrap();
            let bytes = saved(&case, folder.path(), write);
            fs::write(folder.path().join(file), bytes).unwrap();
            let model = load(folder.path(), DType::F64).unwrap();
            assert!(gap(&logits(&model), &expected(&case)) < 1e-10, "{file}: {}", case.config);
        }
    }
    // As OPT's first files call them, with the unembedding once more.
    let folder = tempfile::tempdir().unwrap();
    saved(&opt(), folder.path(), torch_file);
    let mut tensors = opt().in_file(&opt().weights(5));
    tensors.iter_mut().for_each(|(name, _)| *name = name.replace("model.decoder.", "decoder."));
    let is_embed = |(name, _): &&(String, Tensor)| name == "decoder.embed_tokens.weight";
    let embed = tensors.iter().find(is_embed).unwrap().1.clone();
    tensors.push(("lm_head.weight".to_owned(), embed));
    let named: Vec<_> = tensors.iter().map(|(name, x)| (name.as_str(), x.clone())).collect();
    fs::write(folder.path().join("pytorch_model.bin"), torch_file(&named)).unwrap();
    let model = load(folder.path(), DType::F64).unwrap();
    assert!(gap(&logits(&model), &expected(&opt())) < 1e-10);
}

#[test]
fn what_is_cut_short_damaged_or_calls_code_is_told() {
    for (case, file) in [(gpt_neo(), "pytorch_model.bin"), (transformer_lens(), "model_final.pth")]
    {
        let folder = tempfile::tempdir().unwrap();
        let message = |bytes: &[u8]| {
            fs::write(folder.path().join(file), bytes).unwrap();
            let message = load(folder.path(), DType::F32).unwrap_err().to_string();
            assert!(message.contains(file), "{message}");
            message
        };
        let whole = saved(&case, folder.path(), torch_file);
        for cut in [1, 2, 30, whole.len() / 2] {
            let message = message(&whole[..whole.len() - cut]);
            assert!(message.contains("truncated or incomplete"), "{message}");
        }
        let mut damaged = whole.clone();
        // In the pickle.
        damaged[60] ^= 1;
        assert!(message(&damaged).contains("its sum is another"));
        let whole = saved(&case, folder.path(), legacy_torch_file);
        assert!(message(&whole[..whole.len() - 1]).contains("cut short"));
        let called = folder.path().join("called");
        let mut pickle = b"\x80\x02cposix\nsystem\nX".to_vec();
        let command = format!("touch {}", called.display());
        pickle.extend((command.len() as u32).to_le_bytes());
        pickle.extend(command.bytes());
        pickle.extend(b"\x85R.");
        let message = message(&zipped(&[("archive/data.pkl", &pickle[..])]));
        assert!(message.contains("posix.system") && message.contains("nothing in a file is exec"));
        assert!(!called.exists());
    }
}

/// The seed of `fuzzing::model_weights`.
#[test]
fn the_smallest_file_of_transformer_lens_is_read() {
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny.pth");
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "n_layers": 1, "d_model": 2, "n_heads": 1, "d_head": 2, "n_ctx": 4, "d_vocab": 3,
        "act_fn": "gelu", "attn_only": true, "normalization": null, "shortformer_pos": true,
        "tokenizer_name": "owner/tokens",
    });
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    fs::copy(FILE, folder.path().join("model_final.pth")).unwrap();
    let model = load(folder.path(), DType::F32).unwrap();
    let config = model.config();
    assert_eq!((config.d_head, config.vocab, config.unembed_bias), (None, 3, true));
    assert_eq!(model.origin().tokenizer_name.as_deref(), Some("owner/tokens"));
    let tokens = Tensor::new(&[0u32, 2, 1], &Device::Cpu).unwrap();
    assert_eq!(model.logits(&tokens).unwrap().dims(), [1, 3, 3]);
}

#[test]
fn a_revision_is_chosen_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = saved(&gpt_neo(), folder.path(), torch_file);
    fs::write(folder.path().join("pytorch_model.bin"), bytes).unwrap();
    let server = Server::start();
    server.serve("owner/stories@step1000", folder.path());
    let from = |name: &str| {
        let repository = Repository::on(server.hub.clone(), name);
        Decoder::from_repository_as(&repository, &Device::Cpu, DType::F64)
    };
    let model = from("owner/stories@step1000").unwrap();
    assert!(gap(&logits(&model), &expected(&gpt_neo())) < 1e-10);
    assert!(model.source().to_string().contains("owner/stories@step1000"));
    assert_eq!(model.scope().unwrap().name(), "owner/stories-scope");
    for other in ["owner/stories", "owner/stories@step2000"] {
        let message = from(other).unwrap_err().to_string();
        assert!(message.contains("config.json of owner/stories@"), "{message}");
    }
}

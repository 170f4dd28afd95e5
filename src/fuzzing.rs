//! Entries for fuzzing: a reader each, which must come back from whatever bytes without a panic.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use candle_core::{Device, Tensor};

use crate::Error;
use crate::data::text::Tokenizer;
use crate::gguf::Gguf;
use crate::model::{Config, Decoder};
use crate::sae::{Architecture, Sae, SaeWeights};
use crate::store::{Tensors, read_npz, read_torch};

fn name() -> &'static Path {
    Path::new("fuzzed")
}

/// A safetensors file.
pub fn safetensors(bytes: &[u8]) {
    let tensors = Tensors::parse(name(), &Bytes::copy_from_slice(bytes).into(), &Device::Cpu);
    let _ = tensors.map(take_all);
}

/// A NumPy archive.
pub fn npz(bytes: &[u8]) {
    let arrays = read_npz(name(), &Bytes::copy_from_slice(bytes));
    let _ = arrays.map(|arrays| take_all(Tensors::of(name(), arrays, &Device::Cpu)));
}

/// A file of `torch.save`.
pub fn pickle(bytes: &[u8]) {
    if let Ok(loaded) = read_torch(name(), &Bytes::copy_from_slice(bytes)) {
        let root = loaded.pickle().root();
        let _ = loaded.tensors(root, &Device::Cpu).map(take_all);
        for (_, field) in loaded.pickle().fields(root) {
            let _ = loaded.tensors(field, &Device::Cpu).map(take_all);
        }
    }
}

fn take_all(mut tensors: Tensors) {
    let names: Vec<String> = tensors.names().map(ToOwned::to_owned).collect();
    for name in names {
        let shape = tensors.shape(&name).map(<[usize]>::to_vec).unwrap_or_default();
        let _ = tensors.take(&name, &shape);
    }
}

/// A GGUF file.
pub fn gguf(bytes: &[u8]) {
    if let Ok(file) = Gguf::parse(name(), bytes) {
        let _ = file.tokenizer();
        for info in file.tensors() {
            let _ = file.tensor(info.name(), &Device::Cpu);
        }
    }
}

/// The second of two files of a GGUF model, whose first file has no tensors.
pub fn gguf_part(bytes: &[u8]) {
    const FIRST: &str = "model-00001-of-00002.gguf";
    let write = |folder: &Path| -> crate::Result<()> {
        let mut file = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0".to_vec();
        for (key, value) in [("split.no", 0u32), ("split.count", 2), ("split.tensors.count", 1)] {
            file.extend((key.len() as u64).to_le_bytes());
            file.extend(key.as_bytes());
            // A number of 32 bits.
            file.extend(4u32.to_le_bytes());
            file.extend(value.to_le_bytes());
        }
        let write = fs::create_dir_all(folder).and_then(|()| fs::write(folder.join(FIRST), file));
        write.map_err(Error::io("write", folder))
    };
    in_folder("gguf-part", write, "model-00002-of-00002.gguf", bytes, |folder| {
        if let Ok(file) = Gguf::open(folder.join(FIRST)) {
            for info in file.tensors() {
                let _ = file.tensor(info.name(), &Device::Cpu);
            }
        }
    });
}

/// The `tokenizer.model` of SentencePiece.
pub fn sentencepiece(bytes: &[u8]) {
    let write = |folder: &Path| fs::create_dir_all(folder).map_err(Error::io("create", folder));
    in_folder("sentencepiece", write, "tokenizer.model", bytes, |folder| {
        if let Ok(tokenizer) = Tokenizer::from_file(folder.join("tokenizer.model")) {
            let ids = tokenizer.encode("ab a\u{e9}<s>aab").unwrap_or_default();
            let _ = tokenizer.decode(&ids);
        }
    });
}

/// The `cfg.json` of an autoencoder in SAELens's layout.
pub fn sae_config(bytes: &[u8]) {
    let write = |folder: &Path| -> crate::Result<()> {
        let matrix =
            |shape: (usize, usize)| Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu);
        let bias = Tensor::ones(2, candle_core::DType::F32, &Device::Cpu)?;
        let weights = SaeWeights::new(matrix((3, 2))?, matrix((2, 3))?, bias);
        Sae::new(Architecture::top_k(1), weights)?.save(folder)
    };
    in_folder("sae", write, "cfg.json", bytes, |folder| drop(Sae::load(folder, &Device::Cpu)));
}

/// The `config.json` of a language model.
pub fn model_config(bytes: &[u8]) {
    let write = |folder: &Path| -> crate::Result<()> {
        let config = Config { vocab: 3, context: 4, ..Config::bilinear(1, 1, 2, 2) };
        Decoder::random(config, 0, &Device::Cpu)?.save(folder)
    };
    in_folder("model", write, "config.json", bytes, |folder| {
        drop(Decoder::from_pretrained(&folder.to_string_lossy(), &Device::Cpu));
    });
}

/// The weights of a language model in a file of `torch.save`: one layer of attention in
/// TransformerLens's layout.
pub fn model_weights(bytes: &[u8]) {
    const CONFIG: &str = r#"{
        "n_layers": 1, "d_model": 2, "n_heads": 1, "d_head": 2, "n_ctx": 4, "d_vocab": 3,
        "act_fn": "gelu", "attn_only": true, "normalization": null, "shortformer_pos": true
    }"#;
    let write = |folder: &Path| -> crate::Result<()> {
        let write =
            fs::create_dir_all(folder).and_then(|()| fs::write(folder.join("config.json"), CONFIG));
        write.map_err(Error::io("write", folder))
    };
    in_folder("weights", write, "model_final.pth", bytes, |folder| {
        drop(Decoder::from_pretrained(&folder.to_string_lossy(), &Device::Cpu));
    });
}

/// Reads a folder of whole files, one of which is exchanged for `bytes`.
fn in_folder(
    kind: &str,
    write: impl Fn(&Path) -> crate::Result<()>,
    file: &str,
    bytes: &[u8],
    read: impl Fn(&Path),
) {
    let folder = std::env::temp_dir().join(format!("eigenlens-fuzz-{kind}-{}", std::process::id()));
    if !folder.exists() && write(&folder).is_err() {
        return;
    }
    if fs::write(folder.join(file), bytes).is_ok() {
        read(&folder);
    }
}

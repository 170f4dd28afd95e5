//! Models in GGUF files.

use std::path::Path;

use candle_core::{DType, Device};

use super::families::GgufModel;
use super::{Decoder, DecoderLoader};
use crate::Result;
use crate::gguf::Gguf;
use crate::store::UnknownFields;

impl Decoder {
    /// The model in the GGUF file `path`, of architecture `llama` (Llama, SmolLM2, Mistral), `qwen2`,
    /// `qwen3`, `gemma2`, `gemma3`, `phi3` or `gpt2`, its weights widened to f32, its tokenizer the
    /// file's.
    ///
    /// Tensors are read one by one: beyond the weights, memory holds one of them twice.
    ///
    /// Files of architecture `llama` do not say a window of attention. Mistral 7B v0.1 has one of 4096
    /// positions at Hugging Face, and here none: longer texts give other logits.
    ///
    /// # Errors
    /// A file that is missing, damaged, of another architecture, quantised in a way that is not read
    /// here (see [`gguf`](crate::gguf)), or that says something unknown of the model that could
    /// change its numbers.
    pub fn from_gguf(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::from_gguf_as(path, device, DType::F32)
    }

    /// [`Decoder::from_gguf`] with weights and activations in another floating point type.
    ///
    /// # Errors
    /// As [`Decoder::from_gguf`]; a type that is not floating point.
    pub fn from_gguf_as(path: impl AsRef<Path>, device: &Device, dtype: DType) -> Result<Self> {
        DecoderLoader::new().dtype(dtype).gguf(path, device)
    }

    pub(super) fn read_gguf(
        path: &Path,
        device: &Device,
        dtype: DType,
        unknown: UnknownFields,
    ) -> Result<Self> {
        GgufModel::new(&Gguf::open(path)?, unknown)?.load(device, dtype)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::Tensor;

    use super::super::families::llama;
    use super::super::origin::ModelOrigin;
    use super::super::{Config, Norm, Position, Rotary, Scaling};
    use super::*;
    use crate::gguf::tests::sample::Sample;
    use crate::provenance::Source;
    use crate::random::Rng;

    const CPU: &Device = &Device::Cpu;
    const SIZES: [(&str, u32); 8] = [
        ("block_count", 2),
        ("embedding_length", 8),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("attention.key_length", 6),
        ("attention.value_length", 6),
        ("feed_forward_length", 10),
        ("context_length", 32),
    ];

    /// A config, and weights for it under Hugging Face's names.
    fn theirs(tied: bool, bias: bool) -> (Config, BTreeMap<String, Tensor>) {
        let config = Config {
            kv_heads: Some(2),
            d_head: Some(6),
            context: 32,
            vocab: 11,
            norm: Norm::RmsGain { eps: f64::from(1e-3f32) },
            position: Position::Rotary(Rotary::new(500.)),
            qkv_bias: bias,
            attention_bias: bias,
            tied,
            ..Config::llama(2, 4, 8, 10)
        };
        let (mut rng, mut weights) = (Rng::seed(1), BTreeMap::new());
        let noise = |name: &str, shape: &[usize]| {
            let tensor = rng.normal(shape, CPU)?;
            weights.insert(name.to_owned(), tensor.clone());
            Ok(tensor)
        };
        llama::build(config.clone(), ModelOrigin::default(), noise).unwrap();
        (config, weights)
    }

    /// The same model as llama.cpp's converter writes it.
    fn file(weights: &BTreeMap<String, Tensor>) -> Sample {
        let mut sample = Sample::new().text("general.architecture", "llama");
        for (key, value) in SIZES {
            sample = sample.u32(&format!("llama.{key}"), value);
        }
        sample = sample
            .f32("llama.rope.freq_base", 500.)
            .f32("llama.attention.layer_norm_rms_epsilon", 1e-3);
        for (name, tensor) in weights {
            let own = [
                ("model.embed_tokens", "token_embd"),
                ("model.norm", "output_norm"),
                ("lm_head", "output"),
                ("model.layers", "blk"),
                ("input_layernorm", "attn_norm"),
                ("post_attention_layernorm", "ffn_norm"),
                ("self_attn.q_proj", "attn_q"),
                ("self_attn.k_proj", "attn_k"),
                ("self_attn.v_proj", "attn_v"),
                ("self_attn.o_proj", "attn_output"),
                ("mlp.gate_proj", "ffn_gate"),
                ("mlp.up_proj", "ffn_up"),
                ("mlp.down_proj", "ffn_down"),
            ];
            let own = own.iter().fold(name.clone(), |name, (old, new)| name.replace(old, new));
            let rows: Vec<Vec<f32>> = match tensor.rank() {
                1 => tensor.unsqueeze(1).unwrap().to_vec2().unwrap(),
                _ => tensor.to_vec2().unwrap(),
            };
            // Of each head of 6: rows 0, 3, 1, 4, 2, 5.
            let turned = own.contains("attn_q.") || own.contains("attn_k.");
            let source = |row: usize| match turned {
                true => row / 6 * 6 + [0, 3, 1, 4, 2, 5][row % 6],
                false => row,
            };
            let values: Vec<f32> =
                (0..rows.len()).flat_map(|row| rows[source(row)].clone()).collect();
            let shape: Vec<u64> = tensor.dims().iter().map(|size| *size as u64).collect();
            sample = sample.floats(&own, &shape, &values);
        }
        sample
    }

    fn load(sample: &Sample) -> Result<Decoder> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.GGUF");
        std::fs::write(&path, sample.bytes()).unwrap();
        Decoder::from_pretrained(path.to_str().unwrap(), CPU)
    }

    fn logits(model: &Decoder) -> Vec<f32> {
        let tokens = Tensor::new(&[[3u32, 1, 4, 1, 5, 9, 2, 6]], CPU).unwrap();
        model.logits(&tokens).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn built(config: Config, weights: &BTreeMap<String, Tensor>) -> Decoder {
        llama::build(config, ModelOrigin::default(), |name, _| Ok(weights[name].clone())).unwrap()
    }

    #[test]
    fn a_file_gives_the_numbers_of_the_model_it_was_made_from() {
        for (tied, bias) in [(true, false), (false, true)] {
            let (config, weights) = theirs(tied, bias);
            let model = load(&file(&weights)).unwrap();
            assert_eq!(model.config(), &config);
            assert!(matches!(model.source(), Source::File(path) if path.ends_with("model.GGUF")));
            assert_eq!(logits(&model), logits(&built(config, &weights)));
        }
    }

    #[test]
    fn scaled_frequencies_are_recognised() {
        let (config, weights) = theirs(true, false);
        let scaled = |scaling| Config {
            position: Position::Rotary(Rotary { scaling, ..Rotary::new(500.) }),
            ..config.clone()
        };
        let linear = file(&weights).f32("llama.rope.scaling.factor", 4.);
        let named = linear.clone().text("llama.rope.scaling.type", "linear");
        for sample in [linear, named] {
            let model = load(&sample).unwrap();
            assert_eq!(model.config(), &scaled(Scaling::Linear { factor: 4. }));
        }
        let llama3 = Scaling::Llama3 { factor: 8., low: 1., high: 4., original: 8192. };
        // With this base the three frequencies are in the three bands.
        let base = 2.75e8;
        let frequencies = |scaling: Scaling| {
            let rotary = Rotary { scaling, ..Rotary::new(base) };
            rotary.frequencies(6, 1)
        };
        let scaled_ones = frequencies(llama3.clone());
        let factors: Vec<f32> = frequencies(Scaling::None)
            .iter()
            .zip(&scaled_ones)
            .map(|(plain, scaled)| (plain / scaled) as f32)
            .collect();
        assert!(factors[0] == 1. && factors[1] > 1. && factors[1] < 8. && factors[2] == 8.);
        let sample = file(&weights).f32("llama.rope.freq_base", base as f32);
        let model = load(&sample.clone().floats("rope_freqs.weight", &[3], &factors)).unwrap();
        let Position::Rotary(found) = &model.config().position else { panic!("no rotary") };
        assert_eq!(found.scaling, llama3);
        let other = sample.floats("rope_freqs.weight", &[3], &[1., 5., 8.]);
        let message = load(&other).unwrap_err().to_string();
        assert!(message.contains("rope_freqs.weight") && message.contains("found 5"), "{message}");
    }

    /// Case 36.
    #[test]
    fn types_that_are_not_read_are_told_before_anything_is_read_with_those_that_are() {
        let (_, weights) = theirs(false, false);
        // The embedding comes first and would fail if it were read.
        let damaged = file(&weights)
            .floats("token_embd.weight", &[11, 8], &[f32::NAN; 88])
            .tensor("blk.1.ffn_norm.weight", &[8], 24, vec![0; 8])
            .tensor("output_norm.weight", &[8], 25, vec![0; 16])
            .tensor("blk.1.attn_norm.weight", &[8], 25, vec![0; 16]);
        let message = load(&damaged).unwrap_err().to_string();
        for part in ["I8 (`blk.1.ffn_norm.weight`)", "I16 (`", "F16", "Q8_0", "Q4_K", "Q6_K"] {
            assert!(message.contains(part), "{part} in {message}");
        }
        assert!(!message.contains("IQ4_NL"), "{message}");
        let unknown = file(&weights).tensor("output_norm.weight", &[8], 99, vec![0; 8]);
        let message = load(&unknown).unwrap_err().to_string();
        assert!(message.contains("type 99") && message.contains("Q8_0"), "{message}");
    }

    #[test]
    fn other_architectures_adapters_and_experts_name_those_that_are_read() {
        let (_, weights) = theirs(false, false);
        let whole = file(&weights);
        let cases = [
            (whole.clone().text("general.architecture", "mamba"), "\"mamba\""),
            (whole.clone().without("general.architecture"), "found nothing"),
            (whole.clone().text("general.type", "adapter"), "\"adapter\""),
            (whole.clone().u32("llama.expert_count", 8), "a mixture of experts"),
            (whole.clone().u32("llama.expert_used_count", 2), "`llama.expert_used_count`: 2"),
        ];
        for (sample, expected) in cases {
            let message = load(&sample).unwrap_err().to_string();
            assert!(message.contains(expected), "{expected}: {message}");
            let names = ["`llama`", "`qwen3`", "`gemma3`", "`phi3`", "`gpt2`"];
            let told = names.iter().all(|name| message.contains(name));
            assert!(told || expected.contains("adapter"), "{message}");
        }
        load(&whole.text("general.type", "model")).unwrap();
    }

    /// The tensors in two parts, all metadata in the first.
    #[test]
    fn a_folder_with_the_parts_of_a_model_is_the_model() {
        let (_, weights) = theirs(false, false);
        let whole = file(&weights);
        let folder = tempfile::tempdir().unwrap();
        let half = whole.tensors.len() / 2;
        let mut parts = [whole.clone(), Sample::new()];
        parts[1].tensors = parts[0].tensors.split_off(half);
        for (number, part) in (0u16..).zip(parts) {
            let part = part
                .entry("split.no", 2, number.to_le_bytes().to_vec())
                .entry("split.count", 2, 2u16.to_le_bytes().to_vec())
                .entry(
                    "split.tensors.count",
                    5,
                    (whole.tensors.len() as i32).to_le_bytes().to_vec(),
                );
            let name = format!("llama-{:05}-of-00002.gguf", number + 1);
            std::fs::write(folder.path().join(name), part.bytes()).unwrap();
        }
        let name = folder.path().to_str().unwrap();
        let model = Decoder::from_pretrained(name, CPU).unwrap();
        assert_eq!(logits(&model), logits(&load(&whole).unwrap()));
        let second = folder.path().join("llama-00002-of-00002.gguf");
        let model = Decoder::from_pretrained(second.to_str().unwrap(), CPU).unwrap();
        assert_eq!(logits(&model), logits(&load(&whole).unwrap()));
        std::fs::remove_file(second).unwrap();
        let message = Decoder::from_pretrained(name, CPU).unwrap_err().to_string();
        assert!(message.contains("part 2 of 2"), "{message}");
        // A repository with a config comes first.
        std::fs::write(folder.path().join("config.json"), "{}").unwrap();
        let message = Decoder::from_pretrained(name, CPU).unwrap_err().to_string();
        assert!(message.contains("config.json"), "{message}");
    }

    #[test]
    fn unknown_metadata_is_told_at_once_and_can_be_allowed() {
        let (_, weights) = theirs(false, false);
        let sample = file(&weights).u32("llama.ring_size", 8).f32("llama.logit_scale", 0.5);
        let message = load(&sample).unwrap_err().to_string();
        for part in ["`llama.ring_size`: 8", "`llama.logit_scale`: 0.5", "DecoderLoader"] {
            assert!(message.contains(part), "{part} in {message}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, sample.bytes()).unwrap();
        let loader = DecoderLoader::new().allow_unknown_fields();
        let model = loader.load(path.to_str().unwrap(), CPU).unwrap();
        assert!(model.notes()[0].contains("llama.ring_size: 8"), "{:?}", model.notes());
        assert_eq!(logits(&model), logits(&load(&file(&weights)).unwrap()));
    }

    #[test]
    fn what_a_file_lacks_or_says_more_is_named() {
        let (_, weights) = theirs(false, false);
        let whole = file(&weights);
        let key = |name: &str| format!("llama.{name}");
        let cases = [
            (whole.clone().text("general.architecture", "mamba"), "\"mamba\""),
            (whole.clone().without("general.architecture"), "general.architecture"),
            (whole.clone().without(&key("block_count")), "llama.block_count"),
            (whole.clone().u32(&key("block_count"), 1), "also `blk.1."),
            (whole.clone().u32(&key("block_count"), 3), "`blk.2."),
            (whole.clone().u32(&key("block_count"), u32::MAX), "llama.block_count"),
            (whole.clone().u32(&key("block_count"), 1 << 30), "llama.block_count"),
            (whole.clone().u32(&key("attention.head_count"), 0), "llama.attention.head_count"),
            (whole.clone().u32(&key("attention.head_count"), 6), "`blk.0.attn_q.weight`"),
            (whole.clone().u32(&key("attention.value_length"), 4), "attention.value_length"),
            (whole.clone().u32(&key("attention.key_length"), 7), "attention.value_length"),
            (whole.clone().u32(&key("rope.dimension_count"), 4), "rope.dimension_count"),
            (whole.clone().u32(&key("vocab_size"), 12), "llama.vocab_size"),
            (whole.clone().u32(&key("expert_count"), 8), "`llama.expert_count`: 8"),
            (whole.clone().f32(&key("rope.freq_base"), f32::NAN), "llama.rope.freq_base"),
            (whole.clone().text(&key("rope.scaling.type"), "yarn"), "\"yarn\""),
            (whole.clone().i32s(&key("attention.head_count_kv"), &[2, 1]), "same in every layer"),
            (whole.clone().without("blk.1.ffn_up.weight"), "`blk.1.ffn_up.weight`"),
            (whole.clone().floats("blk.0.ffn_up.bias", &[10], &[0.; 10]), "blk.0.ffn_up.bias"),
            (whole.clone().floats("output_norm.weight", &[7], &[0.; 7]), "`output_norm.weight`"),
            (whole.clone().floats("output_norm.weight", &[8], &[f32::INFINITY; 8]), "NaN"),
            (whole.clone().tensor("output_norm.weight", &[8], 24, vec![0; 8]), "I8"),
        ];
        for (sample, expected) in cases {
            let message = load(&sample).unwrap_err().to_string();
            assert!(message.contains(expected), "{expected}: {message}");
            assert!(message.contains("model.GGUF"), "{message}");
        }
        // Zeros, and one value a layer that is the same, change nothing.
        let same = whole
            .clone()
            .u32(&key("expert_count"), 0)
            .i32s(&key("attention.head_count_kv"), &[2, 2]);
        assert_eq!(logits(&load(&same).unwrap()), logits(&load(&whole).unwrap()));
        let message = load(&whole).unwrap().tokenizer().unwrap_err().to_string();
        assert!(message.contains("tokenizer.ggml.model"), "{message}");
        // Case 37: tokenizers of other kinds.
        for (kind, name) in [("t5", "SentencePiece"), ("bert", "WordPiece")] {
            let model = load(&whole.clone().text("tokenizer.ggml.model", kind)).unwrap();
            let message = model.tokens("x").unwrap_err().to_string();
            for part in [name, "tokenizer.json", "with_tokenizer", "save_pretrained"] {
                assert!(message.contains(part), "{part} in {message}");
            }
        }
        assert!(Decoder::from_gguf_as("x.gguf", CPU, DType::U32).is_err());
    }
}

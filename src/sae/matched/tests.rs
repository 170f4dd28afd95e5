//! Small models and autoencoders on a hub of this machine.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{D, DType, safetensors};
use serde_json::{Value, json};

use super::*;
use crate::data::text::tests::{word_level, word_level_file};
use crate::hub::Repository;
use crate::hub::tests::Server;
use crate::model::{Config, Hooks};
use crate::random::Rng;
use crate::sae::formats::tests::{npz, saelens};
use crate::sae::{
    Architecture, Origin, PositionSlice, Registry, SaeLoader, SaeWeights, TrainingRecord,
};

const CPU: Device = Device::Cpu;
const CONTEXT: usize = 16;

fn words() -> Value {
    json!({"a": 0, "b": 1, "[UNK]": 2, "<s>": 3})
}

/// Writes a model whose tokenizer knows two words and a first token.
fn write_model(folder: &Path, config: &Value, shapes: &[(&str, &[usize])]) {
    let mut rng = Rng::seed(5);
    // Far from a mean of zero.
    let mut weight = |shape: &[usize]| rng.normal(shape, &CPU).unwrap().affine(0.3, 0.2).unwrap();
    let tensors: HashMap<String, Tensor> =
        shapes.iter().map(|(name, shape)| ((*name).to_owned(), weight(shape))).collect();
    safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let tokenizer = word_level_file(words(), &["<s>"]);
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

/// A GPT-2 of one layer and `d` dimensions.
fn write_gpt2(folder: &Path, d: usize) {
    let config = json!({
        "model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": d, "n_positions": CONTEXT,
        "vocab_size": 4,
    });
    write_model(
        folder,
        &config,
        &[
            ("wte.weight", &[4, d]),
            ("wpe.weight", &[CONTEXT, d]),
            ("h.0.ln_1.weight", &[d]),
            ("h.0.ln_1.bias", &[d]),
            ("h.0.attn.c_attn.weight", &[d, 3 * d]),
            ("h.0.attn.c_attn.bias", &[3 * d]),
            ("h.0.attn.c_proj.weight", &[d, d]),
            ("h.0.attn.c_proj.bias", &[d]),
            ("h.0.ln_2.weight", &[d]),
            ("h.0.ln_2.bias", &[d]),
            ("h.0.mlp.c_fc.weight", &[d, 4 * d]),
            ("h.0.mlp.c_fc.bias", &[4 * d]),
            ("h.0.mlp.c_proj.weight", &[4 * d, d]),
            ("h.0.mlp.c_proj.bias", &[d]),
            ("ln_f.weight", &[d]),
            ("ln_f.bias", &[d]),
        ],
    );
}

/// A Gemma 2 of one layer and 8 dimensions.
fn write_gemma2(folder: &Path) {
    let config = json!({
        "model_type": "gemma2", "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 4, "hidden_size": 8, "intermediate_size": 12,
        "max_position_embeddings": CONTEXT, "vocab_size": 4,
    });
    let layer = "model.layers.0";
    let name = |part: &str| format!("{layer}.{part}.weight");
    let names: Vec<(String, Vec<usize>)> = vec![
        ("model.embed_tokens.weight".to_owned(), vec![4, 8]),
        ("model.norm.weight".to_owned(), vec![8]),
        (name("input_layernorm"), vec![8]),
        (name("post_attention_layernorm"), vec![8]),
        (name("pre_feedforward_layernorm"), vec![8]),
        (name("post_feedforward_layernorm"), vec![8]),
        (name("self_attn.q_proj"), vec![8, 8]),
        (name("self_attn.k_proj"), vec![4, 8]),
        (name("self_attn.v_proj"), vec![4, 8]),
        (name("self_attn.o_proj"), vec![8, 8]),
        (name("mlp.gate_proj"), vec![12, 8]),
        (name("mlp.up_proj"), vec![12, 8]),
        (name("mlp.down_proj"), vec![8, 12]),
    ];
    let shapes: Vec<(&str, &[usize])> =
        names.iter().map(|(name, shape)| (&**name, &**shape)).collect();
    write_model(folder, &config, &shapes);
}

/// What `write` writes, served as the repository `name`.
fn serve(server: &Server, name: &str, write: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    server.serve(name, folder.path());
}

fn sae_on(server: &Server, repository: &str, id: &str) -> Sae {
    let repository = Repository::on(server.hub.clone(), repository);
    SaeLoader::new().from_repository(&repository, id, &CPU).unwrap()
}

fn matched_on(server: &Server, sae: &Sae) -> Result<MatchedModel> {
    MatchedModel::loaded_by(sae, |name| {
        DecoderLoader::new().from_repository(&Repository::on(server.hub.clone(), name), &CPU)
    })
}

fn ids(tokens: &Tensor) -> Vec<u32> {
    tokens.flatten_all().unwrap().to_vec1().unwrap()
}

const RES_JB: &str = "jbloom/GPT2-Small-SAEs-Reformatted";

/// An autoencoder as `gpt2-small-res-jb` holds them, and a GPT-2 of `d` dimensions.
fn res_jb(d: usize) -> (Server, Sae) {
    let server = Server::start();
    serve(&server, "openai-community/gpt2", |folder| write_gpt2(folder, d));
    serve(&server, RES_JB, |folder| {
        let config = json!({
            "model_name": "gpt2-small", "hook_point": "blocks.0.hook_resid_pre",
            "prepend_bos": true, "context_size": CONTEXT, "dtype": "torch.float32",
        });
        saelens(&folder.join("blocks.0.hook_resid_pre"), config);
    });
    let sae = sae_on(&server, RES_JB, "blocks.0.hook_resid_pre");
    (server, sae)
}

#[test]
fn a_model_with_centred_weights_comes_with_its_tokens() {
    let (server, sae) = res_jb(8);
    let matched = matched_on(&server, &sae).unwrap();
    let model = matched.model();
    assert_eq!(model.repository().unwrap().name(), "openai-community/gpt2");
    assert_eq!((model.dtype(), model.is_centred()), (DType::F32, true));
    assert_eq!(matched.differences(), Vec::<&str>::new(), "{matched}");
    let tokens = matched.tokens("a b").unwrap();
    assert_eq!(ids(&tokens), [3, 0, 1]);
    let repository = Repository::on(server.hub.clone(), "openai-community/gpt2");
    let plain = Decoder::from_repository(&repository, &CPU).unwrap();
    assert_eq!(ids(&plain.tokens("a b").unwrap()), [0, 1]);
    let at = |model: &Decoder| {
        let hooks = Hooks::new().capture(HookPoint::ResidPre(0));
        model.run(&tokens, &hooks).unwrap().1.tensor(HookPoint::ResidPre(0)).unwrap()
    };
    let (raw, own) = (at(&plain), at(model));
    let mean = raw.mean_keepdim(D::Minus1).unwrap();
    let size = |x: &Tensor| x.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(size(&mean) > 0.1);
    assert!(size(&(raw.broadcast_sub(&mean).unwrap() - own).unwrap()) < 1e-5);
    let shown = matched.to_string();
    for part in ["openai-community/gpt2", "as in training: the mean is taken off", "BOS token"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("differs"), "{shown}");
    // An autoencoder that takes the mean off itself wants the model as it is.
    let itself = matched_on(&server, &sae.with_centred_inputs().unwrap()).unwrap();
    assert!(!itself.model().is_centred(), "{itself}");
    assert!(itself.to_string().contains("takes the mean off itself"), "{itself}");
}

#[test]
fn an_autoencoder_of_gemma_scope_finds_its_model_and_leaves_bos_open() {
    let entries = Registry::all().unwrap().search("gemma-scope-2b-pt-res layer_0/width_16k");
    let entry = entries.entries().iter().find(|entry| entry.path.contains("average_l0_"));
    let entry = entry.unwrap();
    let server = Server::start();
    serve(&server, "google/gemma-2-2b", write_gemma2);
    serve(&server, &entry.repository, |folder| {
        let folder = folder.join(&entry.path);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("params.npz"), npz()).unwrap();
    });
    let sae = sae_on(&server, &entry.repository, &entry.path);
    let matched = matched_on(&server, &sae).unwrap();
    assert_eq!(matched.model().repository().unwrap().name(), "google/gemma-2-2b");
    assert_eq!(matched.differences(), Vec::<&str>::new(), "{matched}");
    assert!(matches!(matched.notes(), [NotRecorded(text)] if text.contains("BOS")), "{matched}");
    let point = sae.point().unwrap();
    let tokens = matched.tokens("a b").unwrap();
    let x = matched.model().activations(&tokens, &[point]).unwrap().tensor(point).unwrap();
    assert_eq!(sae.encode(&x).unwrap().rows(), 2);
    // TransformerLens leaves models with RMS norms as they are.
    let asked = sae.with_training_record(record(&[(CENTRED, "true")]));
    let matched = matched_on(&server, &asked).unwrap();
    assert!(!matched.model().is_centred() && matched.differences().is_empty(), "{matched}");
    assert!(matched.to_string().contains("as they are published"), "{matched}");
}

#[test]
fn a_model_of_another_width_is_told_of() {
    let (server, sae) = res_jb(12);
    let matched = matched_on(&server, &sae).unwrap();
    let expected = "it reads 8 dimensions, and the model has 12 at 0.resid_pre";
    assert_eq!(matched.differences(), [expected]);
    assert!(matched.to_string().contains(&format!("differs: {expected}")), "{matched}");
}

/// An autoencoder of 8 dimensions in memory.
fn sae(model: Option<&str>, point: HookPoint, training: TrainingRecord) -> Sae {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &CPU).unwrap();
    let weights = SaeWeights::new(zeros(&[3, 8]), zeros(&[8, 3]), zeros(&[8]));
    let origin = Origin {
        model: model.map(str::to_owned),
        point: Some(point),
        training,
        ..Origin::default()
    };
    Sae::new(Architecture::standard(), weights).unwrap().with_origin(origin)
}

fn record(options: &[(&str, &str)]) -> TrainingRecord {
    let own = |text: &&str| (*text).to_owned();
    let model_options = options.iter().map(|(name, value)| (own(name), own(value))).collect();
    TrainingRecord { model_options, ..TrainingRecord::default() }
}

fn model() -> Decoder {
    let config = Config { vocab: 4, context: CONTEXT, ..Config::gpt2(2, 2, 8, 12) };
    let model = Decoder::random(config, 0, &CPU).unwrap();
    model.with_tokenizer(&word_level(words(), &["<s>"])).unwrap()
}

#[test]
fn a_model_that_nothing_names_or_knows_is_an_error_that_says_what_to_do() {
    let error = |name: Option<&str>| {
        let sae = sae(name, HookPoint::ResidPost(0), TrainingRecord::default());
        let found = MatchedModel::loaded_by(&sae, |name| panic!("{name} was asked for"));
        found.unwrap_err().to_string()
    };
    let unnamed = error(None);
    assert!(unnamed.contains("No file says which") && unnamed.contains("MatchedModel::new"));
    for name in ["my-model", "/etc/model", "../x", "~/x", "a/b/c", ".hidden/x", ""] {
        let unknown = error(Some(name));
        assert!(unknown.contains(&format!("the model `{name}`")), "{unknown}");
        assert!(unknown.contains("Decoder::from_pretrained"), "{unknown}");
    }
    let close = error(Some("gpt2-smal"));
    assert!(close.contains("Close to it: gpt2-small"), "{close}");
    let refused = KnownModel::names()
        .find(|name| matches!(KnownModel::find(name).unwrap().support(), ModelSupport::Refused(_)));
    let refused = refused.unwrap();
    let told = error(Some(refused));
    assert!(told.contains(KnownModel::find(refused).unwrap().repository()), "{told}");
    assert!(told.contains("loading()"), "{told}");
}

#[test]
fn a_recorded_revision_is_the_one_that_is_loaded() {
    let asked = RefCell::new(String::new());
    let load = |name: &str| {
        *asked.borrow_mut() = name.to_owned();
        Ok(model())
    };
    for (name, options, expected) in [
        ("pythia-70m-deduped", record(&[]), "EleutherAI/pythia-70m-deduped"),
        (
            "pythia-70m-deduped",
            record(&[("checkpoint_value", "1000")]),
            "EleutherAI/pythia-70m-deduped@step1000",
        ),
        ("gpt2", record(&[("revision", r#""v1""#)]), "openai-community/gpt2@v1"),
        ("someone/tuned", record(&[("revision", r#""v1""#)]), "someone/tuned@v1"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", record(&[]), "smollm2-135m-instruct"),
        ("gemma-3-270m-q4_k_m.gguf", record(&[]), "gemma-3-270m"),
        ("gemma-3-270m", record(&[]), "google/gemma-3-270m"),
        ("gemma-3-270m", record(&[("revision", r#""v1""#)]), "google/gemma-3-270m@v1"),
    ] {
        let sae = sae(Some(name), HookPoint::ResidPost(0), options);
        let matched = MatchedModel::loaded_by(&sae, load).unwrap();
        assert_eq!(*asked.borrow(), expected);
        assert_eq!(matched.differences(), Vec::<&str>::new(), "{matched}");
    }
    // What was fetched has no revisions.
    let fetched = "smollm2-135m-instruct";
    let dated = sae(Some(fetched), HookPoint::ResidPost(0), record(&[("revision", r#""v1""#)]));
    let error = MatchedModel::loaded_by(&dated, load).unwrap_err().to_string();
    assert!(error.contains(fetched), "{error}");
    // TransformerLens numbers the steps of these models; no repository has such a revision.
    let sae = sae(Some("gpt2"), HookPoint::ResidPost(0), record(&[("checkpoint_value", "3")]));
    let matched = MatchedModel::loaded_by(&sae, load).unwrap();
    assert_eq!(*asked.borrow(), "openai-community/gpt2");
    assert!(matched.differences()[0].contains("checkpoint_value=3"), "{matched}");
}

#[test]
fn options_are_applied_or_told_by_the_place_that_is_read() {
    let told = |point, options: &[(&str, &str)]| {
        MatchedModel::new(&sae(None, point, record(options)), &model()).unwrap()
    };
    let folded = [("fold_ln", "true")];
    let normalized = told(HookPoint::Ln2Normalized(0), &folded);
    assert!(normalized.to_string().contains("as in training: 0.ln2_normalized"), "{normalized}");
    assert!(normalized.differences().is_empty());
    let stream = told(HookPoint::ResidPost(0), &folded);
    assert!(stream.to_string().contains("change nothing at 0.resid_post"), "{stream}");
    let input = told(HookPoint::MlpIn(0), &folded);
    assert!(input.differences()[0].contains("ln2_normalized"), "{input}");
    // TransformerLens 2 has its hook after gain and bias.
    let open = told(HookPoint::Ln2Normalized(0), &[("fold_ln", "false")]);
    assert!(open.to_string().contains("not recorded: whether 0.ln2_normalized"), "{open}");
    let head = TrainingRecord { head: Some(1), ..TrainingRecord::default() };
    let both = MatchedModel::new(&sae(None, HookPoint::Ln2Normalized(0), head), &model()).unwrap();
    assert!(both.to_string().contains("not recorded: whether 0.ln2_normalized"), "{both}");
    assert!(both.to_string().contains("head 1 of 0.ln2_normalized"), "{both}");
    let biases = [("fold_value_biases", "true")];
    assert_eq!(told(HookPoint::Z(0), &biases).differences().len(), 1);
    assert!(told(HookPoint::AttnOut(0), &biases).differences().is_empty());
    let inert = [("center_unembed", "true"), ("device", r#""cuda""#), ("n_ctx", "null")];
    assert!(told(HookPoint::ResidPost(0), &inert).differences().is_empty());
    let other = told(HookPoint::ResidPost(0), &[("first_n_layers", "3")]);
    assert!(other.differences()[0].contains("first_n_layers=3"), "{other}");
    let loaded_in = |option: &str, dtype: &str| {
        let options = record(&[("torch_dtype", option)]);
        let training = TrainingRecord { dtype: Some(dtype.to_owned()), ..options };
        MatchedModel::new(&sae(None, HookPoint::ResidPost(0), training), &model()).unwrap()
    };
    let half = loaded_in(r#""torch.bfloat16""#, "float32");
    assert_eq!(half.differences().len(), 1, "{half}");
    assert!(half.differences()[0].contains("model was in bf16, and the model computes in f32"));
    assert!(loaded_in(r#""float32""#, "bfloat16").differences().is_empty());
    let unknown = loaded_in(r#""auto""#, "float32");
    assert!(unknown.differences()[0].contains(r#"torch_dtype="auto""#), "{unknown}");
    let centred = MatchedModel::new(
        &sae(None, HookPoint::ResidPost(0), record(&[])),
        &model().centred_writing().unwrap(),
    );
    assert!(centred.unwrap().differences()[0].contains("weights are centred"));
}

#[test]
fn what_a_record_says_of_contexts_heads_and_types_is_compared() {
    let training = TrainingRecord {
        prepend_bos: Some(false),
        context_size: Some(64),
        positions: Some(PositionSlice { start: Some(1), ..PositionSlice::default() }),
        head: Some(5),
        excluded_tokens: Some(ExcludedTokens::Special),
        dtype: Some("torch.bfloat16".to_owned()),
        reads: Some("the error".to_owned()),
        ..TrainingRecord::default()
    };
    let sae = sae(Some("my-model"), HookPoint::Z(7), training);
    let matched = MatchedModel::new(&sae, &model()).unwrap();
    let told = matched.differences().join("\n");
    for part in [
        "layer 7",
        "head 5",
        "64 tokens",
        "positions 1:",
        "special tokens",
        "the SAE and its activations were in bf16, and the model computes in f32",
        "reads the error",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    assert_eq!(ids(&matched.tokens("a b").unwrap()), [0, 1]);
    assert!(matched.to_string().contains("puts no BOS token"), "{matched}");
    let half = MatchedModel::new(&sae, &model().to_dtype(DType::BF16).unwrap()).unwrap();
    assert!(!half.to_string().contains("computes in"), "{half}");
}

#[test]
fn an_autoencoder_that_ships_finds_the_model_that_ships() {
    let sae = Sae::load("eigenlens/classics-scope/1-mlp-in-x8-k16", &CPU).unwrap();
    let matched = model_for(&sae, &CPU).unwrap();
    assert_eq!(matched.model().repository().unwrap().name(), "eigenlens/classics");
    assert_eq!(matched.differences(), Vec::<&str>::new(), "{matched}");
}

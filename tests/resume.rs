//! Training, and scans of a text, that are killed in the middle and go on.
//!
//! The test runs itself once more as a program of its own, kills that with SIGKILL while it
//! works, and lets another one finish. It is a single test, because Stop is for a whole process.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use eigenlens::multilayer::LayerExample;
use eigenlens::notebook::attach::{forget_stop, request_stop};
use eigenlens::prelude::*;
use eigenlens::sae::{Architecture, SaeWeights};

/// Tells the program of its own where to work.
const FOLDER: &str = "EIGENLENS_TEST_RESUME";

fn text() -> Tokens {
    let mut rng = Rng::seed(5);
    let draws = rng.permutation(4000);
    Tokens::from(draws.into_iter().map(|draw| draw % 50).collect::<Vec<_>>())
}

fn model() -> Result<Decoder> {
    let config = Config { vocab: 50, context: 32, ..Config::bilinear(2, 2, 32, 64) };
    Decoder::random(config, 0, &Device::Cpu)
}

/// Trains a model and an autoencoder of it, with checkpoints in `folder` or without.
fn train(folder: Option<&Path>) -> Result<Vec<Vec<f32>>> {
    let place = |name: &str| folder.map(|folder| folder.join(name));
    let model = model()?;
    let options = TrainOptions {
        steps: 300,
        batch: 8,
        length: 32,
        report: 20,
        held_out: 4,
        checkpoint: place("model"),
        ..TrainOptions::default()
    };
    model.fit(&text(), &text(), &options)?;
    let options = SaeOptions {
        expansion: 4,
        k: 4,
        relu: false,
        steps: 300,
        batch: 128,
        buffer: 1000,
        length: 32,
        report: 20,
        checkpoint: place("sae"),
        ..SaeOptions::default()
    };
    let (sae, _) = Sae::fit(&model, HookPoint::MlpOut(1), &text(), &options)?;
    let weights = model.weights().into_iter().map(|(_, weight)| weight);
    let weights = weights.chain([sae.w_enc().clone(), sae.w_dec().clone(), sae.b_dec().clone()]);
    weights.map(|weight| Ok(weight.flatten_all()?.to_vec1()?)).collect()
}

/// Distributions and examples of an autoencoder of all layers, with a checkpoint or without.
fn scan(folder: Option<&Path>) -> Result<(LayerDistributions, Vec<LayerExample>)> {
    let decoder = Rng::seed(0).normal((32, 64), &Device::Cpu)?;
    let bias = Tensor::zeros(32, DType::F32, &Device::Cpu)?;
    let weights = SaeWeights::new(decoder.t()?.contiguous()?, decoder, bias);
    let sae = Sae::new(Architecture::top_k(4), weights)?;
    let mlsae = Mlsae::new(&model()?, &sae, &[0, 1])?;
    let text = Contexts::spread(&text(), 120, 32)?;
    let options = LayerScanOptions {
        batch: 1,
        save_every: 2,
        checkpoint: folder.map(|folder| folder.join("scan")),
        ..LayerScanOptions::default()
    };
    let distributions = mlsae.distributions(&text, &options)?;
    let examples = mlsae.examples(&text, LayerExampleOptions::default(), &options)?;
    Ok((distributions, examples.iter().collect::<Result<_>>()?))
}

#[test]
fn what_was_killed_ends_with_the_bits_of_an_undisturbed_run() -> Result<()> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        train(Some(Path::new(&folder)))?;
        scan(Some(Path::new(&folder)))?;
        return Ok(());
    }
    let undisturbed = (train(None)?, scan(None)?);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let parts = ["model/state.json", "sae/state.json"];
    let parts =
        parts.into_iter().chain(["scan/distributions.safetensors", "scan/examples.safetensors"]);
    for part in parts {
        let state = folder.path().join(part);
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a second process");
        let start = Instant::now();
        while !state.is_file() {
            assert!(start.elapsed() < Duration::from_secs(120), "no checkpoint {part}");
            assert!(child.try_wait().expect("a child").is_none(), "it ended before {part}");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().expect("a kill");
        child.wait().expect("an end");
        let last = folder.path().join("sae/step-300.safetensors");
        assert!(!part.starts_with("sae") || !last.exists(), "it was not cut off");
    }
    assert_eq!(train(Some(folder.path()))?, undisturbed.0);
    // Stop ends a scan, and keeps what there is.
    request_stop();
    let stopped = scan(Some(folder.path()));
    forget_stop();
    let message = stopped.expect_err("Stop ends it").to_string();
    let place = folder.path().join("scan/examples.safetensors");
    assert!(message.contains("the scan for examples (at context"), "{message}");
    assert!(message.contains(&*place.to_string_lossy()), "{message}");
    assert_eq!(scan(Some(folder.path()))?, undisturbed.1);
    Ok(())
}

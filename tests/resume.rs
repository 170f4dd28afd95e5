//! Training that is killed in the middle and goes on.
//!
//! The test runs itself once more as a program of its own, kills that with SIGKILL while it
//! trains, and lets another one finish.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use eigenlens::prelude::*;

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

#[test]
fn a_killed_training_ends_with_the_weights_of_an_undisturbed_one() -> Result<()> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        train(Some(Path::new(&folder)))?;
        return Ok(());
    }
    let undisturbed = train(None)?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    for part in ["model", "sae"] {
        let state = folder.path().join(part).join("state.json");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a second process");
        let start = Instant::now();
        while !state.is_file() {
            assert!(start.elapsed() < Duration::from_secs(120), "no checkpoint of the {part}");
            assert!(child.try_wait().expect("a child").is_none(), "it ended before the {part}");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().expect("a kill");
        child.wait().expect("an end");
    }
    assert!(!folder.path().join("sae/step-300.safetensors").exists(), "it was not cut off");
    assert_eq!(train(Some(folder.path()))?, undisturbed);
    Ok(())
}

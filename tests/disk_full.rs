//! What is left when the disk fills up while something is saved.
//!
//! A limit on the size of files stands for the full disk. It holds for the whole process, so this
//! test has a program of its own.

#![allow(unsafe_code, reason = "a limit of the process, set through the C library")]

use eigenlens::prelude::*;

#[test]
fn an_older_model_survives_and_nothing_else_is_left() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = ImageConfig { height: 8, width: 8, d_hidden: 32, ..ImageConfig::default() };
    let model = ImageModel::new(config, 0, &Device::Cpu)?;
    let decoder =
        Decoder::random(Config { vocab: 50, ..Config::bilinear(1, 2, 8, 8) }, 0, &Device::Cpu)?;
    let (images, language) = (folder.path().join("images"), folder.path().join("language"));
    model.save(&images)?;
    decoder.save(&language)?;
    let logits = |model: &ImageModel| -> Result<Vec<Vec<f32>>> {
        let x = Tensor::ones((1, 64), DType::F32, &Device::Cpu)?;
        Ok(model.logits(&x)?.to_vec2()?)
    };
    let before = logits(&ImageModel::load(&images, &Device::Cpu)?)?;

    let other = ImageModel::new(config, 1, &Device::Cpu)?;
    limit_files(1000);
    let failures =
        [other.save(&images), decoder.save(&language), other.save(folder.path().join("new"))];
    // What a test prints may go to a file too.
    limit_files(libc::RLIM_INFINITY);
    for failure in failures {
        let message = failure.expect_err("the disk is full").to_string();
        assert!(
            message.contains("could not write") && message.contains("model.safetensors"),
            "{message}"
        );
    }
    let files = |name: &str| {
        let entries = std::fs::read_dir(folder.path().join(name)).expect("a folder");
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(files("images"), ["config.json", "model.safetensors"]);
    assert_eq!(files("language"), ["config.json", "model.safetensors"]);
    assert!(files("new").is_empty());
    assert_eq!(logits(&ImageModel::load(&images, &Device::Cpu)?)?, before);
    Decoder::from_pretrained(&language.to_string_lossy(), &Device::Cpu)?;
    Ok(())
}

/// Lets writes fail past `bytes` of a file.
fn limit_files(bytes: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: without the signal a write past the limit is an ordinary error; both calls only read
    // their arguments.
    let limited = unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::setrlimit(libc::RLIMIT_FSIZE, &limit)
    };
    assert_eq!(limited, 0, "the size of files cannot be limited");
}

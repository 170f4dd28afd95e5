//! What is in the cache needs no network.

use candle_core::{DType, Device};

use super::*;
use crate::model::{Config, Decoder, HookPoint};
use crate::random::Rng;
use crate::sae::{Architecture, Sae, SaeWeights};

const CPU: &Device = &Device::Cpu;

fn sae() -> Sae {
    sae_of(Architecture::signed_top_k(2))
}

fn sae_of(architecture: Architecture) -> Sae {
    let mut rng = Rng::seed(1);
    let mut normal = |shape: &[usize]| rng.normal(shape, CPU).unwrap();
    let weights = SaeWeights::new(normal(&[8, 4]), normal(&[4, 8]), normal(&[4]));
    Sae::new(architecture, weights).unwrap().at(HookPoint::MlpOut(3))
}

/// A cache with the repository o/s as a folder of it is.
fn cache_of(folder: &Path) -> TempDir {
    let cache = tempfile::tempdir().unwrap();
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
    put_into_cache(cache.path(), "models--o--s", &files);
    cache
}

#[test]
fn a_cached_autoencoder_loads_though_the_hub_is_out_of_reach() {
    let folder = tempfile::tempdir().unwrap();
    sae().save_scope(folder.path().join("3-mlp-out-x2-k2"), DType::F32).unwrap();
    let cache = cache_of(folder.path());
    let repository = Repository::on(unreachable_hub(cache.path()), "o/s");
    let loaded = Sae::from_repository(&repository, "3-mlp-out-x2-k2", CPU).unwrap();
    assert_eq!(loaded.features(), 8);
    let missing = Sae::from_repository(&repository, "4-mlp-out-x2-k2", CPU).unwrap_err();
    let message = missing.to_string();
    assert!(message.contains("could not fetch") && message.contains("o/s"), "{message}");
    assert!(message.contains("of o/s the cache has 3-mlp-out-x2-k2"), "{message}");
}

#[test]
fn a_cached_model_loads_though_the_hub_never_answers() {
    let server = Server::start();
    server.silence("/");
    let folder = tempfile::tempdir().unwrap();
    let config = Config { vocab: 7, mlp_bias: true, ..Config::bilinear(2, 2, 8, 6) };
    Decoder::random(config, 3, CPU).unwrap().save(folder.path()).unwrap();
    let cache = cache_of(folder.path());
    let hub = server.hub.clone().with_cache(cache.path());
    let loaded = Decoder::from_repository(&Repository::on(hub, "o/s"), CPU).unwrap();
    assert_eq!(loaded.source(), &Source::Cache("o/s".to_owned()));
    assert!(server.requests().is_empty());
}

#[test]
fn a_folder_that_is_not_there_is_asked_for_once() {
    let server = Server::start();
    server.put("/o/s/resolve/main/a/b.txt", b"x".to_vec());
    server.hub.file("o/s", "a/b.txt").unwrap();
    let names = |folder: &str| Repository::on(server.hub.clone(), "o/s").names_in(folder).unwrap();
    assert_eq!(names("a"), ["b.txt"]);
    assert!(names("c").is_empty());
    server.requests();
    assert!(names("c").is_empty() && server.requests().is_empty());
}

#[test]
fn an_autoencoder_costs_two_requests_before_its_weights() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    sae().save_scope(folder.path().join("3-mlp-out-x2-k2"), DType::F32).unwrap();
    sae_of(Architecture::top_k(2)).save(folder.path().join("saelens")).unwrap();
    server.serve("o/s", folder.path());
    let repository = Repository::on(server.hub.clone(), "o/s");
    Sae::from_repository(&repository, "3-mlp-out-x2-k2", CPU).unwrap();
    let asked = server.requests();
    let names = ["/api/models/o/s/revision/main", "config.json", "model.safetensors"];
    assert!(asked.iter().zip(names).all(|(request, name)| request.contains(name)), "{asked:?}");
    assert_eq!(asked.len(), 3, "{asked:?}");
    // The names of the files are known by now.
    Sae::from_repository(&repository, "saelens", CPU).unwrap();
    let asked = server.requests();
    let names = ["saelens/cfg.json", "saelens/sae_weights.safetensors"];
    assert!(asked.iter().zip(names).all(|(request, name)| request.contains(name)), "{asked:?}");
    assert_eq!(asked.len(), 2, "{asked:?}");

    let again = Sae::from_repository(&repository, "3-mlp-out-x2-k2", CPU);
    assert!(again.is_ok() && server.requests().is_empty());
    let error = Sae::from_repository(&repository, "3-mlp-in-x2-k2", CPU).unwrap_err().to_string();
    assert!(error.contains("3-mlp-out-x2-k2/config.json"), "{error}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_mirror_without_listings_is_asked_file_by_file() {
    let server = Server::start();
    server.state.lists.store(false, Ordering::SeqCst);
    let folder = tempfile::tempdir().unwrap();
    sae().save_scope(folder.path().join("a+b"), DType::F32).unwrap();
    server.serve("o/s", folder.path());
    let repository = Repository::on(server.hub.clone(), "o/s");
    assert_eq!(Sae::from_repository(&repository, "a+b", CPU).unwrap().features(), 8);
    assert!(repository.has("a+b/model.safetensors").unwrap());
    assert!(!repository.has("a+b/other.json").unwrap());
}

#[test]
fn whether_there_is_a_file_fetches_nothing() {
    let server = Server::start();
    let repository = Repository::on(server.hub.clone(), DATA);
    assert!(repository.has("big-file.bin").unwrap());
    assert!(!repository.has("small-file.bin").unwrap());
    assert!(repository.read_if("other.bin").unwrap().is_none());
    assert!(server.requests().iter().all(|request| request.starts_with("/api/datasets/")));
    assert!(server.blobs(DATA_FOLDER).is_empty());
    let error = repository.read("big_file.bin").unwrap_err().to_string();
    assert!(error.contains("big-file.bin"), "{error}");
}

#[test]
fn of_what_is_in_part_in_the_cache_optional_files_may_be_out_of_reach() {
    let cache = tempfile::tempdir().unwrap();
    put_into_cache(cache.path(), "models--o--s", &[("a.json", b"{}")]);
    let server = Server::start();
    for (status, headers) in [
        ("503 Service Unavailable", ""),
        ("401 Unauthorized", "X-Error-Code: GatedRepo\r\n"),
        ("200 OK", "Content-Type: text/html\r\n"),
    ] {
        server.put_answer("/api/models/o/s/revision/main", status, headers);
        server.put_answer("/o/s/resolve/main/b.json", status, headers);
        let repository = Repository::on(server.hub.clone().with_cache(cache.path()), "o/s");
        assert!(repository.read_if("b.json").unwrap().is_none(), "{status}");
        assert!(repository.read("b.json").is_err(), "{status}");
    }
    let repository = Repository::on(unreachable_hub(cache.path()), "o/s");
    assert!(repository.read_if("a.json").unwrap().is_some());
    assert!(repository.read_if("b.json").unwrap().is_none());
    let other = Repository::on(unreachable_hub(cache.path()), "o/other");
    assert!(other.read_if("b.json").unwrap_err().to_string().contains("could not fetch"));
    assert!(!cache.path().join("models--o--other").exists());
}

#[test]
fn snapshots_are_found_by_reference_commit_its_start_or_without_any() {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("models--o--s");
    put_into_cache(cache.path(), "models--o--s", &[("x.json", SMALL)]);
    fs::create_dir_all(folder.join("refs/refs/pr")).unwrap();
    fs::write(folder.join("refs/refs/pr/1"), "c1\n").unwrap();
    let other = folder.join("snapshots").join(COMMIT);
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("y.json"), SMALL).unwrap();
    let hub = unreachable_hub(cache.path());
    let path = folder.join("snapshots/c1/x.json");
    for repo in ["o/s", "o/s@main", "o/s@c1", "o/s@refs/pr/1", "models/o/s"] {
        assert_eq!(hub.file(repo, "x.json").unwrap(), path, "{repo}");
    }
    for repo in [&format!("o/s@{COMMIT}"), "o/s@0123456"] {
        assert_eq!(hub.file(repo, "y.json").unwrap(), other.join("y.json"), "{repo}");
    }
    assert!(hub.file("o/s@0123", "y.json").is_err());
    fs::remove_dir_all(folder.join("refs")).unwrap();
    fs::remove_dir_all(&other).unwrap();
    assert_eq!(hub.file("o/s", "x.json").unwrap(), path);
}

#[test]
fn a_note_that_a_file_does_not_exist_is_believed() {
    let cache = tempfile::tempdir().unwrap();
    put_into_cache(cache.path(), "models--o--s", &[("a.json", b"{}")]);
    // As Python writes it.
    let marks = cache.path().join("models--o--s/.no_exist/c1");
    fs::create_dir_all(&marks).unwrap();
    fs::write(marks.join("b.json"), "").unwrap();
    let server = Server::start();
    let hub = server.hub.clone().with_cache(cache.path());
    let repository = Repository::on(hub.clone(), "o/s");
    assert!(!repository.has("b.json").unwrap());
    assert!(repository.read("b.json").unwrap_err().to_string().contains("had no such file"));
    let error = hub.offline().file("o/s", "b.json").unwrap_err().to_string();
    assert!(error.contains("a note that the repository has no such file"), "{error}");
    assert!(server.requests().is_empty());
}

#[test]
fn what_the_hub_has_not_is_noted_as_python_does() {
    let server = Server::start();
    let repository = Repository::on(server.hub.clone(), "owner/name");
    repository.read("config.json").unwrap();
    assert!(!repository.has("b.json").unwrap());
    let mark = server.cache.path().join("models--owner--name/.no_exist").join(COMMIT);
    assert!(mark.join("b.json").is_file());
    server.requests();
    assert!(!Repository::on(server.hub.clone(), "owner/name").has("b.json").unwrap());
    assert!(server.requests().is_empty());

    let headers = format!("X-Error-Code: EntryNotFound\r\nX-Repo-Commit: {COMMIT}\r\n");
    server.put_answer("/owner/name/resolve/main/sub/c.json", "404 Not Found", &headers);
    assert!(server.error("owner/name", "sub/c.json").contains("no file of this name"));
    assert!(mark.join("sub/c.json").is_file());
}

#[test]
fn offline_says_what_there_is() {
    let cache = tempfile::tempdir().unwrap();
    put_into_cache(cache.path(), "models--o--s", &[("f/a.json", b"{}"), ("f/w.pt", b"x")]);
    let error = unreachable_hub(cache.path()).offline().file("o/s", "f/b.json").unwrap_err();
    let message = error.to_string();
    assert!(message.contains("Of the same folder it has a.json, w.pt."), "{message}");
}

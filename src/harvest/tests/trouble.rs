//! Stores that are damaged, of another harvest, or asked for what they do not have.

use std::fs;

use super::*;
use crate::Error;
use crate::harvest::folder::StoreFolder;

fn message<T: std::fmt::Debug>(result: crate::Result<T>) -> String {
    result.unwrap_err().to_string()
}

/// Names and content of all files but the records, which say when they were made.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for table in ["tokens", "codes", "statistics", "examples", "activations"] {
        let mut folders = vec![folder.join(table)];
        while let Some(own) = folders.pop() {
            for entry in fs::read_dir(own).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => {
                        let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                        found.insert(name, fs::read(path).unwrap());
                    }
                }
            }
        }
    }
    found
}

#[test]
fn a_harvest_goes_on_and_ends_with_the_same_files() {
    let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    harvested(whole.path(), &options());
    let (model, saes) = (model(), saes());
    let harvest = Harvest::new(broken.path(), &model, &saes, &contexts(), &options()).unwrap();
    for unit in [5, 0] {
        harvest.harvest_unit(unit).unwrap();
    }
    assert_eq!(harvest.missing().unwrap(), [1, 2, 3, 4, 6, 7]);
    let half = Store::open(broken.path()).unwrap();
    assert_eq!(half.tokens(), 84);
    assert!(message(half.check()).contains("6 missing, the first of which is 1"));
    // What a crash leaves: a file without a record, one without a name.
    fs::write(broken.path().join("codes/1.mlp_in/000003-01234567.parquet"), "torn").unwrap();
    fs::write(broken.path().join(".part-x"), "torn").unwrap();
    let error = message(half.tidy());
    assert!(error.contains("no process is harvesting"), "{error}");
    drop(harvest);
    let store = harvested(broken.path(), &options());
    let removed = store.tidy().unwrap().removed;
    assert_eq!(removed, [".part-x", "codes/1.mlp_in/000003-01234567.parquet"]);
    assert_eq!(files(broken.path()), files(whole.path()));
    let checked = store.check().unwrap();
    assert_eq!(checked.files, files(whole.path()).len());
}

#[test]
fn two_harvests_of_one_folder_share_the_work() {
    let (whole, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    harvested(whole.path(), &options());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| harvested(shared.path(), &options()));
        }
    });
    let store = Store::open(shared.path()).unwrap();
    store.check().unwrap();
    store.tidy().unwrap();
    assert_eq!(files(shared.path()), files(whole.path()));
}

#[test]
fn damage_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = harvested(folder.path(), &options());
    for (table, key) in [("activations", "0.resid_post"), ("codes", "1.mlp_in"), ("tokens", "")] {
        let path = folder.path().join(&store.files(table, key).nth(2).unwrap().path);
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 4;
        fs::write(&path, &flipped).unwrap();
        let error = message(store.check());
        assert!(error.contains(&name) && error.contains("damaged"), "{error}");
        fs::write(&path, &good[..good.len() - 9]).unwrap();
        let error = message(store.check());
        assert!(error.contains(&name) && error.contains("truncated"), "{error}");
        match table {
            "activations" => {
                let error = message(store.shuffled(POINT, &ShuffleOptions::default()));
                assert!(error.contains(&name) && error.contains("truncated"), "{error}");
            }
            "codes" => {
                let error = message(store.occurrences(key, &[1]));
                assert!(error.contains(&name) && error.contains("whole Parquet"), "{error}");
            }
            _ => {}
        }
        fs::remove_file(&path).unwrap();
        let error = message(store.check());
        assert!(error.contains(&name) && error.contains("could not read"), "{error}");
        fs::write(&path, &good).unwrap();
        store.check().unwrap();
    }
    let commit = folder.path().join("commits/000004.json");
    fs::write(&commit, "{\"unit\": 4").unwrap();
    assert!(message(Store::open(folder.path())).contains("000004.json"));
    fs::remove_file(&commit).unwrap();
    let error = message(Store::open(folder.path()).unwrap().check());
    assert!(error.contains("1 missing, the first of which is 4"), "{error}");
    let record = folder.path().join("run.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"seed\": 0", "\"seed\": 1")).unwrap();
    assert!(message(Store::open(folder.path())).contains("changed by hand"));
    fs::write(&record, text.replace("\"format\": 1", "\"format\": 9")).unwrap();
    assert!(message(Store::open(folder.path())).contains("another version"));
}

#[test]
fn a_folder_of_something_else_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    harvested(folder.path(), &options());
    let (model, contexts) = (model(), contexts());
    let with = |options: HarvestOptions| {
        message(Store::harvest(folder.path(), &model, &saes(), &contexts, &options))
    };
    let seed = with(HarvestOptions { seed: 3, ..options() });
    assert!(
        seed.contains("`seed`") && seed.contains("3") && seed.contains("another folder"),
        "{seed}"
    );
    assert!(with(HarvestOptions { points: vec![POINT], ..options() }).contains("hook points"));
    assert!(with(HarvestOptions { examples: 3, ..options() }).contains("`examples`"));
    assert!(with(HarvestOptions { unit: Some(8), ..options() }).contains("`unit`"));
    let other = Decoder::random(model.config().clone(), 1, &Device::Cpu).unwrap();
    let error = message(Store::harvest(folder.path(), &other, &saes(), &contexts, &options()));
    assert!(error.contains("model's weights"), "{error}");
    let text = Contexts::new(6, vec![1; 300]).unwrap();
    let error = message(Store::harvest(folder.path(), &model, &saes(), &text, &options()));
    assert!(error.contains("text"), "{error}");
    // Neither units nor memory have to be said again.
    let options = HarvestOptions { unit: None, memory: 1 << 29, ..options() };
    Store::harvest(folder.path(), &model, &saes(), &contexts, &options).unwrap();

    let strange = tempfile::tempdir().unwrap();
    fs::write(strange.path().join("thesis.tex"), "").unwrap();
    let error = message(Store::harvest(strange.path(), &model, &saes(), &contexts, &options));
    assert!(error.contains("thesis.tex"), "{error}");
    let below = strange.path().join("thesis.tex/store");
    let error = message(Store::harvest(&below, &model, &saes(), &contexts, &options));
    assert!(error.contains("could not create") && error.contains("thesis.tex"), "{error}");
    let error = message(Store::open(strange.path()));
    assert!(error.contains("run.json") && error.contains("Store::harvest"), "{error}");
}

#[cfg(not(feature = "s3"))]
#[test]
fn a_build_that_reads_no_buckets_says_how_to_get_one() {
    let error = message(Store::open("s3://bucket/run"));
    assert!(error.contains("s3://bucket/run") && error.contains("--features s3"), "{error}");
}

#[test]
fn many_files_are_read_in_their_order_and_the_first_error_counts() {
    let place = StoreFolder::new(Path::new("nowhere")).unwrap();
    let items: Vec<usize> = (0..500).collect();
    let doubled = place.for_each(items.clone(), |item| Ok(2 * item)).unwrap();
    assert!(doubled.into_iter().eq((0..500).map(|item| 2 * item)));
    let failed = place.for_each(items, |item| match item {
        100.. => Err(Error::invalid("the item", "below 100", item)),
        item => Ok(item),
    });
    assert!(message(failed).contains("found 100"));
}

#[test]
fn requests_that_cannot_be_met_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let (model, contexts) = (model(), contexts());
    let with = |saes: &[Sae], options: HarvestOptions| {
        message(Store::harvest(&path, &model, saes, &contexts, &options))
    };
    let none = HarvestOptions { points: Vec::new(), ..options() };
    assert!(with(&[], none).contains("at least one hook point or one autoencoder"));
    let pattern = HarvestOptions { points: vec![HookPoint::Pattern(0)], ..options() };
    assert!(with(&[], pattern).contains("per pair of tokens"));
    let twice = HarvestOptions { points: vec![POINT, POINT], ..options() };
    assert!(with(&[], twice).contains("0.resid_post twice"));
    let key = |key: &str| HarvestOptions { keys: vec![key.to_owned()], ..options() };
    assert!(with(&saes()[..1], key("a/b")).contains("`a/b`"));
    assert!(with(&saes(), key("a")).contains("as many as there are autoencoders, 2"));
    assert!(
        with(&[], HarvestOptions { activations: Keep::Share(1.5), ..options() }).contains("1.5")
    );
    assert!(with(&[], HarvestOptions { memory: 100, ..options() }).contains("`memory`"));
    assert!(with(&[], HarvestOptions { unit: Some(0), ..options() }).contains("`unit`"));
    assert!(with(&[sae(HookPoint::MlpIn(2), 1)], options()).contains("never fires"));
    assert!(!path.exists(), "nothing was made");

    let store = harvested(&path, &HarvestOptions { codes: Keep::None, ..options() });
    assert!(message(store.table("x8")).contains("one of 1.mlp_in, 0.mlp_out"));
    assert!(message(store.examples("1.mlp_in", 24, 1)).contains("below 24"));
    assert!(message(store.occurrences("1.mlp_in", &[])).contains("at least one"));
    assert!(message(store.occurrences("1.mlp_in", &[1, 1])).contains("1 twice"));
    assert!(message(store.occurrences("1.mlp_in", &[1])).contains("Keep::None"));
    let elsewhere = store.shuffled(HookPoint::MlpOut(1), &ShuffleOptions::default());
    assert!(message(elsewhere).contains("one of 0.resid_post, 1.mlp_in"));
    let skipped = SaeOptions { skip_tokens: vec![3], ..fit_options() };
    assert!(message(Sae::fit_stored(&store, POINT, &skipped)).contains("as in the store"));
    let harvest = Harvest::new(
        &path,
        &model,
        &saes(),
        &contexts,
        &HarvestOptions { codes: Keep::None, ..options() },
    );
    assert!(message(harvest.unwrap().harvest_unit(8)).contains("below 8"));
}

#[test]
fn stop_keeps_whole_units() {
    let folder = tempfile::tempdir().unwrap();
    let (model, saes) = (model(), saes());
    let harvest = Harvest::new(folder.path(), &model, &saes, &contexts(), &options()).unwrap();
    crate::progress::request_stop();
    let error = harvest.harvest_unit(0);
    crate::progress::forget_stop();
    assert!(matches!(error, Err(Error::Stopped { .. })), "{error:?}");
    assert_eq!(harvest.missing().unwrap().len(), 8);
    assert!(!folder.path().join("tokens").exists(), "nothing of the unit is left");
    assert!(
        fs::read_dir(folder.path())
            .unwrap()
            .all(|own| { !own.unwrap().file_name().to_str().unwrap().starts_with(".part-") })
    );
}

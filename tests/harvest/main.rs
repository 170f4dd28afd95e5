//! Harvests by processes of their own: killed, racing, short of disk and of memory.
//!
//! A process is this program again, told by variables what to do.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod process;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use eigenlens::harvest::Harvest;
use eigenlens::prelude::*;
use process::{Child, Job, memory_now, peak_memory, reset_peak};

/// Times that a harvest is killed, unless `EIGENLENS_KILLS` says otherwise.
const KILLS: usize = 6;

/// The sum of every file, as the records have it.
fn sums(path: &Path) -> BTreeMap<String, String> {
    let store = Store::open(path).unwrap();
    store.check().unwrap();
    let files = store.units().iter().flat_map(|unit| unit.files.clone());
    files.map(|file| (file.path, file.sha256)).collect()
}

/// The names of all files of tables.
fn names(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let own = entry.unwrap().path();
            match own.is_dir() {
                true => folders.push(own),
                false => found.push(own.strip_prefix(path).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    let no_tables = |name: &String| name.contains('/') && !name.starts_with("commits/");
    found.retain(no_tables);
    found.sort_unstable();
    found
}

#[test]
fn a_harvest_that_is_killed_goes_on_to_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let start = Instant::now();
    Child::start(Job::Harvest, &whole).succeed();
    let whole_time = start.elapsed();
    let expected = sums(&whole);
    let kills = std::env::var("EIGENLENS_KILLS").map_or(KILLS, |own| own.parse().unwrap());
    let mut rng = Rng::seed(u64::from(std::process::id()));
    let (path, mut killed) = (folder.path().join("killed"), 0);
    while killed < kills {
        let child = Child::start(Job::Harvest, &path);
        std::thread::sleep(whole_time.mul_f32(rng.unit() * 0.6));
        killed += usize::from(child.kill());
        if Store::open(&path).is_ok_and(|store| store.units().len() == store.run().units) {
            // It was done before all kills were: another begins.
            fs::remove_dir_all(&path).unwrap();
        }
    }
    Child::start(Job::Harvest, &path).succeed();
    assert_eq!(sums(&path), expected);
    Store::open(&path).unwrap().tidy().unwrap();
    assert_eq!(names(&path), expected.keys().cloned().collect::<Vec<_>>());
}

#[test]
fn processes_that_race_make_one_store() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, shared) = (folder.path().join("whole"), folder.path().join("shared"));
    Child::start(Job::Harvest, &whole).succeed();
    let children = [(); 3].map(|()| Child::start(Job::Harvest, &shared));
    children.into_iter().for_each(Child::succeed);
    assert_eq!(sums(&shared), sums(&whole));
    Store::open(&shared).unwrap().tidy().unwrap();
    assert_eq!(names(&shared), sums(&whole).into_keys().collect::<Vec<_>>());
}

#[test]
fn a_full_disk_is_an_error_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, full) = (folder.path().join("whole"), folder.path().join("full"));
    Child::start(Job::Harvest, &whole).succeed();
    // Files of this process may have 4 KiB: as on a full disk, a write fails in its middle.
    let said = Child::start_limited(Job::Harvest, &full, "ulimit -f 4; trap '' XFSZ").fail();
    assert!(said.contains("could not write") && said.contains("full"), "{said}");
    let left = fs::read_dir(&full).unwrap().map(|own| own.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_str().unwrap().starts_with(".part-")));
    Child::start(Job::Harvest, &full).succeed();
    assert_eq!(sums(&full), sums(&whole));
}

#[test]
fn memory_stays_within_what_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    Child::start(Job::LargeHarvest, &path).succeed();
    let store = Store::open(&path).unwrap();
    let bytes: u64 = store.units().iter().flat_map(|unit| &unit.files).map(|own| own.bytes).sum();
    assert!(bytes > 20 * process::MEMORY as u64, "{bytes} bytes are more than 20 times the memory");
    Child::start(Job::LargeRead, &path).succeed();
}

/// What a process does: it is no test, but has to look like one.
#[test]
#[ignore = "the processes that the other tests start"]
fn process() {
    let (job, path) = process::told();
    let said = match job {
        Job::Harvest => harvest(&path),
        Job::LargeHarvest => large_harvest(&path),
        Job::LargeRead => large_read(&path),
    };
    if let Err(error) = said {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn model(width: usize) -> Decoder {
    let config = Config { vocab: 50, context: 64, ..Config::bilinear(1, 2, width, width) };
    Decoder::random(config, 1, &Device::Cpu).unwrap()
}

fn contexts(count: usize) -> Contexts {
    let mut rng = Rng::seed(4);
    let token = |_| (rng.unit() * 50.0) as u32 % 50;
    Contexts::new(64, (0..64 * count).map(token).collect()).unwrap()
}

fn harvest(path: &Path) -> Result<()> {
    let mut rng = Rng::seed(5);
    let decoder = rng.normal((32, 128), &Device::Cpu)?;
    let encoder = decoder.t()?.contiguous()?;
    let bias = Tensor::zeros(32, DType::F32, &Device::Cpu)?;
    let weights = eigenlens::sae::SaeWeights::new(encoder, decoder, bias);
    let sae =
        Sae::new(eigenlens::sae::Architecture::top_k(8), weights)?.at(HookPoint::ResidPost(0));
    let options = HarvestOptions {
        points: vec![HookPoint::ResidPost(0)],
        unit: Some(8),
        batch: 2,
        pile: 1 << 16,
        ..HarvestOptions::default()
    };
    Store::harvest(path, &model(32), &[sae], &contexts(200), &options).map(drop)
}

fn large_harvest(path: &Path) -> Result<()> {
    let model = model(256);
    let options = HarvestOptions {
        points: vec![HookPoint::ResidPost(0)],
        loss: false,
        batch: 2,
        memory: process::MEMORY,
        pile: process::PILE,
        ..HarvestOptions::default()
    };
    // What the model and a batch take is there before the measurement begins.
    let warm = tempfile::tempdir().unwrap();
    Harvest::new(warm.path(), &model, &[], &contexts(4), &options)?.harvest_unit(0)?;
    let contexts = contexts(2_700);
    let before = memory_now();
    reset_peak();
    Store::harvest(path, &model, &[], &contexts, &options)?;
    let more = peak_memory() - before;
    let allowed = process::MEMORY * 13 / 10;
    assert!(more < allowed as u64, "{more} bytes, {allowed} are allowed");
    Ok(())
}

fn large_read(path: &Path) -> Result<()> {
    let store = Store::open(path)?;
    let options =
        ShuffleOptions { batch: 64, memory: 3 * process::PILE, ..ShuffleOptions::default() };
    let before = memory_now();
    reset_peak();
    let mut rows = 0;
    for batch in store.shuffled(HookPoint::ResidPost(0), &options)? {
        rows += batch?.dims()[0];
    }
    assert_eq!(rows, 64 * 2_700);
    let more = peak_memory() - before;
    // Two blocks of a pile, which differ in size by chance, and the batch.
    let allowed = 3 * process::PILE as u64 + (1 << 20);
    assert!(more < allowed, "{more} bytes, {allowed} are allowed");
    Ok(())
}

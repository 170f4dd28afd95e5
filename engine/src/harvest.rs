//! The units of a harvest, done here.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::error::DataFusionError;
use eigenlens::harvest::{Harvest, Store};
use eigenlens::{Error, best_device};

/// A share of the units of a harvest, as `2/8`: those whose number leaves 2 when divided by 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    number: usize,
    parts: usize,
}

impl std::str::FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/');
        let numbers =
            numbers.and_then(|(number, parts)| Some((number.parse().ok()?, parts.parse().ok()?)));
        match numbers {
            Some((number, parts)) if number < parts => Ok(Self { number, parts }),
            _ => Err(format!("a part is I/N with I from 0 to N - 1, found {text}")),
        }
    }
}

/// What a unit came to.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) unit: usize,
    pub(crate) tokens: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
}

/// The units of a store that are not done.
///
/// # Errors
/// If the folder is not a store, or a record cannot be read.
pub(crate) fn missing(store: &Path) -> Result<Vec<usize>, String> {
    let store = Store::open(store).map_err(|error| error.to_string())?;
    let done: BTreeSet<usize> = store.units().iter().map(|commit| commit.unit).collect();
    Ok((0..store.run().units).filter(|unit| !done.contains(unit)).collect())
}

/// Does a part of the units that are missing, and says so unit by unit.
///
/// # Errors
/// If the model, the text or an autoencoder cannot be loaded again, or a unit fails.
pub(crate) fn run(store: &Path, part: Part) -> Result<String, String> {
    let mut units = missing(store)?;
    units.retain(|unit| unit % part.parts == part.number);
    if units.is_empty() {
        return Ok("every unit of this part is done already".to_owned());
    }
    let harvest = Harvest::reopen(store, &best_device()).map_err(|error| error.to_string())?;
    for unit in &units {
        let commit = harvest.harvest_unit(*unit).map_err(|error| error.to_string())?;
        println!("unit {unit}: {} tokens in {:.1} s", commit.tokens, commit.seconds);
    }
    Ok(done(units.len()))
}

/// A number of units in words.
pub(crate) fn done(units: usize) -> String {
    match units {
        1 => "1 unit is done".to_owned(),
        units => format!("{units} units are done"),
    }
}

/// The harvest of the store that this process is at work on: models are loaded once.
static OPEN: Mutex<Option<(PathBuf, Arc<Harvest>)>> = Mutex::new(None);

/// Does a unit on a thread of its own.
///
/// # Errors
/// As an error of input and output, which a scheduler tries again, if the unit may succeed
/// elsewhere or later: files, memory, devices. Else as one that ends the job.
pub(crate) async fn unit(store: PathBuf, unit: usize) -> Result<Done, DataFusionError> {
    let done = tokio::task::spawn_blocking(move || {
        let harvest = open(&store)?;
        println!("unit {unit} begins in process {}", std::process::id());
        harvest.harvest_unit(unit)
    });
    let commit = match done.await {
        Ok(Ok(commit)) => commit,
        Ok(Err(error)) => return Err(failed(unit, &error)),
        // A panic: of the device's driver, or for lack of memory.
        Err(panic) => return Err(again(format!("unit {unit}: {panic}"))),
    };
    let bytes = commit.files.iter().map(|file| file.bytes).sum();
    Ok(Done { unit, tokens: commit.tokens, bytes, seconds: commit.seconds })
}

fn open(store: &Path) -> Result<Arc<Harvest>, Error> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((path, harvest)) = &*open
        && path == store
    {
        return Ok(Arc::clone(harvest));
    }
    // The one before goes first, as two models may not fit.
    *open = None;
    let harvest = Arc::new(Harvest::reopen(store, &best_device())?);
    *open = Some((store.to_owned(), Arc::clone(&harvest)));
    Ok(harvest)
}

fn failed(unit: usize, error: &Error) -> DataFusionError {
    let words = format!("unit {unit}: {error}");
    match error {
        // A disk, a network, a device or its memory; Stop on one machine is not the job's.
        Error::Io { .. } | Error::Tensor(_) | Error::Stopped { .. } => again(words),
        _ => DataFusionError::Execution(words),
    }
}

/// An error after which a scheduler hands the task out again.
fn again(words: String) -> DataFusionError {
    DataFusionError::IoError(io::Error::other(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_one_of_several() {
        assert_eq!("2/8".parse(), Ok(Part { number: 2, parts: 8 }));
        assert_eq!("0/1".parse(), Ok(Part { number: 0, parts: 1 }));
        for wrong in ["8/8", "1", "a/b", "-1/2", "1/0", ""] {
            let error = wrong.parse::<Part>().unwrap_err();
            assert!(error.contains("I/N"), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_may_succeed_elsewhere_is_tried_again() {
        let full = Error::io("write", Path::new("x"))(io::Error::other("no space"));
        assert!(matches!(failed(3, &full), DataFusionError::IoError(_)));
        let tensor = Error::Tensor(candle("CUDA_ERROR_OUT_OF_MEMORY"));
        assert!(matches!(failed(3, &tensor), DataFusionError::IoError(_)));
        let wrong = Error::invalid("the contexts", "others", 1);
        assert!(matches!(failed(3, &wrong), DataFusionError::Execution(_)));
        assert!(failed(3, &wrong).to_string().contains("unit 3: the contexts must be others"));
    }

    fn candle(words: &str) -> candle_core::Error {
        candle_core::Error::Msg(words.to_owned())
    }
}

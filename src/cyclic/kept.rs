//! What interventions keep in a folder: a file a layer with the logits of each patch that was run.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::intervene_options::InterveneOptions;
use super::patch::{CircleReading, Patch};
use super::problems::Problems;
use super::streams::Streams;
use crate::Result;
use crate::check::first_difference;
use crate::geometry::Explanatory;
use crate::harvest::{
    CheckpointFile, CheckpointIdentity, sum_of_model, sum_of_tensors, sum_of_text,
};
use crate::model::Decoder;

const FORMAT: u32 = 1;

/// Logits of the words after each change, draw by draw.
pub(super) type ChangeLogits = Vec<Vec<f64>>;

/// What interventions depend on. The confidence of the intervals is not among it, because logits are
/// kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct InterventionIdentity {
    format: u32,
    model: String,
    problems: String,
    activations: String,
    options: String,
    subspaces: String,
    layers: Vec<usize>,
    batch: usize,
    seed: u64,
}

impl CheckpointIdentity for InterventionIdentity {
    const WHAT: &'static str = "interventions";

    fn difference(&self, other: &Self) -> (&'static str, String, String) {
        let found = first_difference!(
            self, other,
            "format": format, "model": model, "problems": problems, "activations": activations,
            "options": options, "subspaces and functions": subspaces, "`layers`": layers,
            "`batch`": batch, "`seed`": seed,
        );
        found.unwrap_or_else(|| ("identity", String::new(), String::new()))
    }
}

/// The files of a table of interventions.
#[derive(Debug)]
pub(super) struct InterventionFiles {
    folder: PathBuf,
    identity: InterventionIdentity,
    name: String,
}

impl InterventionFiles {
    /// In `folder`, of the table that a call asks for, with its `layers`.
    ///
    /// # Errors
    /// Memory.
    pub(super) fn new(
        folder: &Path,
        model: &Decoder,
        problems: &Problems,
        streams: &Streams,
        (options, layers): (&InterveneOptions, &[usize]),
    ) -> Result<Self> {
        let streams = (0..streams.len()).map(|layer| Ok((layer, streams.layer(layer)?)));
        let streams = streams.collect::<Result<Vec<_>>>()?;
        let tensors = options_tensors(options);
        let patches: Vec<String> = options.patches.iter().map(Patch::to_string).collect();
        let reading = match &options.reading {
            CircleReading::Direct(own) => format!("direct {own:?}"),
            CircleReading::Inverse(_, own) => format!("inverse {own:?}"),
            CircleReading::In { components, .. } => format!("in a subspace, {components}"),
        };
        let questions: Vec<String> =
            problems.all().iter().map(|problem| format!("{problem:?}")).collect();
        let identity = InterventionIdentity {
            format: FORMAT,
            model: sum_of_model(model)?,
            problems: sum_of_text(&format!("{questions:?} {:?}", problems.answer_tokens())),
            activations: sum_of_tensors(streams.iter().map(|(layer, own)| (layer, own)))?,
            options: format!(
                "{} {:?} {patches:?} {:?} {reading} {:?} {:?}",
                options.role,
                options.frequencies,
                options.variant,
                options.source_step,
                options.template
            ),
            subspaces: sum_of_tensors(tensors.into_iter().enumerate())?,
            layers: layers.to_vec(),
            batch: options.batch,
            seed: options.seed,
        };
        let name = identity.short_name();
        Ok(Self { folder: folder.to_owned(), identity, name })
    }

    fn file(&self, layer: usize) -> CheckpointFile<InterventionIdentity> {
        let name = format!("interventions-{}-layer-{layer:03}.safetensors", self.name);
        CheckpointFile::new(self.folder.join(name), self.identity.clone())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The logits of the patches that were run in a layer, `rows` of them each with `words` logits.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) for a file of other interventions, or one that is damaged.
    pub(super) fn read(
        &self,
        layer: usize,
        rows: &[usize],
        words: usize,
    ) -> Result<Vec<ChangeLogits>> {
        let file = self.file(layer);
        let Some((done, mut tensors)) = file.read()? else { return Ok(Vec::new()) };
        if done > rows.len() {
            return Err(file.damaged());
        }
        let logits = rows.iter().take(done).enumerate().map(|(patch, &rows)| {
            let found = tensors.take(&patch_name(patch))?;
            match found.dims() == [rows, words] && found.dtype() == DType::F64 {
                true => Ok(found.to_vec2()?),
                false => Err(file.damaged()),
            }
        });
        logits.collect()
    }

    /// Keeps the logits of the patches of a layer that were run.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if they cannot be written.
    pub(super) fn write(&self, layer: usize, logits: &[ChangeLogits]) -> Result<()> {
        let tensors = logits.iter().enumerate().map(|(patch, logits)| {
            let (rows, words) = (logits.len(), logits.first().map_or(0, Vec::len));
            let logits = Tensor::from_vec(logits.concat(), (rows, words), &Device::Cpu)?;
            Ok((patch_name(patch), logits))
        });
        self.file(layer).write(logits.len(), tensors.collect::<Result<_>>()?)
    }
}

fn patch_name(patch: usize) -> String {
    format!("patch-{patch:03}")
}

/// Subspaces and functions of options, whose names do not say what they are.
fn options_tensors(options: &InterveneOptions) -> Vec<&Tensor> {
    let mut found = Vec::new();
    for patch in &options.patches {
        if let Patch::Plane(subspace) | Patch::Exchange(subspace) = patch {
            found.push(subspace.basis());
        }
    }
    match &options.reading {
        CircleReading::Direct(_) => {}
        CircleReading::Inverse(functions, _) => {
            found.extend(functions.iter().map(Explanatory::columns));
        }
        CircleReading::In { subspace, .. } => found.push(subspace.basis()),
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::super::tests::prepared;
    use super::super::{CyclicTask, Interventions, Role};
    use super::*;
    use crate::Error;
    use crate::geometry::{Interval, Subspace};
    use crate::progress::in_background;
    use crate::random::Rng;

    fn options(folder: Option<&Path>) -> InterveneOptions {
        let plane = Subspace::random(16, 2, &mut Rng::seed(3)).unwrap();
        let patches =
            [Patch::published(), vec![Patch::RandomPlane(2), Patch::Exchange(plane)]].concat();
        let checkpoint = folder.map(Path::to_owned);
        InterveneOptions { patches, checkpoint, batch: 20, ..InterveneOptions::default() }
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut entries: Vec<PathBuf> = entries.collect();
        entries.sort();
        entries
    }

    fn assert_same(a: &Interventions, b: &Interventions) {
        assert_eq!(a.outcomes().len(), b.outcomes().len());
        for (a, b) in a.outcomes().iter().zip(b.outcomes()) {
            assert_eq!((a.layer, a.patch.to_string()), (b.layer, b.patch.to_string()));
            assert_eq!((&a.differences, &a.answers), (&b.differences, &b.answers));
            assert_eq!((a.success, a.within_one), (b.success, b.within_one));
        }
    }

    #[test]
    fn a_table_that_was_cut_off_ends_as_an_undisturbed_one() {
        let (model, problems) = prepared(&CyclicTask::weekdays());
        let streams = problems.activations(&model, Role::Start).unwrap();
        let run = |options: &InterveneOptions| {
            Interventions::run(&model, &problems, &streams, options).unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let (plain, kept) = (options(None), options(Some(folder.path())));
        let undisturbed = run(&plain);
        assert_same(&run(&kept), &undisturbed);
        let all = files(folder.path());
        assert_eq!(all.len(), 3);
        // Cut off within the second layer, after the third patch.
        std::fs::remove_file(&all[2]).unwrap();
        let layers = [0, 1, 2];
        let table =
            InterventionFiles::new(folder.path(), &model, &problems, &streams, (&kept, &layers));
        let table = table.unwrap();
        let rows: Vec<usize> = kept.patches.iter().map(|patch| 294 * patch.draws()).collect();
        let second = table.read(1, &rows, 7).unwrap();
        table.write(1, &second[..3]).unwrap();
        let resumed = run(&kept);
        assert_same(&resumed, &undisturbed);
        assert!(resumed.token_layers < undisturbed.token_layers);
        // All is there: nothing is run, and another confidence is another reading of it.
        let wide = InterveneOptions { confidence: Interval::NINETY_SIX / 2.0, ..kept.clone() };
        let again = run(&wide);
        assert_eq!(again.token_layers, 0);
        let of = |table: &Interventions| table.outcomes()[2].difference;
        assert!(of(&again).upper < of(&undisturbed).upper);
        // Another question has files of its own.
        run(&InterveneOptions { seed: 1, layers: vec![1], ..kept });
        assert_eq!(files(folder.path()).len(), 4);
    }

    #[test]
    fn stop_says_where_the_rest_goes_on() {
        let (model, problems) = prepared(&CyclicTask::weekdays());
        let streams = problems.activations(&model, Role::Start).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kept = options(Some(folder.path()));
        let pressed = Arc::new(AtomicBool::new(true));
        let error = in_background(&pressed, || {
            Interventions::run(&model, &problems, &streams, &kept).unwrap_err()
        });
        assert!(matches!(error, Error::Stopped { .. }), "{error}");
        assert!(error.to_string().contains("the same call goes on"), "{error}");
    }

    #[test]
    fn files_of_others_and_damaged_ones_are_refused_in_words() {
        let (model, problems) = prepared(&CyclicTask::weekdays());
        let streams = problems.activations(&model, Role::Start).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let base = InterveneOptions { layers: vec![1], ..options(Some(folder.path())) };
        let run = |options: &InterveneOptions| {
            Interventions::run(&model, &problems, &streams, options).map(drop)
        };
        run(&base).unwrap();
        let own = files(folder.path()).remove(0);
        let whole = std::fs::read(&own).unwrap();
        let plane = Subspace::random(16, 2, &mut Rng::seed(4)).unwrap();
        let mut patches = base.patches.clone();
        patches.pop();
        let changed = [
            (InterveneOptions { seed: 1, ..base.clone() }, "the `seed` of this call, 1, found 0"),
            (InterveneOptions { batch: 7, ..base.clone() }, "the `batch` of this call, 7"),
            (InterveneOptions { template: Some(0), ..base.clone() }, "the options of this call"),
            (
                InterveneOptions {
                    patches: [patches, vec![Patch::Exchange(plane)]].concat(),
                    ..base.clone()
                },
                "the subspaces and functions of this call",
            ),
        ];
        for (other, words) in changed {
            // Under the name of the other's.
            run(&other).unwrap();
            let name = files(folder.path()).into_iter().find(|path| *path != own).unwrap();
            std::fs::copy(&own, &name).unwrap();
            let error = run(&other).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("another `checkpoint`"), "{error}");
            std::fs::remove_file(name).unwrap();
        }
        for at in (0..whole.len()).step_by(whole.len() / 40) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&own, &bytes).unwrap();
            let error = run(&base).unwrap_err().to_string();
            assert!(error.contains("interventions-"), "{at}: {error}");
            std::fs::write(&own, &whole[..at]).unwrap();
            assert!(run(&base).is_err());
        }
    }
}

//! What a model answers if its activation says another class.

use std::collections::BTreeMap;

use super::change::{Change, changes};
use super::intervene_options::InterveneOptions;
use super::kept::{ChangeLogits, InterventionFiles};
use super::outcome::{OutcomeScoring, PatchOutcome};
use super::pass::{Runner, check_layer};
use super::patch::{Patch, Patcher};
use super::problems::{Problems, Role};
use super::streams::Streams;
use crate::check::check_sizes;
use crate::model::Decoder;
use crate::progress::{Progress, StopShield};
use crate::{Error, Result};

/// What a model answers with each patch in each layer.
///
/// For each layer and patch, each problem is changed to each other class, and scored by
///
/// ```text
/// logit(answer before the change) − logit(answer asked for)
/// ```
///
/// which is low where the change succeeds, and by the share of changes after which the answer asked
/// for is the best of the words. After Engels et al. (2024), section 4, who show the first alone.
///
/// **Which patches to compare.** [`Patch::Circle`] both removes all that is not on the circle and sets
/// the circle. It shows that the circle is enough; [`Patch::CircleKeepingRest`] shows whether it
/// counts beside the rest. [`Patch::PermutedCircle`] tells how much of it any plane does that
/// separates the classes, [`Patch::RandomPlane`] how much any plane does, and
/// [`Patch::CircleElsewhere`] how much a vector of that size does.
#[derive(Debug, Clone)]
pub struct Interventions {
    pub(super) task: String,
    pub(super) role: Role,
    pub(super) outcomes: Vec<PatchOutcome>,
    /// Positions times layers that the call ran: what is shared by passes counts once, and what a
    /// checkpoint had not at all.
    pub token_layers: u64,
    /// Whether Stop was pressed before the end.
    pub interrupted: bool,
}

impl Interventions {
    /// Patches `model` on `problems`, whose activations `streams` are at the role's position.
    ///
    /// A pass begins at the patched layer and the patched position: what comes before is the same in
    /// all passes of a problem and is run once. Passes that are equal in all are one.
    ///
    /// # Errors
    /// As [`Patcher::new`], [`changes`] and [`Decoder::run`]; [`Error::Invalid`] for activations of
    /// another role or of other problems, a layer beyond, no patches, a batch of 0;
    /// [`Error::Format`] for a checkpoint that is damaged or of other interventions;
    /// [`Error::Stopped`] when Stop is pressed, after which `stopped::<Interventions>()` returns the
    /// layers and patches that were done.
    pub fn run(
        model: &Decoder,
        problems: &Problems,
        streams: &Streams,
        options: &InterveneOptions,
    ) -> Result<Self> {
        let layers = checked(model, problems, streams, options)?;
        let period = problems.task().period();
        let questions = problems.questions();
        let all = changes(&questions, period, options.role, options.source_step)?;
        let of_template = |change: &Change| {
            let own = questions[change.problem].template;
            options.template.is_none_or(|template| own == template)
        };
        let all: Vec<Change> = all.into_iter().filter(of_template).collect();
        if all.is_empty() {
            let found = options.template.unwrap_or_default();
            return Err(Error::invalid("`template`", "one of the task's, from 0", found));
        }
        let mut which: Vec<usize> = all.iter().map(|change| change.problem).collect();
        which.sort_unstable();
        which.dedup();
        let targets = streams.circle(&options.frequencies)?;
        let scoring = OutcomeScoring {
            groups: all.iter().map(|change| questions[change.problem].start).collect(),
            period,
            confidence: options.confidence,
            seed: options.seed,
        };

        let rows: usize =
            options.patches.iter().map(|patch| PatchPasses::of(patch, &all).len()).sum();
        let mut progress = Progress::new("interventions", (layers.len() * rows) as u64, "run");
        let mut found = Self {
            task: problems.task().name().to_owned(),
            role: options.role,
            outcomes: Vec::new(),
            token_layers: 0,
            interrupted: false,
        };
        let files = options.checkpoint.as_ref().map(|folder| {
            InterventionFiles::new(folder, model, problems, streams, (options, &layers))
        });
        let files = files.transpose()?;
        let table = PatchTable { options, all: &all, period };
        let mut kept = table.kept(files.as_ref(), &layers)?;
        let left = layers.iter().zip(&kept).filter(|(_, kept)| kept.len() < options.patches.len());
        let left: Vec<usize> = left.map(|(layer, _)| *layer).collect();
        let _shield = StopShield::new();
        let runner = Runner::new(model, problems, &left, options.role, &which, options.batch)?;
        let mut unchanged = table.unchanged(&kept);
        for (i, &layer) in layers.iter().enumerate() {
            let done = &mut kept[i];
            let before: usize = options.patches[..done.len()]
                .iter()
                .map(|patch| PatchPasses::of(patch, &all).len())
                .sum();
            found.interrupted = progress.advance(before as u64) && i + 1 < layers.len();
            let had = done.len();
            if had < options.patches.len() && !found.interrupted {
                let x = streams.layer(layer)?;
                let patcher = Patcher::new(&x, &targets, &options.reading, options.variant)?;
                let patcher = patcher.seed(options.seed);
                for (j, patch) in options.patches.iter().enumerate().skip(had) {
                    let last = (i + 1, j + 1) == (layers.len(), options.patches.len());
                    let mut each = |count: usize| progress.advance(count as u64) && !last;
                    let logits = match (patch, &unchanged) {
                        // Without a change all layers give the same.
                        (Patch::None, Some(logits)) => Some(Vec::clone(logits)),
                        _ => logits(&runner, layer, &patcher, patch, &all, &mut each)?,
                    };
                    let Some(logits) = logits else {
                        found.interrupted = true;
                        break;
                    };
                    if matches!(patch, Patch::None) {
                        unchanged = Some(logits.clone());
                    }
                    done.push(logits);
                }
            }
            if let Some(files) = files.as_ref().filter(|_| done.len() > had) {
                files.write(layer, done)?;
            }
            for (patch, logits) in options.patches.iter().zip(&*done) {
                found.outcomes.push(scoring.outcome(layer, patch, &all, logits)?);
            }
            if found.interrupted {
                break;
            }
        }
        found.token_layers = runner.token_layers();
        if !found.interrupted {
            return Ok(found);
        }
        let mut access =
            "`stopped::<eigenlens::cyclic::Interventions>()?` gives what was done.".to_owned();
        if let Some(files) = &files {
            access +=
                &format!(" It is kept in {}: the same call goes on.", files.folder().display());
        }
        options.on_stop.end("the interventions", found, &access)
    }

    /// Every layer and patch, in the order of the options.
    pub fn outcomes(&self) -> &[PatchOutcome] {
        &self.outcomes
    }

    /// The outcome of a patch in a layer. Patches of several draws are told apart by their number;
    /// given planes by their dimensions.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it was not run.
    pub fn get(&self, layer: usize, patch: &Patch) -> Result<&PatchOutcome> {
        let name = patch.to_string();
        let own =
            |outcome: &&PatchOutcome| outcome.layer == layer && outcome.patch.to_string() == name;
        self.outcomes.iter().find(own).ok_or_else(|| Error::NotFound {
            what: format!("the patch `{name}` in layer {layer}"),
            hint: "It was not among the layers and patches of the options.".to_owned(),
        })
    }
}

/// Fails for options that do not go with the model, the problems and the activations; returns the
/// layers.
fn checked(
    model: &Decoder,
    problems: &Problems,
    streams: &Streams,
    options: &InterveneOptions,
) -> Result<Vec<usize>> {
    check_sizes(&[("`batch`", options.batch), ("the number of patches", options.patches.len())])?;
    for patch in &options.patches {
        check_sizes(&[(&format!("the number of draws of `{patch}`"), patch.draws())])?;
    }
    if streams.role() != options.role {
        let expected = format!("those at the {}, as the options' role", options.role);
        return Err(Error::invalid("the activations", expected, streams.role()));
    }
    if streams.class_of() != problems.classes(options.role) {
        let expected = "those of the same problems";
        return Err(Error::invalid("the activations", expected, "those of others"));
    }
    let layers = model.config().layers;
    if streams.len() != layers + 1 {
        let expected = format!("of {layers} layers, as the model has");
        return Err(Error::invalid("the activations", expected, streams.len() - 1));
    }
    let all = match options.layers.is_empty() {
        true => (0..=layers).collect(),
        false => options.layers.clone(),
    };
    all.iter().try_for_each(|&layer| check_layer(model, layer))?;
    Ok(all)
}

/// The passes of a patch: the changes that have vectors of their own, and the pass of each change.
struct PatchPasses {
    own: Vec<Change>,
    of_change: Vec<usize>,
    draws: usize,
}

impl PatchPasses {
    fn of(patch: &Patch, all: &[Change]) -> Self {
        let mut own: Vec<Change> = Vec::new();
        let mut of_problem: BTreeMap<usize, usize> = BTreeMap::new();
        let of_change = all.iter().map(|change| {
            if patch.is_of_problem()
                && let Some(&row) = of_problem.get(&change.problem)
            {
                return row;
            }
            of_problem.insert(change.problem, own.len());
            own.push(*change);
            own.len() - 1
        });
        let of_change = of_change.collect();
        Self { own, of_change, draws: patch.draws() }
    }

    fn len(&self) -> usize {
        self.own.len() * self.draws
    }
}

/// The patches and changes of a table.
struct PatchTable<'a> {
    options: &'a InterveneOptions,
    all: &'a [Change],
    period: usize,
}

impl PatchTable<'_> {
    /// For each layer, the logits of the patches that are done already.
    fn kept(
        &self,
        files: Option<&InterventionFiles>,
        layers: &[usize],
    ) -> Result<Vec<Vec<ChangeLogits>>> {
        let Some(files) = files else { return Ok(vec![Vec::new(); layers.len()]) };
        let rows = self.options.patches.iter().map(|patch| self.all.len() * patch.draws());
        let rows: Vec<usize> = rows.collect();
        layers.iter().map(|&layer| files.read(layer, &rows, self.period)).collect()
    }

    /// The logits without a change, if they are among those.
    fn unchanged(&self, kept: &[Vec<ChangeLogits>]) -> Option<ChangeLogits> {
        let at = self.options.patches.iter().position(|patch| matches!(patch, Patch::None))?;
        kept.iter().find_map(|patches| patches.get(at).cloned())
    }
}

/// Logits after each change, draw by draw; none if `each` ended it.
fn logits(
    runner: &Runner<'_>,
    layer: usize,
    patcher: &Patcher,
    patch: &Patch,
    all: &[Change],
    each: &mut impl FnMut(usize) -> bool,
) -> Result<Option<ChangeLogits>> {
    let rows = PatchPasses::of(patch, all);
    let which: Vec<usize> = rows.own.iter().map(|change| change.problem).collect();
    let mut found = Vec::with_capacity(all.len() * rows.draws);
    for draw in 0..rows.draws {
        let vectors = patcher.vectors_of_draw(patch, draw, &rows.own)?;
        let Some(logits) = runner.logits(layer, &which, &vectors, each)? else { return Ok(None) };
        found.extend(rows.of_change.iter().map(|&row| logits[row].clone()));
    }
    Ok(Some(found))
}

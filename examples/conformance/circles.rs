//! Cases of `multidim` about circles of words: problems, probes, interventions.

use std::path::Path;

use eigenlens::Result;
use eigenlens::candle::{DType, Device, IndexOp, Tensor};
use eigenlens::cyclic::{
    Change, CircleReading, CyclicTask, Patch, PatchVariant, Patcher, Question, QuestionOrder, Role,
    answer_functions, changes, numpy_order, polar_grid, polar_truth,
};
use eigenlens::geometry::{Interval, InverseProbeOptions, Probe, ProbeOptions, Subspace, Targets};
use eigenlens::linalg::pca;
use serde_json::Value;

use crate::json;
use crate::report::{Reference, Report};

/// The file that holds a case's tensors.
pub(crate) const TENSORS: &str = "io.safetensors";
/// One-hot classes of the original, whatever the task.
const ORIGINAL_CLASSES: usize = 8;
/// Steps of the sources of changed answers in the original.
const ORIGINAL_STEP: usize = 3;

pub(crate) fn intervals(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    let names: Vec<String> = reference.names().map(str::to_owned).collect();
    for name in names.iter().filter(|name| name.starts_with("out.")) {
        let mut parts = name.splitn(3, '.').skip(1);
        let (data, confidence) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let confidence = confidence.trim_start_matches("confidence").parse().unwrap_or(f64::NAN);
        let data = values(&reference.input(&format!("in.{data}.data"), report)?)?;
        let found = Interval::of(&data, confidence)?;
        let found = Tensor::new(&[found.mean, found.lower, found.upper], &Device::Cpu)?;
        reference.compare(name, &found, report)?;
    }
    let default = json::read(folder, "case.json")?["default_confidence"].as_f64();
    report.check("default confidence", default == Some(Interval::NINETY_SIX));
    Ok(())
}

pub(crate) fn problems(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    let names: Vec<String> = reference.names().map(str::to_owned).collect();
    for name in names.iter().filter(|name| name.starts_with("aux.shuffle.")) {
        let numbers: Vec<u32> = name
            .split(|letter: char| !letter.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        let order = numpy_order(numbers[0], numbers[1] as usize);
        reference.compare(name, &integers(order)?, report)?;
    }
    let texts = json::read(folder, "problems.json")?;
    for (key, case) in texts.as_object().into_iter().flatten() {
        let (name, style) = key.split_once('.').unwrap_or((key, ""));
        let task = task(name, style);
        let words: Vec<&str> = case["allowable_tokens"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        report.check(&format!("{key} words"), task.words() == words);
        for (what, order) in
            [("generation_order", QuestionOrder::Grid), ("shuffled", QuestionOrder::Original)]
        {
            let expected = case[what].as_array().cloned().unwrap_or_default();
            let questions = task.questions(order);
            let same = |(question, expected): (&Question, &Value)| {
                let info = [question.start, question.step, question.answer];
                expected["prompt"].as_str() == Some(&question.prompt)
                    && expected["target"].as_str() == Some(&task.words()[question.answer])
                    && expected["info"] == serde_json::json!(info)
            };
            let all = questions.iter().zip(&expected).all(same);
            report.check(&format!("{key} {what}"), all && questions.len() == expected.len());
        }
        let order = numpy_order(42, task.period() * task.period());
        reference.compare(&format!("out.{name}.order"), &integers(order)?, report)?;
        let info = info(&task.questions(QuestionOrder::Original))?;
        reference.compare(&format!("out.{name}.info"), &info, report)?;
    }
    Ok(())
}

pub(crate) fn probe(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    for name in ["days", "months"] {
        let task = task(name, "");
        let (questions, period) = (task.questions(QuestionOrder::Original), task.period());
        check_info(&reference, &format!("in.{name}.info"), &questions, report)?;
        let tensor = |what: &str| format!("out.{name}.{what}");
        let x = reference.input(&format!("in.{name}.acts"), report)?;
        let components = pca(&x, 5)?;
        reference.compare(&tensor("pca_mean"), &components.mean, report)?;
        reference.compare(&tensor("pca_components"), &components.components, report)?;
        reference.compare(&tensor("pca_acts"), &components.scores, report)?;
        let shares = Tensor::new(components.explained.as_slice(), &Device::Cpu)?;
        reference.compare(&tensor("explained_variance_ratio"), &shares, report)?;
        let starts = || questions.iter().map(|question| question.start);
        let circle = Targets::circle(starts(), period, &[1])?;
        let line = Targets::centred_linear(starts(), period)?;
        let both = Targets::join(&[circle.clone(), line.clone()])?;
        for (kind, targets) in
            [("cos_sin", circle), ("centered_linear", line), ("cos_sin_centered_linear", both)]
        {
            plain_probe(&reference, name, kind, &x, &targets, report)?;
        }
        inverse_probe(&reference, name, &questions, period, report)?;
    }
    Ok(())
}

fn plain_probe(
    reference: &Reference,
    name: &str,
    kind: &str,
    x: &Tensor,
    targets: &Targets,
    report: &mut Report,
) -> Result<()> {
    let tensor = |what: &str| format!("out.{name}.{kind}.{what}");
    let probe = Probe::fit(x, targets, &ProbeOptions { components: Some(5) })?;
    reference.compare(&tensor("targets"), &targets.columns()?, report)?;
    reference.compare(&tensor("target_to_embedding"), targets.of_class(), report)?;
    reference.compare(&tensor("solution"), probe.solution(), report)?;
    reference.compare(&tensor("predictions"), probe.predictions(), report)?;
    let quality = Tensor::new(probe.r_squared(), &Device::Cpu)?;
    reference.compare(&tensor("r_squared"), &quality, report)?;
    let error = Tensor::new(&[probe.mean_absolute_error()], &Device::Cpu)?;
    reference.compare(&tensor("mae"), &error, report)?;
    let own = probe.components().matmul(probe.subspace()?.basis())?;
    signed(reference, &tensor("probe_q"), &tensor("probe_r"), &own, &probe.triangle()?, report)?;
    let name = format!("aux.{name}.{kind}.solution_in_residual_space");
    reference.compare(&name, &probe.directions()?, report)
}

/// The circle of the answer, by the original's eight classes and absolute cut, and by all classes.
fn inverse_probe(
    reference: &Reference,
    name: &str,
    questions: &[Question],
    period: usize,
    report: &mut Report,
) -> Result<()> {
    let tensor = |what: &str| format!("out.{name}.c.{what}");
    let y = reference.input(&format!("in.{name}.c.pca_acts"), report)?;
    let answers = questions.iter().map(|question| question.answer);
    let circle = Targets::circle(answers, period, &[1])?;
    let functions = answer_functions(questions, period, Some(ORIGINAL_CLASSES))?;
    let found = Probe::inverse(&y, &functions, &circle, &InverseProbeOptions::original())?;
    let probe = found.probe();
    // Components of components: signs may be turned.
    let coefficients = found.coefficients().matmul(probe.components())?;
    reference.compare(&tensor("solution"), &coefficients, report)?;
    reference.compare(&tensor("circle_projection"), &probe.directions()?, report)?;
    reference.compare(&tensor("projected"), probe.predictions(), report)?;
    let (q, r) = (probe.subspace()?.basis().clone(), probe.triangle()?);
    signed(reference, &tensor("probe_q"), &tensor("probe_r"), &q, &r, report)?;
    let functions = answer_functions(questions, period, None)?;
    let right = Probe::inverse(&y, &functions, &circle, &InverseProbeOptions::default())?;
    for (prefix, found) in [("out", &found), ("right", &right)] {
        for (what, quality) in
            [("before", found.r_squared_before()), ("after", found.r_squared_after())]
        {
            let quality = Tensor::new(&[quality], &Device::Cpu)?;
            reference.compare(&format!("{prefix}.{name}.c.r_squared_{what}"), &quality, report)?;
        }
    }
    Ok(())
}

/// Compares a QR decomposition, whose columns and rows may have other signs.
fn signed(
    reference: &Reference,
    q_name: &str,
    r_name: &str,
    q: &Tensor,
    r: &Tensor,
    report: &mut Report,
) -> Result<()> {
    let expected = reference.input(r_name, report)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    let signs: Vec<f64> =
        (0..expected.len()).map(|i| if expected[i][i] < 0.0 { -1.0 } else { 1.0 }).collect();
    let signs = Tensor::new(signs, &Device::Cpu)?;
    reference.compare(q_name, &q.broadcast_mul(&signs)?, report)?;
    reference.compare(r_name, &r.broadcast_mul(&signs.unsqueeze(1)?)?, report)
}

pub(crate) fn interventions(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    let case = json::read(folder, "case.json")?;
    let task = CyclicTask::weekdays();
    let questions = task.questions(QuestionOrder::Original);
    check_info(&reference, "in.info", &questions, report)?;
    let residual = reference.input("in.residual", report)?.to_dtype(DType::F64)?;
    let unembed = reference.input("in.unembed", report)?.to_dtype(DType::F64)?;
    // The parts of a fit in the reference, which is fitted here again.
    for name in ["pca_components", "pca_acts", "probe_q", "probe_r"] {
        reference.input(&format!("in.a.{name}"), report)?;
        reference.input(&format!("in.c.{name}"), report)?;
    }
    for name in ["in.undo.probe_q", "in.undo.probe_r"] {
        reference.input(name, report)?;
    }
    let toy = Toy { residual, unembed, questions };
    let (start, last) = (count(&case, "a_token"), count(&case, "before_c_token"));
    let starts = toy.circle(Role::Start)?;
    reference.compare("in.a.target_to_embedding", starts.of_class(), report)?;
    let direct = CircleReading::Direct(ProbeOptions { components: Some(count(&case, "pca_k")) });
    let x = toy.at(start)?;
    let patcher = Patcher::new(&x, &starts, &direct, PatchVariant::Original)?;
    toy.compare(&reference, "a", start, Role::Start, &patcher, report)?;
    toy.sweep(&reference, &case["sweep"], start, &patcher, report)?;

    let plain = Patcher::new(&x, &starts, &direct, PatchVariant::Plain)?;
    let all = changes(&toy.questions, task.period(), Role::Start, None)?;
    let components = plain.vectors(&Patch::Components, &all)?;
    reference.compare("right.a.replace_pca.vectors", &components, report)?;
    let places = plain.vectors(&Patch::Circle, &of_classes(task.period()))?;
    reference.compare("right.a.subspace_patch.vectors", &places, report)?;

    let directions = reference.input("in.undo.directions", report)?.to_dtype(DType::F64)?;
    let subspace = Subspace::spanned_by(&directions.t()?.contiguous()?)?;
    let undo = CircleReading::In { subspace, components: count(&case, "pca_k") };
    let patcher = Patcher::new(&x, &starts, &undo, PatchVariant::Original)?;
    let solution = directions.matmul(&patcher.probe().directions()?)?;
    reference.compare("out.undo.solution", &solution, report)?;
    toy.compare(&reference, "undo", start, Role::Start, &patcher, report)?;

    let functions = answer_functions(&toy.questions, task.period(), Some(ORIGINAL_CLASSES))?;
    let options = InverseProbeOptions {
        components: Some(count(&case, "pca_k_c")),
        ..InverseProbeOptions::original()
    };
    let inverse = CircleReading::Inverse(functions, options);
    let answers = toy.circle(Role::Last)?;
    let patcher = Patcher::new(&toy.at(last)?, &answers, &inverse, PatchVariant::Original)?;
    toy.compare(&reference, "c", last, Role::Last, &patcher, report)
}

/// A change to each class, of the first problem.
fn of_classes(period: usize) -> Vec<Change> {
    let change = |class| Change { problem: 0, class, source: 0, old: 0, new: 0 };
    (0..period).map(change).collect()
}

/// A model whose logits are `(Σ residual) · unembed`.
struct Toy {
    residual: Tensor,
    unembed: Tensor,
    questions: Vec<Question>,
}

impl Toy {
    fn period(&self) -> usize {
        self.unembed.dims()[1]
    }

    fn at(&self, position: usize) -> Result<Tensor> {
        Ok(self.residual.i((.., position))?.contiguous()?)
    }

    fn circle(&self, role: Role) -> Result<Targets> {
        let class = |question: &Question| match role {
            Role::Last => question.answer,
            _ => question.start,
        };
        Targets::circle(self.questions.iter().map(class), self.period(), &[1])
    }

    /// Logits of problems with their vectors at a position exchanged.
    fn logits(&self, problems: &[usize], position: usize, vectors: &Tensor) -> Result<Tensor> {
        let ids: Vec<u32> = problems.iter().map(|&problem| problem as u32).collect();
        let ids = Tensor::new(ids, &Device::Cpu)?;
        let all = self.residual.sum(1)?.index_select(&ids, 0)?;
        let own = self.at(position)?.index_select(&ids, 0)?;
        Ok(((all - own)? + vectors)?.matmul(&self.unembed)?)
    }

    fn compare(
        &self,
        reference: &Reference,
        run: &str,
        position: usize,
        role: Role,
        patcher: &Patcher,
        report: &mut Report,
    ) -> Result<()> {
        let step = (role == Role::Last).then_some(ORIGINAL_STEP);
        let all = changes(&self.questions, self.period(), role, step)?;
        let column = |of: fn(&Change) -> usize| integers(all.iter().map(of).collect());
        let tensor = |what: &str| format!("out.{run}.{what}");
        reference.compare(&tensor("problem"), &column(|change| change.problem)?, report)?;
        reference.compare(&tensor("change_to"), &column(|change| change.class)?, report)?;
        reference.compare(&tensor("source_problem"), &column(|change| change.source)?, report)?;
        let problems: Vec<usize> = all.iter().map(|change| change.problem).collect();
        let each: Vec<Change> =
            (0..self.questions.len()).map(|problem| Change { problem, ..all[0] }).collect();
        for (name, patch, kept) in [
            ("none", Patch::None, None),
            ("subspace_patch", Patch::Circle, Some(of_classes(self.period()))),
            ("replace_pca", Patch::Components, Some(all.clone())),
            ("replace_all", Patch::Layer, None),
            ("average_ablate", Patch::Average, Some(all[..1].to_vec())),
            ("zero_subspace", Patch::WithoutCircle, Some(each.clone())),
            ("zero_all_but_subspace", Patch::OnlyCircle, Some(each)),
        ] {
            if let Some(kept) = kept {
                let vectors = patcher.vectors(&patch, &kept)?;
                reference.compare(&tensor(&format!("{name}.vectors")), &vectors, report)?;
            }
            let vectors = patcher.vectors(&patch, &all)?;
            let logits: Vec<Vec<f64>> = self.logits(&problems, position, &vectors)?.to_vec2()?;
            let differences: Vec<f64> =
                all.iter().zip(&logits).map(|(one, row)| row[one.old] - row[one.new]).collect();
            let differences = Tensor::new(differences, &Device::Cpu)?;
            reference.compare(&tensor(&format!("{name}.logit_diff")), &differences, report)?;
        }
        Ok(())
    }

    fn sweep(
        &self,
        reference: &Reference,
        case: &Value,
        position: usize,
        patcher: &Patcher,
        report: &mut Report,
    ) -> Result<()> {
        let default: Vec<f64> = (0..20).map(|i| f64::from(i) / 10.0).collect();
        reference.compare("out.sweep.default_points", &polar_grid(&default, 100)?, report)?;
        let radii: Vec<f64> =
            case["radii"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let (angles, step) = (count(case, "angles"), count(case, "b"));
        let points = polar_grid(&radii, angles)?;
        reference.compare("out.sweep.points", &points, report)?;
        let problem = self.questions.iter().position(|one| one.start == 0 && one.step == step);
        let problem = problem.unwrap_or_default();
        report.check("out.sweep problem", problem == count(case, "problem"));
        let all = vec![problem; radii.len() * angles];
        let logits = self.logits(&all, position, &patcher.points(&points)?)?;
        reference.compare("out.sweep.logits", &logits, report)?;
        let rows: Vec<Vec<f64>> = logits.to_vec2()?;
        let sorted = |row: &Vec<f64>| {
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
            order
        };
        let best = rows.iter().map(|row| sorted(row)[0]).collect();
        reference.compare("out.sweep.best", &integers(best)?, report)?;
        let margin = rows.iter().map(|row| row[sorted(row)[0]] - row[sorted(row)[1]]);
        let margin = Tensor::new(margin.collect::<Vec<_>>(), &Device::Cpu)?;
        reference.compare("out.sweep.margin", &margin, report)?;
        let truth = polar_truth(radii.len(), angles, self.period(), step)?;
        reference.compare("out.sweep.ground_truth", &integers(truth)?, report)
    }
}

fn task(name: &str, style: &str) -> CyclicTask {
    match (name.starts_with("days"), style) {
        (true, _) => CyclicTask::weekdays(),
        (false, "mistral") => CyclicTask::months_for_mistral(),
        (false, _) => CyclicTask::months(),
    }
}

fn info(questions: &[Question]) -> Result<Tensor> {
    let numbers = questions.iter().flat_map(|one| [one.start, one.step, one.answer]);
    Ok(integers(numbers.collect())?.reshape((questions.len(), 3))?)
}

fn check_info(
    reference: &Reference,
    name: &str,
    questions: &[Question],
    report: &mut Report,
) -> Result<()> {
    reference.compare(name, &info(questions)?, report)
}

pub(crate) fn integers(values: Vec<usize>) -> Result<Tensor> {
    let values: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
    Ok(Tensor::new(values, &Device::Cpu)?)
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

pub(crate) fn count(case: &Value, name: &str) -> usize {
    case[name].as_u64().unwrap_or_default() as usize
}

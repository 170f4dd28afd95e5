//! Patches and answers against closed forms, on models of random weights.

use candle_core::{D, DType, Device, IndexOp, Tensor};

use super::*;
use crate::data::text::Tokenizer;
use crate::geometry::{InverseProbeOptions, ProbeOptions, Subspace, Targets};
use crate::model::{Config, Decoder};
use crate::random::Rng;

/// A tokenizer that has every word of the tasks as one token.
fn tokenizer(tasks: &[CyclicTask]) -> Tokenizer {
    let mut text = String::new();
    for task in tasks {
        for question in task.questions(QuestionOrder::Grid) {
            text += &format!("{} {}\n", question.prompt, task.words()[question.answer]);
        }
    }
    Tokenizer::train([text.as_str()], 2_000).unwrap()
}

/// A model in which every part matters.
fn model(tasks: &[CyclicTask]) -> Decoder {
    let tokenizer = tokenizer(tasks);
    let config = Config { vocab: tokenizer.vocab(), context: 40, ..Config::llama(2, 2, 16, 24) };
    let model = Decoder::random(config, 5, &Device::Cpu).unwrap();
    for var in model.variables() {
        var.set(&(var.as_tensor() * 12.).unwrap()).unwrap();
    }
    model.with_tokenizer(&tokenizer).unwrap()
}

pub(super) fn prepared(task: &CyclicTask) -> (Decoder, Problems) {
    let model = model(std::slice::from_ref(task));
    let problems = task.problems(&model, &PromptOptions::default()).unwrap();
    (model, problems)
}

/// Orthonormal columns.
pub(super) fn random_basis(rows: usize, columns: usize) -> Tensor {
    let subspace = Subspace::random(rows, columns, &mut Rng::seed(11)).unwrap();
    subspace.basis().clone()
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
    (wide(a) - wide(b)).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

fn patcher(x: &Tensor, class_of: Vec<usize>, period: usize, variant: PatchVariant) -> Patcher {
    let targets = Targets::circle(class_of, period, &[1]).unwrap();
    Patcher::new(x, &targets, &CircleReading::default(), variant).unwrap()
}

#[test]
fn positions_are_those_of_the_words() {
    let tasks =
        [CyclicTask::weekdays(), CyclicTask::months_for_mistral(), CyclicTask::next_month()];
    let model = model(&tasks);
    let tokenizer = model.tokenizer().unwrap();
    for task in &tasks {
        let problems = task.problems(&model, &PromptOptions::default()).unwrap();
        for problem in problems.all() {
            let question = &problem.question;
            assert_eq!(tokenizer.decode(&problem.tokens).unwrap(), question.prompt);
            let at =
                |role| tokenizer.token(problem.tokens[problem.position(role).unwrap()]).unwrap();
            assert_eq!(at(Role::Start), format!(" {}", task.words()[question.start]));
            assert_eq!(problem.position(Role::Last).unwrap() + 1, problem.tokens.len());
            match task.name() {
                "next month" => {
                    let error = problem.position(Role::Step).unwrap_err().to_string();
                    assert!(error.contains("no prompt shows a step"), "{error}");
                }
                _ => assert!(at(Role::Step).chars().nth(1).unwrap().is_uppercase()),
            }
        }
        let answers = problems.answer_tokens();
        assert_eq!(tokenizer.token(answers[1]).unwrap(), format!(" {}", task.words()[1]));
    }
    assert!(tasks[2].problems(&model, &PromptOptions::default()).unwrap().of_template(4).is_err());
}

#[test]
fn words_of_several_tokens_are_listed() {
    let model = model(&[CyclicTask::weekdays()]);
    let task = CyclicTask::months();
    let error = task.problems(&model, &PromptOptions::default()).unwrap_err().to_string();
    assert!(
        error.contains("\" January\" (") && error.contains("tokens), \" February\""),
        "{error}"
    );
    let bare = PromptOptions { spaced_answers: false, ..PromptOptions::default() };
    let error = CyclicTask::weekdays().problems(&model, &bare).unwrap_err().to_string();
    assert!(error.contains("\"Monday\" ("), "{error}");
    let bos = PromptOptions { bos: true, ..PromptOptions::default() };
    let error = CyclicTask::weekdays().problems(&model, &bos).unwrap_err().to_string();
    assert!(error.contains("`bos`"), "{error}");
    let short = Config { vocab: 2_000, context: 5, ..Config::llama(1, 2, 8, 8) };
    let short = Decoder::random(short, 0, &Device::Cpu).unwrap();
    let short = short.with_tokenizer(&model.tokenizer().unwrap()).unwrap();
    let error = CyclicTask::weekdays().problems(&short, &PromptOptions::default()).unwrap_err();
    assert!(error.to_string().contains("at most 5, the model's context"), "{error}");
}

#[test]
fn a_task_is_scored_by_its_words_and_by_all_tokens() {
    let (model, problems) = prepared(&CyclicTask::next_month());
    let answers = problems.evaluate(&model).unwrap();
    let mut right = 0;
    for (i, problem) in problems.all().iter().enumerate() {
        let logits = model.logits(&Tensor::new(problem.tokens.as_slice(), &Device::Cpu).unwrap());
        let logits = logits.unwrap().i((0, problem.tokens.len() - 1)).unwrap();
        let own: Vec<f32> = logits.to_vec1().unwrap();
        let words: Vec<f64> =
            problems.answer_tokens().iter().map(|&token| f64::from(own[token as usize])).collect();
        let words = Tensor::new(words, &Device::Cpu).unwrap();
        assert!(gap(&words, &answers.logits().get(i).unwrap()) < 1e-4);
        assert_eq!(
            answers.best_tokens()[i],
            logits.argmax(D::Minus1).unwrap().to_scalar::<u32>().unwrap()
        );
        right += usize::from(
            words.argmax(0).unwrap().to_scalar::<u32>().unwrap() as usize
                == problem.question.answer,
        );
    }
    assert_eq!(answers.right(), right);
    assert_eq!(answers.confusion().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap(), 48.0);
    assert_eq!(answers.by_template().values().map(|(_, all)| all).sum::<usize>(), 48);
    assert_eq!(answers.by_step().len(), 1);
    assert!(answers.to_string().contains("of 48 right among 12 words"), "{answers}");
    let table = answers.against(&answers).unwrap();
    assert_eq!(table.rows.len(), 48 - right);
    let (other, days) = prepared(&CyclicTask::next_day());
    assert!(answers.against(&days.evaluate(&other).unwrap()).is_err());
}

#[test]
fn patches_have_their_closed_forms() {
    let questions = CyclicTask::weekdays().questions(QuestionOrder::Grid);
    let class_of: Vec<usize> = questions.iter().map(|question| question.start).collect();
    let x = (Rng::seed(2).normal((49, 24), &Device::Cpu).unwrap() + 1.5).unwrap();
    let plain = patcher(&x, class_of.clone(), 7, PatchVariant::Plain);
    let all = changes(&questions, 7, Role::Start, None).unwrap();
    let of = |patch: &Patch| plain.vectors(patch, &all).unwrap();
    let (own, average) = (of(&Patch::None), of(&Patch::Average));
    // What one leaves out the other keeps.
    let sum = (of(&Patch::WithoutCircle) + of(&Patch::OnlyCircle)).unwrap();
    assert!(gap(&sum, &(&own + &average).unwrap()) < 1e-12);
    let places = (of(&Patch::Circle) - &average).unwrap();
    let kept = (of(&Patch::WithoutCircle) + &places).unwrap();
    assert!(gap(&of(&Patch::CircleKeepingRest), &kept) < 1e-12);
    // A problem as its own source stays as it is, bit by bit.
    let same: Vec<Change> = all.iter().map(|one| Change { source: one.problem, ..*one }).collect();
    for patch in [Patch::Layer, Patch::Components, Patch::RandomPlane(1)] {
        assert_eq!(gap(&plain.vectors(&patch, &same).unwrap(), &own), 0.0, "{patch}");
    }
    // The probe reads the class that is asked for.
    let probe = plain.probe();
    for patch in [Patch::Circle, Patch::CircleKeepingRest] {
        let read = probe.predict(&of(&patch)).unwrap();
        let asked = all.iter().map(|change| change.class);
        let asked = Targets::circle(asked, 7, &[1]).unwrap().columns().unwrap();
        assert!(gap(&read, &asked) < 1e-9, "{patch}");
    }
    // All components are the whole layer, and the plane's own probe is the probe.
    let wide = CircleReading::Direct(ProbeOptions { components: None });
    let targets = Targets::circle(class_of.clone(), 7, &[1]).unwrap();
    let wide = Patcher::new(&x, &targets, &wide, PatchVariant::Plain).unwrap();
    let whole = wide.vectors(&Patch::Components, &all).unwrap();
    assert!(gap(&whole, &of(&Patch::Layer)) < 1e-9);
    let plane = Patch::Plane(probe.subspace().unwrap());
    assert!(gap(&of(&plane), &of(&Patch::Circle)) < 1e-9);
    // The original loses the mean's part in a plane, and nothing else.
    let original = patcher(&x, class_of, 7, PatchVariant::Original);
    let mean = probe.mean().unsqueeze(0).unwrap();
    let lost = probe.subspace().unwrap().project(&mean).unwrap();
    let circle = original.vectors(&Patch::Circle, &all).unwrap();
    assert!(gap(&circle.broadcast_add(&lost).unwrap(), &of(&Patch::Circle)) < 1e-9);
    let components = probe.components().t().unwrap().contiguous().unwrap();
    let lost = Subspace::spanned_by(&components).unwrap().project(&mean).unwrap();
    let circle = original.vectors(&Patch::Components, &all).unwrap();
    assert!(gap(&circle.broadcast_add(&lost).unwrap(), &of(&Patch::Components)) < 1e-9);
}

#[test]
fn controls_are_drawn_with_a_seed() {
    let questions = CyclicTask::weekdays().questions(QuestionOrder::Grid);
    let x = Rng::seed(2).normal((49, 24), &Device::Cpu).unwrap();
    let classes = questions.iter().map(|question| question.answer).collect();
    let plain = patcher(&x, classes, 7, PatchVariant::Plain);
    let all = changes(&questions, 7, Role::Last, None).unwrap();
    for patch in [Patch::PermutedCircle(2), Patch::RandomPlane(2), Patch::CircleElsewhere(2)] {
        let of = |patcher: &Patcher, draw| patcher.vectors_of_draw(&patch, draw, &all).unwrap();
        assert_eq!(gap(&of(&plain, 1), &of(&plain, 1)), 0.0);
        assert!(gap(&of(&plain, 0), &of(&plain, 1)) > 1e-3, "{patch}");
        assert!(gap(&of(&plain, 0), &of(&plain.clone().seed(9), 0)) > 1e-3, "{patch}");
    }
    // The circle elsewhere is as large, and at another angle.
    let from_mean = |patch: &Patch| {
        let moved = plain.vectors(patch, &all).unwrap();
        let moved = moved.broadcast_sub(plain.probe().mean()).unwrap();
        moved.sqr().unwrap().sum(1).unwrap().sqrt().unwrap()
    };
    let elsewhere = Patch::CircleElsewhere(1);
    assert!(gap(&from_mean(&elsewhere), &from_mean(&Patch::Circle)) < 1e-12);
    let (here, there) = (plain.vectors(&Patch::Circle, &all), plain.vectors(&elsewhere, &all));
    assert!(gap(&here.unwrap(), &there.unwrap()) > 1e-3);
    let outside = Change { problem: 49, ..all[0] };
    assert!(plain.vectors(&Patch::None, &[outside]).unwrap_err().to_string().contains("below 49"));
    assert!(plain.vectors(&Patch::None, &[]).is_err());
    // A plane that an inverse probe finds.
    let functions = answer_functions(&questions, 7, None).unwrap();
    let inverse = CircleReading::Inverse(functions, InverseProbeOptions::default());
    let targets = Targets::circle(questions.iter().map(|one| one.answer), 7, &[1]).unwrap();
    let inverse = Patcher::new(&x, &targets, &inverse, PatchVariant::Plain).unwrap();
    let permuted = inverse.vectors(&Patch::PermutedCircle(1), &all).unwrap();
    assert!(gap(&permuted, &inverse.vectors(&Patch::Circle, &all).unwrap()) > 1e-3);
}

#[test]
fn interventions_are_what_the_passes_say() {
    let task = CyclicTask::weekdays();
    let (model, problems) = prepared(&task);
    let streams = problems.activations(&model, Role::Start).unwrap();
    let patches = [Patch::published(), vec![Patch::RandomPlane(2), Patch::PermutedCircle(3)]];
    let options = InterveneOptions { patches: patches.concat(), ..Default::default() };
    let found = Interventions::run(&model, &problems, &streams, &options).unwrap();
    assert_eq!(found.outcomes().len(), 3 * 9);
    let answers = problems.evaluate(&model).unwrap();
    let logits: Vec<Vec<f64>> = answers.logits().to_vec2().unwrap();
    let all = changes(&problems.questions(), 7, Role::Start, None).unwrap();
    let at = |layer, patch: &Patch| found.get(layer, patch).unwrap();
    for (i, change) in all.iter().enumerate() {
        let of = |problem: usize| logits[problem][change.old] - logits[problem][change.new];
        assert!((at(1, &Patch::None).differences[i] - of(change.problem)).abs() < 1e-4);
        // Prompts that differ in nothing but the start become the source's.
        assert!((at(0, &Patch::Layer).differences[i] - of(change.source)).abs() < 1e-4);
        // After the last layer nothing at the start is read any more.
        assert!((at(2, &Patch::Average).differences[i] - of(change.problem)).abs() < 1e-4);
    }
    assert!(found.token_layers > 0);
    for layer in 0..2 {
        // Whatever an ablated model answers, the change asks for it once.
        let average = at(layer, &Patch::Average);
        let old = all.iter().zip(&average.answers).filter(|(one, best)| one.old == **best);
        let still = old.count() as f64 / all.len() as f64;
        assert!((average.success.mean - (1.0 - still) / 6.0).abs() < 1e-12);
        // Every draw counts.
        assert_eq!(at(layer, &Patch::PermutedCircle(3)).differences.len(), 3 * all.len());
        assert!(average.within_one >= average.success.mean);
        assert!(average.success.lower <= average.success.upper);
    }
    assert!(found.get(0, &Patch::CircleKeepingRest).is_err());
    let text = found.to_string();
    assert!(text.contains("weekdays, patched at the start") && text.contains("random plane × 2"));
    // Batches of another size and a layer alone give the same.
    let options = InterveneOptions {
        batch: 5,
        layers: vec![1],
        patches: vec![Patch::Circle],
        ..Default::default()
    };
    let alone = Interventions::run(&model, &problems, &streams, &options).unwrap();
    let pairs = alone.outcomes()[0].differences.iter().zip(&at(1, &Patch::Circle).differences);
    assert!(pairs.into_iter().all(|(one, two)| (one - two).abs() < 1e-4));
}

#[test]
fn a_template_is_patched_with_probes_of_all() {
    let (model, problems) = prepared(&CyclicTask::next_day());
    let streams = problems.activations(&model, Role::Start).unwrap();
    let run = |template| {
        let options = InterveneOptions {
            template,
            layers: vec![0],
            patches: vec![Patch::Circle],
            ..Default::default()
        };
        Interventions::run(&model, &problems, &streams, &options)
    };
    let (all, own) = (run(None).unwrap(), run(Some(2)).unwrap());
    assert_eq!((all.outcomes()[0].answers.len(), own.outcomes()[0].answers.len()), (168, 42));
    let questions = problems.questions();
    let changed = changes(&questions, 7, Role::Start, None).unwrap();
    let of_template = changed.iter().zip(&all.outcomes()[0].differences);
    let of_template = of_template.filter(|(one, _)| questions[one.problem].template == 2);
    for ((_, one), two) in of_template.zip(&own.outcomes()[0].differences) {
        assert!((one - two).abs() < 1e-4);
    }
    assert!(run(Some(4)).unwrap_err().to_string().contains("`template`"));
}

#[test]
fn a_sweep_passes_through_the_classes() {
    let (model, problems) = prepared(&CyclicTask::weekdays());
    let streams = problems.activations(&model, Role::Start).unwrap();
    let options = SweepOptions {
        layer: 1,
        step: 3,
        radii: vec![0.0, 1.0],
        angles: 14,
        batch: 4,
        ..Default::default()
    };
    let sweep = PlaneSweep::run(&model, &problems, &streams, &options).unwrap();
    let logits: Vec<Vec<f64>> = sweep.logits.to_vec2().unwrap();
    assert!(logits[..14].iter().all(|row| row == &logits[0]), "the middle is one point");
    // At 1 and the angle of a class, it is the patch of that class.
    let one =
        InterveneOptions { layers: vec![1], patches: vec![Patch::Circle], ..Default::default() };
    let circle = Interventions::run(&model, &problems, &streams, &one).unwrap();
    let all = changes(&problems.questions(), 7, Role::Start, None).unwrap();
    for (change, difference) in all.iter().zip(&circle.outcomes()[0].differences) {
        let question = &problems.all()[change.problem].question;
        if question.start == 0 && question.step == 3 {
            let row = &logits[14 + 2 * change.class];
            assert!((row[change.old] - row[change.new] - difference).abs() < 1e-4);
        }
    }
    assert_eq!(sweep.truth[14 + 4], 5);
    let share = sweep.right(1.0, 1.0).unwrap();
    assert!((0.0..=1.0).contains(&share) && sweep.right(3.0, 4.0).is_err());
    assert!(sweep.to_string().contains("at 28 points"), "{sweep}");
    let step = SweepOptions { step: 8, ..options.clone() };
    let error = PlaneSweep::run(&model, &problems, &streams, &step).unwrap_err().to_string();
    assert!(error.contains("`step`") && error.contains("[1, 2, 3, 4, 5, 6, 7]"), "{error}");
    let layer = SweepOptions { layer: 3, ..options };
    let error = PlaneSweep::run(&model, &problems, &streams, &layer).unwrap_err().to_string();
    assert!(error.contains("at most 2"), "{error}");
}

/// The first pairs of the original, computed with NumPy.
#[test]
fn pairs_are_the_originals() {
    let tasks = [CyclicTask::weekdays(), CyclicTask::months()];
    let model = model(&tasks);
    let options = PromptOptions { order: QuestionOrder::Original, ..Default::default() };
    let [days, months] = tasks.map(|task| task.problems(&model, &options).unwrap());
    let first = |problems: &Problems, same| {
        let pairs = problems.pairs(&PairOptions::original(same)).unwrap();
        let info = |one: &Problem| (one.question.start, one.question.step, one.question.answer);
        pairs.iter().map(|pair| (info(&pair.clean), info(&pair.corrupted))).collect::<Vec<_>>()
    };
    let start = first(&days, SharedPart::Start);
    assert_eq!(start[..2], [((3, 1, 4), (3, 7, 3)), ((0, 6, 6), (0, 7, 0))]);
    assert_eq!(first(&days, SharedPart::Step)[0], ((3, 1, 4), (0, 1, 1)));
    assert_eq!(first(&months, SharedPart::Start)[0], ((6, 11, 5), (6, 7, 1)));
    for (problems, count) in [(&days, "266"), (&months, "1404")] {
        let many = PairOptions { count: 9_999, ..PairOptions::original(SharedPart::Start) };
        let error = problems.pairs(&many).unwrap_err().to_string();
        assert!(error.contains(&format!("at most {count},")), "{error}");
    }
    let plain =
        days.pairs(&PairOptions { same: SharedPart::Answer, ..Default::default() }).unwrap();
    assert!(plain.iter().all(|pair| pair.clean_answer == pair.corrupted_answer));
    let (clean, corrupted) = plain[0].tokens(&model).unwrap();
    assert_eq!(clean.dims(), corrupted.dims());
}

#[test]
fn pairs_of_different_lengths_are_named() {
    let task = CyclicTask::months_for_mistral();
    let (_, problems) = prepared(&task);
    let options = PairOptions { count: 100, ..Default::default() };
    let error = problems.pairs(&options).unwrap_err().to_string();
    assert!(error.contains("of the same number of tokens"), "{error}");
}

#[test]
fn options_that_do_not_fit_are_named() {
    let (model, problems) = prepared(&CyclicTask::weekdays());
    let streams = problems.activations(&model, Role::Start).unwrap();
    let text = |options: &InterveneOptions| {
        Interventions::run(&model, &problems, &streams, options).unwrap_err().to_string()
    };
    let base = InterveneOptions::default();
    assert!(text(&InterveneOptions { role: Role::Last, ..base.clone() }).contains("at the last"));
    assert!(text(&InterveneOptions { layers: vec![3], ..base.clone() }).contains("at most 2"));
    assert!(text(&InterveneOptions { patches: vec![], ..base.clone() }).contains("patches"));
    assert!(text(&InterveneOptions { batch: 0, ..base.clone() }).contains("`batch`"));
    let none = InterveneOptions { patches: vec![Patch::RandomPlane(0)], ..base.clone() };
    assert!(text(&none).contains("random plane × 0"));
    let many = CircleReading::Direct(ProbeOptions { components: Some(17) });
    let many = InterveneOptions { reading: many, ..base };
    assert!(text(&many).contains("`components` must be from 1 to 16"), "{}", text(&many));
    assert!(streams.layer(3).unwrap_err().to_string().contains("at most 2"));
    let (other, days) = prepared(&CyclicTask::next_day());
    let others = days.activations(&other, Role::Start).unwrap();
    let error =
        Interventions::run(&model, &problems, &others, &InterveneOptions::default()).unwrap_err();
    assert!(error.to_string().contains("the same problems"), "{error}");
    assert!(days.activations(&other, Role::Step).is_err());
}

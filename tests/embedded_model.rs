//! The language models that ship: whole, and what they are said to be.

use eigenlens::cyclic::{CorpusOptions, CyclicCorpus, answer_candidates, answer_functions};
use eigenlens::prelude::*;
use eigenlens::sae_error::{InfoOptions, SaeInfo, Split, Window};

fn model() -> Result<Decoder> {
    Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)
}

#[test]
fn it_predicts_its_text_and_continues_a_prompt() -> Result<()> {
    let model = model()?;
    assert!(model.source().to_string().starts_with("embedded in eigenlens"));
    let sample = Contexts::from_pretrained("eigenlens/classics-4k")?;
    assert_eq!((sample.len(), sample.length()), (4096, model.config().context));
    let text = Tokens::from(sample.as_slice().to_vec());
    // ln 4096 = 8.3 is a model that knows nothing.
    let loss = model.mean_loss(&text, 8, 128)?;
    assert!((2.5..4.2).contains(&loss), "{loss}");
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let said = model.generate("And the LORD said unto", 4, sampling)?;
    assert!(said.starts_with("And the LORD said unto M") || said.contains(" him"), "{said}");
    Ok(())
}

#[test]
fn its_autoencoders_stand_in_for_activations_and_their_examples_are_right() -> Result<()> {
    let model = model()?;
    let sample = Contexts::from_pretrained("eigenlens/classics-4k")?;
    let text = Tokens::from(sample.as_slice().to_vec());
    for layer in [1, 2] {
        let tracer = Tracer::from_pretrained(&model, layer, "x8-k16", "x8-k16")?;
        assert_eq!((tracer.features(), tracer.input().k()), (1536, Some(16)));
        for sae in [tracer.input(), tracer.output()] {
            let loss = sae.patched_loss(&model, &text, 8, 128)?;
            assert!(loss.recovered() > 0.5 && loss.ablated > loss.clean, "{sae}: {loss}");
            let visualizer = Visualizer::from_pretrained(&model, sae, "eigenlens/classics-4k")?;
            let density = &visualizer.statistics()?.density;
            let active = (0..1536).find(|feature| density[*feature] > 0.001).unwrap_or(0);
            let gallery = visualizer.show(&[active], 5)?;
            let view = &gallery.views()[0];
            let most: Vec<f32> = view.examples.iter().map(|example| example.most()).collect();
            assert!(most.len() == 5 && most.is_sorted_by(|a, b| a >= b), "{most:?}");
            // No other context that was looked at beats the first example.
            let tokens = sample.batch(0, 32, &Device::Cpu)?;
            let cache = model.activations(&tokens, &[sae.point()?])?;
            let codes = sae.encode(cache.get(sae.point()?)?)?.feature(active)?;
            assert!(codes.iter().all(|value| *value <= most[0] + 1e-3));
        }
    }
    Ok(())
}

/// The errors of the autoencoders that ship, on every tenth context from the tenth on, positions from
/// 16: FVU, nonlinear FVU, and the R² of the error and of its squared norm, fitted on half of the
/// contexts and judged on the other.
#[test]
fn errors_of_its_autoencoders_are_as_predictable_as_was_measured() -> Result<()> {
    let model = model()?;
    let all = Contexts::from_pretrained("eigenlens/classics-4k")?;
    let held_out = (9..all.len()).step_by(10).map(|context| all.get(context));
    let held_out = Contexts::new(all.length(), held_out.collect::<Result<Vec<_>>>()?.concat())?;
    let tracers = [1, 2].map(|layer| Tracer::from_pretrained(&model, layer, "x8-k16", "x8-k16"));
    let mut saes = Vec::new();
    for tracer in tracers {
        let tracer = tracer?;
        saes.extend([tracer.input().clone(), tracer.output().clone()]);
    }
    let window = Some(Window { from: 16, to: None });
    let options = InfoOptions { window, ..InfoOptions::default() };
    let infos = SaeInfo::collect_all(&model, &saes, &held_out, &options)?;
    let expected = [
        [0.1213, 0.0957, 0.211, 0.655],
        [0.1728, 0.1257, 0.272, 0.572],
        [0.1368, 0.1062, 0.223, 0.674],
        [0.2085, 0.1431, 0.314, 0.493],
    ];
    for (info, expected) in infos.iter().zip(expected) {
        let (x, contexts) = (info.activations()?, info.context_of());
        let judged = |y: &Tensor| Split::Halves.regress(&x, y, contexts, true, 0);
        let (_, vector) = judged(&info.errors()?)?;
        let norms = Tensor::new(info.squared_error_norms(), &Device::Cpu)?.unsqueeze(1)?;
        let (_, norm) = judged(&norms)?;
        let explained = info.explain()?;
        let nonlinear = explained.fvu_nonlinear().mean;
        let found = [info.fvu().mean, nonlinear, vector.r_squared, norm.r_squared];
        // Squared norms have long tails, so that theirs depends more on which half judges.
        for ((found, expected), within) in
            found.iter().zip(expected).zip([0.003, 0.003, 0.003, 0.012])
        {
            assert!((found - expected).abs() < within, "{}: {found} for {expected}", info.name());
        }
        // The null: nearly all of this R² follows from two covariances.
        let null = explained.null()?;
        assert!((0.0..0.015).contains(&null.excess), "{null}");
        assert!((0.55..0.65).contains(&null.share_of_scalar), "{null}");
    }
    Ok(())
}

#[test]
fn what_is_not_part_of_the_library_is_named() -> Result<()> {
    let error = Tracer::from_pretrained(&model()?, 0, "x8-k16", "x8-k16").unwrap_err().to_string();
    assert!(error.contains("0-mlp-in-x8-k16/config.json of eigenlens/classics-scope"), "{error}");
    Ok(())
}

#[test]
fn the_calendar_adds_months_on_a_circle() -> Result<()> {
    let model = Decoder::from_pretrained("eigenlens/calendar", &Device::Cpu)?;
    let corpus = CyclicCorpus::write(&CorpusOptions::months())?;
    let prompts = PromptOptions { bos: true, ..PromptOptions::default() };
    let problems = corpus.task().problems(&model, &prompts)?;
    let (right, of) = corpus.held_out_right(&problems.evaluate(&model)?);
    assert!(right as f64 >= 0.95 * of as f64, "{right} of {of}");

    let streams = problems.activations(&model, Role::Start)?;
    let share = streams.fourier(1)?.share(1)?;
    assert!(share >= 0.6, "{share}");
    let run = |frequencies: Vec<usize>, patches: Vec<Patch>, layers: Vec<usize>| {
        let options =
            InterveneOptions { frequencies, patches, layers, ..InterveneOptions::default() };
        Interventions::run(&model, &problems, &streams, &options)
    };
    let patches = vec![
        Patch::Circle,
        Patch::Average,
        Patch::WithoutCircle,
        Patch::PermutedCircle(1),
        Patch::RandomPlane(1),
        Patch::CircleElsewhere(1),
    ];
    let found = run(vec![1], patches, vec![1, 3])?;
    let share = |patch: &Patch| -> Result<f64> { Ok(found.get(1, patch)?.success.mean) };
    let circle = found.get(1, &Patch::Circle)?;
    assert!(circle.success.mean >= 0.85 && circle.within_one >= 0.97, "{found}");
    assert!((share(&Patch::Average)? - 1.0 / 12.0).abs() < 0.01, "{found}");
    assert!(share(&Patch::WithoutCircle)? <= 0.15, "{found}");
    assert!(share(&Patch::PermutedCircle(1))? <= 0.2, "{found}");
    for control in [Patch::RandomPlane(1), Patch::CircleElsewhere(1)] {
        assert!(share(&control)? <= 0.2, "{found}");
    }
    // The month has moved on to the last token.
    assert!(found.get(3, &Patch::Circle)?.success.mean <= 0.02, "{found}");
    let two = run(vec![1, 2], vec![Patch::Circle], vec![1])?;
    assert!(two.get(1, &Patch::Circle)?.success.mean >= 0.97, "{two}");
    // What the last token holds of start and step together is the answer's circle.
    let (questions, period) = (problems.questions(), corpus.task().period());
    let functions = answer_functions(&questions, period, None)?;
    let circle = answer_candidates(&questions, period)?[0].clone();
    let last = problems.activations(&model, Role::Last)?;
    let explained = Regression::explain(
        &last.layer(2)?,
        &[functions[0].clone(), functions[1].clone(), functions[2].clone(), circle],
    )?;
    let steps = explained.steps();
    assert!(steps[4].r_squared - steps[3].r_squared >= 0.5, "{explained}");
    Ok(())
}

#[test]
fn the_calendars_autoencoder_has_months_that_are_close() -> Result<()> {
    let model = Decoder::from_pretrained("eigenlens/calendar", &Device::Cpu)?;
    let sae = Sae::load("eigenlens/calendar-scope/0-resid-post-x4-k3", &Device::Cpu)?;
    assert_eq!((sae.features(), sae.point()?), (128, HookPoint::ResidPost(0)));
    let corpus = CyclicCorpus::write(&CorpusOptions::months())?;
    let tokens = Contexts::spread(corpus.test(), 50, 64)?.batch(0, 50, &Device::Cpu)?;
    let cache = model.activations(&tokens, &[sae.point()?])?;
    // It was trained on everything but the token that begins a document.
    let begin = corpus.tokenizer().bos();
    let tokens: Vec<u32> = tokens.flatten_all()?.to_vec1()?;
    let rows: Vec<u32> =
        (0..tokens.len() as u32).filter(|row| Some(tokens[*row as usize]) != begin).collect();
    let streams = cache.get(sae.point()?)?.flatten(0, 1)?;
    let streams = streams.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?;
    let checked = sae.check(&streams)?;
    assert!(checked.fvu < 0.05, "{checked}");
    Ok(())
}

#[test]
fn the_multi_layer_autoencoder_reads_every_layer() -> Result<()> {
    let name = "eigenlens/classics-mlsae";
    let mlsae = Mlsae::from_pretrained(name, &Device::Cpu)?;
    assert_eq!((mlsae.layers(), mlsae.sae().features()), (&[0, 1, 2, 3][..], 3_072));
    let text = Contexts::from_pretrained("eigenlens/classics-4k")?;
    let length = text.length();
    let text = Contexts::new(length, text.as_slice()[..16 * length].to_vec())?;
    let found = mlsae.evaluate(&text, &LayerScanOptions::default())?;
    for layer in found.layers() {
        assert!(layer.fvu < 0.13 && layer.l0 <= 32.0, "{found}");
        assert!(layer.added_loss().is_some_and(|added| added < 0.15), "{found}");
    }
    let spread = LayerDistributions::from_pretrained(name)?;
    assert_eq!((spread.layers(), spread.latents()), (4, 3_072));
    // The same counts as those of a scan, on the same contexts.
    let own = mlsae.distributions(&text, &LayerScanOptions::default())?;
    let pairs = own.count().into_iter().zip(spread.count());
    assert!(pairs.clone().all(|(part, all)| part <= all), "a part of the text has more");
    Ok(())
}

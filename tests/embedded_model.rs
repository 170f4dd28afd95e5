//! The language model that ships: whole, and what it is said to be.

use eigenlens::prelude::*;

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

#[test]
fn what_is_not_part_of_the_library_is_named() -> Result<()> {
    let error = Tracer::from_pretrained(&model()?, 0, "x8-k16", "x8-k16").unwrap_err().to_string();
    assert!(error.contains("0-mlp-in-x8-k16/config.json of eigenlens/classics-scope"), "{error}");
    Ok(())
}

use candle_core::{Device, Tensor};

use super::super::intervention::{InterventionLayers, LatentChange};
use super::super::lens::tests::{gap, lens};
use super::super::mlsae::tests::small;
use super::*;
use crate::model::{HookPoint, Sampling, TunedLens};
use crate::sae::{Architecture, Normalization, Sae};

/// Both layers of a small random model that has a tokenizer, rows standardised.
fn standardised() -> Mlsae {
    let tokenizer = Tokenizer::train(["one two three"], 270).unwrap();
    let small = small();
    let model = small.model().with_tokenizer(&tokenizer).unwrap();
    let normalization = Normalization::LayerNorm;
    let architecture = Architecture { normalization, ..small.sae().architecture().clone() };
    let sae = Sae::new(architecture, small.sae().weights().clone()).unwrap();
    Mlsae::new(&model, &sae, &[0, 1]).unwrap()
}

/// Logits if `change` is made to the stream after `layer`, by a hook of one's own.
fn hooked(
    mlsae: &Mlsae,
    prompt: &LayerPrompt,
    layers: &[usize],
    change: impl Fn(&Tensor) -> Result<Tensor> + Clone + Send + Sync + 'static,
) -> Tensor {
    let tokens = Tensor::new(prompt.tokens(), &Device::Cpu).unwrap();
    let hooks = layers.iter().fold(Hooks::new(), |hooks, layer| {
        hooks.replace(HookPoint::ResidPost(*layer), change.clone())
    });
    mlsae.model().run(&tokens, &hooks).unwrap().0.squeeze(0).unwrap()
}

#[test]
fn interventions_are_hooks_at_any_layer_and_for_one_token() {
    let mlsae = standardised();
    let column = mlsae.sae().w_dec().narrow(1, 5, 1).unwrap().flatten_all().unwrap();
    for text in ["o", "one two"] {
        let prompt = mlsae.prompt(text).unwrap();
        let before = mlsae.prompt_logits(&prompt).unwrap();
        assert!(gap(&before, &hooked(&mlsae, &prompt, &[], |x| Ok(x.clone()))) < 1e-5);
        for (own, layers) in [
            (LatentIntervention::add(5, 2.0).at(0), &[0][..]),
            (LatentIntervention::add(5, 2.0).at(1), &[1]),
            (LatentIntervention::add(5, 2.0).from(1), &[1]),
            (LatentIntervention::add(5, 2.0), &[0, 1]),
        ] {
            let direction = column.clone();
            let expected = hooked(&mlsae, &prompt, layers, move |x| {
                let centred = x.broadcast_sub(&x.mean_keepdim(2)?)?;
                let std = (centred.sqr()?.sum_keepdim(2)? / 7.0)?.sqrt()?;
                Ok((x + (std.broadcast_mul(&direction)? * 2.0)?)?)
            });
            let found = mlsae.steer(&prompt, std::slice::from_ref(&own)).unwrap();
            assert!(gap(found.after(), &expected) < 1e-5, "{own}");
            assert_eq!(gap(found.before(), &before), 0.0);
            // Halves add up.
            let half = LatentIntervention { change: LatentChange::Add(1.0), ..own };
            let twice = mlsae.steer(&prompt, &[half.clone(), half]).unwrap();
            assert!(gap(twice.after(), &expected) < 1e-5);
        }
        let direction = column.clone();
        let raw = LatentIntervention::add_column(5, -3.0).at(0);
        let expected =
            hooked(&mlsae, &prompt, &[0], move |x| Ok(x.broadcast_sub(&(&direction * 3.0)?)?));
        assert!(gap(mlsae.steer(&prompt, &[raw]).unwrap().after(), &expected) < 1e-5);
        for layer in [0, 1] {
            let sae = mlsae.sae().clone();
            let expected = hooked(&mlsae, &prompt, &[layer], move |x| sae.reconstruct(x));
            let found = mlsae.logits_of_reconstruction(&prompt, layer).unwrap();
            assert!(gap(found.after(), &expected) < 1e-5);
        }
    }
}

#[test]
fn activations_are_scaled_set_and_taken_away_at_chosen_positions() {
    let mlsae = standardised();
    let prompt = mlsae.prompt("one two").unwrap();
    let codes = prompt.codes().layer(0).unwrap();
    let (latent, has) = codes.row(1).next().unwrap();
    let column = mlsae.sae().w_dec().narrow(1, latent as usize, 1).unwrap().flatten_all().unwrap();
    let (own, latent) = (|latent| LatentIntervention::set(latent, 4.0), latent as usize);
    for (change, gets) in [
        (own(latent).at(0), 4.0),
        (LatentIntervention::scale(latent, 3.0).at(0), 3.0 * has),
        (LatentIntervention::ablate(latent).at(0), 0.0),
    ] {
        let direction = (&column * f64::from(gets - has)).unwrap();
        let expected = hooked(&mlsae, &prompt, &[0], move |x| {
            let row = x.narrow(1, 1, 1)?;
            let centred = row.broadcast_sub(&row.mean_keepdim(2)?)?;
            let std = (centred.sqr()?.sum_keepdim(2)? / 7.0)?.sqrt()?;
            let moved = (row + std.broadcast_mul(&direction)?)?;
            Ok(x.slice_scatter(&moved, 1, 1)?)
        });
        let found = mlsae.steer(&prompt, &[change.clone().at_positions([1, 99])]).unwrap();
        assert!(gap(found.after(), &expected) < 1e-5, "{change}");
        let kl = found.divergences().unwrap();
        assert!(kl[0] == 0.0 && kl[1] > 0.0, "{change}: {kl:?}");
    }
    let kl = mlsae.steer(&prompt, &[own(latent).at_last()]).unwrap().divergences().unwrap();
    assert!(kl[..kl.len() - 1].iter().all(|own| *own == 0.0) && kl[kl.len() - 1] > 0.0);
}

#[test]
fn generations_are_steered_as_prompts_are() {
    let mlsae = standardised();
    let model = mlsae.model();
    let prompt = mlsae.prompt("one").unwrap();
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let own = [
        LatentIntervention::set(3, 9.0).from(0).at_positions([0, prompt.tokens().len()]),
        LatentIntervention::add(5, 7.0).at(1),
    ];
    let hooks = mlsae.steering_hooks(&own).unwrap();
    let found = model.generate_tokens_with(prompt.tokens(), 4, sampling, &hooks).unwrap();
    for end in prompt.tokens().len()..found.len() {
        let tokens = Tensor::new(&found[..end], &Device::Cpu).unwrap();
        let hooks = mlsae.steering_hooks(&own).unwrap();
        let logits = model.run(&tokens, &hooks).unwrap().0.squeeze(0).unwrap();
        let best = RankedLogit::largest(&logits, 1).unwrap();
        assert_eq!(best[end - 1][0].token, found[end]);
    }
    assert!(mlsae.steering_hooks(&[]).is_err());
}

#[test]
fn behind_a_lens_changes_are_made_where_the_autoencoder_reads() {
    let plain = standardised();
    let prompt = plain.prompt("one two").unwrap();
    let own = LatentIntervention::add_column(3, 2.0).at(0);
    let identity = TunedLens::identity(plain.model()).unwrap();
    let same =
        plain.with_lens(&identity).unwrap().steer(&prompt, std::slice::from_ref(&own)).unwrap();
    let found = plain.steer(&prompt, std::slice::from_ref(&own)).unwrap();
    assert!(gap(same.after(), found.after()) < 1e-5);
    let (lens, layer) = (lens(), HookPoint::ResidPost(0));
    let behind = plain.with_lens(&lens).unwrap();
    let column = plain.sae().w_dec().narrow(1, 3, 1).unwrap().flatten_all().unwrap();
    let expected = {
        let lens = lens.clone();
        hooked(&plain, &prompt, &[0], move |x| {
            let moved = lens.transform(x, layer)?.broadcast_add(&(&column * 2.0)?)?;
            lens.invert(&moved, layer)
        })
    };
    assert!(
        gap(behind.steer(&prompt, std::slice::from_ref(&own)).unwrap().after(), &expected) < 1e-5
    );
    let sae = plain.sae().clone();
    let expected = hooked(&plain, &prompt, &[0], move |x| {
        lens.invert(&sae.reconstruct(&lens.transform(x, layer)?)?, layer)
    });
    let found = behind.logits_of_reconstruction(&prompt, 0).unwrap();
    assert!(gap(found.after(), &expected) < 1e-5);
}

#[test]
fn the_originals_layer_0_is_the_last_and_its_positions_are_0() {
    let mlsae = standardised();
    let prompt = mlsae.prompt("one two").unwrap();
    let of = |layer| mlsae.original_steer(&prompt, 2, layer, 1.5).unwrap();
    let last = LatentIntervention::add_column(2, 1.5).at(1);
    let right = mlsae.steer(&prompt, &[last]).unwrap();
    for layer in [0, 1] {
        assert!(gap(of(layer).after(), right.after()) < 1e-6);
        let own = mlsae.original_logits_of_reconstruction(&prompt, layer).unwrap();
        let right = mlsae.logits_of_reconstruction(&prompt, 1).unwrap();
        assert!(gap(own.after(), right.after()) < 1e-6);
    }
    // Of a single position it makes no difference where it stands.
    let first = Mlsae::new(mlsae.model(), mlsae.sae(), &[0]).unwrap();
    for var in first.model().variables() {
        // Weights of size 1 let attention matter.
        var.set(&(var.as_tensor() * 20.0).unwrap()).unwrap();
    }
    for (text, differs) in [("o", false), ("one two", true)] {
        let prompt = first.prompt(text).unwrap();
        let found = first.original_logits_of_reconstruction(&prompt, 0).unwrap();
        let right = first.prompt_logits(&prompt).unwrap();
        assert_eq!(gap(found.before(), &right) > 1e-4, differs, "{text}");
    }
}

#[test]
fn logits_are_told_by_position() {
    let mlsae = standardised();
    let prompt = mlsae.prompt("one two").unwrap();
    let own = LatentIntervention::add(1, 4.0);
    assert_eq!(own.layers, InterventionLayers::All);
    let found = mlsae.steer(&prompt, std::slice::from_ref(&own)).unwrap();
    let after = found.after().to_vec2::<f32>().unwrap();
    let before = found.before().to_vec2::<f32>().unwrap();
    let best = found.largest(2).unwrap();
    let (rises, falls) = (found.rises(1).unwrap(), found.falls(1).unwrap());
    assert_eq!(best.len(), prompt.tokens().len());
    for (t, (own, other)) in after.iter().zip(&before).enumerate() {
        let most = own.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(best[t][0].logit, f64::from(most));
        let changes: Vec<f64> =
            own.iter().zip(other).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect();
        assert!(changes.iter().all(|own| (falls[t][0].change..=rises[t][0].change).contains(own)));
        let p = |row: &[f32]| {
            let row: Vec<f64> = row.iter().map(|own| f64::from(*own).exp()).collect();
            let sum: f64 = row.iter().sum();
            row.into_iter().map(|own| own / sum).collect::<Vec<_>>()
        };
        let kl: f64 = p(other).iter().zip(p(own)).map(|(p, q)| p * (p / q).ln()).sum();
        assert!((kl - found.divergences().unwrap()[t]).abs() < 1e-9);
    }
    let text = found.to_string();
    assert!(text.contains("positions, KL") && text.contains("rises:"), "{text}");
}

#[test]
fn what_cannot_be_steered_is_named() {
    let mlsae = standardised();
    let prompt = mlsae.prompt("one").unwrap();
    let message = |own: &[LatentIntervention]| mlsae.steer(&prompt, own).unwrap_err().to_string();
    assert!(message(&[]).contains("at least one"));
    assert!(message(&[LatentIntervention::add(24, 1.0)]).contains("below 24"));
    assert!(message(&[LatentIntervention::add(0, f64::NAN)]).contains("finite"));
    assert!(message(&[LatentIntervention::add(0, 1.0).at(2)]).contains("layers [0, 1]"));
    assert!(message(&[LatentIntervention::add(0, 1.0).from(2)]).contains("from layer 2 on"));
    let second = Mlsae::new(mlsae.model(), mlsae.sae(), &[1]).unwrap();
    let error = second.prompt_logits(&prompt).unwrap_err().to_string();
    assert!(error.contains("at the layers [1]"), "{error}");
    assert!(mlsae.logits_of_reconstruction(&prompt, 2).is_err());
    assert!(mlsae.steer(&prompt, &[LatentIntervention::add(0, 1.0)]).unwrap().largest(0).is_err());
}

//! What the figures of models say, read back from their JSON.

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::*;
use crate::Result;
use crate::bilinear::Explanation;
use crate::plot::grid;
use crate::plot::tests::{json_of, message, normal, plain};

#[test]
fn a_spectrum_shows_the_strongest_of_both_signs() -> Result<()> {
    let values = Tensor::new(&[-3_f32, -1.0, 0.5, 2.0], &Device::Cpu)?;
    let vectors = normal(&[4, 5, 5])?;
    let json = json_of(&plot_eigenspectrum(&values, &vectors, 3)?);
    let notes = json["layout"]["annotations"].as_array().unwrap();
    let titles: Vec<String> = notes.iter().map(|note| plain(&note["text"])).collect();
    assert_eq!(titles, ["λ = +2.00", "λ = +0.500", "λ = −3.00", "λ = −1.00"]);
    assert_eq!(json["data"][0]["y"], json!([2.0, 0.5]));
    let wrong = plot_eigenspectrum(&values, &normal(&[3, 5, 5])?, 3);
    assert!(message(wrong).contains("[4, height, width]"));
    assert!(message(plot_eigenspectrum(&values, &vectors, 0)).contains("each_side"));
    let zero = plot_eigenspectrum(&values.zeros_like()?, &vectors, 1);
    assert!(message(zero).contains("not all zero"));
    let positive = json_of(&plot_eigenspectrum(&values.abs()?, &vectors, 1)?);
    assert_eq!(positive["data"].as_array().map(Vec::len), Some(3));
    Ok(())
}

fn explanation(classes: usize) -> Result<Explanation> {
    let eigenvalues = normal(&[classes, 6])?;
    let contributions = (&eigenvalues * &eigenvalues.abs()?)?;
    Ok(Explanation {
        input: normal(&[5, 5])?,
        logits: contributions.sum(1)?.to_vec1()?,
        labels: (0..classes).map(|i| format!("digit {i}")).collect(),
        eigenvectors: normal(&[classes, 6, 5, 5])?,
        eigenvalues,
        contributions,
    })
}

#[test]
fn an_explanation_shows_the_three_strongest_classes() -> Result<()> {
    let given = explanation(10)?;
    let json = json_of(&plot_explanation(&given)?);
    let mut order: Vec<usize> = (0..10).collect();
    order.sort_by(|&i, &j| given.logits[j].total_cmp(&given.logits[i]));
    let texts = json["layout"]["annotations"].to_string();
    for (place, class) in order.iter().enumerate() {
        assert_eq!(texts.contains(&format!("digit {class}: logit")), place < 3);
    }
    // The input is gray and does not take part in the eigenvectors' scale.
    assert_eq!(json["data"][0]["coloraxis"], "coloraxis2");
    assert!(plot_explanation(&explanation(2)?).is_ok());
    Ok(())
}

#[test]
fn an_explanation_that_does_not_fit_is_refused() -> Result<()> {
    let labels = Explanation { labels: vec![], ..explanation(3)? };
    assert!(message(plot_explanation(&labels)).contains("the labels"));
    let vectors = Explanation { eigenvectors: normal(&[3, 6, 4, 5])?, ..explanation(3)? };
    assert!(message(plot_explanation(&vectors)).contains("[3, 6, 5, 5]"));
    let values = Explanation { eigenvalues: normal(&[2, 6])?, ..explanation(3)? };
    assert!(message(plot_explanation(&values)).contains("the eigenvalues"));
    let mut nan = explanation(3)?;
    nan.logits[1] = f32::NAN;
    assert!(message(plot_explanation(&nan)).contains("the logits"));
    Ok(())
}

#[test]
fn animations_have_frames_a_slider_and_a_picture() {
    let truth = Tensor::new(&[[1f32, 0., 0.], [0., 1., 0.]], &Device::Cpu).unwrap();
    let start = Tensor::new(&[[[0f32, 0., 1.]], [[1., 0., 0.]]], &Device::Cpu).unwrap();
    let names = ["a", "b"].map(|name| (name.to_owned(), start.clone())).to_vec();
    let figure = plot_recovery(&truth, &[0, 10], names.clone()).unwrap();
    let json: Value = serde_json::from_str(&figure.to_json()).unwrap();
    assert_eq!(json["frames"][1]["name"], "10");
    // Panel a: sphere, truth, atoms; panel b: the same.
    assert_eq!(json["frames"][0]["traces"], serde_json::json!([2, 5]));
    assert_eq!(json["layout"]["sliders"][0]["steps"][1]["args"][0], serde_json::json!(["10"]));
    // The figure begins at the last frame.
    assert_eq!(json["data"][2]["x"], json["frames"][1]["data"][0]["x"]);
    assert_ne!(json["data"][2]["x"], json["frames"][0]["data"][0]["x"]);
    assert_eq!(json["data"][5]["type"], "scatter");
    let picture = figure.animated_picture().unwrap();
    assert_eq!(picture.frames(), 2);
    assert!(picture.bytes().starts_with(b"\x89PNG") && figure.to_svg().contains("stroke-linecap"));
    let one = plot_recovery(&truth, &[0, 10], names[..1].to_vec()).unwrap();
    let json: Value = serde_json::from_str(&one.to_json()).unwrap();
    assert_eq!(json["data"][2]["type"], "scatter3d");
    assert_eq!(json["frames"][0]["data"][0]["z"], serde_json::json!([0.0, 1.0, null]));
    assert!(grid([one], 1).unwrap_err().to_string().contains("without frames"));
    let still = plot_directions(&truth).unwrap();
    assert!(still.animated_picture().unwrap_err().to_string().contains("plot_recovery"));
    assert!(plot_recovery(&truth, &[0], names.clone()).is_err());
    assert!(plot_recovery(&truth, &[], vec![]).is_err());
    let flat = Tensor::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
    assert!(plot_directions(&flat).unwrap_err().to_string().contains("[n, 3]"));
    let nan = Tensor::new(&[[0f32, f32::NAN, 1.]], &Device::Cpu).unwrap();
    assert!(plot_directions(&nan).unwrap_err().to_string().contains("flat index 1"));
}

#[test]
fn samples_show_which_directions_are_active() {
    let truth = Tensor::new(&[[1f32, 0., 0.], [0., 1., 0.]], &Device::Cpu).unwrap();
    let x = Tensor::new(&[[0.5f32, 0., 0.], [0., 0., 0.]], &Device::Cpu).unwrap();
    let codes = crate::sae::Codes::new(2, [vec![(0, 0.5)], vec![]]).unwrap();
    let figure = plot_samples(&truth, &x, &codes).unwrap();
    let json: Value = serde_json::from_str(&figure.to_json()).unwrap();
    // Sphere, inactive, active, sample: one arrow has three coordinates.
    let arrows: Vec<usize> = json["data"].as_array().unwrap()[1..4]
        .iter()
        .map(|trace| trace["x"].as_array().unwrap().len() / 3)
        .collect();
    assert_eq!(arrows, [1, 1, 1]);
    assert_eq!(json["data"][5]["x"].as_array().unwrap().len(), 6);
    let other = crate::sae::Codes::new(3, [vec![], vec![]]).unwrap();
    assert!(plot_samples(&truth, &x, &other).is_err());
}

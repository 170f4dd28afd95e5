//! What was written and counted before is shown: explanations, and histograms of activations.

use eigenlens::features::{Explanations, FeatureExplanation, FeatureTable, save_tables};
use eigenlens::prelude::*;
use eigenlens_app::AppServer;
use serde_json::{Value, json};

use crate::http::{Client, mlsae, server};

const TEXT: &str = "She had been very happy";
const HOSTILE: &str = "<script>alert(1)</script> names of months";

fn explanations(latent: usize, text: &str) -> Explanations {
    let own = FeatureExplanation {
        text: text.to_owned(),
        by: "a <b>judge</b>".to_owned(),
        score: Some(0.75),
    };
    [(latent, own)].into_iter().collect()
}

/// Contexts that are quickly gone through.
fn some_contexts() -> Contexts {
    let all = Contexts::from_pretrained("eigenlens/classics-4k").unwrap();
    Contexts::new(all.length(), all.as_slice()[..all.length() * 3].to_vec()).unwrap()
}

/// What the library counts of them, a table a layer.
fn tables() -> Vec<FeatureTable> {
    let saes: Vec<Sae> = mlsae().layers().iter().map(|own| mlsae().at(*own).unwrap()).collect();
    let options = MaxOptions { examples: 1, ..MaxOptions::default() };
    max_activations(mlsae().model(), &saes, &some_contexts(), &options).unwrap()
}

#[test]
fn explanations_are_shown_listed_and_searched_beside_labels() {
    let app = server().explanations(&explanations(17, HOSTILE)).serve().unwrap();
    let client = Client::of(&app);
    assert_eq!(client.get("/info").ok()["data"]["explanations"], true);
    let shown = json!({"text": HOSTILE, "by": "a <b>judge</b>", "score": 0.75});
    assert_eq!(client.get("/latents/17").ok()["explanation"], shown);
    assert_eq!(client.get("/latents/18").ok()["explanation"], Value::Null);

    // All words, in any order.
    let found = client.get("/latents?q=MONTHS%20alert").ok();
    assert_eq!((&found["total"], &found["rows"][0]["latent"]), (&json!(1), &json!(17)));
    assert_eq!(found["rows"][0]["explanation"], HOSTILE);
    assert_eq!(found["searched"]["explanations"], true);
    assert_eq!(client.get("/latents?q=monthsalert").ok()["total"], 0);

    let label = json!({"label": "mine"}).to_string();
    assert_eq!(client.send("PUT", "/api/v1/labels/17", &[], label.as_bytes()).status, 204);
    let own = client.get("/latents/17").ok();
    assert_eq!((&own["label"], &own["explanation"]), (&json!("mine"), &shown));
    let row = &client.get("/latents?q=months%20alert").ok()["rows"][0];
    assert_eq!((&row["label"], &row["explanation"]), (&json!("mine"), &json!(HOSTILE)));
}

#[test]
fn a_page_that_is_served_takes_other_explanations() {
    let app = server().serve().unwrap();
    let client = Client::of(&app);
    assert_eq!(client.get("/info").ok()["data"]["explanations"], false);
    let known = client.prompt(TEXT)["latents"].clone();
    assert_eq!(known["explanation"], json!([]));
    let latent = known["id"][1].as_u64().unwrap() as usize;
    app.explanations(&explanations(latent, "moods")).unwrap();
    let known = client.prompt(TEXT)["latents"].clone();
    assert_eq!((&known["explanation"][0], &known["explanation"][1]), (&json!(""), &json!("moods")));
    let lengths = ["id", "explanation"].map(|own| known[own].as_array().unwrap().len());
    assert_eq!(lengths[0], lengths[1]);

    // Neighbours are named as well.
    let near = client.get(&format!("/latents/{latent}")).ok()["nearest"]["decoder"][0].clone();
    let near = near["latent"].as_u64().unwrap() as usize;
    app.explanations(&explanations(near, "sorrows")).unwrap();
    let own = client.get(&format!("/latents/{latent}")).ok();
    assert_eq!(own["explanation"], Value::Null);
    assert_eq!(own["nearest"]["decoder"][0]["explanation"], "sorrows");

    let beyond = app.explanations(&explanations(3072, "nothing")).unwrap_err().to_string();
    assert!(beyond.contains("below 3072"), "{beyond}");
    let own = client.get(&format!("/latents/{near}")).ok();
    assert_eq!(own["explanation"]["text"], "sorrows", "those from before stay");
    let beyond = server().explanations(&explanations(3072, "nothing")).serve().unwrap_err();
    assert!(beyond.to_string().contains("the explanations"), "{beyond}");
}

#[test]
fn histograms_count_each_activation_once_at_its_layer() {
    let app = AppServer::new(mlsae()).statistics(&tables()).serve().unwrap();
    let client = Client::of(&app);
    assert_eq!(client.get("/info").ok()["data"]["histograms"], true);
    let texts = some_contexts();
    let codes = mlsae().codes_of(&texts.batch(0, 3, &Device::Cpu).unwrap()).unwrap();
    let count = |latent: u32| -> usize {
        codes
            .iter()
            .flat_map(|own| (0..own.rows()).map(move |row| own.get(row, latent)))
            .filter(|own| *own > 0.0)
            .count()
    };
    let latent = (0..3072).max_by_key(|latent| count(*latent)).unwrap();
    let own = client.get(&format!("/latents/{latent}")).ok()["histograms"].clone();
    let edges: Vec<f64> = serde_json::from_value(own["edges"].clone()).unwrap();
    assert_eq!((edges.len(), edges[0]), (33, 0.0));
    for (layer, codes) in codes.iter().enumerate() {
        let active: Vec<f64> = (0..codes.rows())
            .map(|row| f64::from(codes.get(row, latent)))
            .filter(|own| *own > 0.0)
            .collect();
        let inside =
            |bin: &[f64]| active.iter().filter(|own| bin[0] <= **own && **own < bin[1]).count();
        let expected: Vec<usize> = edges.windows(2).map(inside).collect();
        assert_eq!(expected.iter().sum::<usize>(), active.len());
        assert_eq!(own["values"][layer], json!(expected), "layer {layer}");
        let density = own["density"][layer].as_f64().unwrap();
        assert!((density - active.len() as f64 / codes.rows() as f64).abs() < 1e-6);
    }
    let bare = AppServer::new(mlsae()).serve().unwrap();
    let client = Client::of(&bare);
    assert_eq!(client.get("/info").ok()["data"]["histograms"], false);
    assert_eq!(client.get("/latents/17").ok()["histograms"], Value::Null);
    let few = AppServer::new(mlsae()).statistics(&tables()[1..]).serve().unwrap_err().to_string();
    assert!(few.contains("one at 0.resid_post"), "{few}");
}

#[test]
fn what_lies_beside_the_weights_in_a_folder_is_served_and_the_rest_left_out() {
    let folder = tempfile::tempdir().unwrap();
    mlsae().save(folder.path(), DType::F32).unwrap();
    let saved = Mlsae::load(folder.path(), mlsae().model()).unwrap();
    let data = |server: AppServer| {
        let app = server.serve().unwrap();
        Client::of(&app).get("/info").ok()["data"].clone()
    };
    let nothing = data(AppServer::beside(&saved).unwrap());
    for what in ["distributions", "explanations", "histograms", "texts"] {
        assert_eq!(nothing[what], false, "{what}");
    }
    assert_eq!(nothing["examples"], Value::Null);

    explanations(17, HOSTILE).save(folder.path()).unwrap();
    save_tables(folder.path(), &tables()).unwrap();
    let known = data(AppServer::beside(&saved).unwrap());
    for what in ["explanations", "histograms"] {
        assert_eq!(known[what], true, "{what}");
    }
    std::fs::write(folder.path().join("explanations.json"), "[1").unwrap();
    let damaged = AppServer::beside(&saved).unwrap_err().to_string();
    assert!(damaged.contains("explanations.json"), "{damaged}");
}

//! Answers hold the library's numbers.

use eigenlens::multilayer::{LatentIntervention, RankedLogit};
use eigenlens::prelude::*;
use eigenlens_app::AppServer;
use serde_json::{Value, json};

use crate::http::{Client, mlsae, server, shared};

const TEXT: &str = "She had been very happy";

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|own| own.as_f64().unwrap_or(f64::NAN)).collect()
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let same = found.is_nan() && expected.is_nan();
        assert!(
            same || (found - expected).abs() < 1e-5 * expected.abs().max(1.0),
            "{found} {expected}"
        );
    }
}

#[test]
fn info_says_what_is_served() {
    let info = shared().get("/info").ok();
    assert_eq!(info["sae"]["latents"], 3072);
    assert_eq!(info["sae"]["layers"], json!([0, 1, 2, 3]));
    assert_eq!(info["sae"]["k"], 32);
    assert_eq!(info["model"]["name"], "eigenlens/classics");
    assert_eq!(info["data"]["distributions"], true);
    assert_eq!(info["limits"]["prompt_tokens"], mlsae().model().config().context);
    assert_eq!(info["read_only"], false);
}

#[test]
fn a_prompts_codes_losses_and_next_tokens_are_the_librarys() {
    let client = shared();
    for text in [TEXT, "S", "\u{1F600} <script>alert(1)</script>"] {
        let found = client.prompt(text);
        let prompt = mlsae().prompt(text).unwrap();
        let (layers, length) = (4, prompt.tokens().len());
        let ids: Vec<u32> = found["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .map(|own| own["id"].as_u64().unwrap() as u32)
            .collect();
        assert_eq!(ids, prompt.tokens());
        let codes = &found["codes"];
        let offsets = numbers(&codes["offsets"]);
        assert_eq!(offsets.len(), layers * length + 1);
        let (latents, values) = (numbers(&codes["latents"]), numbers(&codes["values"]));
        let mut distinct = std::collections::BTreeSet::new();
        for (l, own) in prompt.codes().iter().enumerate() {
            for t in 0..length {
                let row = l * length + t;
                let mut expected: Vec<(u32, f32)> =
                    own.row(t).filter(|(_, value)| *value > 0.0).collect();
                expected.sort_by_key(|own| own.0);
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                let found: Vec<u32> =
                    latents[range.clone()].iter().map(|own| *own as u32).collect();
                assert_eq!(found, expected.iter().map(|own| own.0).collect::<Vec<_>>());
                close(
                    &values[range],
                    &expected.iter().map(|own| f64::from(own.1)).collect::<Vec<_>>(),
                );
                distinct.extend(found);
            }
        }
        assert_eq!(numbers(&found["latents"]["id"]).len(), distinct.len());
        let logits = mlsae().prompt_logits(&prompt).unwrap();
        let best = RankedLogit::largest(&logits, 16).unwrap();
        for (row, best) in found["next"].as_array().unwrap().iter().zip(&best) {
            assert_eq!(row.as_array().unwrap().len(), 16);
            close(&[row[0]["probability"].as_f64().unwrap()], &[best[0].probability]);
            assert_eq!(row[0]["token"], best[0].token);
        }
        if length > 1 {
            let tokens = Tensor::new(prompt.tokens(), &Device::Cpu).unwrap();
            let loss = mlsae().model().loss(&tokens.unsqueeze(0).unwrap()).unwrap();
            close(
                &[found["loss"].as_f64().unwrap()],
                &[f64::from(loss.to_scalar::<f32>().unwrap())],
            );
            let scores = mlsae().evaluate_prompt(&prompt).unwrap().layers();
            close(&numbers(&found["fvu"]), &scores.iter().map(|own| own.fvu).collect::<Vec<_>>());
        } else {
            assert!(found["loss"].is_null());
        }
        let id = found["id"].as_str().unwrap();
        assert_eq!(client.prompt(text)["id"], id, "the same prompt is computed once");
        let bins = client.get(&format!("/prompt/{id}/histograms?bins=8")).ok();
        let expected = prompt.codes().histograms(8).unwrap();
        close(&numbers(&bins["edges"]), &expected.edges);
        assert_eq!(bins["values"], json!(expected.values));
        assert_eq!(bins["zeros"], json!(expected.zeros));
    }
}

#[test]
fn logits_and_steering_work_at_layer_0_and_are_the_librarys() {
    let client = shared();
    let prompt = mlsae().prompt(TEXT).unwrap();
    let id = client.prompt(TEXT)["id"].clone();
    let input = client.post("/logits", &json!({"id": id, "what": "input", "top": 3})).ok();
    let logits = mlsae().prompt_logits(&prompt).unwrap();
    let best = RankedLogit::largest(&logits, 3).unwrap();
    assert_eq!(input["max"][2][1]["token"], best[2][1].token);
    for layer in [0, 2] {
        let asked = json!({"id": id, "layer": layer, "what": "reconstruction", "top": 5});
        let found = client.post("/logits", &asked).ok();
        let expected = mlsae().logits_of_reconstruction(&prompt, layer).unwrap();
        close(&numbers(&found["kl"]), &expected.divergences().unwrap());
        let rises = expected.rises(5).unwrap();
        assert_eq!(found["rises"][1][4]["token"], rises[1][4].token);
        close(
            &[found["falls"][1][0]["change"].as_f64().unwrap()],
            &[expected.falls(5).unwrap()[1][0].change],
        );
    }
    let latent = prompt.codes().layer(1).unwrap().row(2).next().unwrap().0 as usize;
    for (asked, own) in [
        (
            json!({"latent": latent, "layers": {"only": 0}, "how": "add_column", "amount": -4.0}),
            LatentIntervention::add_column(latent, -4.0).at(0),
        ),
        (
            json!({"latent": latent, "layers": {"from": 1}, "how": "set", "amount": 9.5}),
            LatentIntervention::set(latent, 9.5).from(1),
        ),
        (
            json!({"latent": latent, "how": "ablate", "positions": [2]}),
            LatentIntervention::ablate(latent).at_positions([2]),
        ),
        (
            json!({"latent": latent, "how": "scale", "amount": 3, "positions": "last"}),
            LatentIntervention::scale(latent, 3.0).at_last(),
        ),
        (
            json!({"latent": latent, "how": "add", "amount": 2}),
            LatentIntervention::add(latent, 2.0),
        ),
    ] {
        let body = json!({"id": id, "interventions": [asked], "top": 4});
        let found = client.post("/steer", &body).ok();
        let expected = mlsae().steer(&prompt, std::slice::from_ref(&own)).unwrap();
        close(&numbers(&found["kl"]), &expected.divergences().unwrap());
        assert_eq!(
            found["after"][1][0]["token"],
            expected.largest(1).unwrap()[1][0].token,
            "{own}"
        );
        assert_eq!(found["before"][1][0]["token"], best[1][0].token);
    }
}

#[test]
fn generations_are_streamed_side_by_side_and_are_the_models() {
    let client = shared();
    let own = LatentIntervention::add(7, 6.0).from(1);
    let asked = json!({
        "prompt": TEXT, "tokens": 6, "temperature": 0.8, "top_k": 20, "seed": 3, "compare": true,
        "interventions": [{"latent": 7, "layers": {"from": 1}, "how": "add", "amount": 6}],
    });
    let answer = client.post("/generate", &asked);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let text = answer.text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let model = mlsae().model();
    let sampling = Sampling { temperature: 0.8, top_k: Some(20), seed: 3, ..Sampling::default() };
    let steered = mlsae().steering_hooks(&[own]).unwrap();
    for (side, hooks) in [("plain", Hooks::new()), ("steered", steered)] {
        let said: String = lines
            .iter()
            .filter(|line| line["side"] == side)
            .filter_map(|line| line["text"].as_str())
            .collect();
        assert_eq!(
            format!("{TEXT}{said}"),
            model.generate_with(TEXT, 6, sampling, &hooks).unwrap()
        );
        assert!(lines.contains(&json!({"side": side, "done": true})));
    }
    let first: Vec<&Value> = lines[..4].iter().map(|line| &line["side"]).collect();
    assert_eq!(first, ["plain", "steered", "plain", "steered"]);
    for (change, what) in [
        (json!({"tokens": 0}), "number of tokens"),
        (json!({"tokens": 10_000}), "number of tokens"),
        (json!({"temperature": -1}), "temperature"),
        (json!({"top_k": 0}), "top_k"),
        (json!({"prompt": ""}), "prompt"),
    ] {
        let mut bad = asked.clone();
        bad.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert!(client.post("/generate", &bad).error(422).contains(what));
    }
}

#[test]
fn latents_are_listed_described_searched_and_named() {
    let app = server().serve().unwrap();
    let client = &Client::of(&app);
    let found = client.get("/latents?sort=count&order=desc&limit=3").ok();
    assert_eq!(found["total"], 3072);
    let rows = found["rows"].as_array().unwrap();
    let counts: Vec<u64> = rows.iter().map(|own| own["count"].as_u64().unwrap()).collect();
    let distributions = LayerDistributions::from_pretrained("eigenlens/classics-mlsae").unwrap();
    assert_eq!(counts[0], *distributions.count().iter().max().unwrap());
    assert!(counts.is_sorted_by(|a, b| a >= b));
    let latent = rows[0]["latent"].as_u64().unwrap() as usize;
    close(&[rows[0]["mean_layer"].as_f64().unwrap()], &[distributions.mean_layer()[latent]]);
    let shares = numbers(&rows[0]["profile"]);
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9 && shares.len() == 4);

    let own = client.get(&format!("/latents/{latent}")).ok();
    assert_eq!(own["count"], rows[0]["count"]);
    assert_eq!(own["promoted"][0]["text"], rows[0]["top"][0]);
    let column = mlsae().sae().w_dec().narrow(1, latent, 1).unwrap().t().unwrap();
    let logits = mlsae().model().direct_logits(&column.contiguous().unwrap()).unwrap();
    let best = RankedLogit::largest(&logits, 1).unwrap();
    close(&[own["promoted"][0]["score"].as_f64().unwrap()], &[best[0][0].logit]);
    let worst = RankedLogit::largest(&logits.neg().unwrap(), 1).unwrap();
    close(&[own["suppressed"][0]["score"].as_f64().unwrap()], &[-worst[0][0].logit]);
    assert!(own["nearest"]["decoder"][0]["latent"] != json!(latent));
    assert!(own["nearest"]["encoder"].as_array().unwrap().len() == 8);
    assert!(own["embeddings"]["output"][0]["cosine"].as_f64().unwrap() <= 1.0);
    assert_eq!(own["by_layer"].as_array().unwrap().len(), 4);

    let token = own["promoted"][0]["text"].as_str().unwrap().trim_start_matches('␣').to_lowercase();
    let query: String = token.bytes().map(|own| format!("%{own:02x}")).collect();
    let found = client.get(&format!("/latents?q={query}&limit=200")).ok();
    let is_there = |found: &Value| {
        found["rows"].as_array().unwrap().iter().any(|own| own["latent"] == json!(latent))
    };
    assert!(found["total"].as_u64().unwrap() < 3072);
    assert!(is_there(&found) || found["total"].as_u64().unwrap() > 200, "{token}");

    let label = |text: &str| {
        let body = json!({"label": text}).to_string();
        client.send("PUT", &format!("/api/v1/labels/{latent}"), &[], body.as_bytes())
    };
    assert_eq!(label("My Months").status, 204);
    assert!(is_there(&client.get("/latents?q=my%20months").ok()));
    assert_eq!(client.get(&format!("/latents/{latent}")).ok()["label"], "My Months");
    assert!(label(&"x".repeat(201)).error(422).contains("label"));
    for (path, what) in [("/latents?sort=beauty", "address"), ("/latents?limit=0", "limit")] {
        let status = if what == "limit" { 422 } else { 400 };
        assert!(client.get(path).error(status).contains(what));
    }
    assert!(client.get("/latents/3072").error(404).contains("below 3072"));
    assert_eq!(client.get("/latents/-1").status, 404);
}

#[test]
fn a_list_in_parts_has_every_latent_once_and_in_its_order() {
    let app = server().serve().unwrap();
    let client = &Client::of(&app);
    let all = |query: &str| {
        let mut latents = Vec::new();
        loop {
            let found =
                client.get(&format!("/latents?{query}&limit=200&offset={}", latents.len())).ok();
            let rows = found["rows"].as_array().unwrap();
            latents.extend(rows.iter().map(|row| row["latent"].as_u64().unwrap()));
            if rows.is_empty() || latents.len() as u64 >= found["total"].as_u64().unwrap() {
                return latents;
            }
        }
    };
    let mut by_std = all("sort=std&order=desc");
    assert_eq!(by_std[..7], all("sort=std&order=desc&layer_from=0")[..7]);
    by_std.sort_unstable();
    assert!(by_std.into_iter().eq(0..3072));
    let few = all("sort=mean_layer&layer_from=1.5");
    assert!(few.len() > 200 && few.len() < 3072);
    let past = client.get("/latents?limit=200&offset=999999").ok();
    assert_eq!((&past["total"], past["rows"].as_array().unwrap().len()), (&json!(3072), 0));
    assert!(client.get("/latents?limit=201").error(422).contains("limit"));
}

#[test]
fn what_ships_has_histograms_of_every_layer() {
    let app = AppServer::beside(mlsae()).unwrap().serve().unwrap();
    let client = &Client::of(&app);
    assert_eq!(client.get("/info").ok()["data"]["histograms"], true);
    for latent in [0, 17, 3071] {
        let own = client.get(&format!("/latents/{latent}")).ok();
        let values = own["histograms"]["values"].as_array().unwrap();
        assert_eq!(values.len(), 4);
        for (bins, layer) in values.iter().zip(own["by_layer"].as_array().unwrap()) {
            // As many as were counted on the same text, but for the rounding of another machine.
            let (sum, count) =
                (numbers(bins).iter().sum::<f64>(), layer["count"].as_f64().unwrap());
            assert!((sum - count).abs() <= 2.0 + 0.002 * count, "{latent}: {sum} and {count}");
        }
    }
}

#[test]
fn examples_come_best_first_and_their_windows_can_grow() {
    let client = shared();
    let found = client.get("/latents?sort=max&order=desc&limit=1").ok();
    let latent = found["rows"][0]["latent"].as_u64().unwrap();
    let all = client.get(&format!("/latents/{latent}/examples?limit=64")).ok();
    let rows = all["rows"].as_array().unwrap();
    close(&[rows[0]["activation"].as_f64().unwrap()], &[found["rows"][0]["max"].as_f64().unwrap()]);
    let values: Vec<f64> = rows.iter().map(|own| own["activation"].as_f64().unwrap()).collect();
    assert!(values.is_sorted_by(|a, b| a >= b));
    assert_eq!(all["total"].as_u64().unwrap() as usize, rows.len());
    for row in rows {
        let peak = row["peak"].as_u64().unwrap() as usize;
        close(
            &[row["activations"][peak].as_f64().unwrap()],
            &[row["activation"].as_f64().unwrap()],
        );
    }
    let layer = rows[0]["layer"].as_u64().unwrap();
    let path = format!("/latents/{latent}/examples?layer={layer}&limit=1");
    for window in [0, 2, 20] {
        let own = client.get(&format!("{path}&window={window}")).ok();
        let own = &own["rows"][0];
        let (peak, length) =
            (own["peak"].as_u64().unwrap(), own["tokens"].as_array().unwrap().len());
        assert!(peak <= window && length <= 2 * window as usize + 1 && length > window as usize);
        let at = peak as usize;
        close(&[own["activations"][at].as_f64().unwrap()], &[own["activation"].as_f64().unwrap()]);
        assert_eq!(
            own["tokens"].as_array().unwrap().len(),
            own["activations"].as_array().unwrap().len()
        );
    }
    assert!(client.get(&format!("{path}&window=65")).error(422).contains("window"));
    assert!(
        client.get(&format!("/latents/{latent}/examples?layer=4")).error(422).contains("layer")
    );
}

#[test]
fn a_text_that_the_examples_are_not_of_is_refused() {
    let other = Contexts::new(4, vec![1; 8]).unwrap();
    let error = server().contexts(&other).serve().unwrap_err().to_string();
    assert!(error.contains("that the examples are of"), "{error}");
}

#[test]
fn chosen_latents_are_read_on_a_text() {
    let prompt = mlsae().prompt(TEXT).unwrap();
    let codes = prompt.codes().layer(3).unwrap();
    let (latent, value) = codes.row(1).next().unwrap();
    let found = shared().post("/activate", &json!({"latents": [latent, 0], "text": TEXT})).ok();
    close(&[found["rows"][0]["values"][3][1].as_f64().unwrap()], &[f64::from(value)]);
    assert_eq!(found["rows"][1]["values"].as_array().unwrap().len(), 4);
    let none = shared().post("/activate", &json!({"latents": [], "text": TEXT}));
    assert!(none.error(422).contains("number of latents"));
}

#[test]
fn one_layer_alone_is_served_too() {
    let one = Mlsae::new(mlsae().model(), mlsae().sae(), &[2]).unwrap();
    let app = AppServer::new(&one).name("one layer").serve().unwrap();
    let client = Client::of(&app);
    let info = client.get("/info").ok();
    assert_eq!((&info["sae"]["layers"], &info["sae"]["name"]), (&json!([2]), &json!("one layer")));
    let found = client.prompt(TEXT);
    let expected = mlsae().prompt(TEXT).unwrap().codes().layer(2).unwrap().row(0).count();
    assert!(found["codes"]["offsets"][1].as_u64().unwrap() as usize <= expected);
    assert_eq!(client.get("/latents?limit=1").ok()["rows"][0]["count"], Value::Null);
    let asked = json!({"id": found["id"], "layer": 0, "what": "reconstruction", "top": 1});
    assert!(client.post("/logits", &asked).error(422).contains("one of [2]"));
    assert_eq!(client.get("/latents/5/examples").ok()["total"], 0);
}

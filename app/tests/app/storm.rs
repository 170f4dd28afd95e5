//! Many requests, of all kinds, at once.

use std::time::{Duration, Instant};

use eigenlens::prelude::*;
use eigenlens_app::AppServer;
use serde_json::{Value, json};

use crate::http::{Client, mlsae, server};

/// A request that may be anything: sound, or not.
fn random(client: &Client, rng: &mut Rng) -> u16 {
    let number = |rng: &mut Rng, below: usize| (rng.unit() * below as f32) as usize;
    let words = ["She", " had", "\u{1F600}", "<script>", "\0", " ", "\u{202e}", "é", ""];
    let text: String = (0..number(rng, 12)).map(|_| words[number(rng, words.len())]).collect();
    let odd = [json!(null), json!(-1), json!(1e300), json!("x"), json!([]), json!(0), json!(3)];
    let any = |rng: &mut Rng| odd[number(rng, odd.len())].clone();
    let id = json!(format!("p{}", number(rng, 40)));
    let how = ["add", "set", "scale", "ablate", "add_column", "melt"][number(rng, 6)];
    let layers = [json!("all"), json!({"only": number(rng, 5)}), json!({"from": 1}), any(rng)];
    let positions = [json!("all"), json!("last"), json!([number(rng, 9)]), any(rng)];
    let (layers, positions) = (&layers[number(rng, 4)], &positions[number(rng, 4)]);
    let change = json!({
        "latent": number(rng, 4000), "how": how, "amount": any(rng), "layers": layers,
        "positions": positions,
    });
    let sound = json!({"latent": number(rng, 3072), "how": "add", "amount": 2});
    let changes = json!([if rng.unit() < 0.5 { change } else { sound }]);
    let post = |path: &str, body: Value| client.post(path, &body).status;
    match number(rng, 12) {
        0 | 1 => post("/prompt", json!({"prompt": text})),
        2 => post("/prompt", json!({"prompt": any(rng), "more": any(rng)})),
        3 => post("/logits", json!({"id": id, "what": "input", "top": number(rng, 70)})),
        4 => post(
            "/logits",
            json!({
                "id": id, "what": "reconstruction", "top": 4, "layer": number(rng, 5)
            }),
        ),
        5 => post("/steer", json!({"id": id, "interventions": changes, "top": any(rng)})),
        6 => post("/steer", json!({"id": id, "interventions": changes, "top": 3})),
        7 => post(
            "/generate",
            json!({
                "prompt": text, "interventions": changes, "tokens": number(rng, 6),
                "temperature": rng.unit(), "top_k": null, "seed": 1, "compare": true,
            }),
        ),
        8 => {
            client
                .get(&format!(
                    "/latents?offset={}&limit={}&sort=std",
                    number(rng, 4000),
                    number(rng, 220)
                ))
                .status
        }
        9 => client.get(&format!("/latents/{}", number(rng, 3300))).status,
        10 => {
            client
                .get(&format!(
                    "/latents/{}/examples?limit=2&window={}",
                    number(rng, 3300),
                    number(rng, 80)
                ))
                .status
        }
        _ => {
            let bytes: Vec<u8> = (0..number(rng, 300)).map(|_| number(rng, 256) as u8).collect();
            client.send("POST", "/api/v1/activate", &[], &bytes).status
        }
    }
}

/// Memory of this process, in bytes.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(text.split(' ').nth(1)?.parse::<usize>().ok()? * 4096)
}

#[test]
fn a_thousand_random_requests_break_nothing_and_leave_no_memory() {
    let app = server().serve().unwrap();
    let client = Client::of(&app);
    let mut rng = Rng::seed(11);
    let mut counts = std::collections::BTreeMap::<u16, usize>::new();
    let mut before = None;
    for at in 0..1_000 {
        // What is computed once, and prompts that are kept, are there after a while.
        if at == 300 {
            before = resident();
        }
        *counts.entry(random(&client, &mut rng)).or_default() += 1;
    }
    assert!(counts.keys().all(|status| (200..500).contains(status)), "{counts:?}");
    assert!(counts[&200] > 200 && counts.len() > 3, "{counts:?}");
    if let (Some(before), Some(after)) = (before, resident()) {
        assert!(after < before + (64 << 20), "{before} bytes became {after}");
    }
}

#[test]
fn ten_clients_at_once_are_all_served() {
    let app = server().serve().unwrap();
    let client = &Client::of(&app);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..10)
            .map(|reader| {
                scope.spawn(move || {
                    for turn in 0..6 {
                        let text = format!("She had been {reader} times {turn}");
                        let asked = json!({"prompt": text});
                        let begin = Instant::now();
                        // Who is told to come again, comes again.
                        let found = loop {
                            let answer = client.post("/prompt", &asked);
                            if answer.status != 429 {
                                break answer.ok();
                            }
                            assert_eq!(answer.header("retry-after"), Some("1"));
                            assert!(begin.elapsed() < Duration::from_secs(60), "starved");
                            std::thread::sleep(Duration::from_millis(50));
                        };
                        let own = mlsae().prompt(&text).unwrap();
                        assert_eq!(found["tokens"].as_array().unwrap().len(), own.tokens().len());
                    }
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn a_long_generation_keeps_nobody_waiting() {
    let app = AppServer::new(mlsae()).serve().unwrap();
    let client = &Client::of(&app);
    std::thread::scope(|scope| {
        let long = scope.spawn(move || {
            let asked = json!({
                "prompt": "She had", "tokens": 100, "temperature": 1, "top_k": null, "seed": 0,
                "compare": true,
                "interventions": [{"latent": 1, "how": "add", "amount": 1}],
            });
            (client.post("/generate", &asked).text(), Instant::now())
        });
        std::thread::sleep(Duration::from_millis(20));
        client.prompt("in between");
        let answered = Instant::now();
        let (text, ended) = long.join().unwrap();
        assert!(text.lines().filter(|line| line.contains("\"done\"")).count() == 2, "{text}");
        assert!(answered < ended, "the prompt waited for the generation's end");
    });
}

#[test]
fn a_newer_request_of_a_view_takes_the_place_of_the_older_one() {
    let app = AppServer::new(mlsae()).serve().unwrap();
    let client = &Client::of(&app);
    let ask = move |text: String| {
        let headers = [("X-Eigenlens-Client", "one"), ("X-Eigenlens-View", "prompt")];
        client.send(
            "POST",
            "/api/v1/prompt",
            &headers,
            json!({"prompt": text}).to_string().as_bytes(),
        )
    };
    std::thread::scope(|scope| {
        let many: Vec<_> = (0..12)
            .map(|at| scope.spawn(move || ask(format!("{at} {}", "She had been ".repeat(20)))))
            .collect();
        let answers: Vec<_> = many.into_iter().map(|own| own.join().unwrap()).collect();
        for answer in &answers {
            match answer.status {
                200 => {}
                _ => assert!(answer.error(429).contains("a newer request")),
            }
        }
        assert!(answers.iter().any(|own| own.status == 200));
    });
}

#[test]
fn two_pages_do_not_see_each_other() {
    let [one, other] = [(); 2].map(|()| AppServer::new(mlsae()).serve().unwrap());
    let (a, b) = (Client::of(&one), Client::of(&other));
    assert!(a.port != b.port && a.token != b.token);
    let id = a.prompt("only here")["id"].as_str().unwrap().to_owned();
    b.get(&format!("/prompt/{id}/histograms")).error(404);
    let label = json!({"label": "mine"}).to_string();
    assert_eq!(a.send("PUT", "/api/v1/labels/1", &[], label.as_bytes()).status, 204);
    assert_eq!(b.get("/latents/1").ok()["label"], "");
    drop(one);
    assert_eq!(b.get("/info").status, 200);
}

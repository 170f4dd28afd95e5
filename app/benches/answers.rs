//! How long the page's server takes for what a reader waits for, on the shipped autoencoder.
//!
//! `cargo bench -p eigenlens-app`. Times are medians, and the slowest of all, in milliseconds.

// It has more than is needed here.
#[allow(dead_code, clippy::unwrap_used)]
#[path = "../tests/app/http.rs"]
mod http;

use std::time::Instant;

use eigenlens::prelude::*;
use http::Client;
use serde_json::json;

/// Requests of each kind.
const TURNS: usize = 21;
/// Tokens of the prompt.
const TOKENS: usize = 64;

fn main() -> Result<()> {
    let begin = Instant::now();
    let mlsae = Mlsae::from_pretrained("eigenlens/classics-mlsae", &Device::Cpu)?;
    let app = eigenlens_app::serve(&mlsae)?;
    let client = Client::of(&app);
    client.prompt("When Mary and John went to the store");
    report("from loading to the first prompt", &mut [begin.elapsed().as_secs_f64()], 3_000.0);

    let text = Contexts::from_pretrained("eigenlens/classics-4k")?;
    let texts: Vec<String> = (0..TURNS)
        .map(|at| mlsae.model().tokenizer()?.decode(&text.get(at)?[..TOKENS - 2]))
        .collect::<Result<_>>()?;
    let mut times = Vec::new();
    let mut ids = Vec::new();
    for text in &texts {
        let begin = Instant::now();
        ids.push(client.prompt(text)["id"].clone());
        times.push(begin.elapsed().as_secs_f64());
    }
    report("a prompt of about 64 tokens", &mut times, 150.0);
    let timed = |path: &str, body: &dyn Fn(usize) -> serde_json::Value| {
        let once = |at| {
            let begin = Instant::now();
            client.post(path, &body(at)).ok();
            begin.elapsed().as_secs_f64()
        };
        (0..TURNS).map(once).collect::<Vec<f64>>()
    };
    let steer = |at: usize| {
        let change = json!({"latent": 100 + at, "how": "add", "amount": 3});
        json!({"id": ids[at], "interventions": [change], "top": 16})
    };
    report("steering it", &mut timed("/steer", &steer), 200.0);
    let logits =
        |at: usize| json!({"id": ids[at], "layer": 0, "what": "reconstruction", "top": 16});
    report("its reconstruction's logits", &mut timed("/logits", &logits), 200.0);
    let mut times = Vec::new();
    for at in 0..TURNS {
        let begin = Instant::now();
        client.get(&format!("/latents?sort=std&order=desc&offset={}&limit=80", 80 * at)).ok();
        times.push(begin.elapsed().as_secs_f64());
    }
    report("80 rows of the list of latents", &mut times, 100.0);
    Ok(())
}

fn report(what: &str, times: &mut [f64], aim: f64) {
    times.sort_by(f64::total_cmp);
    let (median, most) = (1e3 * times[times.len() / 2], 1e3 * times[times.len() - 1]);
    println!("{what:<36} {median:>8.1} ms, at most {most:>8.1} ms; aim {aim} ms");
}

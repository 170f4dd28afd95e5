//! Plans of planted features: sets of tokens with values that are known.

mod draws;
mod plans;
mod requests;
mod texts;

use std::collections::{HashMap, HashSet};
use std::fmt;

use candle_core::Tensor;
use serde_json::{Value, json};

use super::*;
use crate::Result;
use crate::data::text::{Contexts, Tokenizer};
use crate::features::FeatureReader;
use crate::model::{Decoder, HookPoint};
use crate::random::Rng;
use crate::sae::Codes;

/// Tokens of a context, the first of which begins the text.
const LENGTH: usize = 24;
const CONTEXTS: usize = 300;
/// Tokens of an excerpt.
const EXCERPT: usize = 8;

/// Features at pairs of letters are below this.
const PAIRS: usize = 8;
/// A feature at a token that is in three contexts.
const RARE: usize = 8;
/// A feature at every token that is shown.
const ALWAYS: usize = 9;
/// A feature at a pair of letters, and far stronger at the token that begins a text.
const BEGIN: usize = 10;
/// A feature within a character that several tokens make.
const EMOJI: usize = 11;
const FEATURES: usize = 12;

/// Fires at tokens of a known set, with a value that depends on the token and the one before.
#[derive(Debug)]
struct Planted {
    sets: Vec<HashSet<u32>>,
    begin: u32,
    skipped: Vec<u32>,
}

impl Planted {
    /// The activation of a feature at a position; below zero there may be an entry too.
    fn value(&self, feature: usize, tokens: &[u32], position: usize) -> f32 {
        let token = tokens[position];
        let before = position.checked_sub(1).map_or(0, |at| tokens[at]);
        if !self.sets[feature].contains(&token) {
            return if token.is_multiple_of(3) { -1.0 } else { 0.0 };
        }
        if token == self.begin {
            return 1000.0;
        }
        0.5 + ((31 * token + 17 * before + 7 * feature as u32) % 97) as f32 / 10.0
    }
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "planted features\nin two lines")
    }
}

impl FeatureReader for Planted {
    fn features(&self) -> usize {
        self.sets.len()
    }

    fn point(&self) -> Result<HookPoint> {
        Ok(HookPoint::ResidPost(0))
    }

    fn read(&self, _: &Decoder, tokens: &Tensor) -> Result<Codes> {
        let contexts = tokens.to_vec2::<u32>()?;
        let rows = contexts.iter().flat_map(|tokens| {
            (0..tokens.len()).map(move |position| {
                let values = (0..self.sets.len())
                    .map(|feature| (feature as u32, self.value(feature, tokens, position)));
                values.filter(|(_, value)| *value != 0.0).collect()
            })
        });
        Codes::new(self.sets.len(), rows)
    }

    fn skipped(&self) -> &[u32] {
        &self.skipped
    }
}

/// A text with planted features.
struct PlantedWorld {
    tokenizer: Tokenizer,
    model: Decoder,
    contexts: Contexts,
    reader: Planted,
    /// Ids of the letters A to Z and a to z.
    letters: Vec<u32>,
}

/// Bytes and three special tokens: one that begins a text, one that ends it, one of neither kind.
fn tokenizer() -> (Tokenizer, [u32; 3]) {
    let trained = Tokenizer::train(["of the king and the sea; of the king"], 256).unwrap();
    let mut file: Value = serde_json::from_str(&trained.to_json().unwrap()).unwrap();
    let special = [256, 257, 258];
    let names = ["<s>", "</s>", "<tool>"];
    let added = special.iter().zip(names).map(|(id, content)| {
        json!({"id": id, "content": content, "special": true, "single_word": false,
               "lstrip": false, "rstrip": false, "normalized": false})
    });
    file["added_tokens"] = added.collect();
    let tokenizer = crate::data::text::tests::json(&file);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(256), Some(257)));
    (tokenizer, special)
}

fn world() -> PlantedWorld {
    let (tokenizer, [begin, end, tool]) = tokenizer();
    let one = |text: &str| {
        let ids = tokenizer.encode_plain(text).unwrap();
        assert_eq!(ids.len(), 1, "{text}");
        ids[0]
    };
    let letters: Vec<u32> =
        ('A'..='Z').chain('a'..='z').map(|letter| one(&letter.to_string())).collect();
    let emoji = tokenizer.encode_plain("😀").unwrap();
    assert_eq!(emoji.len(), 4);
    let seven = one("7");
    let mut rng = Rng::seed(11);
    let mut all: Vec<Vec<u32>> = Vec::new();
    for context in 0..CONTEXTS {
        let mut own = vec![begin];
        while own.len() < LENGTH {
            match rng.below(100) {
                0..5 => own.extend(&emoji),
                5..7 => own.push(end),
                7 => own.push(tool),
                _ => own.push(letters[rng.below(letters.len())]),
            }
        }
        own.truncate(LENGTH);
        if [10, 20, 30].contains(&context) {
            own[12] = seven;
        }
        match context % 17 {
            // A context that is equal to another.
            5 => own = all[context - 5].clone(),
            // One that is equal to another but for a token that is not shown.
            9 => {
                own = all[context - 3].clone();
                own[0] = end;
            }
            _ if context.is_multiple_of(60) => own[5..].fill(end),
            _ => {}
        }
        all.push(own);
    }
    let pair = |at: usize| HashSet::from([letters[2 * at], letters[2 * at + 1]]);
    let mut sets: Vec<HashSet<u32>> = (0..PAIRS).map(pair).collect();
    sets.push(HashSet::from([seven]));
    sets.push((0..256).collect());
    sets.push(pair(PAIRS).into_iter().chain([begin]).collect());
    sets.push(HashSet::from([emoji[1]]));
    assert_eq!(sets.len(), FEATURES);
    let model = crate::harvest::tests::model().with_tokenizer(&tokenizer).unwrap();
    let contexts = Contexts::new(LENGTH, all.concat()).unwrap();
    let reader = Planted { sets, begin, skipped: Vec::new() };
    PlantedWorld { tokenizer, model, contexts, reader, letters }
}

fn options() -> Interp {
    Interp {
        only: Some((0..FEATURES).collect()),
        explained: 4,
        deciles: 5,
        per_decile: 3,
        negatives: 10,
        min_contexts: 30,
        excerpt: EXCERPT,
        batch: 7,
        seed: 3,
        ..Interp::default()
    }
}

impl PlantedWorld {
    fn plan(&self, options: &Interp) -> Plan {
        options.plan(&self.model, &self.reader, &self.contexts).unwrap()
    }

    fn error(&self, options: &Interp) -> String {
        options.plan(&self.model, &self.reader, &self.contexts).unwrap_err().to_string()
    }

    /// Positions of a context that hold no special token.
    fn positions(&self, context: usize) -> Vec<usize> {
        let tokens = self.contexts.get(context).unwrap();
        (0..LENGTH).filter(|position| tokens[*position] < 256).collect()
    }

    /// The tokens of a context that are shown.
    fn ids(&self, context: usize) -> Vec<u32> {
        let tokens = self.contexts.get(context).unwrap();
        self.positions(context).into_iter().map(|position| tokens[position]).collect()
    }

    /// What a feature says to the tokens that are shown.
    fn values(&self, feature: usize, context: usize) -> Vec<f32> {
        let tokens = self.contexts.get(context).unwrap();
        let positions = self.positions(context).into_iter();
        positions.map(|position| self.reader.value(feature, tokens, position).max(0.0)).collect()
    }

    /// The first of each set of contexts that show the same, without those that are too short.
    fn different(&self) -> Vec<usize> {
        let mut seen = HashSet::new();
        (0..CONTEXTS)
            .filter(|context| {
                let ids = self.ids(*context);
                ids.len() >= EXCERPT && seen.insert(ids)
            })
            .collect()
    }

    /// The context and start of each different excerpt with a feature, the strongest first, with the
    /// largest activation.
    fn positives(&self, feature: usize) -> Vec<(usize, usize, f32)> {
        let mut all: Vec<(usize, usize, f32)> = Vec::new();
        for context in self.different() {
            let values = self.values(feature, context);
            let most = values.iter().copied().fold(0f32, f32::max);
            if most > 0.0 {
                let peak = values.iter().position(|value| *value == most).unwrap();
                // The peak is in the middle, or as near to it as the ends allow.
                let starts = 0..=values.len() - EXCERPT;
                let best = starts.min_by_key(|start| (*start + EXCERPT / 2).abs_diff(peak));
                all.push((context, best.unwrap(), most));
            }
        }
        // A stable sort keeps the order of equal ones.
        all.sort_by(|a, b| b.2.total_cmp(&a.2));
        let mut seen = HashSet::new();
        all.retain(|(context, start, _)| seen.insert(self.excerpt(*context, *start)));
        all
    }

    fn excerpt(&self, context: usize, start: usize) -> Vec<u32> {
        self.ids(context)[start..start + EXCERPT].to_vec()
    }

    /// The text of tokens without characters that are not whole.
    fn whole(&self, ids: &[u32]) -> String {
        let tokens = self.tokenizer.visible_text(ids).unwrap();
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.clone()).collect();
        String::from_utf8_lossy(&bytes).replace('\u{fffd}', "")
    }
}

/// The features that are planned, by their numbers.
fn by_feature(plan: &Plan) -> HashMap<usize, &PlannedFeature> {
    plan.planned().iter().map(|own| (own.feature, own)).collect()
}

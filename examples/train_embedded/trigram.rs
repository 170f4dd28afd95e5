//! What a language model must beat.

use std::collections::HashMap;

/// An interpolated trigram model with Kneser–Ney smoothing (Chen and Goodman 1999, section 2.7):
/// with counts `c`, discounts `D` and `N₁₊` the number of different words in the place of the dot,
///
/// ```text
/// p(w | u v) = max(c(uvw) − D₃, 0)/c(uv·) + D₃ N₁₊(uv·)/c(uv·) · p(w | v)
/// p(w | v)   = max(N₁₊(·vw) − D₂, 0)/N₁₊(·v·) + D₂ N₁₊(v·)/N₁₊(·v·) · p(w)
/// p(w)       = max(N₁₊(·w) − D₁, 0)/N₁₊(··) + D₁ (number of w with N₁₊(·w) > 0)/N₁₊(··) / V
/// ```
///
/// with `D = n₁/(n₁ + 2n₂)` of each order, from the numbers of entries counted once and twice.
pub(crate) struct Trigram {
    vocab: usize,
    orders: [Order; 3],
}

/// Counts of one order: of words after a context, and of a context.
#[derive(Default)]
struct Order {
    words: HashMap<u64, u32>,
    contexts: HashMap<u64, Context>,
    discount: f64,
}

#[derive(Default, Clone, Copy)]
struct Context {
    total: u32,
    different: u32,
}

fn key(tokens: &[u32]) -> u64 {
    tokens.iter().fold(0, |key, token| (key << 20) | u64::from(*token))
}

impl Order {
    /// From words with their contexts before them, and counts.
    fn new(counted: impl Iterator<Item = (u64, u32)>) -> Self {
        let words: HashMap<u64, u32> = counted.collect();
        let mut contexts = HashMap::<u64, Context>::new();
        for (word, count) in &words {
            let context = contexts.entry(word >> 20).or_default();
            context.total += count;
            context.different += 1;
        }
        let of = |count| words.values().filter(|own| **own == count).count() as f64;
        let (once, twice) = (of(1), of(2));
        let discount = if once > 0.0 { once / (once + 2.0 * twice) } else { 0.5 };
        Self { words, contexts, discount }
    }

    /// The probability of a word, mixed with that of the lower order.
    fn mix(&self, word: u64, lower: f64) -> f64 {
        let Some(context) = self.contexts.get(&(word >> 20)) else { return lower };
        let count = f64::from(self.words.get(&word).copied().unwrap_or(0));
        let seen = (count - self.discount).max(0.0);
        (seen + self.discount * f64::from(context.different) * lower) / f64::from(context.total)
    }
}

impl Trigram {
    /// Counts tokens below 2²⁰.
    pub(crate) fn new(tokens: &[u32], vocab: usize) -> Self {
        let mut trigrams = HashMap::<u64, u32>::new();
        for window in tokens.windows(3) {
            *trigrams.entry(key(window)).or_default() += 1;
        }
        // Lower orders count in how many contexts a word was seen, not how often.
        let shortened = |words: &HashMap<u64, u32>, bits: u32| {
            let mut counts = HashMap::<u64, u32>::new();
            for word in words.keys() {
                *counts.entry(word & ((1 << bits) - 1)).or_default() += 1;
            }
            counts
        };
        let bigrams = shortened(&trigrams, 40);
        let unigrams = shortened(&bigrams, 20);
        let orders = [unigrams, bigrams, trigrams].map(|words| Order::new(words.into_iter()));
        Self { vocab, orders }
    }

    /// The probability of `window[2]` after the two tokens before it.
    pub(crate) fn probability(&self, window: &[u32]) -> f64 {
        let [one, two, three] = &self.orders;
        let uniform = 1.0 / self.vocab as f64;
        let p = one.mix(key(&window[2..]), uniform);
        let p = two.mix(key(&window[1..]), p);
        three.mix(key(window), p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_and_follow_the_counts() {
        let text = [0, 1, 2, 0, 1, 2, 0, 1, 3, 2, 2, 4, 0, 1, 2];
        let trigram = Trigram::new(&text, 6);
        for context in [[0, 1], [2, 2], [5, 5], [3, 1]] {
            let p = |w| trigram.probability(&[context[0], context[1], w]);
            let sum: f64 = (0..6).map(p).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum} after {context:?}");
        }
        assert!(trigram.probability(&[0, 1, 2]) > 0.5);
        assert!(trigram.probability(&[0, 1, 5]) > 0.0);
    }
}

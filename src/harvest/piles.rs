//! Which pile a row belongs to, and whether a context is kept: a function of the seed and its number.

/// Step of the generator SplitMix64 (Steele, Lea and Flood 2014).
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Tells the draws of one purpose from those of another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Draw {
    Pile = 1,
    Activations,
    Codes,
    Order,
}

/// Number `index` of a random sequence that depends on the seed and the purpose.
pub(super) fn draw(seed: u64, purpose: Draw, index: u64) -> u64 {
    let start = mix(mix(seed.wrapping_add(STEP)).wrapping_add(purpose as u64));
    mix(start.wrapping_add(index.wrapping_add(1).wrapping_mul(STEP)))
}

/// The pile of a row, below `piles`: independent of all other rows' and uniform.
pub(super) fn pile(seed: u64, row: u64, piles: usize) -> usize {
    ((u128::from(draw(seed, Draw::Pile, row)) * piles as u128) >> 64) as usize
}

/// Whether a context is in a share of all.
pub(super) fn is_kept(seed: u64, purpose: Draw, context: u64, share: f64) -> bool {
    // 53 bits: as many as an f64 has.
    let fraction = (draw(seed, purpose, context) >> 11) as f64 / (1u64 << 53) as f64;
    fraction < share
}

/// The finaliser of SplitMix64.
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_splitmix64() {
        // The first numbers of the reference implementation for the state 1234567.
        let numbers: Vec<u64> = (1..=3u64)
            .map(|step| mix(1_234_567u64.wrapping_add(step.wrapping_mul(STEP))))
            .collect();
        assert_eq!(
            numbers,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn shares_are_shares() {
        let kept = |share| (0..100_000).filter(|c| is_kept(7, Draw::Codes, *c, share)).count();
        assert_eq!((kept(0.0), kept(1.0)), (0, 100_000));
        // Three standard deviations of a binomial are 137 at a share of 0.3.
        assert!(kept(0.3).abs_diff(30_000) < 500, "{}", kept(0.3));
    }
}

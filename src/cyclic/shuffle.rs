//! NumPy's shuffle, which decides the order of published problems.

/// Words of the generator's state.
const WORDS: usize = 624;
/// Words between the two that are mixed.
const SHIFT: usize = 397;

/// The Mersenne twister of 32 bits (Matsumoto and Nishimura, 1998), as NumPy's `RandomState` has it.
#[derive(Debug, Clone)]
pub(super) struct MersenneTwister {
    state: Vec<u32>,
    next: usize,
}

impl MersenneTwister {
    /// The generator of `np.random.seed(seed)`.
    pub(super) fn seed(seed: u32) -> Self {
        let mut state = vec![seed; WORDS];
        for i in 1..WORDS {
            let before = state[i - 1] ^ (state[i - 1] >> 30);
            state[i] = before.wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: WORDS }
    }

    fn word(&mut self) -> u32 {
        if self.next == WORDS {
            for i in 0..WORDS {
                let joined =
                    (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % WORDS] & 0x7fff_ffff);
                let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + SHIFT) % WORDS] ^ (joined >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A number from 0 to `most`, by masking and rejecting.
    fn up_to(&mut self, most: u32) -> u32 {
        let mask = u32::MAX.checked_shr(most.leading_zeros()).unwrap_or(0);
        loop {
            let found = self.word() & mask;
            if found <= most {
                return found;
            }
        }
    }

    /// Shuffles as `np.random.shuffle` does a list.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let other = self.up_to(i as u32) as usize;
            items.swap(i, other);
        }
    }
}

/// The order in which NumPy's `np.random.seed(seed); np.random.shuffle(items)` puts `len` items:
/// entry i is where the i-th came from.
///
/// ```
/// // The first of the 49 questions about weekdays, as the original has them.
/// assert_eq!(eigenlens::cyclic::numpy_order(42, 49)[0], 13);
/// ```
pub fn numpy_order(seed: u32, len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    MersenneTwister::seed(seed).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // The 10,000th word of the seed 5489, by the standard of C++.
        let mut twister = MersenneTwister::seed(5489);
        let last = (0..10_000).map(|_| twister.word()).last();
        assert_eq!(last, Some(4_123_659_995));
    }
}

//! How strongly a feature is active, when it is.

/// Bins of a [`Histogram`].
pub(super) const BINS: usize = 32;

/// Counts of positive activations in 32 bins of equal width from 0 to `edge`.
///
/// The edge is a power of two that doubles, and pairs of bins merge, when a larger activation
/// comes: a histogram of a stream whose range nobody knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Upper end of the last bin.
    pub edge: f32,
    /// Activations in each bin; a bin holds its lower end.
    pub counts: [u32; BINS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { edge: 1.0 / 64.0, counts: [0; BINS] }
    }
}

impl Histogram {
    /// Counts an activation above zero.
    pub(super) fn add(&mut self, value: f32) {
        while value >= self.edge && self.edge.is_finite() {
            self.double();
        }
        let bin = (value / self.edge * BINS as f32) as usize;
        self.counts[bin.min(BINS - 1)] += 1;
    }

    /// Counts what another histogram counted: the result is that of one histogram of both streams.
    pub(super) fn merge(&mut self, other: &Self) {
        let mut other = other.clone();
        while self.edge < other.edge {
            self.double();
        }
        while other.edge < self.edge {
            other.double();
        }
        let pairs = self.counts.iter_mut().zip(other.counts);
        pairs.for_each(|(count, other)| *count = count.saturating_add(other));
    }

    /// Doubles the edge and merges pairs of bins.
    fn double(&mut self) {
        for bin in 0..BINS {
            let pair = self.counts.get(2 * bin..2 * bin + 2);
            self.counts[bin] = pair.map_or(0, |pair| pair.iter().sum());
        }
        self.edge *= 2.0;
    }

    /// Number of activations.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// Upper end of each bin.
    pub fn edges(&self) -> Vec<f32> {
        (1..=BINS).map(|bin| self.edge * bin as f32 / BINS as f32).collect()
    }

    /// The counts as a line of blocks.
    pub(crate) fn sparkline(&self) -> String {
        const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let last = self.counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        let most = self.counts.iter().max().copied().unwrap_or(0).max(1);
        let block = |count: &u32| BLOCKS[(u64::from(*count) * 8).div_ceil(most.into()) as usize];
        self.counts[..last].iter().map(block).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_as_if_the_range_had_been_known() {
        let values = [0.001, 0.01, 0.3, 0.31, 0.9, 2.5, 0.02, 1.99, 2.0, 3.99];
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.add(*value));
        assert_eq!((histogram.edge, histogram.total()), (4.0, 10));
        for (bin, count) in histogram.counts.iter().enumerate() {
            let low = bin as f32 / 8.0;
            let inside = values.iter().filter(|value| (low..low + 0.125).contains(*value)).count();
            assert_eq!(*count as usize, inside, "bin {bin}");
        }
        assert_eq!(histogram.edges()[31], 4.0);
        let line = histogram.sparkline();
        assert_eq!(line.chars().count(), 32);
        assert!(line.starts_with('█') && line.ends_with('▃'), "{line}");
    }
}

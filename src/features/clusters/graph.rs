//! Clusters as the connected parts of a graph of nearest neighbours.

use super::Clusters;
use crate::check::check_sizes;
use crate::features::neighbours::Neighbours;
use crate::{Error, Result};

/// Components of fewer features than this are kept where a graph is pruned, as in the study.
const PRUNED_AT: usize = 1_000;

/// Which edges a graph of neighbours has, and which of its parts are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GraphOptions {
    /// Neighbours of each feature that may be joined to it; 2.
    pub k: usize,
    /// A neighbour is joined if its cosine is above this; 0.5.
    pub cutoff: f64,
    /// Keeps parts of more than one and fewer than so many features; none: all, with those of one
    /// feature.
    pub prune: Option<usize>,
}

impl Default for GraphOptions {
    fn default() -> Self {
        Self { k: 2, cutoff: 0.5, prune: None }
    }
}

impl GraphOptions {
    /// The same options, with parts of one feature and those of 1,000 or more left out, as the study
    /// does for its figures.
    #[must_use]
    pub fn pruned(self) -> Self {
        Self { prune: Some(PRUNED_AT), ..self }
    }

    /// The cut-offs that the study goes through: 20 in equal ratios from 0.1 to 1, and 0.5.
    pub fn studied_cutoffs() -> Vec<f64> {
        let powers = (0..20).map(|i| 10f64.powf(-1.0 + f64::from(i) / 19.0));
        let mut cutoffs: Vec<f64> = powers.chain([0.5]).collect();
        cutoffs.sort_by(f64::total_cmp);
        cutoffs
    }

    fn check(&self, near: &Neighbours) -> Result<()> {
        check_sizes(&[("`k` of the graph", self.k)])?;
        if self.k > near.k() {
            let expected = format!("at most {}, the neighbours that were kept", near.k());
            return Err(Error::invalid("`k` of the graph", expected, self.k));
        }
        if !(-1.0..=1.0).contains(&self.cutoff) {
            return Err(Error::invalid("`cutoff`", "a cosine from −1 to 1", self.cutoff));
        }
        match self.prune {
            Some(size) if size < 3 => {
                Err(Error::invalid("`prune`", "at least 3, or nothing is left", size))
            }
            _ => Ok(()),
        }
    }
}

impl Clusters {
    /// The connected parts of a graph in which each feature is joined to those of its `k` nearest
    /// whose cosine is above the cut-off. This is the study's graph method, and the one to begin
    /// with: it finds planted groups at least as well as [`Clusters::spectral`], in a fraction of the time.
    ///
    /// Clusters come in the order of their smallest member. The members of a cluster come in the
    /// order of a depth-first search from it, as in the published files.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// use eigenlens::features::{Clusters, GraphOptions, Neighbours};
    /// # fn main() -> Result<()> {
    /// let vectors = Tensor::new(&[[1f32, 0.], [0., 1.], [1., 0.2], [0.1, 1.]], &Device::Cpu)?;
    /// let near = Neighbours::of(&vectors, 2)?;
    /// let clusters = Clusters::graph(&near, &GraphOptions::default())?;
    /// assert_eq!((clusters.get(0)?, clusters.get(1)?), (&[0, 2][..], &[1, 3][..]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A `k` that is 0 or more than the neighbours that were kept; a cut-off that is no cosine.
    pub fn graph(near: &Neighbours, options: &GraphOptions) -> Result<Self> {
        options.check(near)?;
        let edges = Edges::of(near, options.k, options.cutoff as f32);
        let all = Self::new(near.len(), edges.parts())?;
        Ok(match options.prune {
            Some(size) => all.filtered(|own| own > 1 && own < size),
            None => all,
        })
    }
}

/// The features that each is joined to: its own neighbours, the nearest first, and then those that have
/// it among theirs and are not there yet, in their order.
struct Edges {
    targets: Vec<usize>,
    offsets: Vec<usize>,
}

impl Edges {
    fn of(near: &Neighbours, k: usize, cutoff: f32) -> Self {
        let n = near.len();
        let own = |i: usize| near.list(i).take(k).take_while(move |(_, cosine)| *cosine > cutoff);
        // j joins i on its own account too, if i is among its neighbours.
        let is_mutual = |i: usize, j: usize| own(j).any(|(back, _)| back == i);
        let mut offsets = vec![0usize; n + 1];
        for i in 0..n {
            for (j, _) in own(i) {
                offsets[i + 1] += 1;
                offsets[j + 1] += usize::from(!is_mutual(i, j));
            }
        }
        for i in 0..n {
            offsets[i + 1] += offsets[i];
        }
        let mut targets = vec![0; offsets[n]];
        let mut ends: Vec<usize> = offsets[..n].to_vec();
        let mut push = |to: usize, target: usize| {
            targets[ends[to]] = target;
            ends[to] += 1;
        };
        for i in 0..n {
            own(i).for_each(|(j, _)| push(i, j));
        }
        for i in 0..n {
            own(i).filter(|(j, _)| !is_mutual(i, *j)).for_each(|(j, _)| push(j, i));
        }
        Self { targets, offsets }
    }

    /// The connected parts.
    fn parts(&self) -> Vec<Vec<usize>> {
        let n = self.offsets.len() - 1;
        let mut seen = vec![false; n];
        let mut parts = Vec::new();
        let mut open = Vec::new();
        for first in 0..n {
            if seen[first] {
                continue;
            }
            let mut part = Vec::new();
            open.push(first);
            while let Some(next) = open.pop() {
                if std::mem::replace(&mut seen[next], true) {
                    continue;
                }
                part.push(next);
                open.extend_from_slice(&self.targets[self.offsets[next]..self.offsets[next + 1]]);
            }
            parts.push(part);
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::random::Rng;

    /// Vectors around some directions, and others around none.
    fn near() -> Neighbours {
        let mut rng = Rng::seed(4);
        let centres = rng.normal((5, 24), &Device::Cpu).unwrap();
        let groups: Vec<Tensor> = (0..5)
            .map(|i| {
                let noise = (rng.normal((9, 24), &Device::Cpu).unwrap() * 0.4).unwrap();
                centres.narrow(0, i, 1).unwrap().broadcast_add(&noise).unwrap()
            })
            .collect();
        let rest = rng.normal((40, 24), &Device::Cpu).unwrap();
        let all = Tensor::cat(&[&Tensor::cat(&groups, 0).unwrap(), &rest], 0).unwrap();
        Neighbours::of(&all, 4).unwrap()
    }

    fn sorted(clusters: &Clusters) -> Vec<Vec<usize>> {
        let sort = |own: &[usize]| {
            let mut own = own.to_vec();
            own.sort_unstable();
            own
        };
        clusters.iter().map(sort).collect()
    }

    /// Whether each cluster of `fine` lies within one of `coarse`.
    fn refines(fine: &Clusters, coarse: &Clusters) -> bool {
        fine.iter().all(|own| own.iter().all(|i| coarse.find(*i) == coarse.find(own[0])))
    }

    #[test]
    fn planted_groups_come_back() {
        let options = GraphOptions { cutoff: 0.6, ..GraphOptions::default() };
        let clusters = Clusters::graph(&near(), &options).unwrap();
        for group in 0..5 {
            let members: Vec<usize> = (9 * group..9 * group + 9).collect();
            let (_, jaccard) = clusters.best_match(&members).unwrap();
            assert!(jaccard > 0.6, "{group}: {jaccard}");
        }
    }

    #[test]
    fn a_higher_cutoff_only_refines_and_a_larger_k_only_merges() {
        let near = near();
        let graph = |k: usize, cutoff: f64| {
            Clusters::graph(&near, &GraphOptions { k, cutoff, prune: None }).unwrap()
        };
        let mut sizes = std::collections::BTreeSet::new();
        for k in 1..=4 {
            for pair in GraphOptions::studied_cutoffs().windows(2) {
                assert!(refines(&graph(k, pair[1]), &graph(k, pair[0])), "{k} {pair:?}");
                sizes.insert(graph(k, pair[0]).len());
                if k < 4 {
                    assert!(refines(&graph(k, pair[0]), &graph(k + 1, pair[0])), "{k} {pair:?}");
                }
            }
        }
        assert!(sizes.len() > 5, "the settings differ: {sizes:?}");
        let all: usize = graph(2, 0.5).sizes().iter().sum();
        assert_eq!(all, near.len(), "each is in one");
    }

    #[test]
    fn parts_are_those_of_a_search_by_hand() {
        // 0 → 1, 1 → 2, 2 → 1, 3 → 2 by the angle between neighbours on a quarter circle.
        let angles = [0.0f32, 0.30, 0.50, 0.75];
        let rows: Vec<Vec<f32>> = angles.iter().map(|a| vec![a.cos(), a.sin()]).collect();
        let near = Neighbours::of(&Tensor::new(rows, &Device::Cpu).unwrap(), 1).unwrap();
        let joined = GraphOptions { k: 1, cutoff: 0.9, prune: None };
        let clusters = Clusters::graph(&near, &joined).unwrap();
        assert_eq!(sorted(&clusters), [[0, 1, 2, 3]]);
        // cos 0.3 = 0.955: 0 stays by itself at a cut-off above.
        let apart = Clusters::graph(&near, &GraphOptions { cutoff: 0.96, ..joined }).unwrap();
        assert_eq!(sorted(&apart), [vec![0], vec![1, 2, 3]]);
        let pruned = GraphOptions { cutoff: 0.96, ..joined }.pruned();
        assert_eq!(sorted(&Clusters::graph(&near, &pruned).unwrap()), [[1, 2, 3]]);
    }

    #[test]
    fn bad_options_are_named() {
        let near = near();
        let message =
            |options: GraphOptions| Clusters::graph(&near, &options).unwrap_err().to_string();
        let plain = GraphOptions::default();
        assert!(message(GraphOptions { k: 5, ..plain }).contains("at most 4"));
        assert!(message(GraphOptions { k: 0, ..plain }).contains("`k` of the graph"));
        for cutoff in [f64::NAN, 1.5, -2.0] {
            assert!(message(GraphOptions { cutoff, ..plain }).contains("`cutoff`"));
        }
        assert!(message(GraphOptions { prune: Some(2), ..plain }).contains("`prune`"));
        let cutoffs = GraphOptions::studied_cutoffs();
        assert_eq!((cutoffs.len(), cutoffs[0], cutoffs[20]), (21, 0.1, 1.0));
    }
}

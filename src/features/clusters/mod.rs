//! Groups of features whose directions are alike.

mod affinity;
mod angular;
mod file;
mod graph;
mod kmeans;
mod published;
mod spectral;
mod stability;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::display::show_as_text;
use crate::text::thousands;
use crate::{Error, Result};

pub use affinity::{Centring, angular_affinity, cosines, mean_pairwise_cosine, singular_values};
pub use graph::GraphOptions;
pub use published::{PublishedCheck, PublishedCluster};
pub use spectral::{SpectralOptions, SpectralReport};
pub use stability::Stability;

/// Sizes that [`Clusters`] prints.
const SHOWN: usize = 5;

/// Groups of features (or of other vectors), each feature in at most one. A cheap handle.
///
/// [`Clusters::graph`] and [`Clusters::spectral`] find them, [`Clusters::open`] reads them.
#[derive(Debug, Clone)]
pub struct Clusters {
    data: Arc<ClusterData>,
}

#[derive(Debug)]
struct ClusterData {
    /// The features of all clusters, one cluster after the other.
    members: Vec<usize>,
    /// Where each cluster begins, and the last ends.
    offsets: Vec<usize>,
    /// The cluster of each feature that is in one.
    cluster_of: HashMap<usize, usize>,
    /// How many features there are, in a cluster or not.
    features: usize,
}

impl Clusters {
    /// Clusters of `features` features, each with its members in the order in which they are given.
    ///
    /// ```
    /// use eigenlens::features::Clusters;
    /// let clusters = Clusters::new(10, [vec![4, 2], vec![7]])?;
    /// assert_eq!((clusters.len(), clusters.get(0)?, clusters.find(7)), (2, &[4, 2][..], Some(1)));
    /// # Ok::<(), eigenlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A member that is not below `features`, that is named twice, or a cluster without members.
    pub fn new(features: usize, clusters: impl IntoIterator<Item = Vec<usize>>) -> Result<Self> {
        let (mut members, mut offsets) = (Vec::new(), vec![0]);
        let mut cluster_of = HashMap::new();
        for (cluster, own) in clusters.into_iter().enumerate() {
            if own.is_empty() {
                let what = format!("cluster {cluster}");
                return Err(Error::invalid(what, "with at least one member", "none"));
            }
            for &feature in &own {
                if feature >= features {
                    let what = format!("a member of cluster {cluster}");
                    return Err(Error::invalid(what, format!("below {features}"), feature));
                }
                if let Some(other) = cluster_of.insert(feature, cluster) {
                    let found = format!("{feature} in clusters {other} and {cluster}");
                    return Err(Error::invalid("members", "in one cluster each, once", found));
                }
            }
            members.extend(own);
            offsets.push(members.len());
        }
        let data = ClusterData { members, offsets, cluster_of, features };
        Ok(Self { data: Arc::new(data) })
    }

    /// Number of clusters.
    pub fn len(&self) -> usize {
        self.data.offsets.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many features were clustered, those that are in no cluster included.
    pub fn features(&self) -> usize {
        self.data.features
    }

    /// The features of a cluster.
    ///
    /// # Errors
    /// If there is no such cluster.
    pub fn get(&self, cluster: usize) -> Result<&[usize]> {
        match self.data.offsets.get(cluster..=cluster.saturating_add(1)) {
            Some(&[start, end]) => Ok(&self.data.members[start..end]),
            _ => {
                let expected = format!("below {}, the number of clusters", self.len());
                Err(Error::invalid("the cluster", expected, cluster))
            }
        }
    }

    /// All clusters, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[usize]> {
        let ends = self.data.offsets.windows(2);
        ends.map(|ends| &self.data.members[ends[0]..ends[1]])
    }

    /// The cluster that holds a feature, if one does.
    pub fn find(&self, feature: usize) -> Option<usize> {
        self.data.cluster_of.get(&feature).copied()
    }

    /// The clusters of at least `size` members, renumbered in their order.
    #[must_use]
    pub fn at_least(&self, size: usize) -> Self {
        self.filtered(|own| own >= size)
    }

    /// The clusters whose size is wanted, renumbered in their order.
    fn filtered(&self, is_wanted: impl Fn(usize) -> bool) -> Self {
        let (mut members, mut offsets) = (Vec::new(), vec![0]);
        let mut cluster_of = HashMap::new();
        for own in self.iter().filter(|own| is_wanted(own.len())) {
            cluster_of.extend(own.iter().map(|feature| (*feature, offsets.len() - 1)));
            members.extend_from_slice(own);
            offsets.push(members.len());
        }
        let data = ClusterData { members, offsets, cluster_of, features: self.features() };
        Self { data: Arc::new(data) }
    }

    /// The cluster B that is most like the set A of `features`, and the Jaccard index
    /// `|A ∩ B| / |A ∪ B|` of the two, from 0 to 1; the first of several.
    ///
    /// # Errors
    /// No features, or no clusters.
    pub fn best_match(&self, features: &[usize]) -> Result<(usize, f64)> {
        if features.is_empty() {
            return Err(Error::invalid("the features", "at least one", "none"));
        }
        let best = self.most_like(features);
        best.ok_or_else(|| Error::invalid("the clusters", "at least one", "none"))
    }

    fn most_like(&self, features: &[usize]) -> Option<(usize, f64)> {
        let mut wanted = features.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let mut shared: HashMap<usize, usize> = HashMap::new();
        for cluster in wanted.iter().filter_map(|feature| self.find(*feature)) {
            *shared.entry(cluster).or_default() += 1;
        }
        let jaccard = |(cluster, both): (usize, usize)| {
            let own = self.data.offsets[cluster + 1] - self.data.offsets[cluster];
            (cluster, both as f64 / (wanted.len() + own - both) as f64)
        };
        let first = (!self.is_empty()).then_some((0, 0.0));
        let shared = shared.into_iter().map(jaccard);
        shared.chain(first).max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
    }

    /// The sizes of all clusters, in their order.
    pub fn sizes(&self) -> Vec<usize> {
        self.iter().map(<[usize]>::len).collect()
    }
}

show_as_text!(Clusters);

impl fmt::Display for Clusters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sizes = self.sizes();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let more = sizes.iter().filter(|size| **size > 1).count();
        write!(
            f,
            "{} clusters of {} features, {} of more than one",
            thousands(self.len()),
            thousands(self.features()),
            thousands(more)
        )?;
        if let Some(middle) = sizes.get(more / 2).filter(|_| more > 0) {
            let largest = sizes.iter().take(SHOWN.min(more)).map(|size| thousands(*size));
            let largest: Vec<String> = largest.collect();
            write!(f, " (median size {middle}, largest {})", largest.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Clusters {
        Clusters::new(12, [vec![3, 1, 0], vec![2], vec![7, 8], vec![5]]).unwrap()
    }

    #[test]
    fn clusters_are_found_by_number_and_by_member() {
        let clusters = sample();
        assert_eq!((clusters.len(), clusters.features()), (4, 12));
        assert_eq!(clusters.get(0).unwrap(), [3, 1, 0]);
        assert_eq!((clusters.find(8), clusters.find(6), clusters.find(99)), (Some(2), None, None));
        assert!(clusters.get(4).unwrap_err().to_string().contains("below 4"));
        assert!(clusters.get(usize::MAX).is_err());
        let large = clusters.at_least(2);
        assert_eq!((large.len(), large.get(1).unwrap()), (2, &[7, 8][..]));
        assert_eq!((large.find(7), large.find(2)), (Some(1), None));
        let text = clusters.to_string();
        assert!(text.contains("4 clusters of 12 features, 2 of more than one"), "{text}");
        assert!(text.contains("largest 3, 2)"), "{text}");
    }

    #[test]
    fn the_best_match_has_the_largest_jaccard_index() {
        let clusters = sample();
        assert_eq!(clusters.best_match(&[0, 1, 2]).unwrap(), (0, 0.5));
        assert_eq!(clusters.best_match(&[2, 2]).unwrap(), (1, 1.0));
        assert_eq!(clusters.best_match(&[7, 8, 5, 9]).unwrap(), (2, 0.5));
        assert_eq!(clusters.best_match(&[11]).unwrap(), (0, 0.0));
        // Of equal ones the first.
        assert_eq!(clusters.best_match(&[2, 5]).unwrap(), (1, 0.5));
        assert!(clusters.best_match(&[]).unwrap_err().to_string().contains("at least one"));
        let none = clusters.at_least(9);
        assert!(none.is_empty() && none.best_match(&[1]).is_err());
    }

    #[test]
    fn members_that_cannot_be_are_named() {
        let message =
            |clusters: Vec<Vec<usize>>| Clusters::new(4, clusters).unwrap_err().to_string();
        assert!(message(vec![vec![0], vec![4]]).contains("member of cluster 1 must be below 4"));
        assert!(message(vec![vec![1], vec![]]).contains("cluster 1"));
        assert!(message(vec![vec![1, 2], vec![2]]).contains("2 in clusters 0 and 1"));
        assert!(message(vec![vec![1, 1]]).contains("1 in clusters 0 and 0"));
    }
}

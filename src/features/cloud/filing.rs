//! Which tokens a cluster's rows are of, and under which number they are filed.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::check::check_sizes;
use crate::progress::OnStop;
use crate::sae::Codes;
use crate::{Error, Result};

/// Under which token a row is filed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filing {
    /// Its own; the default.
    #[default]
    Own,
    /// As the study's code does: a row is written when the next token comes at which any feature of
    /// the dictionary is active, under that token's number less `compensate`, and the last row
    /// never. For GPT-2 the study has 0 there, for Mistral 1, which is right only where the very
    /// next token has an active feature. Positions of points in the published figures depend on it,
    /// points do not.
    Original {
        /// What is taken off the number.
        compensate: usize,
    },
}

/// Which rows a [`FeatureCloud`](super::FeatureCloud) has.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudOptions {
    /// Points at most, the first ones of the text; 20,000.
    pub limit: usize,
    /// A feature counts where it is above this; none: wherever it has an activation, negative ones
    /// included.
    pub above: Option<f32>,
    /// Under which token a row is filed; its own.
    pub filing: Filing,
    /// Tokens that are no text, such as `<bos>`, at which features do not count; none.
    pub skip_tokens: Vec<u32>,
    /// Contexts that go through the model at a time, where there is one; 16.
    pub batch: usize,
    /// A folder for what [`FeatureCloud::collect`](super::FeatureCloud::collect) has found so far, from
    /// which the same call goes on after it was cut off; none. Its file is named by the content of the
    /// question, so that other passes can share the folder.
    pub checkpoint: Option<PathBuf>,
    /// Batches between two savings; 64.
    pub save_every: usize,
    /// What Stop does during a pass over a text; ends the cell.
    pub on_stop: OnStop,
}

impl Default for CloudOptions {
    fn default() -> Self {
        Self {
            limit: 20_000,
            above: None,
            filing: Filing::Own,
            skip_tokens: Vec::new(),
            batch: 16,
            checkpoint: None,
            save_every: 64,
            on_stop: OnStop::EndCell,
        }
    }
}

/// The rows of a cluster.
#[derive(Debug)]
pub(super) struct FoundRows {
    pub(super) codes: Codes,
    pub(super) tokens: Vec<usize>,
}

/// Rows of a cluster as they are found.
#[derive(Debug, Clone, Default)]
pub(super) struct RowList {
    pub(super) tokens: Vec<usize>,
    pub(super) ends: Vec<usize>,
    pub(super) entries: Vec<(u32, f32)>,
}

impl RowList {
    fn push(&mut self, token: usize, row: impl Iterator<Item = (u32, f32)>) {
        self.tokens.push(token);
        self.entries.extend(row);
        self.ends.push(self.entries.len());
    }

    /// The rows with their tokens.
    fn rows(&self) -> impl Iterator<Item = (usize, Vec<(u32, f32)>)> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        let ranges = self.tokens.iter().zip(starts.zip(&self.ends));
        ranges.map(|(token, (start, end))| (*token, self.entries[start..*end].to_vec()))
    }
}

/// A feature's cluster, by its place among those that are collected, and its place in it.
#[derive(Debug, Clone, Copy)]
struct MemberPlace {
    cluster: u32,
    member: u32,
}

/// The place of a feature that is in no cluster.
const NOWHERE: MemberPlace = MemberPlace { cluster: u32::MAX, member: 0 };

/// Collects the rows of several clusters from the codes of a text, one token after the other.
#[derive(Debug)]
pub(super) struct CloudCollector {
    places: Vec<MemberPlace>,
    sizes: Vec<usize>,
    lists: Vec<RowList>,
    /// Rows that wait for the next active token, by their cluster.
    waiting: Vec<(u32, Vec<(u32, f32)>)>,
    limit: usize,
    above: f32,
    filing: Filing,
    /// How many clusters have all the rows they may.
    full: usize,
    /// Of the token at hand: cluster, member, value.
    found: Vec<(u32, u32, f32)>,
}

impl CloudOptions {
    /// Fails for a folder where there is no pass over a text.
    pub(super) fn check_not_kept(&self) -> Result<()> {
        match &self.checkpoint {
            None => Ok(()),
            Some(folder) => {
                let expected =
                    "none, because only `FeatureCloud::collect` takes a pass over a text";
                Err(Error::invalid("`checkpoint`", expected, folder.display()))
            }
        }
    }

    /// A collector of clusters, each of some of `features` features.
    pub(super) fn collector(
        &self,
        features: usize,
        clusters: &[&[usize]],
    ) -> Result<CloudCollector> {
        check_sizes(&[
            ("`limit`", self.limit),
            ("`batch`", self.batch),
            ("`save_every`", self.save_every),
        ])?;
        if self.above.is_some_and(f32::is_nan) {
            return Err(Error::invalid("`above`", "a number", "NaN"));
        }
        if clusters.is_empty() {
            return Err(Error::invalid("the clusters", "at least one", "none"));
        }
        let mut places = vec![NOWHERE; features];
        let mut seen = HashSet::new();
        for (cluster, members) in clusters.iter().enumerate() {
            if members.is_empty() {
                return Err(Error::invalid("the features of a cloud", "at least one", "none"));
            }
            for (member, &feature) in members.iter().enumerate() {
                if feature >= features {
                    let expected = format!("below {features}");
                    return Err(Error::invalid("a feature of a cloud", expected, feature));
                }
                if !seen.insert(feature) {
                    let found = format!("{feature} twice");
                    return Err(Error::invalid("the features of clouds", "different", found));
                }
                places[feature] = MemberPlace { cluster: cluster as u32, member: member as u32 };
            }
        }
        Ok(CloudCollector {
            places,
            sizes: clusters.iter().map(|members| members.len()).collect(),
            lists: vec![RowList::default(); clusters.len()],
            waiting: Vec::new(),
            limit: self.limit,
            above: self.above.unwrap_or(f32::NEG_INFINITY),
            filing: self.filing,
            full: 0,
            found: Vec::new(),
        })
    }
}

impl CloudCollector {
    /// Takes the active features of token number `token`.
    pub(super) fn take(&mut self, token: usize, entries: impl Iterator<Item = (u32, f32)>) {
        self.found.clear();
        let mut is_active = false;
        for (feature, value) in entries {
            is_active = true;
            let MemberPlace { cluster, member } = self.places[feature as usize];
            if cluster != NOWHERE.cluster && value > self.above {
                self.found.push((cluster, member, value));
            }
        }
        if let Filing::Original { compensate } = self.filing
            && is_active
        {
            for (cluster, row) in std::mem::take(&mut self.waiting) {
                self.push(cluster, token.saturating_sub(compensate), row.into_iter());
            }
        }
        if self.found.is_empty() {
            return;
        }
        self.found.sort_by_key(|(cluster, ..)| *cluster);
        let found = std::mem::take(&mut self.found);
        for row in found.chunk_by(|a, b| a.0 == b.0) {
            let cluster = row[0].0;
            let row = row.iter().map(|(_, member, value)| (*member, *value));
            match self.filing {
                Filing::Own => self.push(cluster, token, row),
                Filing::Original { .. } => self.waiting.push((cluster, row.collect())),
            }
        }
        self.found = found;
    }

    fn push(&mut self, cluster: u32, token: usize, row: impl Iterator<Item = (u32, f32)>) {
        let list = &mut self.lists[cluster as usize];
        if list.tokens.len() == self.limit {
            return;
        }
        list.push(token, row);
        self.full += usize::from(list.tokens.len() == self.limit);
    }

    /// The rows of each cluster so far.
    pub(super) fn lists(&self) -> &[RowList] {
        &self.lists
    }

    /// The rows that wait for the next active token, by their clusters in the place of tokens.
    pub(super) fn waiting_rows(&self) -> RowList {
        let mut rows = RowList::default();
        for (cluster, row) in &self.waiting {
            rows.push(*cluster as usize, row.iter().copied());
        }
        rows
    }

    /// Goes on from the rows of each cluster and those that wait; false if they cannot be of this.
    pub(super) fn put_back(&mut self, mut lists: Vec<RowList>) -> bool {
        let Some(waiting) = lists.pop() else { return false };
        let is_own = |(list, size): (&RowList, &usize)| {
            let is_member = |(member, _): &(u32, f32)| (*member as usize) < *size;
            list.tokens.len() <= self.limit && list.entries.iter().all(is_member)
        };
        let is_waiting = |(cluster, row): (usize, Vec<(u32, f32)>)| {
            let size = self.sizes.get(cluster).copied().unwrap_or(0);
            row.iter().all(|(member, _)| (*member as usize) < size)
        };
        if lists.len() != self.sizes.len()
            || !lists.iter().zip(&self.sizes).all(is_own)
            || !waiting.rows().all(is_waiting)
        {
            return false;
        }
        self.full = lists.iter().filter(|list| list.tokens.len() == self.limit).count();
        self.waiting = waiting.rows().map(|(cluster, row)| (cluster as u32, row)).collect();
        self.lists = lists;
        true
    }

    /// Whether no cluster takes any more rows.
    pub(super) fn is_full(&self) -> bool {
        self.full == self.lists.len()
    }

    /// The rows of each cluster.
    pub(super) fn finish(self) -> Result<Vec<FoundRows>> {
        let lists = self.lists.into_iter().zip(self.sizes);
        let rows = lists.map(|(list, size)| {
            let codes = Codes::new(size, list.rows().map(|(_, row)| row))?;
            Ok(FoundRows { codes, tokens: list.tokens })
        });
        rows.collect()
    }
}

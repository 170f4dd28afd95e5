//! Points by the classes of their tokens.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::{FeatureCloud, TokenClasses};
use crate::check::check_sizes;
use crate::display::show_as_text;
use crate::{Error, Result};

/// Labels that are listed.
const SHOWN: usize = 12;

/// The labels of a cloud's points, some of which have none. A cheap handle.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudLabels {
    names: Arc<[String]>,
    of_points: Arc<[Option<u32>]>,
}

impl CloudLabels {
    fn new(names: Vec<String>, of_points: Vec<Option<u32>>) -> Self {
        Self { names: names.into(), of_points: of_points.into() }
    }

    /// The names of the labels, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// For each point the place of its label among the names, if it has one.
    pub fn of_points(&self) -> &[Option<u32>] {
        &self.of_points
    }

    /// How many points have each label.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.names.len()];
        self.of_points.iter().flatten().for_each(|label| counts[*label as usize] += 1);
        counts
    }
}

impl FeatureCloud {
    /// The labels of its points, if it has any.
    pub fn labels(&self) -> Option<&CloudLabels> {
        self.labels.as_ref()
    }

    /// The same cloud with points labelled by what `label` says of the text of each one's token, in the
    /// order in which labels first occur. Points for which it says nothing have no label.
    ///
    /// # Errors
    /// A cloud without a text or a tokenizer.
    pub fn label_by(self, label: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut names: Vec<String> = Vec::new();
        let mut places: HashMap<String, u32> = HashMap::new();
        let labels = self.by_token(0, |token| {
            let name = label(token)?;
            Some(*places.entry(name).or_insert_with_key(|name| {
                names.push(name.clone());
                names.len() as u32 - 1
            }))
        })?;
        Ok(Self { labels: Some(CloudLabels::new(names, labels)), ..self })
    }

    /// The same cloud with points labelled by the class of each one's token, such as
    /// [`TokenClasses::weekdays`].
    ///
    /// # Errors
    /// A cloud without a text or a tokenizer.
    pub fn label_with(self, classes: &TokenClasses) -> Result<Self> {
        let labels = self.by_token(0, |token| classes.class_of(token).map(|class| class as u32))?;
        Ok(Self { labels: Some(CloudLabels::new(classes.names().to_vec(), labels)), ..self })
    }

    /// The same cloud with points labelled by their tokens, the `count` commonest of these.
    ///
    /// # Errors
    /// A count of 0; a cloud without a text or a tokenizer.
    pub fn label_by_common_tokens(self, count: usize) -> Result<Self> {
        self.by_common(0, count)
    }

    /// The same cloud with points labelled by the tokens that follow theirs, the `count` commonest of
    /// these.
    ///
    /// # Errors
    /// As [`FeatureCloud::label_by_common_tokens`].
    pub fn label_by_next_tokens(self, count: usize) -> Result<Self> {
        self.by_common(1, count)
    }

    /// The same cloud with the labels `names[of_points[i]]`, for what no token tells.
    ///
    /// # Errors
    /// Labels of another number than the points, or without a name.
    pub fn with_labels(self, names: Vec<String>, of_points: Vec<Option<u32>>) -> Result<Self> {
        if of_points.len() != self.len() {
            let expected = format!("{}, one a point", self.len());
            return Err(Error::invalid("the number of labels", expected, of_points.len()));
        }
        if let Some(far) = of_points.iter().flatten().find(|own| **own as usize >= names.len()) {
            return Err(Error::invalid("a label", format!("below {}", names.len()), far));
        }
        Ok(Self { labels: Some(CloudLabels::new(names, of_points)), ..self })
    }

    fn by_common(self, ahead: usize, count: usize) -> Result<Self> {
        check_sizes(&[("the number of labels", count)])?;
        let ids = self.ids(ahead)?;
        let mut counts: HashMap<u32, usize> = HashMap::new();
        ids.iter().flatten().for_each(|id| *counts.entry(*id).or_default() += 1);
        let mut common: Vec<(u32, usize)> = counts.into_iter().collect();
        common.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        common.truncate(count);
        let names = common.iter().map(|(id, _)| self.tokenizer()?.visible(*id));
        let names = names.collect::<Result<Vec<_>>>()?;
        let places: HashMap<u32, u32> = common.iter().map(|(id, _)| *id).zip(0..).collect();
        let labels = ids.iter().map(|id| places.get(&(*id)?).copied()).collect();
        Ok(Self { labels: Some(CloudLabels::new(names, labels)), ..self })
    }

    /// What `label` says of the text of each point's token, or of one after it; each token is asked
    /// once.
    fn by_token(
        &self,
        ahead: usize,
        mut label: impl FnMut(&str) -> Option<u32>,
    ) -> Result<Vec<Option<u32>>> {
        let tokenizer = self.tokenizer()?;
        let mut known: HashMap<u32, Option<u32>> = HashMap::new();
        let mut of_points = Vec::with_capacity(self.len());
        for id in self.ids(ahead)? {
            of_points.push(match id {
                None => None,
                Some(id) => match known.get(&id) {
                    Some(label) => *label,
                    None => {
                        let own = label(&tokenizer.token(id)?);
                        known.insert(id, own);
                        own
                    }
                },
            });
        }
        Ok(of_points)
    }
}

show_as_text!(CloudLabels);

impl fmt::Display for CloudLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        let without = self.of_points.len() - counts.iter().sum::<usize>();
        let used = self.names.iter().zip(counts).filter(|(_, count)| *count > 0);
        let used: Vec<String> = used.map(|(name, count)| format!("{name} {count}")).collect();
        let more = if used.len() > SHOWN { ", …" } else { "" };
        let shown = used[..used.len().min(SHOWN)].join(", ");
        write!(f, "labels: {shown}{more}; {without} points without one")
    }
}

//! What a pass over a text has collected for clouds so far, in a file.

use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::CloudOptions;
use super::filing::{CloudCollector, RowList};
use crate::Result;
use crate::check::first_difference;
use crate::data::text::Contexts;
use crate::harvest::{
    CheckpointFile, CheckpointIdentity, CheckpointTensors, sum_of_model, sum_of_sae, sum_of_text,
    sum_of_tokens,
};
use crate::model::Decoder;
use crate::sae::Sae;

const FORMAT: u32 = 1;

/// What clouds of one pass depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CloudIdentity {
    format: u32,
    model: String,
    sae: String,
    point: String,
    text: String,
    clusters: String,
    limit: usize,
    above: Option<f32>,
    filing: String,
    skip_tokens: Vec<u32>,
    batch: usize,
}

impl CheckpointIdentity for CloudIdentity {
    const WHAT: &'static str = "clouds of features";

    fn difference(&self, other: &Self) -> (&'static str, String, String) {
        let found = first_difference!(
            self, other,
            "format": format, "model": model, "autoencoder": sae, "hook point": point,
            "text": text, "clusters": clusters, "`limit`": limit, "`above`": above,
            "`filing`": filing, "`skip_tokens`": skip_tokens, "`batch`": batch,
        );
        found.unwrap_or_else(|| ("identity", String::new(), String::new()))
    }
}

/// The file in `folder` of a pass that collects clouds of `groups`.
///
/// # Errors
/// Memory; an autoencoder without a hook point.
pub(super) fn cloud_file(
    folder: &Path,
    (model, sae): (&Decoder, &Sae),
    contexts: &Contexts,
    groups: &[&[usize]],
    options: &CloudOptions,
) -> Result<CheckpointFile<CloudIdentity>> {
    let identity = CloudIdentity {
        format: FORMAT,
        model: sum_of_model(model)?,
        sae: sum_of_sae(sae)?,
        point: sae.point()?.to_string(),
        text: format!("{} of {} tokens", sum_of_tokens(contexts), contexts.length()),
        clusters: sum_of_text(&format!("{groups:?}")),
        limit: options.limit,
        above: options.above,
        filing: format!("{:?}", options.filing),
        skip_tokens: options.skip_tokens.clone(),
        batch: options.batch,
    };
    let name = format!("clouds-{}.safetensors", identity.short_name());
    Ok(CheckpointFile::new(folder.join(name), identity))
}

/// Rows of all clusters, one list after the other: the numbers of their tokens, where each ends, and
/// their entries. The last list are the rows that wait, by their clusters in the place of tokens.
impl CloudCollector {
    /// Everything that was found.
    pub(super) fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let waiting = self.waiting_rows();
        let (mut counts, mut tokens, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let (mut members, mut values) = (Vec::new(), Vec::new());
        for list in self.lists().iter().chain([&waiting]) {
            counts.push(list.tokens.len() as i64);
            tokens.extend(list.tokens.iter().map(|token| *token as i64));
            ends.extend(list.ends.iter().map(|end| *end as i64));
            members.extend(list.entries.iter().map(|(member, _)| *member));
            values.extend(list.entries.iter().map(|(_, value)| *value));
        }
        let cpu = &Device::Cpu;
        let all = [
            ("counts", Tensor::new(counts, cpu)?),
            ("tokens", Tensor::new(tokens, cpu)?),
            ("ends", Tensor::new(ends, cpu)?),
            ("members", Tensor::new(members, cpu)?),
            ("values", Tensor::new(values, cpu)?),
        ];
        Ok(all.map(|(name, tensor)| (name.to_owned(), tensor)).to_vec())
    }

    /// Puts back what [`tensors`](Self::tensors) gave; false if it does not belong together.
    ///
    /// # Errors
    /// A tensor that is not there.
    pub(super) fn restore(&mut self, tensors: &mut CheckpointTensors) -> Result<bool> {
        let counts: Vec<i64> = tensors.take("counts")?.to_vec1()?;
        let mut tokens = tensors.take("tokens")?.to_vec1::<i64>()?.into_iter();
        let mut ends = tensors.take("ends")?.to_vec1::<i64>()?.into_iter();
        let members = tensors.take("members")?.to_vec1::<u32>()?.into_iter();
        let mut entries = members.zip(tensors.take("values")?.to_vec1::<f32>()?);
        let mut lists = Vec::with_capacity(counts.len());
        for count in counts {
            let count = count.max(0) as usize;
            let own = |values: &mut dyn Iterator<Item = i64>| -> Vec<usize> {
                values.take(count).map(|value| value.max(0) as usize).collect()
            };
            let (tokens, ends) = (own(&mut tokens), own(&mut ends));
            let most = ends.last().copied().unwrap_or(0);
            let entries: Vec<(u32, f32)> = entries.by_ref().take(most).collect();
            if tokens.len() != count || entries.len() != most || !ends.is_sorted() {
                return Ok(false);
            }
            lists.push(RowList { tokens, ends, entries });
        }
        let is_read = tokens.next().is_none() && ends.next().is_none() && entries.next().is_none();
        Ok(is_read && self.put_back(lists))
    }
}

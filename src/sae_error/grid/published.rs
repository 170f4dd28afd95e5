//! Grids of published autoencoders.

use std::collections::BTreeSet;

use super::{GridEntry, GridPlace, SaeGrid, listed};
use crate::model::HookPoint;
use crate::sae::{Entry, Registry};
use crate::sae_error::sae_info::SaeName;
use crate::{Error, Result};

/// The repository of the autoencoders of the study.
const STUDY_REPOSITORY: &str = "google/gemma-scope-9b-pt-res";
/// The layer of most of its figures.
const STUDY_LAYER: usize = 20;

/// Widths and L0s of the study's autoencoders of layer 20, in the names' own words.
const STUDY_SAES: [(&str, &[u32]); 7] = [
    ("16k", &[11, 20, 36, 57, 58, 68, 138, 310, 393, 408, 427]),
    ("32k", &[11, 55, 57, 334, 344, 357]),
    ("65k", &[11, 54, 55, 292, 298, 309]),
    ("131k", &[10, 11, 12, 19, 34, 51, 53, 54, 62, 114, 221, 269, 276, 288]),
    ("262k", &[10, 11, 13, 49, 50, 64, 249, 259, 276]),
    ("524k", &[10, 24, 46, 48, 78, 229, 241, 298]),
    ("1m", &[11, 19, 34, 57, 101, 193]),
];

impl GridEntry {
    /// Says of an autoencoder of the study that today's list does not have it.
    pub(super) fn is_gone(&self, reason: Error, release: &str) -> Error {
        match reason {
            Error::NotFound { what, hint } if release == STUDY_REPOSITORY => Error::NotFound {
                what,
                hint: format!(
                    "{hint} It is one of the study's, of which 26 are no longer in the list of \
                     published autoencoders; SaeGrid::published(\"gemma-scope-9b-pt-res\", \
                     {STUDY_LAYER}) has those that are."
                ),
            },
            other => other,
        }
    }

    fn of(entry: &Entry) -> Result<Self> {
        let name: Option<SaeName> = entry.path.parse().ok();
        // Some names end in the number of features: blocks.8.hook_resid_pre_768.
        let ending = entry.id.rsplit_once('_').and_then(|(_, end)| end.parse::<usize>().ok());
        let width = name.map(|name| name.width).or(ending);
        let l0 = entry.l0.or(name.map(|name| f64::from(name.l0)));
        let (Some(width), Some(l0)) = (width, l0) else {
            return Err(Error::NotFound {
                what: format!("the width and L0 of {} of {}", entry.id, entry.release),
                hint: "The list of published autoencoders does not have them: load the \
                       autoencoders and make a grid with SaeGrid::new."
                    .to_owned(),
            });
        };
        let hook = entry.hook.as_deref().unwrap_or_default();
        let hook = hook.strip_suffix(&format!("_{width}")).unwrap_or(hook);
        Ok(Self {
            width,
            l0,
            name: entry.id.clone(),
            point: hook.parse().ok(),
            place: GridPlace::Published { release: entry.release.clone(), id: entry.id.clone() },
            history: None,
        })
    }
}

/// The layer that a published autoencoder belongs to.
fn layer_of(entry: &Entry) -> Option<usize> {
    if let Ok(name) = entry.path.parse::<SaeName>() {
        return Some(name.layer);
    }
    let hook = entry.hook.as_deref()?;
    hook.strip_prefix("blocks.")?.split('.').next()?.parse().ok()
}

impl SaeGrid {
    /// The autoencoders of `layer` in a release of the [`Registry`], by their published L0s. Nothing
    /// is loaded.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such release, no such layer in it, or if the list does not
    /// have its widths or L0s.
    pub fn published(release: &str, layer: usize) -> Result<Self> {
        let all = Registry::all()?;
        let own: Vec<&Entry> =
            all.entries().iter().filter(|entry| entry.release == release).collect();
        if own.is_empty() {
            return Err(Error::NotFound {
                what: format!("the release {release}"),
                hint: "Registry::all()?.search(\"gemma-scope\") lists releases.".to_owned(),
            });
        }
        let there: Vec<&Entry> =
            own.iter().copied().filter(|entry| layer_of(entry) == Some(layer)).collect();
        if there.is_empty() {
            let layers: BTreeSet<usize> = own.iter().copied().filter_map(layer_of).collect();
            return Err(Error::NotFound {
                what: format!("layer {layer} of {release}"),
                hint: format!("It has the layers {}.", listed(layers)),
            });
        }
        Self::of(there.into_iter().map(GridEntry::of).collect::<Result<_>>()?)
    }

    /// The 60 autoencoders of the study: Gemma Scope's of the residual stream after layer 20 of
    /// Gemma 2 9b. Of these, 26 are no longer in the list of published ones, and may be gone from
    /// the hub: [`GridEntry::sae`] tells.
    ///
    /// # Errors
    /// None.
    pub fn study_9b() -> Result<Self> {
        let names = STUDY_SAES.iter().flat_map(|(width, l0s)| {
            l0s.iter().map(move |l0| format!("layer_{STUDY_LAYER}/width_{width}/average_l0_{l0}"))
        });
        let entries = names.map(|name| {
            let SaeName { layer, width, l0 } = name.parse()?;
            Ok(GridEntry {
                width,
                l0: f64::from(l0),
                point: Some(HookPoint::ResidPost(layer)),
                place: GridPlace::Published {
                    release: STUDY_REPOSITORY.to_owned(),
                    id: name.clone(),
                },
                name,
                history: None,
            })
        });
        Self::of(entries.collect::<Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_grids_have_the_widths_and_l0s_of_their_names() {
        let grid = SaeGrid::published("gemma-scope-9b-pt-res", 20).unwrap();
        assert_eq!(grid.widths(), (14..=20).map(|power| 1 << power).collect::<Vec<_>>());
        assert_eq!(grid.len(), 34);
        let found = grid.nearest(1 << 14, 130.0).unwrap();
        assert_eq!((found.width, found.l0), (16_384, 138.0));
        assert_eq!(found.point, Some(HookPoint::ResidPost(20)));
        // Near 60, as the study's: 50 of 262k is the farthest.
        let near = grid.at_l0(60.0, 0.2).unwrap();
        assert_eq!((near.len(), near.nearest(1 << 18, 60.0).unwrap().l0), (7, 50.0));
        let attention = SaeGrid::published("gemma-scope-9b-pt-att", 20).unwrap();
        assert_eq!(attention.entries()[0].point, Some(HookPoint::Z(20)));
        let canonical = SaeGrid::published("gemma-scope-2b-pt-res-canonical", 12).unwrap();
        assert!(canonical.nearest(1 << 14, 80.0).unwrap().l0 > 0.0);
        let splitting = SaeGrid::published("gpt2-small-res-jb-feature-splitting", 8).unwrap();
        assert_eq!((splitting.len(), splitting.widths()[0]), (8, 768));
        assert!(splitting.entries().iter().all(|own| own.point == Some(HookPoint::ResidPre(8))));
    }

    #[test]
    fn the_study_has_sixty() {
        let grid = SaeGrid::study_9b().unwrap();
        assert_eq!((grid.len(), grid.widths().len()), (60, 7));
        let near: Vec<f64> =
            grid.at_l0(60.0, 0.21).unwrap().entries().iter().map(|e| e.l0).collect();
        assert_eq!(near, [58.0, 57.0, 55.0, 62.0, 64.0, 48.0, 57.0]);
        let listed = SaeGrid::published("gemma-scope-9b-pt-res", 20).unwrap();
        let names: BTreeSet<&str> = listed.entries().iter().map(|own| &*own.name).collect();
        let gone = grid.entries().iter().filter(|own| !names.contains(&*own.name)).count();
        assert_eq!(gone, 26);
        let reason = Error::NotFound { what: "it".into(), hint: "Look.".into() };
        let error = grid.entries()[0].is_gone(reason, STUDY_REPOSITORY).to_string();
        assert!(error.contains("26 are no longer"), "{error}");
    }
}

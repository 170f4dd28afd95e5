//! A model, its places and a text, on which all questions of the study can be asked.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::grid::SaeGrid;
use super::grid_fit::width_at;
use super::sae_info::InfoOptions;
use super::window::Window;
use crate::data::text::{Contexts, Tokens};
use crate::display::show_as_text;
use crate::harvest::sum_of_model;
use crate::home::home;
use crate::model::{Decoder, HookPoint};
use crate::sae::SaeOptions;
use crate::{Error, Result};

/// The folder of trained grids in the library's folder.
const KEPT: &str = "sae-error";
/// Features for each dimension at the places that have one autoencoder only.
const EXPANSION_ELSEWHERE: usize = 8;

/// What a notebook of the study needs, whatever the model: [`Subject::open`](super::Subject::open)
/// makes it. All fields may be changed before they are used.
#[derive(Debug, Clone)]
pub struct Study {
    /// The model.
    pub model: Decoder,
    /// The place whose autoencoders are looked at.
    pub point: HookPoint,
    /// The same place a layer earlier.
    pub previous: HookPoint,
    /// What the MLP before that place writes.
    pub mlp: HookPoint,
    /// What the attention heads before that place compute.
    pub attention: HookPoint,
    /// The text that autoencoders are trained on.
    pub text: Tokens,
    /// Other texts, on which they are looked at.
    pub contexts: Contexts,
    /// The positions of these contexts that count.
    pub window: Window,
    /// Numbers of features of the autoencoders that are trained here.
    pub widths: Vec<usize>,
    /// Features in their codes; the first is that of all widths.
    pub ks: Vec<usize>,
    /// How they are trained.
    pub options: SaeOptions,
    pub(super) name: String,
    pub(super) saes: StudySaes,
}

/// Where the autoencoders of a study come from.
#[derive(Debug, Clone)]
pub(super) enum StudySaes {
    /// They are trained, and kept.
    Trained,
    /// Releases of the residual stream, of MLPs and of attention, where there are any.
    Published([Option<&'static str>; 3]),
    /// They lie in a folder.
    Folder(PathBuf),
}

impl Study {
    /// What [`SaeInfo::collect`](super::SaeInfo::collect) is asked with: the study's window, and its
    /// tokens to skip.
    #[must_use]
    pub fn info_options(&self) -> InfoOptions {
        let skip_tokens = self.options.skip_tokens.clone();
        InfoOptions { window: Some(self.window), skip_tokens, ..InfoOptions::default() }
    }

    /// The autoencoders at the study's [`point`](Self::point). Trained ones are trained once, in one
    /// pass, kept in the folder `sae-error` of [`home`](crate::home()), and loaded from there after
    /// that; another model, text or option gives another grid. All of [`widths`](Self::widths) have the first of
    /// [`ks`](Self::ks), and those that are powers of two times the activation's width the others
    /// too. A training that Stop ended goes on when this is called again.
    ///
    /// # Errors
    /// As [`SaeGrid::fit`], [`SaeGrid::published`] or [`SaeGrid::folder`]; [`Error::Io`] if the folder
    /// cannot be written.
    pub fn grid(&self) -> Result<SaeGrid> {
        self.grid_at(self.point)
    }

    /// The autoencoders at another place: of trained ones, a single one with eight features for each
    /// dimension (fewer if none of [`widths`](Self::widths) is that large) and the first of
    /// [`ks`](Self::ks), after half as many steps.
    ///
    /// # Errors
    /// As [`Study::grid`]; [`Error::NotFound`] if none are published for that place.
    pub fn grid_at(&self, point: HookPoint) -> Result<SaeGrid> {
        match &self.saes {
            StudySaes::Trained => self.trained(point, &home()?.join(KEPT)),
            StudySaes::Folder(path) => SaeGrid::folder(path),
            StudySaes::Published(releases) => {
                let release = match point {
                    HookPoint::ResidPre(_) | HookPoint::ResidMid(_) | HookPoint::ResidPost(_) => {
                        releases[0]
                    }
                    HookPoint::MlpOut(_) => releases[1],
                    HookPoint::Z(_) => releases[2],
                    _ => None,
                };
                match (release, point.layer()) {
                    (Some(release), Some(layer)) => SaeGrid::published(release, layer),
                    _ => Err(Error::NotFound {
                        what: format!("a grid of published autoencoders at {point}"),
                        hint: "SaeGrid::fit trains one.".to_owned(),
                    }),
                }
            }
        }
    }

    /// The grid at a place, from the folder `kept` or trained now.
    fn trained(&self, point: HookPoint, kept: &Path) -> Result<SaeGrid> {
        let sizes = self.sizes(point)?;
        let all = self.options.steps;
        let steps = if point == self.point { all } else { all.div_ceil(2) };
        let options = SaeOptions { checkpoint: None, steps, ..self.options.clone() };
        let folder = kept.join(self.folder(point, &sizes, &options)?);
        let training = folder.join("training");
        if !folder.join("grid.json").is_file() {
            let options = SaeOptions { checkpoint: Some(training.clone()), ..options };
            let (grid, histories) =
                SaeGrid::fit_sizes(&self.model, point, &self.text, &sizes, &options)?;
            if histories.iter().any(|history| history.interrupted) {
                return Ok(grid);
            }
            grid.save(&folder)?;
            // What is left of the training is of no use any more.
            let _ = std::fs::remove_dir_all(&training);
        }
        SaeGrid::folder(&folder)
    }

    /// Widths and ks of the autoencoders that are trained at a place.
    fn sizes(&self, point: HookPoint) -> Result<Vec<(usize, usize)>> {
        let d = width_at(&self.model, point)?;
        let (Some(&largest), Some(&first)) = (self.widths.iter().max(), self.ks.first()) else {
            return Err(Error::invalid("`widths` and `ks` of the study", "at least one", "none"));
        };
        if point != self.point {
            return Ok(vec![(EXPANSION_ELSEWHERE.min((largest / d).max(1)) * d, first)]);
        }
        let is_octave = |width: usize| (width / d).is_power_of_two();
        let all = self.ks.iter().flat_map(|&k| {
            let own = self.widths.iter().filter(move |width| k == first || is_octave(**width));
            own.map(move |&width| (width, k))
        });
        Ok(all.collect())
    }

    /// The name of the folder of a grid: another one for everything that decides on its weights.
    fn folder(
        &self,
        point: HookPoint,
        sizes: &[(usize, usize)],
        options: &SaeOptions,
    ) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(sum_of_model(&self.model)?);
        hash.update(bytemuck::cast_slice(self.text.as_slice()));
        hash.update(format!("{point} {sizes:?} {options:?} {}", env!("CARGO_PKG_VERSION")));
        let sum: String =
            hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{}-{point}-{sum}", self.name))
    }
}

show_as_text!(Study);

impl fmt::Display for Study {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { point, previous, mlp, attention, text, contexts, window, .. } = self;
        writeln!(f, "{}: {point}, before it {previous}, {mlp} and {attention}", self.name)?;
        let (count, length) = (contexts.len(), contexts.length());
        writeln!(f, "text: {text} to train on, {count} contexts of {length} to look at, {window}")?;
        match &self.saes {
            StudySaes::Trained => {
                let (widths, ks) = (&self.widths, &self.ks);
                write!(f, "autoencoders of {widths:?} features with k {ks:?}, trained here")
            }
            StudySaes::Published([release, ..]) => {
                write!(f, "published autoencoders, {}", release.unwrap_or_default())
            }
            StudySaes::Folder(path) => write!(f, "autoencoders in {}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::harvest::tests::{contexts, model};
    use crate::progress::OnStop;
    use crate::train::tests::stop_after;

    fn study() -> Study {
        let options = SaeOptions {
            steps: 20,
            batch: 32,
            buffer: 128,
            length: 8,
            report: 5,
            ..SaeOptions::default()
        };
        Study {
            model: model(),
            point: HookPoint::ResidPost(1),
            previous: HookPoint::ResidPost(0),
            mlp: HookPoint::MlpOut(1),
            attention: HookPoint::Z(1),
            text: Tokens::from(contexts().as_slice().to_vec()),
            contexts: contexts(),
            window: Window { from: 1, to: None },
            widths: vec![16, 24, 32],
            ks: vec![2, 4],
            options,
            name: "small".to_owned(),
            saes: StudySaes::Trained,
        }
    }

    #[test]
    fn a_grid_is_trained_once_and_loaded_later() {
        let (study, home) = (study(), tempfile::tempdir().unwrap());
        let point = study.point;
        let first = study.trained(point, home.path()).unwrap();
        let sizes: Vec<(usize, f64)> =
            first.entries().iter().map(|own| (own.width, own.l0)).collect();
        assert_eq!(sizes, [(16, 2.0), (16, 4.0), (24, 2.0), (32, 2.0), (32, 4.0)]);
        let folder = std::fs::read_dir(home.path()).unwrap().next().unwrap().unwrap().path();
        assert!(folder.file_name().unwrap().to_str().unwrap().starts_with("small-1.resid_post-"));
        assert!(!folder.join("training").exists());
        let written = std::fs::metadata(folder.join("grid.json")).unwrap().modified().unwrap();
        let again = study.trained(point, home.path()).unwrap();
        assert_eq!(
            std::fs::metadata(folder.join("grid.json")).unwrap().modified().unwrap(),
            written
        );
        for (a, b) in first.entries().iter().zip(again.entries()) {
            assert_eq!(a.history().unwrap(), b.history().unwrap());
            let (a, b) = (a.sae(&Device::Cpu).unwrap(), b.sae(&Device::Cpu).unwrap());
            let flat = |sae: &crate::sae::Sae| -> Vec<f32> {
                sae.w_dec().flatten_all().unwrap().to_vec1().unwrap()
            };
            assert_eq!(flat(&a), flat(&b));
            assert_eq!(b.point().unwrap(), point);
        }
        // Another option is another grid, and another place has one autoencoder.
        let options = SaeOptions { seed: 1, ..study.options.clone() };
        let other = Study { options, ..study.clone() };
        other.trained(point, home.path()).unwrap();
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 2);
        let mlp = study.trained(study.mlp, home.path()).unwrap();
        assert_eq!((mlp.len(), mlp.entries()[0].width), (1, 32));
    }

    #[test]
    fn a_training_that_stop_ended_goes_on() {
        let home = tempfile::tempdir().unwrap();
        let (study, point) = (study(), study().point);
        let stopped = stop_after(12, || study.trained(point, home.path()));
        assert!(stopped.unwrap_err().to_string().contains("the training of a grid"));
        let found = study.trained(point, home.path()).unwrap();
        assert_eq!(found.entries()[0].history().unwrap().len(), 4);
        assert!(!found.entries()[0].history().unwrap().interrupted);
        // What Stop leaves is not kept as if it were whole.
        let partial =
            SaeOptions { on_stop: OnStop::ReturnPartial, seed: 3, ..study.options.clone() };
        let study = Study { options: partial, ..study };
        let partial = stop_after(12, || study.trained(point, home.path())).unwrap();
        assert!(partial.entries()[0].history().unwrap().interrupted);
        let whole = study.trained(point, home.path()).unwrap();
        assert!(!whole.entries()[0].history().unwrap().interrupted);
    }

    #[test]
    fn published_and_kept_autoencoders_are_found_by_their_place() {
        let releases = [Some("gemma-scope-9b-pt-res"), Some("gemma-scope-9b-pt-mlp"), None];
        let study = Study { saes: StudySaes::Published(releases), ..study() };
        assert_eq!(study.grid_at(HookPoint::ResidPost(20)).unwrap().len(), 34);
        let mlp = study.grid_at(HookPoint::MlpOut(20)).unwrap();
        assert_eq!(mlp.entries()[0].point, Some(HookPoint::MlpOut(20)));
        let error = study.grid_at(HookPoint::Z(20)).unwrap_err().to_string();
        assert!(error.contains("SaeGrid::fit trains one"), "{error}");
        assert!(study.to_string().contains("gemma-scope-9b-pt-res"), "{study}");
        let folder = StudySaes::Folder(PathBuf::from("/no/such/folder"));
        let study = Study { saes: folder, ..study };
        assert!(study.grid().unwrap_err().to_string().contains("/no/such/folder"));
        let options = study.info_options();
        assert_eq!(options.window, Some(Window { from: 1, to: None }));
        let none = Study { ks: Vec::new(), saes: StudySaes::Trained, ..study };
        let error = none.trained(none.point, Path::new("/no")).unwrap_err().to_string();
        assert!(error.contains("`widths` and `ks`"), "{error}");
    }
}

//! The models that the study can be made with.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use super::study::{Study, StudySaes};
use super::window::Window;
use crate::data::text::{Contexts, Documents, Tokenizer, Tokens};
use crate::home::expand_home;
use crate::model::{Decoder, HookPoint};
use crate::sae::SaeOptions;
use crate::{Error, Result};

/// Chooses the subject.
const SUBJECT: &str = "EIGENLENS_SUBJECT";
/// A file or data set of documents.
const TEXT: &str = "EIGENLENS_TEXT";
/// A folder of autoencoders.
const SAES: &str = "EIGENLENS_SAES";
/// Makes everything smaller.
const QUICK: &str = "EIGENLENS_QUICK";

/// Every tenth context of the text that ships is held out.
const HELD_OUT: usize = 10;
/// Documents for models of the hub, unless a variable names others.
const DOCUMENTS: &str = "NeelNanda/pile-10k";

/// A model with its places, text and autoencoders. One line of a notebook chooses it, and all other
/// lines stay the same:
///
/// ```no_run
/// use eigenlens::prelude::*;
/// use eigenlens::sae_error::Subject;
/// # fn main() -> Result<()> {
/// let study = Subject::Classics.open(&best_device())?;
/// let grid = study.grid()?;
/// let infos = grid.collect(&study.model, &study.contexts, &study.info_options())?;
/// # Ok(()) }
/// ```
///
/// | variable | meaning |
/// | --- | --- |
/// | `EIGENLENS_SUBJECT` | the subject of [`Subject::from_environment`]: `classics`, `smollm2`, `gemma-2b`, `gemma-9b` or `gpt2` |
/// | `EIGENLENS_TEXT` | the documents for Gemma and GPT-2: a file (`.parquet`, `.jsonl`, `.jsonl.gz`) or data set with a column `text`; by default `NeelNanda/pile-10k` |
/// | `EIGENLENS_SAES` | a folder of autoencoders in place of the published ones |
/// | `EIGENLENS_QUICK` | if it is set, less text, fewer autoencoders and fewer steps |
///
/// The very documents of the study cannot be had again: they come from a shuffle that only Python's
/// `datasets` can repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Subject {
    /// The small model that ships, after its third layer, with autoencoders that are trained in
    /// minutes; the default.
    #[default]
    Classics,
    /// SmolLM2 135M after its tenth layer (`eigenlens fetch smollm2`), with autoencoders trained here.
    Smollm2,
    /// Gemma 2 2b at layer 12, with Gemma Scope.
    Gemma2b,
    /// Gemma 2 9b at layer 20, with Gemma Scope: the subject of the study. It needs a GPU with 40 GB.
    Gemma9b,
    /// GPT-2 small before layer 8, with autoencoders of eight widths.
    Gpt2,
}

const ALL: [(Subject, &str); 5] = [
    (Subject::Classics, "classics"),
    (Subject::Smollm2, "smollm2"),
    (Subject::Gemma2b, "gemma-2b"),
    (Subject::Gemma9b, "gemma-9b"),
    (Subject::Gpt2, "gpt2"),
];

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALL.iter().find(|(own, _)| own == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Subject {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(text.trim()));
        found.map(|(subject, _)| *subject).ok_or_else(|| {
            let names = ALL.map(|(_, name)| name).join(", ");
            Error::invalid("the subject", format!("one of {names}"), text)
        })
    }
}

impl Subject {
    /// The subject that the variable `EIGENLENS_SUBJECT` names; [`Subject::Classics`] if it is not set.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that is none.
    pub fn from_environment() -> Result<Self> {
        match std::env::var(SUBJECT) {
            Ok(name) if !name.is_empty() => name.parse(),
            _ => Ok(Self::default()),
        }
    }

    /// Loads the model and the texts. Nothing is trained, and no autoencoder is loaded.
    ///
    /// # Errors
    /// A model or text that is not there; see [`Decoder::from_pretrained`] and
    /// [`Documents::from_pretrained`].
    pub fn open(&self, device: &Device) -> Result<Study> {
        let quick = std::env::var_os(QUICK).is_some();
        let study = match self {
            Self::Classics => classics(device, quick),
            Self::Smollm2 => smollm2(device, quick),
            Self::Gemma2b => gemma(("google/gemma-2-2b", 50), GEMMA_2B, device, quick),
            Self::Gemma9b => gemma(("google/gemma-2-9b", 300), GEMMA_9B, device, quick),
            Self::Gpt2 => gpt2(device, quick),
        };
        let study = study?;
        let folder = std::env::var_os(SAES).filter(|folder| !folder.is_empty());
        let saes = match folder {
            Some(folder) => StudySaes::Folder(expand_home(folder.as_ref())),
            None => study.saes,
        };
        Ok(Study { name: self.to_string(), saes, ..study })
    }
}

/// Places around the residual stream after `layer`.
fn around(layer: usize) -> [HookPoint; 4] {
    let before = HookPoint::ResidPost(layer.saturating_sub(1));
    [HookPoint::ResidPost(layer), before, HookPoint::MlpOut(layer), HookPoint::Z(layer)]
}

/// Training and held-out contexts of the text that ships.
fn shipped(contexts: &Contexts, quick: bool) -> Result<(Tokens, Contexts)> {
    let (length, share) = (contexts.length(), if quick { 8 } else { 1 });
    let (mut trained, mut held_out) = (Vec::new(), Vec::new());
    for (number, context) in contexts.as_slice().chunks_exact(length).enumerate() {
        match number % HELD_OUT == HELD_OUT - 1 {
            true if (number / HELD_OUT).is_multiple_of(share) => {
                held_out.extend_from_slice(context)
            }
            true => {}
            false => trained.extend_from_slice(context),
        }
    }
    Ok((Tokens::from(trained), Contexts::new(length, held_out)?))
}

fn trained_here(
    model: Decoder,
    [point, previous, mlp, attention]: [HookPoint; 4],
    (text, contexts): (Tokens, Contexts),
    (expansions, ks): (&[usize], &[usize]),
    options: SaeOptions,
) -> Study {
    let d = model.config().d_model;
    Study {
        point,
        previous,
        mlp,
        attention,
        text,
        window: Window::scaled(contexts.length()),
        contexts,
        widths: expansions.iter().map(|expansion| expansion * d).collect(),
        ks: ks.to_vec(),
        options: SaeOptions { k: ks.first().copied().unwrap_or(options.k), ..options },
        name: String::new(),
        saes: StudySaes::Trained,
        model,
    }
}

fn classics(device: &Device, quick: bool) -> Result<Study> {
    let model = Decoder::from_pretrained("eigenlens/classics", device)?;
    let text = shipped(&Contexts::from_pretrained("eigenlens/classics-4k")?, quick)?;
    let options = match quick {
        true => SaeOptions { steps: 60, report: 10, buffer: 4_096, ..SaeOptions::default() },
        // As many as five minutes on two cores are enough for.
        false => SaeOptions { steps: 900, ..SaeOptions::default() },
    };
    let sizes: (&[usize], &[usize]) = match quick {
        true => (&[2, 4, 8], &[16, 8]),
        false => (&[2, 3, 4, 6, 8, 12, 16, 24, 32], &[16, 8, 32]),
    };
    let study = trained_here(model, around(2), text, sizes, options);
    Ok(Study { window: Window { from: 16, to: None }, ..study })
}

fn smollm2(device: &Device, quick: bool) -> Result<Study> {
    // Of its first positions the very first is unlike all others.
    const FIRST: usize = 8;
    let model = Decoder::from_pretrained("smollm2-135m-instruct", device)?;
    let own = Tokenizer::from_pretrained("eigenlens/classics")?;
    let text = Contexts::from_pretrained("eigenlens/classics-4k")?;
    let text = shipped(&text.retokenized(&own, &model.tokenizer()?)?, quick)?;
    let options = SaeOptions {
        steps: if quick { 30 } else { 400 },
        report: if quick { 10 } else { 20 },
        buffer: if quick { 2_048 } else { 8_192 },
        skip_positions: FIRST,
        ..SaeOptions::default()
    };
    // Three at least: a power law has as many parameters.
    let expansions: &[usize] = if quick { &[2, 3, 4] } else { &[2, 4, 8, 16] };
    let study = trained_here(model, around(9), text, (expansions, &[32]), options);
    Ok(Study { window: Window { from: FIRST, to: None }, ..study })
}

/// A Gemma, as far as its autoencoders are concerned.
struct GemmaScope {
    layer: usize,
    layers: usize,
    releases: [Option<&'static str>; 3],
}

const GEMMA_2B: GemmaScope = GemmaScope {
    layer: 12,
    layers: 26,
    releases: [
        Some("gemma-scope-2b-pt-res"),
        Some("gemma-scope-2b-pt-mlp"),
        Some("gemma-scope-2b-pt-att"),
    ],
};

const GEMMA_9B: GemmaScope = GemmaScope {
    layer: 20,
    layers: 42,
    releases: [
        Some("gemma-scope-9b-pt-res"),
        Some("gemma-scope-9b-pt-mlp"),
        Some("gemma-scope-9b-pt-att"),
    ],
};

fn gemma(
    (name, count): (&str, usize),
    scope: GemmaScope,
    device: &Device,
    quick: bool,
) -> Result<Study> {
    let model = Decoder::from_pretrained(name, device)?;
    let config = model.config();
    // Of a model with fewer layers, such as one for tests, the last.
    let layer = if config.layers == scope.layers { scope.layer } else { config.layers - 1 };
    let length = config.context.min(1024);
    let (text, contexts) = documents(&model, (if quick { 8 } else { count }, length), quick)?;
    let options = SaeOptions {
        expansion: 16,
        k: 32,
        length,
        skip_positions: Window::scaled(length).from,
        steps: if quick { 20 } else { 1_000 },
        ..SaeOptions::default()
    };
    let study = trained_here(model, around(layer), (text, contexts), (&[16], &[32]), options);
    // The study looks at those nearest to an L0 of 60.
    Ok(Study { ks: vec![60], saes: StudySaes::Published(scope.releases), ..study })
}

fn gpt2(device: &Device, quick: bool) -> Result<Study> {
    const LENGTH: usize = 128;
    // Its autoencoders were trained on the model with centred weights.
    let model = Decoder::from_pretrained("openai-community/gpt2", device)?.centred_writing()?;
    let (text, contexts) = documents(&model, (if quick { 8 } else { 200 }, LENGTH), quick)?;
    let points =
        [HookPoint::ResidPre(8), HookPoint::ResidPre(7), HookPoint::MlpOut(7), HookPoint::Z(7)];
    let options = SaeOptions {
        k: 32,
        length: LENGTH,
        skip_positions: 1,
        steps: if quick { 20 } else { 1_000 },
        ..SaeOptions::default()
    };
    let study = trained_here(model, points, (text, contexts), (&[8], &[32]), options);
    let releases = [Some("gpt2-small-res-jb-feature-splitting"), None, None];
    Ok(Study { ks: vec![40], saes: StudySaes::Published(releases), ..study })
}

/// Documents for a model of the hub: the first `count` that are long enough as contexts, and others to
/// train on. Each begins with the token that begins a text, if the tokenizer has one.
fn documents(
    model: &Decoder,
    (count, length): (usize, usize),
    quick: bool,
) -> Result<(Tokens, Contexts)> {
    let name = std::env::var(TEXT).ok().filter(|name| !name.is_empty());
    let documents = Documents::from_pretrained(name.as_deref().unwrap_or(DOCUMENTS))?;
    let tokenizer = model.tokenizer()?;
    let enough = if quick { 20_000 } else { 2_000_000 };
    let (mut heads, mut text) = (Vec::new(), Vec::new());
    for document in documents.iter() {
        let tokens = match tokenizer.bos() {
            Some(_) => tokenizer.encode_with_bos(document)?,
            None => tokenizer.encode(document)?,
        };
        match tokens.len() >= length && heads.len() < count {
            true => heads.push(tokens),
            false => text.extend(tokens),
        }
        if heads.len() == count && text.len() >= enough {
            break;
        }
    }
    if text.len() < length {
        let expected =
            format!("more than {count} of at least {length} tokens, to train on the rest");
        return Err(Error::invalid(format!("{documents}"), expected, heads.len()));
    }
    Ok((Tokens::from(text), Contexts::heads_of(heads, length, None)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_have_names() {
        for (subject, name) in ALL {
            assert_eq!(subject.to_string(), name);
            assert_eq!(name.to_uppercase().parse::<Subject>().unwrap(), subject);
        }
        let error = "gemma".parse::<Subject>().unwrap_err().to_string();
        assert!(error.contains("one of classics, smollm2, gemma-2b"), "{error}");
    }

    #[test]
    fn the_classics_are_cut_into_training_and_held_out_contexts() {
        let all = Contexts::from_pretrained("eigenlens/classics-4k").unwrap();
        let (text, contexts) = shipped(&all, false).unwrap();
        assert_eq!(contexts.as_slice().len(), 52_352);
        assert_eq!(text.len() + contexts.as_slice().len(), all.as_slice().len());
        assert_eq!(contexts.get(1).unwrap(), all.get(19).unwrap());
        assert_eq!(text.as_slice()[9 * 128..10 * 128], *all.get(10).unwrap());
        let (_, few) = shipped(&all, true).unwrap();
        assert_eq!(few.len(), contexts.len().div_ceil(8));
        let study = classics(&Device::Cpu, false).unwrap();
        assert_eq!((study.widths[0], study.widths[8], study.ks[0]), (384, 6_144, 16));
        assert_eq!(study.point, HookPoint::ResidPost(2));
        let quick = classics(&Device::Cpu, true).unwrap();
        assert!(quick.options.steps < study.options.steps && quick.widths.len() == 3);
    }
}

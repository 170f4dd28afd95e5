//! Looking into a forward pass, and changing it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use candle_core::Tensor;

use crate::{Error, Result};

/// A place in the forward pass of a [`Decoder`](super::Decoder), each in the layer it names.
///
/// With `x` the residual stream `[batch, positions, d_model]` and `n` the norm:
///
/// ```text
/// q, k, v = W_q n(resid_pre), …           scores = q kᵀ/√d_head, future masked by -1e30
/// pattern = softmax(scores)               z = pattern v
/// attn_out = W_o z                        resid_mid = resid_pre + scale · attn_out
/// mlp_in = n(resid_mid)                   mlp_out = MLP(mlp_in)
/// resid_post = resid_mid + mlp_out
/// ```
///
/// It prints and parses under its short name (`1.resid_pre`) and parses under TransformerLens's
/// too (`blocks.1.hook_resid_pre`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookPoint {
    /// The residual stream before the attention; TransformerLens: `blocks.L.hook_resid_pre`.
    ResidPre(usize),
    /// Between attention and MLP; `blocks.L.hook_resid_mid`.
    ResidMid(usize),
    /// After the MLP; `blocks.L.hook_resid_post`.
    ResidPost(usize),
    /// What the MLP reads, after the norm; `blocks.L.ln2.hook_normalized`.
    MlpIn(usize),
    /// What the MLP writes; `blocks.L.hook_mlp_out`.
    MlpOut(usize),
    /// The attention's output before the scale with which it joins the residual stream;
    /// `blocks.L.hook_attn_out` (where TransformerLens's models have no such scale).
    AttnOut(usize),
    /// Attention probabilities `[batch, heads, queries, keys]`; `blocks.L.attn.hook_pattern`.
    Pattern(usize),
    /// Attention scores before the softmax, masked entries -1e30;
    /// `blocks.L.attn.hook_attn_scores`.
    Scores(usize),
    /// Each head's mix of values `[batch, positions, heads, d_head]`; `blocks.L.attn.hook_z`.
    Z(usize),
}

/// A kind of point, to be placed in a layer.
type Kind = fn(usize) -> HookPoint;

/// Short name, TransformerLens's name, and the point, of each kind.
const NAMES: [(&str, &str, Kind); 9] = [
    ("resid_pre", "hook_resid_pre", HookPoint::ResidPre),
    ("resid_mid", "hook_resid_mid", HookPoint::ResidMid),
    ("resid_post", "hook_resid_post", HookPoint::ResidPost),
    ("mlp_in", "ln2.hook_normalized", HookPoint::MlpIn),
    ("mlp_out", "hook_mlp_out", HookPoint::MlpOut),
    ("attn_out", "hook_attn_out", HookPoint::AttnOut),
    ("pattern", "attn.hook_pattern", HookPoint::Pattern),
    ("scores", "attn.hook_attn_scores", HookPoint::Scores),
    ("z", "attn.hook_z", HookPoint::Z),
];

impl HookPoint {
    /// Every point of a layer.
    pub fn all(layer: usize) -> [Self; 9] {
        NAMES.map(|(_, _, point)| point(layer))
    }

    /// The layer.
    pub fn layer(self) -> usize {
        match self {
            Self::ResidPre(layer)
            | Self::ResidMid(layer)
            | Self::ResidPost(layer)
            | Self::MlpIn(layer)
            | Self::MlpOut(layer)
            | Self::AttnOut(layer)
            | Self::Pattern(layer)
            | Self::Scores(layer)
            | Self::Z(layer) => layer,
        }
    }
}

impl HookPoint {
    /// TransformerLens's name.
    pub fn long_name(self) -> String {
        let layer = self.layer();
        let name = NAMES.iter().find(|(_, _, point)| point(layer) == self);
        format!("blocks.{layer}.{}", name.map_or("", |(_, long, _)| long))
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layer = self.layer();
        let name = NAMES.iter().find(|(_, _, point)| point(layer) == *self);
        write!(f, "{layer}.{}", name.map_or("", |(name, ..)| name))
    }
}

impl FromStr for HookPoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let place = text.strip_prefix("blocks.").unwrap_or(text);
        let found = place.split_once('.').and_then(|(layer, name)| {
            let (.., point) =
                NAMES.iter().find(|(short, long, _)| [*short, *long].contains(&name))?;
            Some(point(layer.parse().ok()?))
        });
        found.ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|(short, ..)| *short).collect();
            let expected = format!("a layer and one of {}, as in 3.mlp_in", names.join(", "));
            Error::invalid("a hook point", expected, text)
        })
    }
}

type Replacement = Arc<dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync>;

/// What a forward pass keeps, and what it exchanges.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::model::{Config, Decoder, HookPoint, Hooks};
/// # fn main() -> Result<()> {
/// let model = Decoder::random(Config { vocab: 11, ..Config::bilinear(2, 2, 8, 16) }, 0, &Device::Cpu)?;
/// let tokens = Tensor::new(&[[1u32, 2, 3]], &Device::Cpu)?;
/// let hooks = Hooks::new()
///     .capture(HookPoint::ResidPost(1))
///     .replace(HookPoint::MlpOut(0), |out| Ok(out.zeros_like()?));
/// let (logits, cache) = model.run(&tokens, &hooks)?;
/// assert_eq!(logits.dims(), [1, 3, 11]);
/// assert_eq!(cache.get(HookPoint::ResidPost(1))?.dims(), [1, 3, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Hooks {
    captures: Vec<HookPoint>,
    replacements: BTreeMap<HookPoint, Vec<Replacement>>,
}

impl Hooks {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the activation at `point`, after any replacement there.
    pub fn capture(mut self, point: HookPoint) -> Self {
        self.captures.push(point);
        self
    }

    /// Keeps the activations at all of `points`.
    pub fn capture_all(mut self, points: impl IntoIterator<Item = HookPoint>) -> Self {
        self.captures.extend(points);
        self
    }

    /// Goes on with `change(activation)` at `point`; several changes act in the order given. The
    /// result must have the activation's shape.
    pub fn replace(
        mut self,
        point: HookPoint,
        change: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        self.replacements.entry(point).or_default().push(Arc::new(change));
        self
    }

    /// Fails for a point that no forward pass of `layers` layers reaches.
    pub(super) fn check(&self, layers: usize) -> Result<()> {
        match self.captures.iter().chain(self.replacements.keys()).find(|p| p.layer() >= layers) {
            Some(point) => {
                let expected = format!("in a layer below {layers}, or it never fires");
                Err(Error::invalid("a hook", expected, point))
            }
            None => Ok(()),
        }
    }

    /// Whether nothing is kept or exchanged at `point`.
    pub(super) fn pass_by(&self, point: HookPoint) -> bool {
        !self.captures.contains(&point) && !self.replacements.contains_key(&point)
    }

    /// Lets the hooks at `point` act on `activation`, and keeps what they leave in `cache`.
    pub(super) fn at(
        &self,
        point: HookPoint,
        activation: Tensor,
        cache: &mut Cache,
    ) -> Result<Tensor> {
        let mut activation = activation;
        for change in self.replacements.get(&point).into_iter().flatten() {
            let changed = change(&activation)?;
            if changed.dims() != activation.dims() {
                let what = format!("what replaces {point}");
                return Err(Error::shape(what, format!("{:?}", activation.dims()), changed.dims()));
            }
            activation = changed;
        }
        if self.captures.contains(&point) {
            cache.0.insert(point, activation.clone());
        }
        Ok(activation)
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |points: Vec<&HookPoint>| -> Vec<String> {
            points.iter().map(ToString::to_string).collect()
        };
        f.debug_struct("Hooks")
            .field("capture", &names(self.captures.iter().collect()))
            .field("replace", &names(self.replacements.keys().collect()))
            .finish()
    }
}

/// The activations that a forward pass kept.
#[derive(Debug, Clone, Default)]
pub struct Cache(BTreeMap<HookPoint, Tensor>);

impl Cache {
    /// The activation at `point`.
    ///
    /// # Errors
    /// A point that no hook captured.
    pub fn get(&self, point: HookPoint) -> Result<&Tensor> {
        self.0.get(&point).ok_or_else(|| Error::NotFound {
            what: format!("the activation {point}"),
            hint: format!("Capture it first: Hooks::new().capture({point:?})."),
        })
    }

    /// All points and their activations, by layer.
    pub fn iter(&self) -> impl Iterator<Item = (HookPoint, &Tensor)> {
        self.0.iter().map(|(point, tensor)| (*point, tensor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_its_point() {
        for ((short, long, _), point) in NAMES.iter().zip(HookPoint::all(12)) {
            assert_eq!(point.to_string(), format!("12.{short}"));
            assert_eq!(point.to_string().parse::<HookPoint>().unwrap(), point);
            assert_eq!(format!("blocks.12.{long}").parse::<HookPoint>().unwrap(), point);
        }
        let message = "3.resid".parse::<HookPoint>().unwrap_err().to_string();
        assert!(message.contains("resid_mid") && message.contains("3.resid"), "{message}");
        assert!("x.resid_pre".parse::<HookPoint>().is_err());
    }
}

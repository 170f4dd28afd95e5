//! Interventions as the page writes them.

use eigenlens::multilayer::LatentIntervention;
use serde::Deserialize;

use crate::fault::Fault;
use crate::server::Served;

/// Interventions in a request at most.
const MOST: usize = 64;
/// The largest amount, either way.
const LARGEST: f64 = 1e6;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Intervention {
    latent: usize,
    #[serde(default)]
    layers: Layers,
    how: How,
    amount: Option<f64>,
    #[serde(default)]
    positions: Positions,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Layers {
    #[default]
    All,
    Only(usize),
    From(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum How {
    Add,
    AddColumn,
    Scale,
    Set,
    Ablate,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Positions {
    Named(NamedPositions),
    These(Vec<usize>),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NamedPositions {
    All,
    Last,
}

impl Default for Positions {
    fn default() -> Self {
        Self::Named(NamedPositions::All)
    }
}

/// Interventions as the library has them.
pub(super) fn interventions(
    served: &Served,
    asked: &[Intervention],
) -> Result<Vec<LatentIntervention>, Fault> {
    if asked.len() > MOST {
        let expected = format!("at most {MOST}");
        return Err(Fault::invalid("the number of interventions", expected, asked.len()));
    }
    asked.iter().map(|own| own.checked(served)).collect()
}

impl Intervention {
    fn checked(&self, served: &Served) -> Result<LatentIntervention, Fault> {
        let subject = &served.subject;
        if self.latent >= subject.latents() {
            let expected = format!("below {}", subject.latents());
            return Err(Fault::invalid("the latent of an intervention", expected, self.latent));
        }
        let amount = match (self.how, self.amount) {
            (How::Ablate, None) => 0.0,
            (How::Ablate, Some(amount)) => {
                return Err(Fault::invalid("`amount`", "left out for `ablate`", amount));
            }
            (_, Some(amount)) if amount.abs() <= LARGEST => amount,
            (_, amount) => {
                let found = amount.map_or_else(|| "none".to_owned(), |own| own.to_string());
                let expected = format!("between -{LARGEST} and {LARGEST}");
                return Err(Fault::invalid("`amount`", expected, found));
            }
        };
        let latent = self.latent;
        let own = match self.how {
            How::Add => LatentIntervention::add(latent, amount),
            How::AddColumn => LatentIntervention::add_column(latent, amount),
            How::Scale => LatentIntervention::scale(latent, amount),
            How::Set => LatentIntervention::set(latent, amount),
            How::Ablate => LatentIntervention::ablate(latent),
        };
        let own = match self.layers {
            Layers::All => own,
            Layers::Only(layer) => {
                subject.place_of(layer)?;
                own.at(layer)
            }
            Layers::From(layer) => {
                subject.place_of(layer)?;
                own.from(layer)
            }
        };
        Ok(match &self.positions {
            Positions::Named(NamedPositions::All) => own,
            Positions::Named(NamedPositions::Last) => own.at_last(),
            Positions::These(positions) if positions.len() > subject.context => {
                let expected = format!("at most {}", subject.context);
                let what = "the number of positions";
                return Err(Fault::invalid(what, expected, positions.len()));
            }
            Positions::These(positions) => own.at_positions(positions.iter().copied()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let read = |text: &str| serde_json::from_str::<Intervention>(text);
        for text in [
            r#"{"latent":1,"how":"add","amount":2}"#,
            r#"{"latent":1,"layers":"all","how":"ablate","positions":"last"}"#,
            r#"{"latent":1,"layers":{"only":2},"how":"set","amount":1,"positions":[0,3]}"#,
            r#"{"latent":1,"layers":{"from":0},"how":"scale","amount":0.5,"positions":"all"}"#,
        ] {
            assert!(read(text).is_ok(), "{text}");
        }
        for text in [
            r#"{"latent":1,"how":"melt","amount":2}"#,
            r#"{"latent":1,"how":"add","amount":2,"more":1}"#,
            r#"{"latent":-1,"how":"add","amount":2}"#,
            r#"{"latent":1,"how":"add","amount":2,"positions":"first"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}

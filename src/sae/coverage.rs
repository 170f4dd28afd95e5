//! How many of the published autoencoders belong to a model that loads.

use std::collections::BTreeMap;
use std::fmt;

use super::Registry;
use crate::display::show_as_text;
use crate::model::{KnownModel, ModelSupport};

/// How many autoencoders of a [`Registry`] belong to each family of models, and to models that load.
///
/// ```
/// use eigenlens::sae::Registry;
/// # fn main() -> eigenlens::Result<()> {
/// let coverage = Registry::all()?.coverage();
/// assert!(coverage.share() > 0.9);
/// println!("{coverage}");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Coverage {
    /// A row per `model_type`, the one with the most autoencoders first.
    pub rows: Vec<CoverageRow>,
}

/// The autoencoders of one family of models.
#[derive(Debug, Clone, PartialEq)]
pub struct CoverageRow {
    /// The `model_type` in the models' `config.json`; `None` for models that are not known by name.
    pub model_type: Option<&'static str>,
    /// Autoencoders.
    pub saes: usize,
    /// Those of them whose model loads.
    pub loading: usize,
    /// Those of them whose model is gated.
    pub gated: usize,
    /// Whether they load; [`ModelSupport::Gated`] if all that load are gated.
    pub support: ModelSupport,
}

impl Registry {
    /// How many autoencoders belong to each family of models, and how many of them to models that
    /// load, gated ones included.
    pub fn coverage(&self) -> Coverage {
        let mut families: BTreeMap<Option<&'static str>, CoverageRow> = BTreeMap::new();
        for entry in self.entries() {
            let model = KnownModel::find(&entry.model);
            let model_type = model.as_ref().map(KnownModel::model_type);
            let support = model.map_or(ModelSupport::Unknown, |model| model.support());
            let loads = usize::from(support.loads());
            let is_gated = usize::from(support == ModelSupport::Gated);
            let is_open = support == ModelSupport::Loads;
            let row = CoverageRow { model_type, saes: 0, loading: 0, gated: 0, support };
            let row = families.entry(model_type).or_insert(row);
            row.saes += 1;
            row.loading += loads;
            row.gated += is_gated;
            if is_open {
                row.support = ModelSupport::Loads;
            }
        }
        let mut rows: Vec<CoverageRow> = families.into_values().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.saes));
        Coverage { rows }
    }
}

impl Coverage {
    /// Autoencoders.
    pub fn saes(&self) -> usize {
        self.rows.iter().map(|row| row.saes).sum()
    }

    /// The share of the autoencoders whose model loads; 0 of none.
    pub fn share(&self) -> f64 {
        let loading: usize = self.rows.iter().map(|row| row.loading).sum();
        loading as f64 / self.saes().max(1) as f64
    }
}

show_as_text!(Coverage);

impl fmt::Display for Coverage {
    /// A line per family, and one of all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for CoverageRow { model_type, saes, loading, gated, support } in &self.rows {
            write!(f, "{:<12} {saes:>6}  {support}", model_type.unwrap_or("other"))?;
            if *gated > 0 && gated < loading {
                write!(f, " ({gated} gated)")?;
            }
            writeln!(f)?;
        }
        let percent = 100.0 * self.share();
        write!(f, "{:<12} {:>6}  {percent:.1} % of models that load", "all", self.saes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_all_published_autoencoders_belong_to_a_model_that_loads() {
        let all = Registry::all().unwrap();
        let coverage = all.coverage();
        assert_eq!(coverage.saes(), all.entries().len());
        let loading = all.loading().entries().len();
        assert!((coverage.share() - loading as f64 / coverage.saes() as f64).abs() < 1e-12);
        assert!(coverage.share() >= 0.96, "{coverage}");
        let unknown = all.entries().iter().find(|entry| !entry.support().is_known());
        assert_eq!(unknown.map(|entry| &entry.model), None, "a name for src/model/names.rs");
    }

    #[test]
    fn what_the_doctor_prints_is_what_the_families_are() {
        let kept = include_str!("../../assets/sae/coverage.txt");
        let found = format!("{}\n", Registry::all().unwrap().coverage());
        assert_eq!(kept, found, "assets/sae/coverage.txt is to hold:\n{found}");
    }

    #[test]
    fn no_autoencoders_are_no_share() {
        let none = Registry::all().unwrap().search("no-such-thing").coverage();
        assert_eq!((none.saes(), none.share()), (0, 0.0));
        assert!(none.to_string().contains("0.0 %"), "{none}");
    }
}

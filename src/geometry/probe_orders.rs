//! Probes of other orders of the classes.

use super::order_null::{NullDistribution, OrderNull};
use super::probe::Probe;
use crate::progress::safe_point;
use crate::{Error, Result};

impl Probe {
    /// The pooled `R²` that probes of the same components have if the classes lie in other orders.
    ///
    /// All probes share one orthonormal basis Q of the scores, and `R² = ‖QᵀT‖² / ‖T − t̄‖²`, so that
    /// an order costs k p q multiplications.
    ///
    /// # Errors
    /// [`Error::Invalid`] for too many orders, or a probe that was not fitted by least squares;
    /// [`Error::Interrupted`] when Stop is pressed.
    pub fn orders(&self, null: OrderNull) -> Result<NullDistribution> {
        let Some(span) = &self.span else {
            let expected = "one of `Probe::fit`, whose R² has a closed form";
            return Err(Error::invalid("the probe", expected, "an inverse probe"));
        };
        let targets = self.targets();
        let (classes, class_of) = (targets.classes(), targets.class_of());
        let orders = null.orders(classes, targets.is_circular())?;
        // A row per target, a number per class.
        let numbers: Vec<Vec<f64>> = targets.of_class().t()?.to_vec2()?;
        let basis: Vec<Vec<f64>> = span.to_vec2()?;
        // Sums of the basis over the rows of each class, and how many these are.
        let mut sums = vec![vec![0.0; classes]; basis[0].len()];
        let mut counts = vec![0.0; classes];
        for (row, &class) in basis.iter().zip(class_of) {
            sums.iter_mut().zip(row).for_each(|(sums, own)| sums[class] += own);
            counts[class] += 1.0;
        }
        let score = |order: &[usize]| {
            let (mut explained, mut all) = (0.0, 0.0);
            for target in &numbers {
                let at = |class: usize| target[order[class]];
                for sums in &sums {
                    let sum = sums.iter().enumerate().map(|(class, sum)| sum * at(class));
                    explained += sum.sum::<f64>().powi(2);
                }
                let moment = |power: i32| -> f64 {
                    (0..classes).map(|class| counts[class] * at(class).powi(power)).sum()
                };
                all += moment(2) - moment(1).powi(2) / class_of.len() as f64;
            }
            explained / all
        };
        let mut values = Vec::with_capacity(orders.len());
        for (i, order) in orders.iter().enumerate() {
            if i % 1_024 == 0 {
                safe_point("the null of orders")?;
            }
            values.push(score(order));
        }
        let own: Vec<usize> = (0..classes).collect();
        Ok(NullDistribution::new(score(&own), values, null))
    }
}

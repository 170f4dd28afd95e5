//! What a score is worth: the same score for other orders of the classes.

use std::fmt;

use crate::check::check_sizes;
use crate::display::show_as_text;
use crate::random::Rng;
use crate::{Error, Result};

/// Most orders that are all tried.
const MOST_ORDERS: usize = 1_000_000;
/// Scores nearer than this are equal.
const EQUAL: f64 = 1e-9;

/// Which orders of the classes a score is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderNull {
    /// All of them. Around a circle an order, its rotations and its mirror image are one, so there
    /// are (p − 1)!/2: 360 for a week, 19,958,400 for a year, which are too many.
    All,
    /// Random ones.
    Sample {
        /// How many.
        count: usize,
        /// Seed of the draws.
        seed: u64,
    },
}

impl OrderNull {
    /// The orders: entry `v` of each is the place of class `v`.
    pub(super) fn orders(self, classes: usize, circular: bool) -> Result<Vec<Vec<usize>>> {
        match self {
            Self::Sample { count, seed } => {
                check_sizes(&[("the number of orders", count)])?;
                let mut rng = Rng::seed(seed);
                let order = |rng: &mut Rng| {
                    rng.permutation(classes).into_iter().map(|place| place as usize).collect()
                };
                Ok((0..count).map(|_| order(&mut rng)).collect())
            }
            Self::All => {
                let free = if circular { classes - 1 } else { classes };
                let count = (1..=free).try_fold(1usize, |all, n| all.checked_mul(n));
                if count.is_none_or(|count| count / if circular { 2 } else { 1 } > MOST_ORDERS) {
                    let expected =
                        format!("at most {MOST_ORDERS}: draw some with `OrderNull::Sample`");
                    let found = format!("those of {classes} classes");
                    return Err(Error::invalid("the number of all orders", expected, found));
                }
                let mut order: Vec<usize> = (0..classes).collect();
                let mut found = Vec::new();
                permute(&mut order, usize::from(circular), &mut |order| {
                    if !circular || classes < 3 || order[1] < order[classes - 1] {
                        found.push(order.to_vec());
                    }
                });
                Ok(found)
            }
        }
    }
}

/// Calls `visit` with every order of the entries from `start` on.
fn permute(order: &mut [usize], start: usize, visit: &mut impl FnMut(&[usize])) {
    if start >= order.len() {
        visit(order);
        return;
    }
    for other in start..order.len() {
        order.swap(start, other);
        permute(order, start + 1, visit);
        order.swap(start, other);
    }
}

/// A score, and what it is for other orders of the classes.
#[derive(Debug, Clone, PartialEq)]
pub struct NullDistribution {
    /// The score of the true order.
    pub own: f64,
    /// The scores of the other orders, in no order; with [`OrderNull::All`] the true one is among
    /// them.
    pub values: Vec<f64>,
    /// Whether the orders were drawn.
    pub is_sample: bool,
}

impl NullDistribution {
    pub(super) fn new(own: f64, values: Vec<f64>, null: OrderNull) -> Self {
        Self { own, values, is_sample: matches!(null, OrderNull::Sample { .. }) }
    }

    /// The place of the true order from the highest score down; 1 if no other has a higher one.
    pub fn rank(&self) -> usize {
        1 + self.values.iter().filter(|value| **value > self.own + EQUAL).count()
    }

    /// The chance of a score as high as the true order's if all orders are equally likely: the
    /// share of them with such a score, or `(1 + those) / (1 + all)` of drawn ones.
    pub fn p_value(&self) -> f64 {
        let high = self.values.iter().filter(|value| **value >= self.own - EQUAL).count();
        let more = usize::from(self.is_sample);
        (high + more) as f64 / (self.values.len() + more) as f64
    }

    /// The mean score of all orders.
    pub fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }

    /// The highest score of all orders.
    pub fn highest(&self) -> f64 {
        self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

show_as_text!(NullDistribution);

impl fmt::Display for NullDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let drawn = if self.is_sample { "drawn orders" } else { "orders" };
        write!(
            f,
            "{:.3} for the true order, rank {} of {} {drawn}: mean {:.3}, highest {:.3}, p = {:.4}",
            self.own,
            self.rank(),
            self.values.len(),
            self.mean(),
            self.highest(),
            self.p_value()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_circle_comes_once() {
        for (classes, count) in [(3, 1), (5, 12), (7, 360)] {
            let orders = OrderNull::All.orders(classes, true).unwrap();
            // Neighbours tell a circle up to rotation and mirror image.
            let circles: BTreeSet<Vec<(usize, usize)>> = orders
                .iter()
                .map(|order| {
                    let mut at = vec![0; classes];
                    order.iter().enumerate().for_each(|(class, &place)| at[place] = class);
                    let mut pairs: Vec<_> = (0..classes)
                        .map(|i| (at[i], at[(i + 1) % classes]))
                        .map(|(a, b)| (a.min(b), a.max(b)))
                        .collect();
                    pairs.sort_unstable();
                    pairs
                })
                .collect();
            assert_eq!((orders.len(), circles.len()), (count, count));
            assert!(orders.contains(&(0..classes).collect()));
        }
        let lines = OrderNull::All.orders(4, false).unwrap();
        assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), 24);
    }

    #[test]
    fn a_rank_counts_higher_scores() {
        let null = NullDistribution::new(0.5, vec![0.1, 0.5, 0.7, 0.3], OrderNull::All);
        assert_eq!((null.rank(), null.p_value(), null.highest()), (2, 0.5, 0.7));
        assert!((null.mean() - 0.4).abs() < 1e-15);
        let drawn = OrderNull::Sample { count: 4, seed: 0 };
        let null = NullDistribution::new(0.9, vec![0.1, 0.5, 0.7, 0.3], drawn);
        assert_eq!((null.rank(), null.p_value()), (1, 0.2));
        assert!(null.to_string().contains("rank 1 of 4 drawn orders"), "{null}");
    }

    #[test]
    fn too_many_orders_are_refused() {
        let text = |null: OrderNull, classes| null.orders(classes, true).unwrap_err().to_string();
        assert!(text(OrderNull::All, 12).contains("OrderNull::Sample"));
        assert!(text(OrderNull::All, 100).contains("OrderNull::Sample"));
        assert!(text(OrderNull::Sample { count: 0, seed: 0 }, 7).contains("the number of orders"));
        let drawn = OrderNull::Sample { count: 5, seed: 1 }.orders(12, true).unwrap();
        assert!(drawn.iter().all(|order| order.iter().collect::<BTreeSet<_>>().len() == 12));
    }
}

//! What a probe is to read from activations: places of classes on circles and lines.

use std::f64::consts::TAU;
use std::fmt;

use candle_core::{DType, Device, Tensor};

use crate::check::check_finite;
use crate::display::show_as_text;
use crate::{Error, Result};

/// Numbers that belong to the class of each row, such as the place of a weekday on a circle.
///
/// ```
/// use eigenlens::geometry::Targets;
/// # fn main() -> eigenlens::Result<()> {
/// let week = Targets::circle([0, 1, 2, 3, 4, 5, 6], 7, &[1])?; // one row a day
/// assert_eq!(week.columns()?.dims(), [7, 2]); // cosine and sine
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Targets {
    names: Vec<String>,
    class_of: Vec<usize>,
    /// `[classes, columns]`, f64.
    of_class: Tensor,
    /// Whether all columns are of circles, so that turning them all changes nothing.
    is_circular: bool,
    /// The first circle's frequency, if its two columns come first.
    frequency: Option<usize>,
}

impl Targets {
    /// `cos(2πfv/p)` and `sin(2πfv/p)` for the class `v` of each row, from 0 to p − 1 with p =
    /// `period`, and for each frequency `f` of `frequencies`. The frequency p/2 has a cosine alone,
    /// because its sine is 0 for every class.
    ///
    /// # Errors
    /// [`Error::Invalid`] without rows, for a period below 3, for a class that is not below it, for
    /// no frequency, or for one that is not from 1 to p/2 or comes twice.
    pub fn circle(
        class_of: impl IntoIterator<Item = usize>,
        period: usize,
        frequencies: &[usize],
    ) -> Result<Self> {
        if period < 3 {
            return Err(Error::invalid("the period of a circle", "at least 3", period));
        }
        let range = format!("different numbers from 1 to {}, half of the period", period / 2);
        if frequencies.is_empty() {
            return Err(Error::invalid("the frequencies", range, "none"));
        }
        let (mut names, mut columns) = (Vec::new(), Vec::new());
        for (i, &frequency) in frequencies.iter().enumerate() {
            let again = frequencies[..i].contains(&frequency);
            if frequency == 0 || 2 * frequency > period || again {
                return Err(Error::invalid("the frequencies", range, format!("{frequencies:?}")));
            }
            let angle = |class: usize| TAU * ((frequency * class) % period) as f64 / period as f64;
            columns.push((0..period).map(|class| angle(class).cos()).collect());
            names.push(format!("cos {frequency}"));
            if 2 * frequency < period {
                columns.push((0..period).map(|class| angle(class).sin()).collect());
                names.push(format!("sin {frequency}"));
            }
        }
        let frequency = frequencies.first().copied().filter(|first| 2 * first < period);
        Ok(Self { is_circular: true, frequency, ..Self::of_columns(names, class_of, columns)? })
    }

    /// `v − (p − 1)/2` for the class `v` of each row, from 0 to p − 1: a line in place of a circle.
    ///
    /// # Errors
    /// [`Error::Invalid`] without rows, for a period below 2, for a class that is not below it.
    pub fn centred_linear(
        class_of: impl IntoIterator<Item = usize>,
        period: usize,
    ) -> Result<Self> {
        if period < 2 {
            return Err(Error::invalid("the period", "at least 2", period));
        }
        let middle = (period - 1) as f64 / 2.0;
        let line = (0..period).map(|class| class as f64 - middle).collect();
        Self::of_columns(vec!["linear".to_owned()], class_of, vec![line])
    }

    /// Any numbers of classes, `of_class` `[classes, columns]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for another rank, [`Error::NonFinite`] for NaN, [`Error::Invalid`] without
    /// rows or for a class that is not below the number of classes.
    pub fn of_classes(
        class_of: impl IntoIterator<Item = usize>,
        of_class: &Tensor,
    ) -> Result<Self> {
        let [_, columns] = *of_class.dims() else {
            return Err(Error::shape("the targets", "[classes, columns]", of_class.dims()));
        };
        let of_class = of_class.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let names = (0..columns).map(|column| format!("column {column}")).collect();
        Self::checked(names, class_of, of_class)
    }

    fn of_columns(
        names: Vec<String>,
        class_of: impl IntoIterator<Item = usize>,
        columns: Vec<Vec<f64>>,
    ) -> Result<Self> {
        let of_class = Tensor::new(columns, &Device::Cpu)?.t()?.contiguous()?;
        Self::checked(names, class_of, of_class)
    }

    fn checked(
        names: Vec<String>,
        class_of: impl IntoIterator<Item = usize>,
        of_class: Tensor,
    ) -> Result<Self> {
        let (classes, columns) = of_class.dims2()?;
        if classes == 0 || columns == 0 {
            return Err(Error::shape("the targets", "at least one number", of_class.dims()));
        }
        check_finite("the targets", &of_class)?;
        let class_of: Vec<usize> = class_of.into_iter().collect();
        if class_of.is_empty() {
            return Err(Error::invalid("the rows of the targets", "at least one", "none"));
        }
        if let Some(class) = class_of.iter().find(|class| **class >= classes) {
            let expected = format!("below {classes}, the number of classes");
            return Err(Error::invalid("the class of a row", expected, class));
        }
        Ok(Self { names, class_of, of_class, is_circular: false, frequency: None })
    }

    /// The columns of several targets of the same rows side by side.
    ///
    /// # Errors
    /// [`Error::Invalid`] for none or for targets of other classes.
    pub fn join(all: &[Self]) -> Result<Self> {
        let Some(first) = all.first() else {
            return Err(Error::invalid("the targets to join", "at least one", "none"));
        };
        if all.iter().any(|own| own.class_of != first.class_of || own.classes() != first.classes())
        {
            let expected = "of the same classes in the same rows";
            return Err(Error::invalid("the targets to join", expected, "others"));
        }
        let columns: Vec<&Tensor> = all.iter().map(|own| &own.of_class).collect();
        Ok(Self {
            names: all.iter().flat_map(|own| own.names.clone()).collect(),
            class_of: first.class_of.clone(),
            of_class: Tensor::cat(&columns, 1)?,
            is_circular: all.iter().all(|own| own.is_circular),
            frequency: first.frequency,
        })
    }

    /// The same with class `v` at the place of class `order[v]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `order` is an order of all classes.
    pub fn permuted(&self, order: &[usize]) -> Result<Self> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..self.classes()) {
            let expected = format!("every number below {} once", self.classes());
            return Err(Error::invalid("the order of the classes", expected, format!("{order:?}")));
        }
        Ok(Self { of_class: rows(&self.of_class, order)?, ..self.clone() })
    }

    /// The same targets for some of the rows.
    pub(super) fn of_rows(&self, rows: &[usize]) -> Self {
        let class_of = rows.iter().map(|&row| self.class_of[row]).collect();
        Self { class_of, ..self.clone() }
    }

    /// What each column is: `cos 1`, `sin 1`, `linear`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The class of each row.
    pub fn class_of(&self) -> &[usize] {
        &self.class_of
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.of_class.dims()[0]
    }

    /// Numbers of each class, `[classes, columns]`, f64.
    pub fn of_class(&self) -> &Tensor {
        &self.of_class
    }

    /// Numbers of each row, `[rows, columns]`, f64.
    ///
    /// # Errors
    /// [`Error::Tensor`] if memory runs out.
    pub fn columns(&self) -> Result<Tensor> {
        rows(&self.of_class, &self.class_of)
    }

    /// Whether all columns are of circles.
    pub(super) fn is_circular(&self) -> bool {
        self.is_circular
    }

    /// The mean distance around the first circle, in classes, between what was predicted,
    /// `[rows, columns]`, and each row's class; `None` if no circle comes first. Guessing gives a
    /// quarter of the period.
    ///
    /// # Errors
    /// [`Error::Shape`] for predictions of another shape.
    pub fn angle_error(&self, predictions: &Tensor) -> Result<Option<f64>> {
        let shape = [self.class_of.len(), self.names.len()];
        if predictions.dims() != shape {
            return Err(Error::shape("the predictions", format!("{shape:?}"), predictions.dims()));
        }
        let Some(frequency) = self.frequency else { return Ok(None) };
        let period = self.classes() as f64;
        let own: Vec<Vec<f64>> = self.columns()?.to_vec2()?;
        let found: Vec<Vec<f64>> = predictions.to_dtype(DType::F64)?.to_vec2()?;
        let apart = |(own, found): (&Vec<f64>, &Vec<f64>)| {
            let cosine = own[0] * found[0] + own[1] * found[1];
            let sine = own[0] * found[1] - own[1] * found[0];
            sine.atan2(cosine).abs() / TAU * period / frequency as f64
        };
        let sum: f64 = own.iter().zip(&found).map(apart).sum();
        Ok(Some(sum / own.len() as f64))
    }
}

/// Some rows of a matrix.
pub(super) fn rows(x: &Tensor, which: &[usize]) -> Result<Tensor> {
    let ids: Vec<u32> = which.iter().map(|&row| row as u32).collect();
    Ok(x.index_select(&Tensor::new(ids, x.device())?, 0)?)
}

show_as_text!(Targets);

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, classes) = (self.class_of.len(), self.classes());
        write!(f, "Targets {} of {rows} rows in {classes} classes", self.names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_lie_where_they_should() {
        let targets = Targets::circle([0, 3, 6], 12, &[1, 6]).unwrap();
        assert_eq!(targets.names(), ["cos 1", "sin 1", "cos 6"]);
        let found: Vec<Vec<f64>> = targets.columns().unwrap().to_vec2().unwrap();
        for (row, expected) in
            found.iter().zip([[1.0, 0.0, 1.0], [0.0, 1.0, -1.0], [-1.0, 0.0, 1.0]])
        {
            assert!(row.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{row:?}");
        }
        let line = Targets::centred_linear([0, 6], 7).unwrap();
        assert_eq!(line.columns().unwrap().to_vec2::<f64>().unwrap(), [[-3.0], [3.0]]);
        let circle = Targets::circle([0, 6], 7, &[1]).unwrap();
        let both = Targets::join(&[circle.clone(), line]).unwrap();
        assert_eq!((both.names().len(), both.is_circular()), (3, false));
        let moved = circle.permuted(&[1, 2, 3, 4, 5, 6, 0]).unwrap();
        let expected = Targets::circle([1, 0], 7, &[1]).unwrap().columns().unwrap();
        let apart = (moved.columns().unwrap() - expected).unwrap().abs().unwrap();
        assert_eq!(apart.max_all().unwrap().to_scalar::<f64>().unwrap(), 0.0);
    }

    #[test]
    fn an_error_of_angle_is_counted_in_classes() {
        for frequency in [1, 2] {
            let targets = Targets::circle([0, 1, 2], 7, &[frequency]).unwrap();
            let two_on = Targets::circle([2, 3, 0], 7, &[frequency]).unwrap().columns().unwrap();
            let found = targets.angle_error(&(two_on * 0.3).unwrap()).unwrap().unwrap();
            let expected = if frequency == 1 { 2.0 } else { 1.5 };
            // Twice around, four seventh to one side are three to the other: of 7, 3/2 classes.
            assert!((found - expected).abs() < 1e-12, "{frequency}: {found}");
        }
        let line = Targets::centred_linear([0, 6], 7).unwrap();
        assert_eq!(line.angle_error(&line.columns().unwrap()).unwrap(), None);
    }

    #[test]
    fn bad_targets_are_named() {
        let text = |result: Result<Targets>| result.unwrap_err().to_string();
        assert!(text(Targets::circle([7], 7, &[1])).contains("below 7"));
        assert!(text(Targets::circle([], 7, &[1])).contains("at least one"));
        assert!(text(Targets::circle([0], 2, &[1])).contains("at least 3"));
        for bad in [&[0][..], &[4], &[1, 1], &[]] {
            assert!(text(Targets::circle([0], 7, bad)).contains("from 1 to 3"), "{bad:?}");
        }
        assert!(text(Targets::centred_linear([0], 1)).contains("at least 2"));
        let week = Targets::circle([0, 1], 7, &[1]).unwrap();
        let year = Targets::circle([0, 1], 12, &[1]).unwrap();
        assert!(text(Targets::join(&[week.clone(), year])).contains("same classes"));
        assert!(text(Targets::join(&[])).contains("at least one"));
        assert!(text(week.permuted(&[0, 1, 2, 3, 4, 5, 5])).contains("once"));
        let cube = Tensor::zeros((1, 1, 1), DType::F32, &Device::Cpu).unwrap();
        assert!(text(Targets::of_classes([0], &cube)).contains("[classes, columns]"));
        assert!(week.angle_error(&cube).is_err());
    }
}

//! The matrix of angles, never made: a constant, the vectors' own products, and what large cosines add.

use std::f64::consts::PI;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::features::pairs::{PairVisitor, UnitVectors};
use crate::linalg::{matmul, matmul_nt, with_values};
use crate::{Error, Result};

/// `D^-½ A D^-½` by its products.
pub(super) struct AngularMatrix<'a> {
    unit: &'a UnitVectors,
    /// `(arcsin(s) − s)/π` of large cosines.
    rest: SparseRest,
    /// What the other parts have on the diagonal, where A has 0; `[n]`.
    diagonal: Tensor,
    /// `D^-½`, `[n]`.
    pub(super) scale: Tensor,
    /// A bound on what is left out of a row sum, in units of the least of them.
    pub(super) left_out: f64,
}

impl<'a> AngularMatrix<'a> {
    pub(super) fn of(unit: &'a UnitVectors, linear_below: f64) -> Result<Self> {
        let [n, _] = unit.dims();
        let (rest, dropped) = SparseRest::of(unit, linear_below)?;
        let diagonal = ((unit.rows().sqr()?.sum(1)? / PI)? + 0.5)?;
        let ones = Tensor::ones(n, DType::F32, &Device::Cpu)?;
        let mut own = Self { unit, rest, diagonal, scale: ones.clone(), left_out: 0.0 };
        let degrees = own.multiply(&ones.unsqueeze(0)?)?.squeeze(0)?;
        let least = degrees.min(0)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if least <= 0.0 {
            let expected = "not all opposite to one of them";
            return Err(Error::invalid("the vectors", expected, "a row sum of angles of 0"));
        }
        own.scale = degrees.powf(-0.5)?;
        own.left_out = dropped / (PI * least);
        Ok(own)
    }

    /// Products with rows `[b, n]`.
    pub(super) fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.broadcast_mul(&self.scale)?;
        let rows = self.unit.rows();
        let linear = (matmul_nt(&matmul(&x, rows)?, rows)? / PI)?;
        let sums = (x.sum_keepdim(1)? * 0.5)?;
        let all = (linear.broadcast_add(&sums)? - x.broadcast_mul(&self.diagonal)?)?;
        Ok((all + self.rest.multiply(&x)?)?.broadcast_mul(&self.scale)?)
    }
}

/// A sparse symmetric matrix without a diagonal.
struct SparseRest {
    offsets: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl SparseRest {
    /// The entries of cosines of at least `from` in magnitude, and a bound on the row sums of the
    /// magnitudes `|arcsin(s) − s|` of the others.
    fn of(unit: &UnitVectors, from: f64) -> Result<(Self, f64)> {
        let [n, _] = unit.dims();
        let scan = RestScan { from: from as f32, found: Mutex::new((Vec::new(), vec![0.0; n])) };
        unit.visit("the angles", &scan)?;
        let (parts, cubes) = scan.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        // arcsin(s) − s = s³/6 + 3s⁵/40 + …: its ratio to s³ grows with s.
        let ratio = if from > 0.0 { (from.asin() - from) / from.powi(3) } else { 0.0 };
        let dropped = cubes.into_iter().fold(0.0, f64::max) * ratio;
        let mut offsets = vec![0usize; n + 1];
        for entry in parts.iter().flatten() {
            offsets[entry.i as usize + 1] += 1;
            offsets[entry.j as usize + 1] += 1;
        }
        for i in 0..n {
            offsets[i + 1] += offsets[i];
        }
        let mut ends = offsets[..n].to_vec();
        let (mut columns, mut values) = (vec![0; offsets[n]], vec![0.0; offsets[n]]);
        let mut push = |row: u32, column: u32, value: f32| {
            let end = &mut ends[row as usize];
            (columns[*end], values[*end]) = (column, value);
            *end += 1;
        };
        for entry in parts.into_iter().flatten() {
            let s = f64::from(entry.cosine.clamp(-1.0, 1.0));
            let value = ((s.asin() - s) / PI) as f32;
            push(entry.i, entry.j, value);
            push(entry.j, entry.i, value);
        }
        Ok((Self { offsets, columns, values }, dropped))
    }

    /// Products with rows `[b, n]`.
    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        let (b, n) = (x.dims()[0], x.dims()[1]);
        // A row for each entry of x, so that what is summed lies together.
        let turned = x.t()?.contiguous()?;
        let sums: Vec<f32> = with_values(&turned, |x| {
            let mut sums = vec![0f32; n * b];
            sums.par_chunks_mut(b).enumerate().for_each(|(row, sums)| {
                let own = self.offsets[row]..self.offsets[row + 1];
                for (column, value) in self.columns[own.clone()].iter().zip(&self.values[own]) {
                    let x = &x[*column as usize * b..][..b];
                    sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += value * x);
                }
            });
            sums
        })?;
        Ok(Tensor::from_vec(sums, (n, b), &Device::Cpu)?.t()?.contiguous()?)
    }
}

/// A large cosine.
#[derive(Debug, Clone, Copy)]
struct LargeCosine {
    i: u32,
    j: u32,
    cosine: f32,
}

/// Collects large cosines and sums the cubes of small ones.
struct RestScan {
    from: f32,
    found: Mutex<(Vec<Vec<LargeCosine>>, Vec<f64>)>,
}

struct RestPart {
    large: Vec<LargeCosine>,
    rows: Range<usize>,
    columns: Range<usize>,
    row_cubes: Vec<f64>,
    column_cubes: Vec<f32>,
}

impl PairVisitor for RestScan {
    type Part = RestPart;

    fn begin(&self, rows: &Range<usize>, columns: &Range<usize>) -> RestPart {
        RestPart {
            large: Vec::new(),
            rows: rows.clone(),
            columns: columns.clone(),
            row_cubes: vec![0.0; rows.len()],
            column_cubes: vec![0.0; columns.len()],
        }
    }

    fn look(&self, part: &mut RestPart, i: usize, first: usize, cosines: &[f32]) {
        let cubes = &mut part.column_cubes[first - part.columns.start..];
        let mut sum = 0f32;
        for (cosine, cubes) in cosines.iter().zip(cubes) {
            let size = cosine.abs();
            let cube = if size < self.from { size * size * size } else { 0.0 };
            *cubes += cube;
            sum += cube;
        }
        part.row_cubes[i - part.rows.start] += f64::from(sum);
        let large = (first as u32..).zip(cosines).filter(|(_, c)| c.abs() >= self.from);
        part.large.extend(large.map(|(j, cosine)| LargeCosine { i: i as u32, j, cosine: *cosine }));
    }

    fn end(&self, part: RestPart) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let (parts, cubes) = &mut *found;
        parts.push(part.large);
        for (row, cube) in part.rows.zip(part.row_cubes) {
            cubes[row] += cube;
        }
        for (column, cube) in part.columns.zip(part.column_cubes) {
            cubes[column] += f64::from(cube);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::affinity::angular_affinity;
    use super::*;
    use crate::random::Rng;

    /// `groups` of `each` rows around directions, and `rest` rows around none.
    pub(in super::super) fn planted(
        groups: usize,
        each: usize,
        rest: usize,
        d: usize,
        noise: f64,
    ) -> Tensor {
        let mut rng = Rng::seed(1);
        let centres = rng.normal((groups, d), &Device::Cpu).unwrap();
        let index: Vec<u32> = (0..(groups * each) as u32).map(|i| i / each as u32).collect();
        let own = centres.index_select(&Tensor::new(index, &Device::Cpu).unwrap(), 0).unwrap();
        let around = (rng.normal((groups * each, d), &Device::Cpu).unwrap() * noise).unwrap();
        let others = rng.normal((rest, d), &Device::Cpu).unwrap();
        Tensor::cat(&[&(own + around).unwrap(), &others], 0).unwrap()
    }

    /// `D^-½ A D^-½` with a diagonal of 0, in f64.
    pub(in super::super) fn whole(vectors: &Tensor) -> Vec<Vec<f64>> {
        let affinity = angular_affinity(vectors).unwrap().to_dtype(DType::F64).unwrap();
        let mut rows: Vec<Vec<f64>> = affinity.to_vec2().unwrap();
        rows.iter_mut().enumerate().for_each(|(i, row)| row[i] = 0.0);
        let degrees: Vec<f64> = rows.iter().map(|row| row.iter().sum()).collect();
        for (i, row) in rows.iter_mut().enumerate() {
            for (value, degree) in row.iter_mut().zip(&degrees) {
                *value /= (degrees[i] * degree).sqrt();
            }
        }
        rows
    }

    #[test]
    fn products_are_those_of_the_whole_matrix() {
        let vectors = planted(4, 10, 60, 12, 0.4);
        let unit = UnitVectors::of(&vectors).unwrap();
        let matrix = whole(&vectors);
        let eye = Tensor::eye(100, DType::F32, &Device::Cpu).unwrap();
        for from in [0.0, 0.2, 0.5] {
            let angles = AngularMatrix::of(&unit, from).unwrap();
            let found = angles.multiply(&eye).unwrap().to_vec2::<f32>().unwrap();
            let mut most = 0f64;
            for (found, row) in found.iter().zip(&matrix) {
                let gaps = found.iter().zip(row).map(|(a, b)| (f64::from(*a) - b).abs());
                most = most.max(gaps.sum());
            }
            assert!(most <= 1.1 * angles.left_out + 1e-4, "{from}: {most} {}", angles.left_out);
            assert_eq!(angles.left_out > 0.0, from > 0.0);
        }
        // Looser where more is left out.
        let bounds = [0.2, 0.5].map(|from| AngularMatrix::of(&unit, from).unwrap().left_out);
        assert!(bounds[1] > 3.0 * bounds[0], "{bounds:?}");
    }
}

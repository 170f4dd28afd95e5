//! Points in the plane whose reducibility is known.

use std::fmt;

use candle_core::{Device, Tensor};

use crate::Result;
use crate::check::check_sizes;
use crate::random::Rng;

/// A synthetic data set of the reducibility study, drawn with a seed.
///
/// `z` is a standard normal pair, `A` a random 2 × 2 matrix and `v`, `w` random vectors of standard
/// normal entries that belong to the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// `z A`: a rotation makes its coordinates independent, so it is separable.
    Gaussian,
    /// `z` for 40 % of the points, `z₁ v + w` for 30 % and `z₁ v' + w'` for 30 %: a mixture of two
    /// lines and a background.
    Lines,
    /// `z / |z|`: neither a mixture nor separable.
    Circle,
    /// `trunc(3 z) A`: points of a lattice, separable and on lines.
    Lattice,
}

impl Cloud {
    /// The four, in the order of the study.
    pub const ALL: [Self; 4] = [Self::Gaussian, Self::Lines, Self::Circle, Self::Lattice];

    /// Draws `count` points, `[count, 2]` in f32 on the CPU.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if `count` is 0.
    pub fn points(self, count: usize, seed: u64) -> Result<Tensor> {
        check_sizes(&[("the number of points", count)])?;
        let mut rng = Rng::seed(seed);
        let cpu = &Device::Cpu;
        let mut normal =
            |rows: usize| -> Result<Vec<Vec<f32>>> { Ok(rng.normal((rows, 2), cpu)?.to_vec2()?) };
        let matrix = normal(2)?;
        let [line, other] = [normal(2)?, normal(2)?];
        let mut points = normal(count)?;
        let turned = |z: &[f32]| -> Vec<f32> {
            (0..2).map(|k| z[0] * matrix[0][k] + z[1] * matrix[1][k]).collect()
        };
        for point in &mut points {
            match self {
                Self::Gaussian => *point = turned(point),
                Self::Lines => {
                    let pick = rng.unit();
                    let line = if pick < 0.4 {
                        continue;
                    } else if pick < 0.7 {
                        &line
                    } else {
                        &other
                    };
                    let along = point[0];
                    *point = (0..2).map(|k| along * line[0][k] + line[1][k]).collect();
                }
                Self::Circle => {
                    let length = point[0].hypot(point[1]).max(f32::MIN_POSITIVE);
                    point.iter_mut().for_each(|value| *value /= length);
                }
                Self::Lattice => {
                    let whole: Vec<f32> = point.iter().map(|value| (3.0 * value).trunc()).collect();
                    *point = turned(&whole);
                }
            }
        }
        Ok(Tensor::from_vec(points.concat(), (count, 2), cpu)?)
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gaussian => "Gaussian",
            Self::Lines => "mixture of lines",
            Self::Circle => "circle",
            Self::Lattice => "lattice",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(cloud: Cloud, count: usize, seed: u64) -> Vec<Vec<f32>> {
        cloud.points(count, seed).unwrap().to_vec2().unwrap()
    }

    #[test]
    fn a_seed_names_the_points() {
        for cloud in Cloud::ALL {
            assert_eq!(rows(cloud, 50, 3), rows(cloud, 50, 3));
            assert_ne!(rows(cloud, 50, 3), rows(cloud, 50, 4));
        }
        assert!(Cloud::Circle.points(0, 0).is_err());
    }

    #[test]
    fn each_cloud_is_what_it_says() {
        for point in rows(Cloud::Circle, 200, 0) {
            assert!((point[0].hypot(point[1]) - 1.0).abs() < 1e-6);
        }
        let lattice = rows(Cloud::Lattice, 2_000, 0);
        let mut places: Vec<String> = lattice.iter().map(|p| format!("{p:?}")).collect();
        places.sort();
        places.dedup();
        assert!(places.len() < 350, "{} places", places.len());
        // Of three points on one line, the cross product of the differences is 0: in 0.6³ / 4 of
        // the triples, and next to nowhere else.
        let lines = rows(Cloud::Lines, 3_000, 0);
        let flat = lines
            .chunks_exact(3)
            .filter(|t| {
                let side = |i: usize| [t[i][0] - t[0][0], t[i][1] - t[0][1]];
                let (a, b) = (side(1), side(2));
                (a[0] * b[1] - a[1] * b[0]).abs() < 1e-5
            })
            .count();
        assert!((35..80).contains(&flat), "{flat} of 1,000");
    }
}

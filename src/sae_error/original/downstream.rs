//! The hook of the study's experiment on the loss of the next token.

use candle_core::{DType, Tensor};

use crate::linalg::matmul;
use crate::{Error, Result};

/// Positions at the beginning of a context that the study's hook leaves as they are.
pub const STUDY_UNTOUCHED: usize = 200;

/// What the study's hook puts in the place of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StudyArm {
    /// x.
    Original,
    /// x̂.
    Sae,
    /// x̂ + x A.
    SaeAndLinear,
    /// x̂ + (x − x̂ − x A), the study's "noise".
    SaeAndNoise,
}

/// What the study's hook goes on with, `[…, positions, d]`, for activations `x` of that shape
/// (Figure 9).
///
/// `sae_vectors` `[positions − untouched − 1, d]` are reconstructions of all positions but the first
/// `untouched` and the last. So the last has no reconstruction: x̂ is x there, whose linear part is
/// added or taken away all the same. Nothing is lost by that, because its loss is not counted;
/// [`Arm`](crate::sae_error::Arm) replaces no position that has no reconstruction. `solution` `[d, d]`
/// is A, and `baseline` `[d]`, if there is one, is added to the two sums.
///
/// # Errors
/// [`Error::Shape`] for shapes that do not go together.
pub fn study_replacement(
    arm: StudyArm,
    x: &Tensor,
    sae_vectors: &Tensor,
    solution: &Tensor,
    baseline: Option<&Tensor>,
    untouched: usize,
) -> Result<Tensor> {
    let [.., positions, width] = *x.dims() else {
        return Err(Error::shape("the activations", "[…, positions, d]", x.dims()));
    };
    let replaced = positions.saturating_sub(untouched + 1);
    if sae_vectors.dims() != [replaced, width] || replaced == 0 {
        let expected = format!("[{replaced}, {width}], at least one of them");
        return Err(Error::shape("the reconstructions", expected, sae_vectors.dims()));
    }
    if solution.dims() != [width, width] {
        let expected = format!("[{width}, {width}]");
        return Err(Error::shape("the solution", expected, solution.dims()));
    }
    if arm == StudyArm::Original {
        return Ok(x.clone());
    }
    let rows = x.to_dtype(DType::F32)?.reshape(((), positions, width))?;
    let start = rows.narrow(1, 0, untouched)?;
    let contexts = rows.dim(0)?;
    let vectors = sae_vectors.to_dtype(DType::F32)?.unsqueeze(0)?;
    let vectors = vectors.broadcast_as((contexts, replaced, width))?;
    let touched = rows.narrow(1, untouched, replaced + 1)?;
    let sae = Tensor::cat(&[&vectors, &touched.narrow(1, replaced, 1)?], 1)?;
    let linear = matmul(&touched.flatten(0, 1)?, &solution.to_dtype(DType::F32)?)?;
    let linear = linear.reshape(sae.shape())?;
    let changed = match arm {
        StudyArm::Original | StudyArm::Sae => sae,
        StudyArm::SaeAndLinear => (&sae + linear)?,
        StudyArm::SaeAndNoise => (&sae + ((touched - &sae)? - linear)?)?,
    };
    let changed = match baseline.filter(|_| arm != StudyArm::Sae) {
        Some(baseline) => changed.broadcast_add(&baseline.to_dtype(DType::F32)?)?,
        None => changed,
    };
    Ok(Tensor::cat(&[&start, &changed], 1)?.reshape(x.shape())?.to_dtype(x.dtype())?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, IndexOp};

    use super::*;
    use crate::random::Rng;

    #[test]
    fn only_the_window_changes_and_the_last_position_only_by_the_linear_part() {
        let mut rng = Rng::seed(2);
        let mut draw = |rows: usize| rng.normal((rows, 3), &Device::Cpu).unwrap();
        let (x, vectors, solution) = (draw(6).unsqueeze(0).unwrap(), draw(3), draw(3));
        let found = |arm, baseline: Option<&Tensor>| {
            study_replacement(arm, &x, &vectors, &solution, baseline, 2)
                .unwrap()
                .i(0)
                .unwrap()
                .to_vec2::<f32>()
                .unwrap()
        };
        let rows = x.i(0).unwrap().to_vec2::<f32>().unwrap();
        let own = vectors.to_vec2::<f32>().unwrap();
        let map = solution.to_vec2::<f32>().unwrap();
        let linear = |t: usize, j: usize| (0..3).map(|i| rows[t][i] * map[i][j]).sum::<f32>();
        let baseline = Tensor::new(&[10f32, 20.0, 30.0], &Device::Cpu).unwrap();
        for t in 0..6 {
            for j in 0..3 {
                let inside = (2..5).contains(&t);
                let sae = if inside { own[t - 2][j] } else { rows[t][j] };
                let part = if t < 2 { 0.0 } else { linear(t, j) };
                let close = |found: f32, expected: f32| assert!((found - expected).abs() < 1e-4);
                close(found(StudyArm::Original, None)[t][j], rows[t][j]);
                close(found(StudyArm::Sae, Some(&baseline))[t][j], sae);
                close(found(StudyArm::SaeAndLinear, None)[t][j], sae + part);
                close(found(StudyArm::SaeAndNoise, None)[t][j], rows[t][j] - part);
                let shift = if t < 2 { 0.0 } else { 10.0 * (j + 1) as f32 };
                close(found(StudyArm::SaeAndLinear, Some(&baseline))[t][j], sae + part + shift);
            }
        }
    }

    #[test]
    fn shapes_that_do_not_go_together_are_refused() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let error = |x: &[usize], vectors: &[usize], map: &[usize]| {
            let arm = StudyArm::Sae;
            study_replacement(arm, &zeros(x), &zeros(vectors), &zeros(map), None, 2)
                .unwrap_err()
                .to_string()
        };
        assert!(error(&[6], &[3, 3], &[3, 3]).contains("[…, positions, d]"));
        assert!(error(&[1, 6, 3], &[4, 3], &[3, 3]).contains("[3, 3]"));
        assert!(error(&[1, 3, 3], &[0, 3], &[3, 3]).contains("at least one"));
        assert!(error(&[1, 6, 3], &[3, 3], &[3, 2]).contains("the solution"));
    }
}

//! The study's gradient pursuit, with what it makes of rows whose residual becomes zero.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::sae_error::pursuit::{Pursuit, PursuitMethod, PursuitSteps};

/// Weights `[rows, features]` of signals `[rows, d]` in a dictionary `[features, d]` by
/// [`Pursuit`], as the study has them for its figure of gradient pursuit: where a step has no length,
/// because nothing is left of a row, its formula is 0/0, and all weights of that row are NaN.
/// [`Pursuit`] itself ends such a row with the weights that it has.
///
/// # Errors
/// As [`Pursuit::encode_with`].
pub fn gradient_pursuit(
    dictionary: &Tensor,
    signals: &Tensor,
    steps: PursuitSteps,
) -> Result<Tensor> {
    let pursuit = Pursuit { steps, ..Pursuit::new(PursuitMethod::Gradient, 0) };
    let (codes, stalls) = pursuit.encode_and_stalls(dictionary, None, signals)?;
    let (rows, features) = (codes.rows(), codes.width());
    let mut weights = vec![0f32; rows * features];
    for ((row, weights), has_stalled) in weights.chunks_mut(features).enumerate().zip(stalls) {
        if has_stalled {
            weights.fill(f32::NAN);
            continue;
        }
        for (feature, weight) in codes.row(row) {
            weights[feature as usize] = weight;
        }
    }
    Ok(Tensor::from_vec(weights, (rows, features), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_with_nothing_left_to_step_along_are_nan() {
        let dictionary = Tensor::new(&[[1f32, 0.], [0., 2.]], &Device::Cpu).unwrap();
        let signals = [[0f32, 0.], [0., 0.], [3., 0.], [1., 1.]];
        let signals = Tensor::new(&signals, &Device::Cpu).unwrap();
        let weights = |steps| -> Vec<Vec<f32>> {
            gradient_pursuit(&dictionary, &signals, steps).unwrap().to_vec2().unwrap()
        };
        let found = weights(PursuitSteps::Each(vec![0, 1, 1, 1]));
        assert_eq!((&found[0][..], &found[2][..]), (&[0., 0.][..], &[3., 0.][..]));
        assert!(found[1].iter().all(|weight| weight.is_nan()));
        // The second feature has the gradient 2, and the best step along it is 1/4 of that.
        assert_eq!(found[3], [0., 0.5]);
        // After one step nothing is left of the third row.
        let found = weights(PursuitSteps::Same(2));
        assert!(found[2].iter().all(|weight| weight.is_nan()) && !found[3][0].is_nan());
    }
}

//! Interaction matrices of a bilinear layer.

use candle_core::{D, Tensor};

use crate::linalg::matmul_tn;
use crate::{Error, Result};

/// The interaction matrices `B[o, i, j] = Σ_h out[o, h] · left[h, i] · right[h, j]`.
///
/// `out` is `[outputs, hidden]` and gives `[outputs, inputs, inputs]`; one output direction
/// `[hidden]` gives `[inputs, inputs]`. `left` and `right` are `[hidden, inputs]`. The result is
/// not symmetric: see [`symmetrise`].
///
/// # Errors
/// Shapes that do not match.
pub fn interactions(out: &Tensor, left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let (hidden, inputs) = match (left.dims(), right.dims()) {
        (&[hidden, inputs], other) if other == [hidden, inputs] => (hidden, inputs),
        dims => {
            return Err(Error::shape("left and right", "[hidden, inputs] each", dims));
        }
    };
    let single = out.rank() == 1;
    let out = if single { out.unsqueeze(0)? } else { out.clone() };
    let outputs = match *out.dims() {
        [outputs, own] if own == hidden && outputs > 0 => outputs,
        _ => {
            let expected = format!("[{hidden}] or [outputs, {hidden}]");
            return Err(Error::shape("the output directions", expected, out.dims()));
        }
    };
    let matrices = (0..outputs)
        .map(|o| matmul_tn(&left.broadcast_mul(&out.get(o)?.unsqueeze(1)?)?, right))
        .collect::<Result<Vec<_>>>()?;
    let all = Tensor::stack(&matrices, 0)?;
    Ok(if single { all.reshape((inputs, inputs))? } else { all })
}

/// The symmetric part `½(B + Bᵀ)` of the last two dimensions: the same quadratic form
/// `xᵀBx`, written the one way in which entry `[i, j]` is half the weight of the product `x_i x_j`.
///
/// # Errors
/// Last two dimensions that differ.
pub fn symmetrise(b: &Tensor) -> Result<Tensor> {
    match b.dims() {
        [.., rows, columns] if rows == columns => {}
        dims => return Err(Error::shape("interaction matrices", "[…, n, n]", dims)),
    }
    Ok(((b + b.transpose(D::Minus2, D::Minus1)?)? * 0.5)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    #[test]
    fn the_matrices_are_the_layer() {
        let mut rng = Rng::seed(0);
        let mut normal = |shape: (usize, usize)| rng.normal(shape, &Device::Cpu).unwrap();
        let (out, left, right, x) =
            (normal((3, 5)), normal((5, 4)), normal((5, 4)), normal((1, 4)));
        let b = interactions(&out, &left, &right).unwrap();
        assert_eq!(b.dims(), [3, 4, 4]);
        let linear = |w: &Tensor| x.matmul(&w.t().unwrap()).unwrap();
        let hidden = (linear(&left) * linear(&right)).unwrap();
        let y = hidden.matmul(&out.t().unwrap()).unwrap().to_vec2::<f32>().unwrap();
        for form in [b.clone(), symmetrise(&b).unwrap()] {
            for (o, expected) in y[0].iter().enumerate() {
                let b = form.get(o).unwrap();
                let value = x.matmul(&b).unwrap().matmul(&x.t().unwrap()).unwrap();
                assert!((value.to_vec2::<f32>().unwrap()[0][0] - expected).abs() < 1e-4);
            }
        }
        let one = interactions(&out.get(1).unwrap(), &left, &right).unwrap();
        assert_eq!(one.to_vec2::<f32>().unwrap(), b.get(1).unwrap().to_vec2::<f32>().unwrap());
    }

    #[test]
    fn shapes_that_do_not_match_are_refused() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu);
        let (a, b) = (zeros(&[5, 4]).unwrap(), zeros(&[5, 3]).unwrap());
        assert!(interactions(&a, &a, &b).unwrap_err().to_string().contains("[hidden, inputs]"));
        let message = interactions(&zeros(&[2, 4]).unwrap(), &a, &a).unwrap_err().to_string();
        assert!(message.contains("[outputs, 5]"), "{message}");
        assert!(symmetrise(&a).is_err());
    }
}

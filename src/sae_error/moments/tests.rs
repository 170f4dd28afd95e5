//! Regressions from sums against regressions from rows.

use candle_core::{DType, Device, Tensor};

use super::super::linear_map::LinearMap;
use super::*;
use crate::linalg::{lstsq, matmul, qr};
use crate::random::Rng;

/// Normal numbers, f64.
fn normal(rng: &mut Rng, rows: usize, columns: usize) -> Tensor {
    let x = rng.normal((rows, columns), &Device::Cpu).unwrap();
    x.to_dtype(DType::F64).unwrap()
}

/// Inputs with means, and targets that follow them in part.
fn example(seed: u64, rows: usize, d: usize, m: usize) -> (Tensor, Tensor) {
    let mut rng = Rng::seed(seed);
    let x = (normal(&mut rng, rows, d) + 3.0).unwrap();
    let y = matmul(&x, &normal(&mut rng, d, m)).unwrap();
    let noise = normal(&mut rng, rows, m);
    (x, ((y + noise).unwrap() + 100.0).unwrap())
}

fn moments(x: &Tensor, y: &Tensor, folds: usize) -> Moments {
    let mut found = Moments::new(x.dims()[1], y.dims()[1], folds).unwrap();
    let rows = x.dims()[0] / folds;
    for fold in 0..folds {
        let part = |all: &Tensor| all.narrow(0, fold * rows, rows).unwrap();
        found.add(fold, &part(x), &part(y)).unwrap();
    }
    found
}

fn sum(x: &Tensor) -> f64 {
    x.sum_all().unwrap().to_scalar().unwrap()
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// Squares that a map leaves, and squares about the mean, of each column.
fn from_residuals(map: &LinearMap, x: &Tensor, y: &Tensor) -> Vec<(f64, f64)> {
    let left = (y - map.apply(x).unwrap()).unwrap();
    let about = y.broadcast_sub(&y.mean_keepdim(0).unwrap()).unwrap();
    let column = |all: &Tensor, j: usize| sum(&all.narrow(1, j, 1).unwrap().sqr().unwrap());
    (0..y.dims()[1]).map(|j| (column(&left, j), column(&about, j))).collect()
}

fn pooled(columns: &[(f64, f64)]) -> f64 {
    let rss: f64 = columns.iter().map(|own| own.0).sum();
    let tss: f64 = columns.iter().map(|own| own.1).sum();
    1.0 - rss / tss
}

#[test]
fn products_of_matrices_are_the_sums_of_tiles() {
    let (d, m) = (200, 195);
    let (x, y) = example(8, 700, d, m);
    let tiles = moments(&x, &y, 1);
    let origin = SumOrigin::of(&x, Some(&y)).unwrap();
    let rows = origin.less(&x, Some(&y)).unwrap();
    let mut found = Moments { origin: Some(origin), ..Moments::start(d, m, 1) };
    found.folds[0].take_by_products(rows).unwrap();
    assert_eq!(found.rows(), 700);
    assert!(gap(&found.covariance().unwrap(), &tiles.covariance().unwrap()) < 1e-11);
    let [own, other] = [&found, &tiles].map(|moments| moments.fit(&[0], true).unwrap());
    assert!(gap(&own.matrix, &other.matrix) < 1e-9);
    let [own, other] =
        [(&found, &own), (&tiles, &other)].map(|(sums, map)| sums.score(map, &[0]).unwrap());
    assert!((own.r_squared - other.r_squared).abs() < 1e-11, "{own}\n{other}");
    let mut inputs = Moments { origin: found.origin.clone(), ..Moments::of_inputs(d) };
    let rows = inputs.origin.as_ref().unwrap().less(&x, None).unwrap();
    inputs.folds[0].take_by_products(rows).unwrap();
    assert_eq!(gap(&inputs.covariance().unwrap(), &found.covariance().unwrap()), 0.0);
}

#[test]
fn r_squared_from_sums_is_that_from_residuals() {
    let (x, y) = example(0, 1_500, 7, 3);
    for (offset, intercept) in [(0.0, true), (0.0, false), (1e4, true)] {
        let x = (&x + offset).unwrap();
        let moments = moments(&x, &y, 3);
        let map = moments.fit(&[0, 2], intercept).unwrap();
        assert_eq!((map.rows(), map.rank(), map.intercept().is_some()), (1_000, 7, intercept));
        let score = moments.score(&map, &[1]).unwrap();
        let judged = |all: &Tensor| all.narrow(0, 500, 500).unwrap();
        let expected = from_residuals(&map, &judged(&x), &judged(&y));
        for (found, (rss, tss)) in score.per_column.iter().zip(&expected) {
            assert!((found.unwrap() - (1.0 - rss / tss)).abs() < 1e-9, "{score}");
        }
        assert!((score.r_squared - pooled(&expected)).abs() < 1e-9, "{score}");
        let fitted = |all: &Tensor| {
            let parts = [0, 1_000].map(|start| all.narrow(0, start, 500).unwrap());
            Tensor::cat(&parts, 0).unwrap()
        };
        let expected = pooled(&from_residuals(&map, &fitted(&x), &fitted(&y)));
        assert!((score.in_sample - expected).abs() < 1e-9, "{score}");
    }
}

#[test]
fn cross_fitted_maps_have_not_seen_their_fold() {
    let (x, y) = example(1, 900, 5, 2);
    let moments = moments(&x, &y, 3);
    let (maps, score) = moments.cross_fitted(true).unwrap();
    let mut rss = 0.0;
    for (fold, map) in maps.iter().enumerate() {
        let others: Vec<usize> = (0..3).filter(|other| *other != fold).collect();
        let alone = moments.fit(&others, true).unwrap();
        assert_eq!(gap(&map.matrix, &alone.matrix), 0.0);
        let part = |all: &Tensor| all.narrow(0, 300 * fold, 300).unwrap();
        rss += from_residuals(map, &part(&x), &part(&y)).iter().map(|own| own.0).sum::<f64>();
    }
    let tss: f64 = from_residuals(&maps[0], &x, &y).iter().map(|own| own.1).sum();
    assert!((score.r_squared - (1.0 - rss / tss)).abs() < 1e-9);
    let all = moments.fit(&[0, 1, 2], true).unwrap();
    assert!((score.in_sample - all.in_sample()).abs() < 1e-15);
    assert!(score.in_sample > score.r_squared);
    assert!(Moments::new(5, 2, 1).unwrap().cross_fitted(true).is_err());
}

#[test]
fn shards_merge_to_the_whole_and_threads_change_no_bit() {
    let (x, y) = example(2, 700, 300, 4);
    let x = x.to_dtype(DType::F32).unwrap();
    let whole = moments(&x, &y, 1);
    let mut merged = Moments::new(300, 4, 1).unwrap();
    for (start, count) in [(0, 90), (90, 600), (690, 10)] {
        let part = |all: &Tensor| all.narrow(0, start, count).unwrap();
        let mut shard = Moments::new(300, 4, 1).unwrap();
        shard.add(0, &part(&x), &part(&y)).unwrap();
        merged.merge(&shard).unwrap();
    }
    merged.merge(&Moments::new(300, 4, 1).unwrap()).unwrap();
    assert_eq!((merged.rows(), merged.bytes()), (700, whole.bytes()));
    assert!(gap(&merged.covariance().unwrap(), &whole.covariance().unwrap()) < 1e-12);
    let of = |moments: &Moments| moments.fit(&[0], true).unwrap().matrix;
    assert!(gap(&of(&merged), &of(&whole)) < 1e-10);
    let centred = x.to_dtype(DType::F64).unwrap();
    let centred = centred.broadcast_sub(&centred.mean_keepdim(0).unwrap()).unwrap();
    let covariance = (centred.t().unwrap().matmul(&centred).unwrap() / 700.0).unwrap();
    assert!(gap(&whole.covariance().unwrap(), &covariance) < 1e-12);

    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let moments = moments(&x, &y, 1);
            let map = moments.fit(&[0], true).unwrap();
            let score = moments.score(&map, &[0]).unwrap();
            (moments.covariance().unwrap(), map.matrix, score)
        })
    };
    let (one, three) = (on(1), on(3));
    assert_eq!((gap(&one.0, &three.0), gap(&one.1, &three.1)), (0.0, 0.0));
    assert_eq!(one.2, three.2);
    assert!(merged.merge(&Moments::new(300, 4, 2).unwrap()).is_err());
}

#[test]
fn an_ill_conditioned_map_predicts_as_that_of_qr() {
    for (rows, d, condition, bound) in [(2_000, 48, 1e3, 1e-9), (150_000, 192, 1e6, 1e-6)] {
        let mut rng = Rng::seed(3);
        let left = qr(&normal(&mut rng, rows, d)).unwrap().q;
        let right = qr(&normal(&mut rng, d, d)).unwrap().q;
        let noise = normal(&mut rng, rows, 2);
        let weights = normal(&mut rng, d, 2);
        let spread: Vec<f64> =
            (0..d).map(|i| f64::powf(condition, -(i as f64) / (d - 1) as f64)).collect();
        let spread = Tensor::new(spread, &Device::Cpu).unwrap();
        let x = matmul(&left.broadcast_mul(&spread).unwrap(), &right.t().unwrap()).unwrap();
        let y = (matmul(&x, &weights).unwrap() + (&noise * 0.01).unwrap()).unwrap();
        let mut moments = Moments::new(d, 2, 1).unwrap();
        moments.add(0, &x, &y).unwrap();
        let map = moments.fit(&[0], false).unwrap();
        // The projection onto the columns of Q.
        let expected = matmul(&left, &matmul(&left.t().unwrap(), &y).unwrap()).unwrap();
        let size = sum(&expected.sqr().unwrap()).sqrt();
        let found = map.apply(&x).unwrap();
        let error = sum(&(found - expected).unwrap().sqr().unwrap()).sqrt();
        assert!(error < bound * size, "{condition:e}: {:e}", error / size);
        assert_eq!(map.rank(), d);
        let share = map.condition() / condition;
        assert!((0.3..1.1).contains(&share), "{condition:e}: {share}");
    }
}

#[test]
fn dependent_columns_have_a_rank_and_the_smallest_map() {
    let (x, y) = example(4, 400, 6, 2);
    let column = |j: usize| x.narrow(1, j, 1).unwrap();
    let both = (column(0) + column(1)).unwrap();
    let constant = column(0).ones_like().unwrap();
    let x = Tensor::cat(&[x.clone(), both, (constant * 0.1).unwrap()], 1).unwrap();
    for dtype in [DType::F64, DType::F32] {
        let x = x.to_dtype(dtype).unwrap();
        let mut moments = Moments::new(8, 2, 1).unwrap();
        moments.add(0, &x, &y).unwrap();
        let double = x.to_dtype(DType::F64).unwrap();
        let less = |all: &Tensor| all.broadcast_sub(&all.mean_keepdim(0).unwrap()).unwrap();
        // With an intercept the constant says nothing, without it is one.
        let map = moments.fit(&[0], true).unwrap();
        assert_eq!(map.rank(), 6);
        let last: Vec<Vec<f64>> = map.matrix.narrow(0, 7, 1).unwrap().to_vec2().unwrap();
        assert_eq!(last, [[0.0, 0.0]]);
        if dtype == DType::F64 {
            let expected = lstsq(&less(&double), &less(&y)).unwrap();
            assert!(gap(&map.matrix, &expected) < 1e-9);
            let map = moments.fit(&[0], false).unwrap();
            assert_eq!(map.rank(), 7);
            assert!(gap(&map.matrix, &lstsq(&double, &y).unwrap()) < 1e-8);
        }
        assert!(moments.score(&map, &[0]).unwrap().r_squared > 0.5);
    }
    let mut nothing = Moments::new(2, 1, 1).unwrap();
    let zeros = Tensor::zeros((9, 2), DType::F32, &Device::Cpu).unwrap();
    nothing.add(0, &zeros, &y.narrow(0, 0, 9).unwrap().narrow(1, 0, 1).unwrap()).unwrap();
    let map = nothing.fit(&[0], true).unwrap();
    assert_eq!((map.rank(), map.condition()), (0, f64::INFINITY));
    assert!(nothing.score(&map, &[0]).unwrap().r_squared.abs() < 1e-12);
}

#[test]
fn what_cannot_be_fitted_is_said_in_words() {
    let (x, y) = example(5, 8, 8, 1);
    let mut few = moments(&x, &y, 1);
    let message = few.fit(&[0], true).unwrap_err().to_string();
    assert!(message.contains("the number of rows to fit on must be at least 9"), "{message}");
    assert!(message.ends_with("found 8"), "{message}");
    let nan = (&x / 0.0).unwrap();
    let before = few.rows();
    assert!(few.add(0, &nan, &y).unwrap_err().to_string().contains("the inputs holds NaN"));
    assert!(few.add(0, &x, &(&y / 0.0).unwrap()).unwrap_err().to_string().contains("the targets"));
    assert!(few.add(1, &x, &y).unwrap_err().to_string().contains("below 1"));
    assert!(few.add(0, &x.t().unwrap().narrow(1, 0, 3).unwrap(), &y).is_err());
    assert!(
        few.add(0, &x, &y.narrow(0, 0, 3).unwrap()).unwrap_err().to_string().contains("8 rows")
    );
    assert_eq!(few.rows(), before);
    let constant = (y.ones_like().unwrap() * 0.3).unwrap();
    let (wide, _) = example(6, 30, 2, 1);
    let mut moments = Moments::new(2, 1, 1).unwrap();
    let constant = Tensor::cat(&[&constant, &constant, &constant, &constant], 0).unwrap();
    moments.add(0, &wide, &constant.narrow(0, 0, 30).unwrap()).unwrap();
    let map = moments.fit(&[0], true).unwrap();
    assert!(moments.score(&map, &[0]).unwrap_err().to_string().contains("a constant"));
    assert!(Moments::new(2, 0, 1).is_err());
    assert!(Moments::new(2, 1, 1).unwrap().covariance().is_err());
}

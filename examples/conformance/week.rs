//! The days of the week in a fetched model: what it answers to sums of days, and where the days are.

use std::f64::consts::TAU;

use eigenlens::Result;
use eigenlens::candle::{D, DType, Device, IndexOp, Tensor};
use eigenlens::linalg::{eigh, eigvalsh, lstsq, svd};
use eigenlens::model::{Decoder, HookPoint, Hooks};
use serde_json::Value;

use crate::json::{ids, numbers};
use crate::report::{Reference, Report};

/// Prompts of one pass.
const BATCH: usize = 7;

/// Logits of the days at the last position, the best token, and the residual streams at the start
/// day, which it returns.
pub(crate) fn days_of_week(
    model: &Decoder,
    reference: &Reference,
    texts: &Value,
    report: &mut Report,
) -> Result<Vec<(usize, Tensor)>> {
    let tokens = reference.input("input_ids", report)?.to_dtype(DType::U32)?;
    let rows: Vec<Vec<u32>> = tokens.to_vec2()?;
    let days = reference.input("weekday_ids", report)?.to_dtype(DType::U32)?;
    report.check("weekday ids", days.to_vec1::<u32>()? == ids(texts, "weekday_token_ids")?);
    reference.input("interval", report)?;
    reference.input("target_day", report)?;
    let places = reference.input("start_day_pos", report)?.to_vec1::<i64>()?;
    let points: Vec<HookPoint> = reference
        .names()
        .filter_map(|name| name.strip_prefix("resid_post.")?.parse().ok())
        .map(HookPoint::ResidPost)
        .collect();
    let (mut logits, mut kept) = (Vec::new(), vec![Vec::new(); points.len()]);
    for start in (0..rows.len()).step_by(BATCH) {
        let count = BATCH.min(rows.len() - start);
        let hooks = Hooks::new().capture_all(points.iter().copied());
        let (all, cache) = model.run(&tokens.narrow(0, start, count)?, &hooks)?;
        logits.push(all.i((.., all.dim(1)? - 1))?);
        for (point, kept) in points.iter().zip(&mut kept) {
            for row in 0..count {
                kept.push(cache.get(*point)?.i((row, places[start + row] as usize))?);
            }
        }
    }
    let logits = Tensor::cat(&logits, 0)?.contiguous()?;
    reference.compare("weekday_logits", &logits.index_select(&days, 1)?, report)?;
    let best = reference.input("top1_ids", report)?.to_dtype(DType::U32)?.to_vec1::<u32>()?;
    report.check("top1_ids", logits.argmax(D::Minus1)?.to_vec1::<u32>()? == best);
    reference.compare("top1_logits", &logits.max(D::Minus1)?, report)?;
    let mut out = Vec::new();
    for (point, kept) in points.iter().zip(kept) {
        let (layer, found) = (point.layer().unwrap_or_default(), Tensor::stack(&kept, 0)?);
        reference.compare(&format!("resid_post.{layer}"), &found, report)?;
        out.push((layer, found));
    }
    Ok(out)
}

/// Shares of the variance in principal components, and of that of the days' means in frequencies
/// around the week.
pub(crate) fn geometry(
    expected: &Value,
    points: &[(usize, Tensor)],
    reference: &Reference,
    report: &mut Report,
) -> Result<()> {
    let days = reference.input("start_day", report)?.to_vec1::<i64>()?;
    for (layer, point) in points {
        let case = &expected[layer.to_string()];
        let x = point.to_dtype(DType::F64)?;
        let x = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        // The eigenvalues of X Xᵀ are those of Xᵀ X.
        let mut variances: Vec<f64> = eigvalsh(&x.matmul(&x.t()?)?)?.to_vec1()?;
        variances.sort_by(|a, b| b.total_cmp(a));
        let total: f64 = variances.iter().sum();
        let shares = numbers(&case["pca_explained_variance_ratio"])?;
        let found = variances.iter().take(shares.len()).map(|own| own / total).collect();
        report.numbers(&format!("geometry {layer} variance of PCs"), shares, found)?;
        let mut power = Vec::new();
        for k in 1..=3 {
            let turn = |day: &i64| TAU * (k * day) as f64 / 7.;
            let part = |wave: fn(f64) -> f64| -> Result<f64> {
                let wave: Vec<f64> = days.iter().map(|day| wave(turn(day))).collect();
                let wave = Tensor::from_vec(wave, (1, days.len()), &Device::Cpu)?;
                Ok(wave.matmul(&x)?.sqr()?.sum_all()?.to_scalar()?)
            };
            power.push(part(f64::cos)? + part(f64::sin)?);
        }
        let total: f64 = power.iter().sum();
        let power = power.iter().map(|own| own / total).collect();
        let shares = numbers(&case["fourier_power_k1_k2_k3"])?;
        report.numbers(&format!("geometry {layer} Fourier power"), shares, power)?;
        orders(case, &format!("geometry {layer}"), &x, &days, report)?;
        let intervals = reference.input("interval", report)?.to_vec1::<i64>()?;
        let found = held_out(&point.to_dtype(DType::F64)?, &days, &intervals)?;
        let expected = case["heldout_interval_r2_5pcs"].as_f64().into_iter().collect();
        report.numbers(&format!("geometry {layer} held-out intervals"), expected, vec![found])?;
    }
    Ok(())
}

/// `[cos, sin]` of the place of each row's day in a week in some order, `[rows, 2]`.
fn wave(days: &[i64], places: &[usize]) -> Result<Tensor> {
    let turn = |day: &i64| TAU * places[*day as usize] as f64 / 7.;
    let values = days.iter().flat_map(|day| [turn(day).cos(), turn(day).sin()]).collect();
    Ok(Tensor::from_vec(values, (days.len(), 2), &Device::Cpu)?)
}

/// Squares of the columns of `aᵀ b`, summed over a's columns.
fn squares(a: &Tensor, b: &Tensor) -> Result<Vec<f64>> {
    Ok(a.t()?.matmul(b)?.sqr()?.sum(0)?.to_vec1()?)
}

/// The days' circular order, by probes from principal components, by power, and by angle.
fn orders(case: &Value, name: &str, x: &Tensor, days: &[i64], report: &mut Report) -> Result<()> {
    let week: Vec<usize> = (0..7).collect();
    let mut all = vec![vec![0]];
    for place in 1..7 {
        let longer = |order: &Vec<usize>| {
            (1..=order.len()).map(|at| [&order[..at], &[place], &order[at..]].concat()).collect()
        };
        all = all.iter().flat_map(|order| -> Vec<Vec<usize>> { longer(order) }).collect();
    }
    // An order and its mirror image are one.
    all.retain(|order| order[1] < order[6]);
    let waves: Vec<Tensor> = all.iter().map(|order| wave(days, order)).collect::<Result<_>>()?;
    let true_wave = wave(days, &week)?;
    let rank = |own: f64, values: &[f64]| {
        1. + values.iter().filter(|other| **other > own + 1e-9).count() as f64
    };
    let eigen = eigh(&x.matmul(&x.t()?)?)?;
    let (rows, probes) = (days.len(), &case["probe_r2_by_number_of_pcs"]);
    for (count, expected) in probes.as_object().into_iter().flatten() {
        let k = count.parse::<usize>().unwrap_or_default();
        let components = eigen.vectors.narrow(1, rows - k, k)?.contiguous()?;
        // Half of the rows' number is the square of each wave.
        let r2 = |wave: &Tensor| -> Result<Vec<f64>> {
            Ok(squares(&components, wave)?.iter().map(|own| own / (rows as f64 / 2.)).collect())
        };
        let own = r2(&true_wave)?;
        let mean = |both: Vec<f64>| (both[0] + both[1]) / 2.;
        let null: Vec<f64> = waves.iter().map(|wave| r2(wave).map(mean)).collect::<Result<_>>()?;
        let found = vec![
            own[0],
            own[1],
            null.iter().sum::<f64>() / null.len() as f64,
            rank((own[0] + own[1]) / 2., &null),
        ];
        let names = ["cos", "sin", "null_mean", "rank_of_360"];
        let expected = names.iter().filter_map(|name| expected[*name].as_f64()).collect();
        report.numbers(&format!("{name} probes of {k} PCs"), expected, found)?;
    }
    let power = |wave: &Tensor| -> Result<f64> { Ok(squares(x, wave)?.iter().sum()) };
    let powers: Vec<f64> = waves.iter().map(power).collect::<Result<_>>()?;
    let mut means = Vec::new();
    for day in 0..7 {
        let own: Vec<u32> = (0..rows as u32).filter(|row| days[*row as usize] == day).collect();
        means.push(x.index_select(&Tensor::new(own, &Device::Cpu)?, 0)?.mean(0)?);
    }
    let means = Tensor::stack(&means, 0)?;
    let sum = |x: &Tensor| -> Result<f64> { Ok(x.sqr()?.sum_all()?.to_scalar()?) };
    let found = vec![rank(power(&true_wave)?, &powers), rows as f64 / 7. * sum(&means)? / sum(x)?];
    let names = ["rank_of_true_order_by_k1_power", "between_day_variance_fraction"];
    let expected = names.iter().filter_map(|name| case[*name].as_f64()).collect();
    report.numbers(&format!("{name} order and variance of days"), expected, found)?;
    let plane = eigh(&means.matmul(&means.t()?)?)?.vectors.narrow(1, 5, 2)?.to_vec2::<f64>()?;
    let scale = eigh(&means.matmul(&means.t()?)?)?.values.to_vec1::<f64>()?;
    let angle = |day: &usize| {
        let [a, b] = [plane[*day][1] * scale[6].sqrt(), plane[*day][0] * scale[5].sqrt()];
        b.atan2(a)
    };
    let mut order = week;
    order.sort_by(|a, b| angle(a).total_cmp(&angle(b)));
    let start = order.iter().position(|day| *day == 0).unwrap_or_default();
    order.rotate_left(start);
    if order[1] > order[6] {
        order[1..].reverse();
    }
    let expected = numbers(&case["order_of_days_in_class_mean_pc12"])?;
    let found = order.iter().map(|day| *day as f64).collect();
    report.numbers(&format!("{name} order of days in the plane"), expected, found)
}

/// R² of the week's wave, for each interval by a probe from five principal components of the
/// others.
fn held_out(points: &Tensor, days: &[i64], intervals: &[i64]) -> Result<f64> {
    let wave = wave(days, &[0, 1, 2, 3, 4, 5, 6])?;
    let mut error = 0.;
    for left_out in 1..=7 {
        let rows = |own: bool| -> Result<Tensor> {
            let kept =
                (0..days.len() as u32).filter(|row| (intervals[*row as usize] == left_out) == own);
            Ok(Tensor::new(kept.collect::<Vec<_>>(), &Device::Cpu)?)
        };
        let part = |x: &Tensor, own| -> Result<Tensor> { Ok(x.index_select(&rows(own)?, 0)?) };
        let mean = part(points, false)?.mean_keepdim(0)?;
        let centred = part(points, false)?.broadcast_sub(&mean)?;
        let directions = svd(&centred)?.v.narrow(1, 0, 5)?.contiguous()?;
        let probe = lstsq(&centred.matmul(&directions)?, &part(&wave, false)?)?;
        let found =
            part(points, true)?.broadcast_sub(&mean)?.matmul(&directions)?.matmul(&probe)?;
        error += (found - part(&wave, true)?)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
    }
    Ok(1. - error / wave.sqr()?.sum_all()?.to_scalar::<f64>()?)
}

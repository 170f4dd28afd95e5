//! Errors of autoencoders: regressions, pursuit, a grid in one pass and losses downstream, beside the
//! study's way of computing in PyTorch.

use std::time::Instant;

use eigenlens::linalg::{matmul, matmul_nt};
use eigenlens::prelude::*;
use eigenlens::sae_error::{
    Arm, Downstream, DownstreamOptions, InfoOptions, Moments, Pursuit, PursuitMethod, SaeGrid,
    SaeInfo,
};

use crate::language::{again, config, model_sizes, random_sae, random_tokens, text};
use crate::pytorch::{self, Work};
use crate::report::Row;
use crate::{Result, memory, once, timed};

/// Name, request, width of activations and of errors, and rows that are regressed at a time, by us and
/// by PyTorch.
const REGRESSIONS: [(&str, &str, usize, [usize; 2]); 3] = [
    ("least squares, d 192", "lstsq-small", 192, [150_000, 150_000]),
    ("least squares, d 576", "lstsq-middle", 576, [60_000, 60_000]),
    ("least squares, d 2304", "lstsq-large", 2_304, [24_576, 9_216]),
];
/// Rows that the study fits on.
const STUDY_ROWS: usize = 150_000;
/// Name, request, [features, width, steps], and rows at a time, by us and by PyTorch.
const PURSUITS: [(&str, &str, [usize; 3], [usize; 2]); 3] = [
    ("gradient pursuit, small", "pursuit-small", [1_536, 192, 16], [8_192, 512]),
    ("gradient pursuit, middle", "pursuit-middle", [4_608, 576, 32], [4_096, 128]),
    ("gradient pursuit, large", "pursuit-large", [16_384, 2_304, 60], [4_096, 8]),
];
/// Contexts that are run downstream, and tokens of each.
const DOWNSTREAM: [usize; 2] = [32, 128];
/// The layer after which reconstructions take the place of activations: in the middle.
const LAYER: usize = 1;
/// Features for each dimension, and numbers of them that are active, of a grid of 15 autoencoders.
const GRID: ([usize; 5], [usize; 3]) = ([2, 3, 4, 6, 8], [8, 16, 32]);
/// Steps of each.
const STEPS: usize = 48;
/// Side of the product of f64 matrices that least squares are held against.
const SIDE: usize = 1_536;

/// Aims on two cores: least squares 2 times PyTorch's, sums at 60 % of the f64 products' peak, 0.4 GB
/// and 2 s to solve at d 2304; pursuit 15, 8 and 8 times; three arms downstream in 2.7 passes; a grid
/// in 1.15 times its activations and steps.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let mut rows = regressions()?;
    rows.extend(pursuits()?);
    rows.extend(downstream()?);
    rows.push(grid()?);
    rows.extend(memory::moments()?);
    Ok(rows)
}

fn regressions() -> Result<Vec<Row>> {
    let draw = |seed, rows, d| Rng::seed(seed).normal((rows, d), &Device::Cpu);
    let (mut rows, cpu) = (Vec::new(), &Device::Cpu);
    for (name, request, d, [own, theirs]) in REGRESSIONS {
        // One after another, so that the largest has the memory for itself.
        let (x, y) = (draw(0, own, d)?, draw(1, own, d)?);
        let solve = || {
            let mut moments = Moments::new(d, d, 1)?;
            moments.add(0, &x, &y)?;
            moments.fit(&[0], false).map(drop)
        };
        let work = Work::new(name, request, |times| again(times, solve))
            .size(format!("{own} rows, as many targets"))
            .turn(1, own, "rows/s")
            .sampled(theirs);
        rows.extend(pytorch::rows([work], &[("lstsq_rows", theirs), ("lstsq_d", d)])?);
    }
    let (_, _, d, [own, _]) = REGRESSIONS[2];
    let (x, y) = (draw(0, own, d)?, draw(1, own, d)?);
    let mut moments = Moments::new(d, d, 1)?;
    let sums = once(|| Moments::new(d, d, 1)?.add(0, &x, &y))?;
    moments.add(0, &x, &y)?;
    let solving = timed(|| moments.fit(&[0], false).map(drop))?;
    let (a, b) = (Rng::seed(0).normal((SIDE, SIDE), cpu)?, Rng::seed(1).normal((SIDE, SIDE), cpu)?);
    let (a, b) = (a.to_dtype(DType::F64)?, b.to_dtype(DType::F64)?);
    let product = timed(|| matmul(&a, &b).map(drop))?;
    let peak = 2.0 * (SIDE as f64).powi(3) / product;
    // Half of the products of x with itself, all of those with y.
    let operations = (own * d * (d + 2 * d)) as f64;
    let size = format!("{own} rows, d {d}, f64");
    let all = sums * STUDY_ROWS as f64 / own as f64 + solving;
    rows.push(Row::new("sums of least squares", &size, operations / sums / 1e9, "GFLOP/s"));
    let share = 100.0 * operations / sums / peak;
    rows.push(Row::new("of the f64 products' peak", &size, share, "%"));
    rows.push(Row::new("solving least squares", &size, solving, "s"));
    let size = format!("{STUDY_ROWS} rows, d {d}, from {own} of them");
    rows.push(Row::new("least squares of the study", size, all, "s"));
    Ok(rows)
}

fn pursuits() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, request, [features, d, steps], [own, theirs]) in PURSUITS {
        let dictionary = Rng::seed(0).normal((features, d), &Device::Cpu)?;
        let lengths = dictionary.sqr()?.sum_keepdim(1)?.sqrt()?;
        let dictionary = dictionary.broadcast_div(&lengths)?;
        let x = Rng::seed(1).normal((own, d), &Device::Cpu)?;
        let pursuit = Pursuit::new(PursuitMethod::Gradient, steps);
        let run = || pursuit.encode_with(&dictionary, None, &x).map(drop);
        let work = Work::new(name, request, |times| again(times, run))
            .size(format!("{features} features, d {d}, {steps} steps"))
            .turn(1, own, "rows/s")
            .sampled(theirs)
            // The products of all pairs, which a text of any length takes once.
            .set_up(|| matmul_nt(&dictionary, &dictionary).map(drop));
        let sizes = [
            ("pursuit_features", features),
            ("pursuit_d", d),
            ("pursuit_steps", steps),
            ("pursuit_rows", theirs),
        ];
        rows.extend(pytorch::rows([work], &sizes)?);
    }
    Ok(rows)
}

fn downstream() -> Result<Vec<Row>> {
    let (config, [contexts, length]) = (config(), DOWNSTREAM);
    let model = Decoder::random(config.clone(), 0, &Device::Cpu)?;
    let point = HookPoint::ResidPost(LAYER);
    let sae = random_sae(point, [8 * config.d_model, config.d_model], 16)?;
    let text = Contexts::new(length, random_tokens(contexts * length, config.vocab)?)?;
    let info = SaeInfo::collect(&model, &sae, &text, &InfoOptions::default())?;
    let explained = info.explain()?;
    let options = DownstreamOptions {
        arms: vec![Arm::Linear, Arm::Nonlinear],
        draws: 10,
        ..DownstreamOptions::default()
    };
    let run = || Downstream::measure(&model, &info, &explained, &text, &options).map(drop);
    let layers = format!("{} layers, d_model {}", config.layers, config.d_model);
    let size = format!("{contexts}×{length} tokens, {layers}, four arms after layer {LAYER}");
    let work = Work::new("losses downstream", "downstream", |times| again(times, run))
        .size(&size)
        .turn(1, contexts * length, "tokens/s");
    let own = [
        ("downstream_contexts", contexts),
        ("downstream_batch", options.batch),
        ("downstream_layer", LAYER),
        ("downstream_from", info.window().from),
    ];
    let mut rows = pytorch::rows([work], &[model_sizes().as_slice(), &own].concat())?;
    let arms = timed(run)?;
    let pass = timed(|| {
        for first in (0..contexts).step_by(options.batch) {
            let tokens = text.batch(first, options.batch, &Device::Cpu)?;
            model.activations_with_loss(&tokens, &[point])?;
        }
        Ok(())
    })?;
    rows.push(Row::new("losses downstream", size, arms / pass, "passes"));
    Ok(rows)
}

/// A grid of one stream of activations, over the activations and all steps.
fn grid() -> Result<Row> {
    let (expansions, ks) = GRID;
    let (config, text) = (config(), text()?);
    let model = Decoder::random(config.clone(), 0, &Device::Cpu)?;
    let point = HookPoint::ResidPost(LAYER);
    let usual = SaeOptions { steps: STEPS, report: STEPS, ..SaeOptions::default() };
    let widths = expansions.map(|expansion| expansion * config.d_model);
    let start = Instant::now();
    SaeGrid::fit(&model, point, &text, &widths, &ks, &usual)?;
    let together = start.elapsed().as_secs_f64();
    let mut alone = 0.0;
    for expansion in expansions {
        for k in ks {
            let options = SaeOptions { expansion, k, ..usual.clone() };
            alone += once(|| Sae::fit(&model, point, &text, &options).map(drop))?;
        }
    }
    let windows = STEPS * usual.batch / usual.length;
    let activations = once(|| {
        for first in (0..windows).step_by(16) {
            let tokens = text.windows(16.min(windows - first), usual.length, &Device::Cpu)?;
            model.activations(&tokens, &[point])?;
        }
        Ok(())
    })?;
    let count = expansions.len() * ks.len();
    let expected = alone - (count - 1) as f64 * activations;
    let size = format!(
        "{count} autoencoders, {STEPS} steps, {together:.1} s; one by one {alone:.1} s, activations \
         {activations:.1} s"
    );
    Ok(Row::new("grid over activations and steps", size, together / expected, "×"))
}

//! `mlsae/`: statistics of sparse codes over layers, and directions of a shared dictionary.

use std::path::Path;

use eigenlens::candle::{DType, Device, IndexOp, Tensor};
use eigenlens::multilayer::{
    CountedEntries, LayerCodes, LayerDistributions, LayerHistogram, LayerPairing, LayerVariance,
    MeanAndSpread, OriginalVarianceValues, OriginalVariances, Persistence, ResidualMeans,
    RunningMoments, VarianceDecomposition, Weighting, cosine_by_layer_distance, max_cosines,
    max_cosines_original, original_std_spread,
};
use eigenlens::{Error, Result};
use serde_json::Value;

use crate::report::{Reference, Report};

/// The file that holds a case's tensors.
pub(crate) const TENSORS: &str = "io.safetensors";
/// What f64 references from exactly given inputs are held to.
const EXACT: f64 = 1e-10;
/// What parts of a variance may differ from their sum.
const SUM: f64 = 1e-12;
/// Mean layers that are this close are equal in f32.
const EQUAL_LAYERS: f64 = 1e-6;

pub(crate) fn distributions(folder: &Path, report: &mut Report) -> Result<()> {
    let (reference, case) = (Reference::read(&folder.join(TENSORS), report)?, json(folder)?);
    let (layers, latents) = (size(&case, "n_layers")?, size(&case, "n_latents")?);
    let mut found = LayerDistributions::counting(CountedEntries::Original, layers, latents)?;
    let mut variances = OriginalVariances::new(layers, latents)?;
    for (update, name) in ["one", "two"].into_iter().enumerate() {
        let codes = codes(&reference, &format!("in.update{update}"), latents, report)?;
        found.add(&codes)?;
        variances.add(&codes)?;
        original_values(&reference, &format!("out.variances.{name}"), &variances.values(), report)?;
    }
    exactly(&reference, "out.counts", &found.counts()?, report)?;
    let count: Vec<i64> = found.count().into_iter().map(|count| count as i64).collect();
    exactly(&reference, "out.count", &Tensor::new(count, &Device::Cpu)?, report)?;
    reference.compare("out.totals", &found.totals()?, report)?;
    reference.compare("out.means", &found.means()?, report)?;
    reference.compare("out.probs", &found.probabilities()?, report)?;
    for (name, values) in [
        ("out.total", found.total()),
        ("out.mean", found.mean()),
        ("out.layer_mean", found.mean_layer()),
        ("out.layer_var", found.variance()),
        ("out.layer_std", found.std()),
    ] {
        numbers(&reference, name, &values, report)?;
    }
    let spread = original_std_spread(&found.std());
    spread_of(&reference, "out.stats", &[spread], report)?;
    let relative = [spread.mean, spread.variance, spread.std, spread.sem];
    for (name, value) in ["mean_rel", "var_rel", "std_rel", "sem_rel"].into_iter().zip(relative) {
        let expected = case["relative"][name].as_f64().unwrap_or(f64::NAN);
        let is_same = (expected - value / layers as f64).abs() <= 5e-5;
        report.check(&format!("relative {name}"), is_same);
    }
    order(&reference, &found, report)?;
    reference.compare("out.heatmap", &found.heat_map()?.probabilities, report)?;
    let bins = size(&case, "histogram_bins")?;
    histogram(&reference, "out.histogram.centre", &found.histogram(bins)?, report)?;
    let distances = found.histogram_of_distances(bins)?;
    histogram(&reference, "out.histogram.noninteger", &distances, report)?;
    cosines(&reference, &found.mean_layer(), report)
}

/// The order of columns: latents without a mean layer first, in any order; the others by descending
/// mean layer, those that are equal in f32 in any order.
fn order(reference: &Reference, found: &LayerDistributions, report: &mut Report) -> Result<()> {
    const NAME: &str = "out.heatmap_order";
    let expected = reference.input(NAME, report)?.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let (own, middle) = (found.order(), found.mean_layer());
    let (without, with) = expected.split_at(expected.len().saturating_sub(own.len()));
    let same = without.iter().all(|latent| middle[*latent as usize].is_nan())
        && with.len() == own.len()
        && with.iter().zip(&own).all(|(expected, own)| {
            (middle[*expected as usize] - middle[*own]).abs() <= EQUAL_LAYERS
        });
    report.check(NAME, same);
    Ok(())
}

fn histogram(
    reference: &Reference,
    name: &str,
    found: &LayerHistogram,
    report: &mut Report,
) -> Result<()> {
    numbers(reference, &format!("{name}.edges"), &found.edges, report)?;
    // The original appends a 0, so that there are as many densities as edges.
    let mut density = found.density();
    density.push(0.0);
    numbers(reference, &format!("{name}.density"), &density, report)
}

fn cosines(reference: &Reference, mean_layers: &[f64], report: &mut Report) -> Result<()> {
    let decoder = reference.input("in.decoder", report)?;
    let own = cosine_by_layer_distance(&decoder, mean_layers, LayerPairing::Same)?;
    let differences: Vec<f64> = own.iter().map(|pair| pair.0).collect();
    numbers(reference, "right.cos_sim.layer_difference", &differences, report)?;
    let original = cosine_by_layer_distance(&decoder, mean_layers, LayerPairing::Original)?;
    let unsorted: Vec<f64> = original.iter().map(|pair| pair.0).collect();
    numbers(reference, "out.cos_sim.layer_difference", &unsorted, report)?;
    report.check("same cosines", own.iter().zip(&original).all(|(a, b)| a.1 == b.1));
    // Latents without a mean layer come first in any order.
    const NAME: &str = "out.cos_sim.cosine";
    let expected: Vec<f32> = reference.input(NAME, report)?.to_vec1()?;
    let is_known = |(_, pair): &(f32, &(f64, f32))| !pair.0.is_nan();
    let (expected, found): (Vec<f32>, Vec<f32>) =
        expected.into_iter().zip(&own).filter(is_known).map(|(own, pair)| (own, pair.1)).unzip();
    let [expected, found] = [expected, found].map(|values| Tensor::new(values, &Device::Cpu));
    report.compare(NAME, &expected?, &found?)
}

pub(crate) fn variances(folder: &Path, report: &mut Report) -> Result<()> {
    let (reference, case) = (Reference::read(&folder.join(TENSORS), report)?, json(folder)?);
    let (layers, latents) = (size(&case, "n_layers")?, size(&case, "n_latents")?);
    let mut found = VarianceDecomposition::new(layers, latents)?;
    let [mut raw, mut relu] = [(); 2].map(|()| OriginalVariances::new(layers, latents));
    for batch in 0..size(&case, "batches")? {
        let codes = codes(&reference, &format!("in.batch{batch}"), latents, report)?;
        let after = format!("after{}", batch + 1);
        found.add(&codes)?;
        for (weighting, name) in NAMED {
            let prefix = format!("right.{name}.{after}");
            parts(&reference, &prefix, &found.variance(weighting), report)?;
        }
        for (original, name, codes) in
            [(&mut raw, "raw", codes.clone()), (&mut relu, "relu", codes.rectified())]
        {
            let original = original.as_mut().map_err(|error| {
                Error::invalid("the sizes of the case", "at least 1", error.to_string())
            })?;
            original.add(&codes)?;
            let prefix = format!("out.{name}.{after}");
            original_values(&reference, &prefix, &original.values(), report)?;
        }
    }
    for (weighting, name) in NAMED {
        let sums = found.sums(weighting);
        for (what, values) in
            [("w", &sums.w), ("wl", &sums.wl), ("wll", &sums.wll), ("wl2_over_w", &sums.wl2_over_w)]
        {
            report.absolute(EXACT);
            numbers(&reference, &format!("right.{name}.sums.{what}"), values, report)?;
            report.standard();
        }
    }
    let latents = size(&case["worlds"], "n_latents")?;
    let worlds = case["worlds"]["closed_form"].as_object().cloned().unwrap_or_default();
    for (world, expected) in &worlds {
        let codes = codes(&reference, &format!("in.world.{world}"), latents, report)?;
        let mut found = VarianceDecomposition::new(layers, latents)?;
        let mut original = OriginalVariances::new(layers, latents)?;
        found.add(&codes)?;
        original.add(&codes)?;
        original_values(&reference, &format!("out.world.{world}"), &original.values(), report)?;
        for (weighting, name) in NAMED {
            let own = found.variance(weighting);
            parts(&reference, &format!("right.world.{world}.{name}"), &own, report)?;
            for (part, value) in [
                ("between_latents", own.between_latents),
                ("between_tokens", own.between_tokens),
                ("within_tokens", own.within_tokens),
            ] {
                let closed = expected[name][part].as_f64().unwrap_or(f64::NAN);
                report.check(
                    &format!("{world} {name} {part} {value:.6}"),
                    (closed - value).abs() <= EXACT,
                );
            }
        }
    }
    Ok(())
}

const NAMED: [(Weighting, &str); 3] = [
    (Weighting::Activation, "activation"),
    (Weighting::Count, "count"),
    (Weighting::Pairs, "pairs"),
];

/// The parts of a variance, and that they add up.
fn parts(
    reference: &Reference,
    prefix: &str,
    found: &LayerVariance,
    report: &mut Report,
) -> Result<()> {
    report.absolute(EXACT);
    for (name, value) in [
        ("total", found.total),
        ("between_latents", found.between_latents),
        ("between_tokens", found.between_tokens),
        ("within_tokens", found.within_tokens),
        ("rel_var_f", found.within_latents_share()),
        ("rel_var_t", found.within_tokens_share()),
    ] {
        let name = format!("{prefix}.{name}");
        // 0/0 is not stored.
        if reference.has(&name) {
            numbers(reference, &name, &[value], report)?;
        }
    }
    report.standard();
    let sum = found.between_latents + found.between_tokens + found.within_tokens;
    report.check(&format!("{prefix} adds up"), (sum - found.total).abs() <= SUM);
    Ok(())
}

fn original_values(
    reference: &Reference,
    prefix: &str,
    found: &OriginalVarianceValues,
    report: &mut Report,
) -> Result<()> {
    for (name, value) in [
        ("exp_var_l_tf", found.exp_var_l_tf),
        ("exp_var_l_f", found.exp_var_l_f),
        ("var_l", found.var_l),
        ("rel_var_f", found.rel_var_f),
        ("rel_var_t", found.rel_var_t),
    ] {
        numbers(reference, &format!("{prefix}.{name}"), &[value], report)?;
    }
    Ok(())
}

pub(crate) fn persistence(folder: &Path, report: &mut Report) -> Result<()> {
    let (reference, case) = (Reference::read(&folder.join(TENSORS), report)?, json(folder)?);
    let (layers, latents) = (size(&case, "n_layers")?, size(&case, "n_latents")?);
    let mut found = Persistence::new(layers, latents)?;
    for batch in 0..size(&case, "batches")? {
        found.add(&codes(&reference, &format!("in.batch{batch}"), latents, report)?)?;
    }
    report.check("tokens", found.tokens() == size(&case, "tokens")? as u64);
    report.check("active pairs", found.pairs() == size(&case, "active_pairs")? as u64);
    exactly(&reference, "right.active_counts", &found.active_counts()?, report)?;
    exactly(&reference, "right.joint_counts", &found.joint_counts()?, report)?;
    for (name, counts) in [
        ("right.run_lengths", found.run_lengths()),
        ("right.layers_per_pair", found.layers_per_pair()),
        ("right.first_layer", found.first_layer()),
        ("right.last_layer", found.last_layer()),
    ] {
        let counts: Vec<i64> = counts.iter().map(|count| *count as i64).collect();
        exactly(&reference, name, &Tensor::new(counts, &Device::Cpu)?, report)?;
    }
    report.absolute(EXACT);
    reference.compare("right.conditional", &found.conditional()?, report)?;
    reference.compare("right.conditional_chance", &found.conditional_chance()?, report)?;
    for (name, values) in [
        ("right.density", found.density()),
        ("right.stays", found.stays()),
        ("right.stays_chance", found.stays_chance()),
        ("right.layers_per_pair_share", found.layers_per_pair_share()),
        ("right.contiguous", vec![found.contiguous()]),
    ] {
        numbers(&reference, name, &values, report)?;
    }
    report.standard();
    Ok(())
}

pub(crate) fn maxima(folder: &Path, report: &mut Report) -> Result<()> {
    let (reference, case) = (Reference::read(&folder.join(TENSORS), report)?, json(folder)?);
    let decoder = reference.input("in.decoder", report)?;
    let chunks = case["chunk_sizes"].as_array().into_iter().flatten().filter_map(Value::as_u64);
    let chunks = chunks.map(|chunk| (format!("chunk{chunk}"), Some(chunk as usize)));
    for (name, chunk) in chunks.chain([("full".to_owned(), None)]) {
        let found = max_cosines_original(&decoder, chunk)?;
        let name = format!("out.{name}");
        reference.compare(&name, &Tensor::new(&*found, &Device::Cpu)?, report)?;
        let stats = format!("{name}.stats");
        if reference.has(&stats) {
            let found: Vec<f64> = found.into_iter().map(f64::from).collect();
            let MeanAndSpread { mean, variance, std, sem, .. } = MeanAndSpread::of(&found);
            numbers(&reference, &stats, &[mean, variance, std, sem], report)?;
        }
    }
    let found = Tensor::new(max_cosines(&decoder)?, &Device::Cpu)?;
    reference.compare("right.max_over_others", &found, report)
}

pub(crate) fn residual(folder: &Path, report: &mut Report) -> Result<()> {
    let (reference, case) = (Reference::read(&folder.join(TENSORS), report)?, json(folder)?);
    let batches = reference.input("in.batches", report)?;
    let (layers, width) = (batches.dim(1)?, batches.dim(batches.rank() - 1)?);
    // The original goes on for two batches more than it was told to.
    let used = size(&case, "batches_used")?;
    report.check("batches used", used == size(&case, "max_steps")? + 2);
    let mut means = ResidualMeans::new(layers, width)?;
    for batch in 0..used {
        means.add(&batches.i(batch)?)?;
    }
    let mut found = means.statistics()?;
    for batch in 0..used {
        found.add(&batches.i(batch)?)?;
    }
    reference.compare("out.means", &found.means()?, report)?;
    spread_of(&reference, "out.resid_l2_norm", &found.norms(), report)?;
    spread_of(&reference, "out.resid_cos_sim", &found.centred_neighbours(), report)?;
    let metric = &case["variance_metric"];
    let mut moments = RunningMoments::new(width)?;
    for batch in metric["batches"].as_array().into_iter().flatten().filter_map(Value::as_u64) {
        let rows = batches.i((batch as usize, size(metric, "layer")?))?.flatten_to(1)?;
        for row in rows.to_dtype(DType::F64)?.to_vec2::<f64>()? {
            moments.add(&row)?;
        }
    }
    spread_of(&reference, "out.variance_metric", &moments.spreads(), report)
}

/// `values` and `indices` under a prefix, as codes.
pub(crate) fn codes(
    reference: &Reference,
    prefix: &str,
    latents: usize,
    report: &mut Report,
) -> Result<LayerCodes> {
    let values = reference.input(&format!("{prefix}.values"), report)?;
    let indices = reference.input(&format!("{prefix}.indices"), report)?;
    LayerCodes::from_entries(&values, &indices, latents)
}

pub(crate) fn numbers(
    reference: &Reference,
    name: &str,
    values: &[f64],
    report: &mut Report,
) -> Result<()> {
    reference.compare(name, &Tensor::new(values, &Device::Cpu)?, report)
}

/// Compares whole numbers, which must be the same.
pub(crate) fn exactly(
    reference: &Reference,
    name: &str,
    found: &Tensor,
    report: &mut Report,
) -> Result<()> {
    report.absolute(0.0);
    let result = reference.compare(name, found, report);
    report.standard();
    result
}

/// A part of a spread by its name in the reference.
type SpreadColumn = (&'static str, fn(&MeanAndSpread) -> f64);

fn spread_of(
    reference: &Reference,
    prefix: &str,
    found: &[MeanAndSpread],
    report: &mut Report,
) -> Result<()> {
    let columns: [SpreadColumn; 4] = [
        ("mean", |own| own.mean),
        ("var", |own| own.variance),
        ("std", |own| own.std),
        ("sem", |own| own.sem),
    ];
    for (name, value) in columns {
        let values: Vec<f64> = found.iter().map(value).collect();
        numbers(reference, &format!("{prefix}.{name}"), &values, report)?;
    }
    Ok(())
}

/// The description of a case.
pub(crate) fn json(folder: &Path) -> Result<Value> {
    let path = folder.join("case.json");
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    serde_json::from_str(&text).map_err(|error| Error::format(&path, "JSON", error.to_string()))
}

pub(crate) fn size(case: &Value, name: &str) -> Result<usize> {
    let found = case[name].as_u64().and_then(|size| usize::try_from(size).ok());
    found.ok_or_else(|| Error::invalid(format!("`{name}` of the case"), "a size", &case[name]))
}

//! `reducibility` and `multidim/simple_example`.

use std::collections::BTreeSet;
use std::path::Path;

use eigenlens::candle::{DType, Device, Tensor};
use eigenlens::geometry::{
    Ascent, BinRange, Binning, Colouring, Explanatory, MixtureOptions, Regression, Separability,
    mutual_information,
};
use eigenlens::{Error, Result};

use crate::report::{Reference, Report};

/// The file that holds a case's tensors.
const TENSORS: &str = "io.safetensors";
/// Of `a`, `b`, the objective and the fractions.
const MIXTURE: f64 = 1e-3;
/// Of mutual information, in nats.
const INFORMATION: f64 = 1e-4;
/// Steps of an ascent in the two sets of references, which the file does not tell.
const STEPS: [usize; 2] = [400, 10_000];
/// Starts an ulp apart that tell how far the rounding of an ascent decides its end.
const NEIGHBOURS: usize = 8;

pub(crate) fn reducibility(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    let clouds: BTreeSet<String> = reference
        .names()
        .filter_map(|name| name.split_once('.'))
        .map(|(cloud, _)| cloud.to_owned())
        .collect();
    let ascents = ascents(&reference, &clouds, report)?;
    for (cloud, (options, ascent)) in clouds.iter().zip(ascents) {
        let name = |tensor: &str| format!("{cloud}.{tensor}");
        let x = reference.input(&name("x"), report)?;
        mixture(&reference, cloud, &x, &ascent, &options, report)?;

        let curve = reference.input(&name("separability.mutual_info_nats"), report)?;
        let binning = Binning { angles: curve.elem_count(), ..Binning::fixed() };
        let found = Separability::of(&x, binning)?;
        let curve = on_edges(&x, &found, &curve)?;
        let curve = Tensor::new(curve, &Device::Cpu)?;
        report.absolute(INFORMATION);
        reference.compare(&name("separability.mutual_info_nats"), &curve, report)?;
        let bits = (curve.min(0)? / std::f64::consts::LN_2)?;
        reference.compare(&name("separability.index_bits"), &bits, report)?;

        let curve = name("separability_hist.mutual_info_nats");
        let angles = reference.input(&curve, report)?.elem_count();
        let binning = Binning { angles, ..Binning::equal_width() };
        reference.compare(&curve, &Separability::of(&x, binning)?.curve()?, report)?;
    }
    Ok(())
}

/// An ascent from each reference's start, with the number of steps that all references have: the
/// one of [`STEPS`] that ends nearer to them.
fn ascents(
    reference: &Reference,
    clouds: &BTreeSet<String>,
    report: &mut Report,
) -> Result<Vec<(MixtureOptions, Ascent)>> {
    let mut best: Option<(f64, Vec<(MixtureOptions, Ascent)>)> = None;
    for steps in STEPS {
        let options = MixtureOptions { steps, ..MixtureOptions::default() };
        let (mut far, mut all) = (0.0, Vec::new());
        for cloud in clouds {
            let x = reference.input(&format!("{cloud}.x"), report)?;
            let start = pair(&reference.input(&format!("{cloud}.mixture.a_init"), report)?)?;
            let ascent = Ascent::from(&x, start, &options)?;
            let end = pair(&reference.input(&format!("{cloud}.mixture.a"), report)?)?;
            far += f64::from((ascent.a[0] - end[0]).hypot(ascent.a[1] - end[1]));
            all.push((options, ascent));
        }
        if best.as_ref().is_none_or(|(least, _)| far < *least) {
            best = Some((far, all));
        }
    }
    Ok(best.map(|(_, all)| all).unwrap_or_default())
}

/// Compares where an ascent ended.
///
/// An ascent of many steps is chaotic in the end: at temperature 1/10,000 a single point decides a
/// step, and a start moved by one ulp of f32 ends elsewhere. Where the reference is not met, that is
/// measured. If such starts spread wider than the tolerance, `a`, `b` and the objective are no
/// numbers that inputs determine, so they are skipped by name; the share of points in the
/// reference's own band always is determined, and always compared.
fn mixture(
    reference: &Reference,
    cloud: &str,
    x: &Tensor,
    ascent: &Ascent,
    options: &MixtureOptions,
    report: &mut Report,
) -> Result<()> {
    let name = |tensor: &str| format!("{cloud}.mixture.{tensor}");
    let numbers =
        |ascent: &Ascent| [ascent.a[0], ascent.a[1], ascent.b, ascent.soft].map(f64::from);
    let (a, b) = (values(&reference.input(&name("a"), report)?)?, name("b"));
    let b = values(&reference.input(&b, report)?)?;
    let soft = values(&reference.input(&name("objective"), report)?)?;
    let wanted: Vec<f64> = a.iter().chain(&b).chain(&soft).copied().collect();
    report.absolute(MIXTURE);
    let found = numbers(ascent);
    let met = wanted.iter().zip(found).all(|(wanted, found)| (wanted - found).abs() <= MIXTURE);
    let start = pair(&reference.input(&name("a_init"), report)?)?;
    let spread = if met { 0.0 } else { spread(x, start, options, numbers(ascent))? };
    if spread > MIXTURE {
        let reason = format!(
            "{} steps are chaotic here: starts an ulp apart end {spread:.1e} apart",
            options.steps
        );
        for tensor in ["a", "b", "objective"] {
            report.skip(&format!("reducibility {}", name(tensor)), &reason);
        }
    } else {
        reference.compare(&name("a"), &Tensor::new(&ascent.a, &Device::Cpu)?, report)?;
        reference.compare(&name("b"), &Tensor::new(&[ascent.b], &Device::Cpu)?, report)?;
        let soft = Tensor::new(&[ascent.soft], &Device::Cpu)?;
        reference.compare(&name("objective"), &soft, report)?;
    }
    let rows: Vec<Vec<f64>> = x.to_dtype(DType::F64)?.to_vec2()?;
    let at: Vec<f64> = rows.iter().map(|row| row[0] * a[0] + row[1] * a[1] + b[0]).collect();
    let n = at.len() as f64;
    let scale = (at.iter().map(|at| at * at).sum::<f64>() / n).sqrt();
    let inside = at.iter().filter(|at| at.abs() <= options.epsilon * scale).count();
    let share = if spread > MIXTURE { inside as f64 / n } else { ascent.band.fraction };
    let share = Tensor::new(&[share], &Device::Cpu)?;
    reference.compare(&name("fraction_within_epsilon"), &share, report)
}

/// How far apart ascents end whose starts differ in the last bit.
fn spread(x: &Tensor, start: [f32; 2], options: &MixtureOptions, first: [f64; 4]) -> Result<f64> {
    let mut far = 0f64;
    for i in 1..=NEIGHBOURS as i32 {
        let moved = [start[0], f32::from_bits(start[1].to_bits().wrapping_add_signed(i))];
        let ascent = Ascent::from(x, moved, options)?;
        let end = [ascent.a[0], ascent.a[1], ascent.b, ascent.soft].map(f64::from);
        far = first.iter().zip(end).fold(far, |far, (one, two)| far.max((one - two).abs()));
    }
    Ok(far)
}

/// The curve, with points on an edge between bins counted where the reference counts them.
///
/// The reference rotates in f32: a point within its rounding of an edge may fall to either side,
/// and a single point is worth more than the tolerance. Where the curves differ, every choice of
/// sides for such points is tried; no other point moves.
fn on_edges(x: &Tensor, found: &Separability, reference: &Tensor) -> Result<Vec<f64>> {
    let mut curve = values(&found.curve()?)?;
    let (angles, wanted) = (values(&found.angles()?)?, values(reference)?);
    let binning = *found.binning();
    let BinRange::MeanSquare(reach) = binning.range else {
        return Err(Error::invalid("the binning", "that of the reference", "another"));
    };
    let rows: Vec<Vec<f64>> = x.to_dtype(DType::F64)?.to_vec2()?;
    let n = rows.len() as f64;
    let mean = [0, 1].map(|k| rows.iter().map(|row| row[k]).sum::<f64>() / n);
    let centred = rows.iter().map(|row| [row[0] - mean[0], row[1] - mean[1]]);
    let square = centred.clone().map(|p| p[0] * p[0] + p[1] * p[1]).sum::<f64>() / (2.0 * n);
    let points: Vec<[f64; 2]> = centred.map(|p| p.map(|v| v / square)).collect();
    let half = binning.bins as f64 / 2.0;
    // A dozen roundings of numbers up to the reach: mean, scale, angle, two products, a sum.
    let near = 12.0 * f64::from(f32::EPSILON) * half;
    for (i, (&angle, &wanted)) in angles.iter().zip(&wanted).enumerate() {
        if (curve[i] - wanted).abs() <= INFORMATION {
            continue;
        }
        let (sin, cos) = angle.sin_cos();
        let place = |v: f64| (v + reach) / reach * half;
        let mut bins: Vec<[f64; 2]> = Vec::with_capacity(points.len());
        let mut undecided = Vec::new();
        for (row, [x, y]) in points.iter().enumerate() {
            let at = [place(x * cos + y * sin), place(y * cos - x * sin)];
            for (axis, at) in at.iter().enumerate() {
                let edge = at.round();
                if (at - edge).abs() < near && edge > 0.0 && edge < 2.0 * half {
                    undecided.push((row, axis, edge));
                }
            }
            bins.push(at.map(|at| at.clamp(0.0, 2.0 * half - 0.1).floor()));
        }
        for choice in 0..1_u32 << undecided.len().min(12) {
            for (bit, &(row, axis, edge)) in undecided.iter().take(12).enumerate() {
                bins[row][axis] = if choice >> bit & 1 == 1 { edge } else { edge - 1.0 };
            }
            let mut counts = vec![0.0; binning.bins * binning.bins];
            for [row, column] in &bins {
                counts[*row as usize * binning.bins + *column as usize] += 1.0;
            }
            let information = mutual_information(&counts, binning.bins, binning.floor)?;
            if (information - wanted).abs() < (curve[i] - wanted).abs() {
                curve[i] = information;
            }
        }
    }
    Ok(curve)
}

pub(crate) fn regression(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    let sizes = std::fs::read_to_string(folder.join("case.json"))
        .map_err(Error::io("read", &folder.join("case.json")))?;
    let sizes: serde_json::Value = serde_json::from_str(&sizes)
        .map_err(|error| Error::format(&folder.join("case.json"), "JSON", error.to_string()))?;
    let size = |i: usize| sizes["grid"][i].as_u64().unwrap_or(0) as usize;
    let (rows, columns) = (size(0), size(1));
    reference.input("in.coefficients", report)?;
    let values = reference.input("in.values", report)?;
    let inputs = rows * columns;
    let (a, b) = (move |i: usize| (i / columns) as f64, move |i: usize| (i % columns) as f64);
    let first = Explanatory::join(
        "a = 4, b = 1, constant",
        &[
            Explanatory::indicator("a = 4", (0..inputs).map(|i| a(i) == 4.0))?,
            Explanatory::indicator("b = 1", (0..inputs).map(|i| b(i) == 1.0))?,
            Explanatory::constant(inputs)?,
        ],
    )?;
    let functions = [
        first,
        Explanatory::new("sin a", (0..inputs).map(|i| a(i).sin()))?,
        Explanatory::new("b", (0..inputs).map(b))?,
    ];
    let regression = Regression::explain(&values, &functions)?;
    for (stage, step) in ["a", "b", "c", "d"].iter().zip(regression.steps()) {
        let name = |tensor: &str| format!("out.{stage}.{tensor}");
        if let (Some(columns), Some(coefficients)) = (&step.columns, &step.coefficients) {
            reference.compare(&name("explainers"), columns, report)?;
            reference.compare(&name("solution"), coefficients, report)?;
            reference.compare(&name("residual"), &step.residual, report)?;
        }
        let ratio = Tensor::new(step.explained_variance_ratio.as_slice(), &Device::Cpu)?;
        reference.compare(&name("explained_variance_ratio"), &ratio, report)?;
        reference.compare(&name("pca_components"), &step.components, report)?;
        let colours = step.colours(Colouring::Largest)?.reshape((rows, columns, 3))?;
        reference.compare(&name("colours"), &colours, report)?;
    }
    let r_squared = Tensor::new(&[regression.r_squared()], &Device::Cpu)?;
    reference.compare("out.r_squared", &r_squared, report)
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn pair(tensor: &Tensor) -> Result<[f32; 2]> {
    match *tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()? {
        [first, second] => Ok([first, second]),
        _ => Err(Error::shape("a direction", "[2]", tensor.dims())),
    }
}

//! `multidim/deconstruction_*`: activations explained by functions of the inputs.

use std::path::Path;

use eigenlens::candle::{DType, Device, IndexOp, Tensor};
use eigenlens::geometry::{Colouring, Explanatory, Regression};
use eigenlens::{Error, Result};

use crate::circles::{TENSORS, count, integers};
use crate::json;
use crate::report::{Reference, Report};

/// Of colours, which are shares of a range.
const COLOUR: f64 = 2e-4;

pub(crate) fn deconstruction(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    let case = json::read(folder, "case.json")?;
    let period = count(&case, "modulus");
    let column = |name: &str, report: &mut Report| -> Result<Vec<usize>> {
        let column = reference.input(name, report)?.to_vec1::<i64>()?;
        Ok(column.into_iter().map(|value| value as usize).collect())
    };
    let (starts, steps) = (column("in.a", report)?, column("in.b", report)?);
    // What the model answered, which the original reads and never uses.
    reference.input("in.model_c", report)?;
    let place = |row: usize| period * (starts[row] % period) + steps[row] % period;
    let mut order: Vec<usize> = (0..starts.len()).collect();
    order.sort_by_key(|&row| place(row));
    reference.compare("out.order", &integers(order.clone())?, report)?;
    let ids: Vec<u32> = order.iter().map(|&row| row as u32).collect();
    let ids = Tensor::new(ids, &Device::Cpu)?;
    let inputs: Vec<(usize, usize)> =
        order.iter().map(|&row| (starts[row] % period, steps[row] % period)).collect();
    for (layer, groups) in case["groups"].as_object().into_iter().flatten() {
        let x = reference.input(&format!("in.layer{layer}.activations"), report)?;
        let x = x.to_dtype(DType::F64)?.index_select(&ids, 0)?;
        let functions =
            groups.as_array().into_iter().flatten().map(|group| {
                function(group["added"].as_str().unwrap_or_default(), &inputs, period)
            });
        let functions = functions.collect::<Result<Vec<_>>>()?;
        let regression = Regression::explain(&x, &functions)?;
        for (group, step) in regression.steps()[1..].iter().enumerate() {
            let tensor = |what: &str| format!("out.layer{layer}.group{group}.{what}");
            let (Some(columns), Some(solution)) = (&step.columns, &step.coefficients) else {
                continue;
            };
            let predicted = (&x - &step.residual)?;
            for (what, found) in
                [("features", columns), ("solution", solution), ("predicted", &predicted)]
            {
                if reference.has(&tensor(what)) {
                    reference.compare(&tensor(what), found, report)?;
                }
            }
            let r2 = Tensor::new(&[step.r_squared_about_zero], &Device::Cpu)?;
            reference.compare(&tensor("r2"), &r2, report)?;
            report.absolute(COLOUR);
            let colours = step.colours(Colouring::Range)?.reshape((period, period, 3))?;
            let colours = turned(&reference.input(&tensor("colours"), report)?, &colours)?;
            reference.compare(&tensor("colours"), &colours, report)?;
            report.standard();
        }
    }
    Ok(())
}

/// Colours with each channel turned upside down if that is nearer to the reference: the sign of a
/// component is a convention.
fn turned(reference: &Tensor, found: &Tensor) -> Result<Tensor> {
    let channel = |channel: usize| -> Result<Tensor> {
        let expected = reference.to_dtype(DType::F64)?.i((.., .., channel))?;
        let own = found.i((.., .., channel))?;
        let other = (1.0 - &own)?;
        let far = |own: &Tensor| -> Result<f64> {
            Ok((own - &expected)?.abs()?.max_all()?.to_scalar::<f64>()?)
        };
        Ok(if far(&other)? < far(&own)? { other } else { own })
    };
    let channels = (0..3).map(channel).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::stack(&channels, 2)?)
}

/// A group of the original's features, by its label.
fn function(name: &str, inputs: &[(usize, usize)], period: usize) -> Result<Explanatory> {
    let number = |of: fn(f64, f64) -> f64| -> Vec<f64> {
        inputs.iter().map(|&(a, b)| of(a as f64, b as f64)).collect()
    };
    let circle = |values: Vec<f64>| Explanatory::circle(name, values, period as f64);
    let one_hot = |of: fn(usize, usize) -> usize, count: usize| {
        Explanatory::one_hot(name, inputs.iter().map(move |&(a, b)| of(a, b)), count)
    };
    let indicator = |of: &dyn Fn(usize, usize) -> bool| {
        let holds: Vec<bool> = inputs.iter().map(|&(a, b)| of(a, b)).collect();
        Explanatory::indicator(name, holds)
    };
    match name {
        "original" => Explanatory::constant(inputs.len()),
        "one hot $\\alpha$" => one_hot(|a, _| a, period),
        "one hot $\\beta$" => one_hot(|_, b| b, period),
        "one hot $\\alpha$+$\\beta$" => one_hot(|a, b| a + b, 2 * period - 1),
        "one hot $\\alpha$, $\\beta$" => {
            let pairs = (0..period)
                .flat_map(|class| [indicator(&|a, _| a == class), indicator(&|_, b| b == class)]);
            Explanatory::join(name, &pairs.collect::<Result<Vec<_>>>()?)
        }
        "$\\alpha$ for tmr" => {
            let classes = (0..period).map(|class| indicator(&|a, b| a == class && b == 1));
            Explanatory::join(name, &classes.collect::<Result<Vec<_>>>()?)
        }
        "circle $\\gamma$" => circle(number(|a, b| a + b)),
        "circle 2$\\gamma$" => circle(number(|a, b| 2.0 * (a + b))),
        "circle $\\alpha-\\beta$" => circle(number(|a, b| a - b)),
        "$\\gamma$ parity" => indicator(&|a, b| (a + b) % period % 2 == 1),
        "$\\alpha+1=\\beta$" => indicator(&|a, b| a + 1 == b),
        other => Err(Error::invalid("a group of features", "a known one", other)),
    }
}

//! `bilinear/toy` and `bilinear/image`.

use std::collections::BTreeSet;
use std::path::Path;

use eigenlens::Result;
use eigenlens::bilinear::cpd::{CpdModel, InteractionTensor};
use eigenlens::bilinear::image::ImageModel;
use eigenlens::bilinear::toy::ToyModel;
use eigenlens::candle::{DType, Tensor, Var};
use eigenlens::train::{Muon, MuonOptions, Optimizer};

use crate::report::{Reference, Report};

/// The file that holds a case's tensors.
const TENSORS: &str = "io.safetensors";

pub(crate) fn toy(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    // Names are `operation.tensor`, and the operation may hold a decimal point.
    let operations: BTreeSet<String> = reference
        .names()
        .filter_map(|name| name.rsplit_once('.'))
        .map(|(operation, _)| operation.to_owned())
        .collect();
    for operation in operations {
        let name = |tensor: &str| format!("{operation}.{tensor}");
        let left = reference.input(&name("w_l"), report)?;
        let right = reference.input(&name("w_r"), report)?;
        let out = reference.input(&name("w_p"), report)?;
        let x = reference.input(&name("x"), report)?;
        let model = ToyModel::from_weights(operation.parse()?, &left, &right, &out)?;
        reference.compare(&name("target"), &model.target(&x)?, report)?;
        reference.compare(&name("y"), &model.forward(&x)?, report)?;
        reference.compare(&name("loss"), &model.loss(&x)?, report)?;
        reference.compare(&name("b"), &model.interactions()?, report)?;
        let symmetric = model.interactions_symmetric()?;
        reference.compare(&name("b_symmetrised"), &symmetric, report)?;
    }
    Ok(())
}

pub(crate) fn image(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    let x = reference.input("x", report)?;
    let (height, width) = (x.dim(2)?, x.dim(3)?);
    let embed = reference.input("embed", report)?;
    let left = reference.input("w_l", report)?;
    let right = reference.input("w_r", report)?;
    let head = reference.input("head", report)?;
    let model = ImageModel::from_weights(height, width, &embed, &left, &right, &head)?;
    reference.compare("logits", &model.logits(&x)?, report)?;
    reference.compare("b_symmetrised", &model.interactions_symmetric()?, report)?;

    let parts = model.decompose()?;
    reference.compare("eigenvalues", &parts.eigenvalues, report)?;
    let pixels = parts.eigenvectors.abs()?;
    reference.compare("eigenvectors_input_space_abs", &pixels, report)?;
    let contributions = parts.contributions(&x)?;
    reference.compare("eigen_contributions", &contributions, report)?;
    reference.compare("eigen_contributions_sum", &contributions.sum(2)?, report)?;
    cpd(&reference, &model, &x, report)
}

fn cpd(reference: &Reference, model: &ImageModel, x: &Tensor, report: &mut Report) -> Result<()> {
    let (height, width) = (x.dim(2)?, x.dim(3)?);
    let left = reference.input("cpd.left", report)?;
    let right = reference.input("cpd.right", report)?;
    let down = reference.input("cpd.down", report)?;
    let cpd = CpdModel::from_factors(height, width, &left, &right, &down)?;
    reference.compare("cpd.y", &cpd.logits(x)?, report)?;
    reference.compare("cpd.tensor", &cpd.tensor()?, report)?;
    let gradients = InteractionTensor::of(model)?.gradients(&cpd)?;
    let similarity = Tensor::new(gradients.similarity, x.device())?;
    reference.compare("cpd.similarity", &similarity, report)?;
    reference.compare("cpd.grad_left", &gradients.left, report)?;
    reference.compare("cpd.grad_right", &gradients.right, report)?;
    reference.compare("cpd.grad_down", &gradients.down, report)?;

    let parts = cpd.decompose()?;
    reference.compare("cpd.plus", &parts.plus, report)?;
    reference.compare("cpd.minus", &parts.minus, report)?;
    reference.compare("cpd.down_normalised", &parts.down, report)?;
    reference.compare("cpd.sigma", &parts.sigma, report)?;

    muon(reference, model, &cpd, report)
}

/// Three steps, from the f32 interaction matrices on in f64. The optimiser rounds to bfloat16 and
/// then amplifies small singular values a hundredfold: a gradient that is off by 1e-8 may fall on
/// the other side of a rounding boundary and end up 3e-4 away. So the computation shares the
/// reference's one rounding that matters, and adds none.
fn muon(
    reference: &Reference,
    model: &ImageModel,
    cpd: &CpdModel,
    report: &mut Report,
) -> Result<()> {
    let wide = |tensor: Tensor| tensor.to_dtype(DType::F64);
    let (height, width) = (model.config().height, model.config().width);
    let matrices = wide(model.interactions_symmetric()?)?;
    let tensor = InteractionTensor::from_matrices(&matrices, &wide(model.embed())?)?;
    let factors = [
        Var::from_tensor(&wide(cpd.left())?)?,
        Var::from_tensor(&wide(cpd.right())?)?,
        Var::from_tensor(&wide(cpd.down())?)?,
    ];
    let mut muon = Muon::new(factors.to_vec(), MuonOptions::default())?;
    for _ in 0..3 {
        let [left, right, down] = &factors;
        let cpd = CpdModel::from_factors(height, width, left, right, down)?;
        let gradients = tensor.gradients(&cpd)?;
        muon.step(&[gradients.left, gradients.right, gradients.down])?;
    }
    for (name, factor) in ["left", "right", "down"].iter().zip(&factors) {
        let name = format!("cpd.{name}_after_3_muon_steps");
        reference.compare(&name, factor.as_tensor(), report)?;
    }
    Ok(())
}

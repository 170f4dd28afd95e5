//! `dark_matter/downstream`: the hook of the study's experiment on the loss of the next token.

use std::path::Path;

use eigenlens::Result;
use eigenlens::sae_error::original::{StudyArm, study_replacement};

use crate::multilayer::{TENSORS, json, size};
use crate::report::{Reference, Report};

const ARMS: [(StudyArm, &str); 4] = [
    (StudyArm::Original, "original"),
    (StudyArm::Sae, "sae"),
    (StudyArm::SaeAndLinear, "sae_and_linear"),
    (StudyArm::SaeAndNoise, "sae_and_noise"),
];

pub(crate) fn downstream(folder: &Path, report: &mut Report) -> Result<()> {
    let (reference, case) = (Reference::read(&folder.join(TENSORS), report)?, json(folder)?);
    let x = reference.input("in.x", report)?;
    let vectors = reference.input("in.sae_vectors", report)?;
    let solution = reference.input("in.linear_solution", report)?;
    let baseline = reference.input("in.baseline", report)?;
    let untouched = size(&case, "untouched_positions")?;
    let positions = x.dim(1)?;
    report.check("positions", positions == size(&case, "positions")?);
    for (arm, name) in ARMS {
        for (end, baseline) in [("", None), (".with_baseline", Some(&baseline))] {
            let name = format!("out.{name}{end}");
            if !reference.has(&name) {
                continue;
            }
            let found = study_replacement(arm, &x, &vectors, &solution, baseline, untouched)?;
            let window = found.narrow(1, untouched, positions - untouched)?;
            reference.compare(&name, &window, report)?;
            let start = found.narrow(1, 0, untouched)?.to_vec3::<f32>()?;
            let is_same = start == x.narrow(1, 0, untouched)?.to_vec3::<f32>()?;
            report.check(&format!("{name} before the window"), is_same);
        }
    }
    Ok(())
}

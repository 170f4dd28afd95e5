//! Comparing tensors, and counting.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use eigenlens::candle::{DType, Device, Tensor, safetensors};
use eigenlens::{Error, Result};

/// `max |error| ≤ TOLERANCE · max(1, max |reference|)`.
const TOLERANCE: f64 = 5e-5;

/// Entries this large stand for minus infinity.
const MASK: f64 = 1e29;

/// What was compared so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: usize,
    skipped: usize,
    case: String,
    /// Tensors of the running case that wait for a comparison or for use as an input.
    open: BTreeSet<String>,
    compared: usize,
    /// The case's own tolerance, relative to the largest entry.
    relative: Option<f64>,
    /// Whether the running case cannot be run here.
    excused: bool,
    /// The case's own tolerance, whatever the size of the entries.
    absolute: Option<f64>,
}

/// The reference tensors of a case.
#[derive(Debug)]
pub(crate) struct Reference {
    tensors: BTreeMap<String, Tensor>,
    path: String,
}

impl Reference {
    /// All tensors of the file, and every one of them noted in `report` as to be dealt with.
    pub(crate) fn read(path: &Path, report: &mut Report) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let tensors: BTreeMap<_, _> = safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|error| Error::format(path, "a safetensors file", error.to_string()))?
            .into_iter()
            .collect();
        report.open.extend(tensors.keys().cloned());
        Ok(Self { tensors, path: path.display().to_string() })
    }

    /// Names of all tensors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| Error::NotFound {
            what: format!("the tensor `{name}`"),
            hint: format!("{} does not hold it.", self.path),
        })
    }

    /// A tensor that goes into the computation.
    pub(crate) fn input(&self, name: &str, report: &mut Report) -> Result<Tensor> {
        let tensor = self.get(name)?;
        report.open.remove(name);
        Ok(tensor.clone())
    }

    /// Compares `found` with the tensor `name`.
    pub(crate) fn compare(&self, name: &str, found: &Tensor, report: &mut Report) -> Result<()> {
        let expected = self.get(name)?;
        report.open.remove(name);
        report.compare(name, expected, found)
    }
}

impl Report {
    pub(crate) fn begin(&mut self, case: &str) {
        case.clone_into(&mut self.case);
        self.open.clear();
        self.compared = 0;
        self.relative = None;
        self.absolute = None;
        self.excused = false;
    }

    /// The running case cannot be run here, which is no failure.
    pub(crate) fn excuse(&mut self, reason: &str) {
        let case = self.case.clone();
        self.skip(&case, reason);
        self.excused = true;
    }

    /// From here to the next call or the end of the case: `max |error| ≤ tolerance`.
    pub(crate) fn absolute(&mut self, tolerance: f64) {
        self.absolute = Some(tolerance);
    }

    /// From here on the tolerance of all cases again.
    pub(crate) fn standard(&mut self) {
        self.absolute = None;
        self.relative = None;
    }

    /// From here to the end of the case: `max |error| ≤ tolerance · max |reference|`.
    pub(crate) fn relative(&mut self, tolerance: f64) {
        self.relative = Some(tolerance);
    }

    /// Ends a case: a tensor that was neither an input nor compared is a failure, and so is a case
    /// in which nothing was compared.
    pub(crate) fn end(&mut self) {
        for name in std::mem::take(&mut self.open) {
            self.fail(&name, "not compared");
        }
        if self.compared == 0 && !self.excused {
            self.fail("case", "nothing was compared");
        }
    }

    /// Compares two tensors.
    pub(crate) fn compare(&mut self, name: &str, expected: &Tensor, found: &Tensor) -> Result<()> {
        self.compared += 1;
        if expected.elem_count() != found.elem_count() {
            let message = format!("shape {:?} for {:?}", found.dims(), expected.dims());
            self.fail(name, &message);
            return Ok(());
        }
        // A scalar may be kept as [1]; otherwise shapes are part of the answer.
        if expected.elem_count() > 1 && expected.dims() != found.dims() {
            let message = format!("shape {:?} for {:?}", found.dims(), expected.dims());
            self.fail(name, &message);
            return Ok(());
        }
        let values = |tensor: &Tensor| -> Result<Vec<f64>> {
            Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?)
        };
        let (expected, found) = (values(expected)?, values(found)?);
        let (mut error, mut size) = (0f64, 0f64);
        for (expected, found) in expected.iter().zip(&found) {
            // What has no value has none here either.
            if expected.is_nan() && found.is_nan() {
                continue;
            }
            let gap = (expected - found).abs();
            // What a mask leaves in attention scores is no measure for the others.
            if expected.abs() >= MASK {
                error = if gap.is_nan() { f64::INFINITY } else { error.max(gap / MASK) };
                continue;
            }
            // `max` would forget a NaN.
            error = if gap.is_nan() { f64::INFINITY } else { error.max(gap) };
            size = size.max(expected.abs());
        }
        let share = if size > 0.0 { error / size } else { error };
        let line = format!("{} {name} {error:.3e} {share:.3e}", self.case);
        let bound = match (self.absolute, self.relative) {
            (Some(tolerance), _) => tolerance,
            (None, Some(share)) => share * size,
            (None, None) => TOLERANCE * size.max(1.0),
        };
        if error <= bound {
            println!("{line}");
            self.passed += 1;
        } else {
            println!("{line} FAILED");
            self.failed += 1;
        }
        Ok(())
    }

    /// [`Report::compare`] with numbers that are no tensors.
    pub(crate) fn numbers(
        &mut self,
        name: &str,
        expected: Vec<f64>,
        found: Vec<f64>,
    ) -> Result<()> {
        let expected = Tensor::new(expected, &Device::Cpu)?;
        self.compare(name, &expected, &Tensor::new(found, &Device::Cpu)?)
    }

    /// Something that is not a tensor is as it should be.
    pub(crate) fn pass(&mut self, what: &str) {
        println!("{} {what}", self.case);
        self.compared += 1;
        self.passed += 1;
    }

    /// Something that is not a tensor is as it should be, or fails.
    pub(crate) fn check(&mut self, what: &str, is_right: bool) {
        match is_right {
            true => self.pass(what),
            false => self.fail(what, "another answer"),
        }
    }

    pub(crate) fn fail(&mut self, tensor: &str, reason: &str) {
        println!("{} {tensor} FAILED: {reason}", self.case);
        self.failed += 1;
    }

    pub(crate) fn skip(&mut self, case: &str, reason: &str) {
        println!("{case} skipped: {reason}");
        self.skipped += 1;
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed > 0
    }

    pub(crate) fn closing_line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

//! The digits that the library carries: `assets/mnist`, checked against their SHA-256. The published
//! package has none (`build.rs`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use sha2::{Digest, Sha256};

use super::idx;
use super::images::Images;
use crate::hub::NOT_IN_THE_PACKAGE;
use crate::provenance::Source;
use crate::{Error, Result};

/// The training and the test part.
pub(super) fn parts(classes: &Arc<[String]>, device: &Device) -> Result<[Images; 2]> {
    let [train, test] = PARTS else {
        return Err(Error::NotFound {
            what: "the digits among what is part of eigenlens".into(),
            hint: format!("{NOT_IN_THE_PACKAGE} `Mnist::from_dir` reads MNIST from a folder."),
        });
    };
    Ok([train.images(classes.clone(), device)?, test.images(classes.clone(), device)?])
}

/// One part of the embedded slice: its name, then content and SHA-256 of each file.
struct Embedded {
    part: &'static str,
    images: (&'static [u8], &'static str),
    labels: (&'static [u8], &'static str),
}

static PARTS: &[Embedded] = &[
    #[cfg(embedded_data)]
    Embedded {
        part: "train",
        images: (
            include_bytes!("../../assets/mnist/train-images-idx3-ubyte.gz"),
            "0514208d9683cc276fd3b2b82ec99a477d654ae1ecd3bdf8734270040eb743f3",
        ),
        labels: (
            include_bytes!("../../assets/mnist/train-labels-idx1-ubyte.gz"),
            "c940dbfdd32a659f89290857425237e94671a2e67e56593a61904e3e0b349f80",
        ),
    },
    #[cfg(embedded_data)]
    Embedded {
        part: "t10k",
        images: (
            include_bytes!("../../assets/mnist/t10k-images-idx3-ubyte.gz"),
            "d9e2d7553deb9bd74d8fb5ad128c1d9a0f55728de82a6d521ae72b32e87797bb",
        ),
        labels: (
            include_bytes!("../../assets/mnist/t10k-labels-idx1-ubyte.gz"),
            "4132a1239f4982e49281f892e5e6f5dc95e23715e0157511ff7bc796390582e3",
        ),
    },
];

impl Embedded {
    fn images(&self, classes: Arc<[String]>, device: &Device) -> Result<Images> {
        let images_name = PathBuf::from(format!("embedded {}-images-idx3-ubyte.gz", self.part));
        let labels_name = PathBuf::from(format!("embedded {}-labels-idx1-ubyte.gz", self.part));
        let images = idx::images_in(&images_name, checked(&images_name, self.images)?)?;
        let labels = idx::labels_in(&labels_name, checked(&labels_name, self.labels)?)?;
        let source = Source::Embedded { what: "a slice of MNIST's training set" };
        Images::from_bytes((&images_name, images), (&labels_name, labels), classes, source, device)
    }
}

/// The content, if it has the SHA-256 it should have: a checkout can damage binary files.
fn checked(name: &Path, (content, expected): (&'static [u8], &str)) -> Result<&'static [u8]> {
    let found = format!("{:x}", Sha256::digest(content));
    if found == expected {
        return Ok(content);
    }
    let found = format!("{found}; the checkout is damaged: restore assets/mnist and rebuild");
    Err(Error::format(name, format!("SHA-256 {expected}"), found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_embedded_data_is_recognised() {
        let error = checked(Path::new("embedded x"), (b"damaged", "00")).unwrap_err().to_string();
        assert!(error.contains("embedded x") && error.contains("restore assets/mnist"), "{error}");
    }
}

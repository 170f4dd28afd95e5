//! MNIST and Fashion-MNIST: embedded, from a folder, or the fetched whole.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;

use super::embedded;
use super::idx;
use super::images::Images;
use super::thumbnails::table;
use crate::display::MimeBundle;
use crate::home::data_folder;
use crate::hub::Hub;
use crate::provenance::Source;
use crate::text::thousands;
use crate::{Error, Result};

const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const CLOTHES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];
/// What the files' canonical names begin with: training data, test data.
const PARTS: [&str; 2] = ["train", "t10k"];

/// A data set of images in two parts, to train on and to test on.
///
/// Clones share their tensors.
#[derive(Debug, Clone)]
pub struct ImageDataset {
    name: &'static str,
    train: Images,
    test: Images,
}

impl ImageDataset {
    /// The name of the data set: `MNIST`.
    pub fn name(&self) -> &str {
        self.name
    }

    /// The training part.
    pub fn train(&self) -> &Images {
        &self.train
    }

    /// The test part. No image of it is in the training part.
    pub fn test(&self) -> &Images {
        &self.test
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        self.train.classes()
    }

    /// Which of the places the data could be in they came from.
    pub fn source(&self) -> &Source {
        self.train.source()
    }

    /// Shows a table of the classes with some training images of each.
    pub fn evcxr_display(&self) {
        let text = self.to_string();
        let bundle = MimeBundle::text(&text);
        let parts = [("training", &self.train), ("test", &self.test)];
        let bundle = match table(&text, &parts) {
            Ok(html) => bundle.html(html),
            Err(_) => bundle,
        };
        bundle.show_as_result();
    }
}

impl fmt::Display for ImageDataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, columns) = self.train.size();
        write!(
            f,
            "{}: {} training and {} test images of {rows}×{columns} in {} classes, from {}",
            self.name,
            thousands(self.train.len()),
            thousands(self.test.len()),
            self.classes().len(),
            self.source()
        )
    }
}

/// MNIST: handwritten digits, 28×28, ten classes (LeCun, Cortes and Burges, 1998).
#[derive(Debug, Clone, Copy)]
pub struct Mnist;

impl Mnist {
    /// The digits at hand without any preparation: [`Mnist::embedded`]. [`Mnist::full`] has all.
    ///
    /// ```
    /// use eigenlens::candle::Device;
    /// use eigenlens::data::Mnist;
    ///
    /// # fn main() -> eigenlens::Result<()> {
    /// let mnist = Mnist::load(&Device::Cpu)?;
    /// assert_eq!(mnist.train().pixels().dims(), [8_000, 1, 28, 28]);
    /// println!("{mnist}"); // says where they came from
    /// # Ok(()) }
    /// ```
    pub fn load(device: &Device) -> Result<ImageDataset> {
        Self::embedded(device)
    }

    /// The slice that the library carries: 8,000 training and 2,000 test digits, all from MNIST's
    /// training set, none in both parts, classes mixed (`assets/mnist/README.md`).
    ///
    /// Accuracies on it are not comparable with published ones, which are on MNIST's own 10,000
    /// test digits: [`Mnist::full`] has those.
    pub fn embedded(device: &Device) -> Result<ImageDataset> {
        let [train, test] = embedded::parts(&names(&DIGITS), device)?;
        Ok(ImageDataset { name: DIGIT_SET.title, train, test })
    }

    /// The digits in `folder`, which holds the four idx files under their canonical names, each
    /// plain or gzipped: `train-images-idx3-ubyte[.gz]`, `train-labels-idx1-ubyte[.gz]`,
    /// `t10k-images-idx3-ubyte[.gz]`, `t10k-labels-idx1-ubyte[.gz]`; the spelling with a dot,
    /// `train-images.idx3-ubyte`, is read as well.
    ///
    /// Fails where a file is missing, truncated, damaged or of another kind, where images and
    /// labels do not match, and where images are not 28×28 or labels not below 10.
    pub fn from_dir(folder: impl AsRef<Path>, device: &Device) -> Result<ImageDataset> {
        DIGIT_SET.open(folder.as_ref(), device)
    }

    /// The digits in the hub repository `repo` (`datasets/owner/name`), which holds the four files
    /// `train-images-idx3-ubyte.gz` and so on: from `hub`'s cache, else fetched.
    ///
    /// Fails as [`Hub::file`] and [`Mnist::from_dir`] do.
    pub fn from_hub(hub: &Hub, repo: &str, device: &Device) -> Result<ImageDataset> {
        DIGIT_SET.fetch(hub, repo, device)
    }

    /// All 70,000 digits, 60,000 to train on and 10,000 to test on, from `data/mnist` in
    /// [`home`](super::home), where `cargo run --bin eigenlens -- fetch mnist` puts them.
    pub fn full(device: &Device) -> Result<ImageDataset> {
        DIGIT_SET.full(&data_folder(DIGIT_SET.folder)?, device)
    }
}

/// Fashion-MNIST: clothes in MNIST's format, 28×28, ten classes (Xiao, Rasul and Vollgraf, 2017,
/// <https://arxiv.org/abs/1708.07747>).
#[derive(Debug, Clone, Copy)]
pub struct FashionMnist;

impl FashionMnist {
    /// [`FashionMnist::full`]: the library carries no part of Fashion-MNIST.
    pub fn load(device: &Device) -> Result<ImageDataset> {
        Self::full(device)
    }

    /// The images in `folder`, under the file names of [`Mnist::from_dir`] and with its errors.
    pub fn from_dir(folder: impl AsRef<Path>, device: &Device) -> Result<ImageDataset> {
        CLOTHES_SET.open(folder.as_ref(), device)
    }

    /// The images in a hub repository; see [`Mnist::from_hub`].
    pub fn from_hub(hub: &Hub, repo: &str, device: &Device) -> Result<ImageDataset> {
        CLOTHES_SET.fetch(hub, repo, device)
    }

    /// All 70,000 images from `data/fashion-mnist` in [`home`](super::home), where
    /// `cargo run --bin eigenlens -- fetch fashion-mnist` puts them.
    pub fn full(device: &Device) -> Result<ImageDataset> {
        CLOTHES_SET.full(&data_folder(CLOTHES_SET.folder)?, device)
    }
}

/// What tells one data set in MNIST's format from another.
struct Set {
    title: &'static str,
    folder: &'static str,
    classes: [&'static str; 10],
}

const DIGIT_SET: Set = Set { title: "MNIST", folder: "mnist", classes: DIGITS };
const CLOTHES_SET: Set = Set { title: "Fashion-MNIST", folder: "fashion-mnist", classes: CLOTHES };

impl Set {
    fn open(&self, folder: &Path, device: &Device) -> Result<ImageDataset> {
        let source = Source::Folder(folder.to_owned());
        self.read(|part, kind, dims| find(folder, part, kind, dims), &source, device)
    }

    fn fetch(&self, hub: &Hub, repo: &str, device: &Device) -> Result<ImageDataset> {
        let fetch = |part: &str, kind: &str, dimensions: &str| {
            hub.file(repo, &format!("{part}-{kind}-{dimensions}-ubyte.gz"))
        };
        self.read(fetch, &Source::Hub(repo.to_owned()), device)
    }

    /// Both parts, from the files that `locate` finds for (part, kind, dimensions).
    fn read(
        &self,
        locate: impl Fn(&str, &str, &str) -> Result<PathBuf>,
        source: &Source,
        device: &Device,
    ) -> Result<ImageDataset> {
        let read = |part| {
            let images_path = locate(part, "images", "idx3")?;
            let labels_path = locate(part, "labels", "idx1")?;
            let images = idx::images(&images_path)?;
            if (images.rows, images.columns) != (28, 28) {
                let found = format!("{}×{}", images.rows, images.columns);
                return Err(Error::format(&images_path, "images of 28×28 pixels", found));
            }
            let labels = (labels_path.as_path(), idx::labels(&labels_path)?);
            let images = (images_path.as_path(), images);
            Images::from_bytes(images, labels, names(&self.classes), source.clone(), device)
        };
        let [train, test] = PARTS.map(read);
        Ok(ImageDataset { name: self.title, train: train?, test: test? })
    }

    fn full(&self, folder: &Path, device: &Device) -> Result<ImageDataset> {
        let fetch = format!("`cargo run --bin eigenlens -- fetch {}`", self.folder);
        if !folder.is_dir() {
            return Err(Error::NotFound {
                what: format!("the full {} ({})", self.title, folder.display()),
                hint: format!("Fetch its 70,000 images once with {fetch}."),
            });
        }
        let set = self.open(folder, device)?;
        let counts = (set.train.len(), set.test.len());
        if counts != (60_000, 10_000) {
            return Err(Error::format(
                folder,
                format!("60,000 training and 10,000 test images of {}", self.title),
                format!("{} and {}; fetch them again with {fetch}", counts.0, counts.1),
            ));
        }
        Ok(set)
    }
}

fn names(classes: &[&str]) -> Arc<[String]> {
    classes.iter().map(|class| (*class).to_owned()).collect()
}

/// The file `<part>-<kind>-<dimensions>-ubyte` in one of its spellings.
fn find(folder: &Path, part: &str, kind: &str, dimensions: &str) -> Result<PathBuf> {
    let canonical = format!("{part}-{kind}-{dimensions}-ubyte");
    let dotted = format!("{part}-{kind}.{dimensions}-ubyte");
    let spellings = [canonical.as_str(), &dotted].into_iter();
    let mut candidates = spellings.flat_map(|name| [name.to_owned(), format!("{name}.gz")]);
    candidates.find_map(|name| Some(folder.join(name)).filter(|path| path.is_file())).ok_or_else(
        || Error::NotFound {
            what: format!("{canonical} in {}", folder.display()),
            hint: format!("The folder needs {canonical}, {dotted} or one of them with .gz."),
        },
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Write;

    use tempfile::TempDir;

    use super::*;

    const CPU: &Device = &Device::Cpu;

    #[test]
    fn the_embedded_digits_are_8000_and_2000_mixed_and_disjoint() {
        let mnist = Mnist::load(CPU).unwrap();
        assert_eq!(
            mnist.to_string(),
            "MNIST: 8,000 training and 2,000 test images of 28×28 in 10 classes, \
             from embedded in eigenlens (a slice of MNIST's training set)"
        );
        let (train, test) = (mnist.train(), mnist.test());
        assert_eq!(train.pixels().dims(), [8_000, 1, 28, 28]);
        assert_eq!(test.pixels().dims(), [2_000, 1, 28, 28]);
        assert_eq!(
            train.class_counts().unwrap(),
            [801, 902, 793, 826, 784, 690, 811, 856, 755, 782]
        );
        assert_eq!(
            test.class_counts().unwrap(),
            [200, 225, 198, 206, 196, 173, 203, 214, 189, 196]
        );
        // Mixed: any 100 digits in a row hold all classes.
        for start in (0..8_000).step_by(100) {
            let counts = train.range(start..start + 100).unwrap().class_counts().unwrap();
            assert!(counts.iter().all(|count| *count > 0), "{start}: {counts:?}");
        }
        let rows = |images: &Images| -> HashSet<Vec<u8>> {
            let rows = images.flat().unwrap().to_vec2::<f32>().unwrap();
            rows.iter().map(|row| row.iter().map(|v| (v * 255.0).round() as u8).collect()).collect()
        };
        let (train, test) = (rows(train), rows(test));
        assert_eq!((train.len(), test.len()), (8_000, 2_000));
        assert!(train.is_disjoint(&test));
    }

    #[test]
    fn embedded_pixels_are_bytes_over_255() {
        let mnist = Mnist::embedded(CPU).unwrap();
        let values = mnist.test().pixels().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(
            values.iter().all(|v| (v * 255.0).round() / 255.0 == *v && (0.0..=1.0).contains(v))
        );
        assert!(values.contains(&1.0));
        // MNIST's mean pixel is 0.1307 over the whole training set.
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        assert!((mean - 0.1307).abs() < 0.003, "{mean}");
    }

    /// A folder with the four files: `counts` images and labels in each part, `size` squared.
    fn folder(counts: [u32; 2], size: u32, label: u8) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for part in PARTS {
            let write = |name: String, header: &[u32], body: usize, value: u8| {
                let mut file = std::fs::File::create(folder.path().join(name)).unwrap();
                header.iter().for_each(|n| file.write_all(&n.to_be_bytes()).unwrap());
                file.write_all(&vec![value; body]).unwrap();
            };
            let pixels = (counts[0] * size * size) as usize;
            let images = format!("{part}-images-idx3-ubyte");
            write(images, &[0x803, counts[0], size, size], pixels, 255);
            // The other spelling.
            let labels = format!("{part}-labels.idx1-ubyte");
            write(labels, &[0x801, counts[1]], counts[1] as usize, label);
        }
        folder
    }

    fn folder_error(counts: [u32; 2], size: u32, label: u8) -> String {
        Mnist::from_dir(folder(counts, size, label).path(), CPU).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_is_read_in_any_spelling() {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/mnist");
        let mnist = Mnist::from_dir(&assets, CPU).unwrap();
        assert_eq!(mnist.test().len(), 2_000);
        assert_eq!(mnist.source(), &Source::Folder(assets));

        let plain = folder([3, 3], 28, 9);
        let fashion = FashionMnist::from_dir(plain.path(), CPU).unwrap();
        assert_eq!(fashion.train().class_counts().unwrap()[9], 3);
        assert_eq!(fashion.classes()[9], "Ankle boot");
    }

    #[test]
    fn a_hub_cache_is_read_without_a_network() {
        let cache = tempfile::tempdir().unwrap();
        let snapshot = cache.path().join("datasets--owner--digits/snapshots/main");
        std::fs::create_dir_all(&snapshot).unwrap();
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/mnist");
        for part in PARTS {
            for rest in ["images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"] {
                let name = format!("{part}-{rest}");
                std::fs::copy(assets.join(&name), snapshot.join(&name)).unwrap();
            }
        }
        let hub = Hub::from_env().unwrap().with_cache(cache.path()).offline();
        let mnist = Mnist::from_hub(&hub, "datasets/owner/digits", CPU).unwrap();
        assert_eq!(mnist.test().len(), 2_000);
        assert!(mnist.to_string().ends_with("from hub datasets/owner/digits"));
        let error = Mnist::from_hub(&hub, "datasets/owner/other", CPU).unwrap_err().to_string();
        assert!(error.contains("train-images-idx3-ubyte.gz of datasets/owner/other"), "{error}");
    }

    #[test]
    fn folders_that_do_not_fit_are_errors() {
        let error = folder_error([3, 2], 28, 1);
        assert!(error.contains("train-labels") && error.contains("expected 3 labels"), "{error}");
        assert!(error.contains("found 2 labels"), "{error}");
        let error = folder_error([3, 3], 27, 1);
        assert!(error.contains("images of 28×28 pixels, found 27×27"), "{error}");
        let error = folder_error([3, 3], 28, 10);
        assert!(error.contains("below 10") && error.contains("label 10 at index 0"), "{error}");

        let incomplete = folder([3, 3], 28, 1);
        std::fs::remove_file(incomplete.path().join("t10k-images-idx3-ubyte")).unwrap();
        let error = Mnist::from_dir(incomplete.path(), CPU).unwrap_err().to_string();
        assert!(error.contains("t10k-images-idx3-ubyte in ") && error.contains(".gz"), "{error}");
    }

    #[test]
    fn the_full_data_say_how_to_fetch_them() {
        let empty = tempfile::tempdir().unwrap();
        let missing = empty.path().join("mnist");
        let error = DIGIT_SET.full(&missing, CPU).unwrap_err().to_string();
        assert!(error.contains("cargo run --bin eigenlens -- fetch mnist"), "{error}");
        let few = folder([3, 3], 28, 1);
        let error = CLOTHES_SET.full(few.path(), CPU).unwrap_err().to_string();
        assert!(
            error.contains("60,000 training") && error.contains("fetch fashion-mnist"),
            "{error}"
        );
    }

    #[test]
    #[ignore = "needs the fetched data"]
    fn the_fetched_data_are_whole() {
        for set in [Mnist::full(CPU).unwrap(), FashionMnist::full(CPU).unwrap()] {
            assert_eq!((set.train().len(), set.test().len()), (60_000, 10_000));
        }
    }
}

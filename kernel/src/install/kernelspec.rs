//! The kernelspec: the files by which Jupyter knows the kernel.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use eigenlens_common::home::HOME_VARIABLE;
use serde_json::{Value, json};

use crate::install::files::write_file;
use crate::install::state::{CHECKOUT_VARIABLE, Checkout, State};
use crate::install::template::{TEMPLATE_VARIABLE, Template};
use crate::install::toolchain::Toolchain;

/// Name of the kernelspec; notebooks carry it.
pub(crate) const KERNEL: &str = "eigenlens";

/// What says how the kernel is started. Written last: without it, a folder is no kernelspec.
const FILE: &str = "kernel.json";
/// Pictures, by the names that front ends look for.
const LOGOS: [(&str, &[u8]); 3] = [
    ("logo-svg.svg", include_bytes!("../../../assets/logo/logo.svg")),
    ("logo-64x64.png", include_bytes!("../../../assets/logo/logo-64x64.png")),
    ("logo-32x32.png", include_bytes!("../../../assets/logo/logo-32x32.png")),
];

/// Content of a `kernel.json`.
#[derive(Debug, Clone)]
pub(crate) struct Kernelspec(Value);

impl Kernelspec {
    /// The kernelspec that starts `program` on a template.
    pub(crate) fn new(
        state: &State,
        checkout: &Checkout,
        features: &[String],
        toolchain: &Toolchain,
        template: &Template,
        program: &Path,
    ) -> Result<Kernelspec> {
        let mut env = serde_json::Map::new();
        let mut put = |name: &str, path: &Path| -> Result<()> {
            let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
            // Jupyter reads $NAME in these values as a variable.
            env.insert(name.to_owned(), Value::from(text.replace('$', "$$")));
            Ok(())
        };
        put(HOME_VARIABLE, state.home())?;
        put(CHECKOUT_VARIABLE, checkout.root())?;
        put(TEMPLATE_VARIABLE, template.folder())?;
        if let Some(name) = toolchain.rustup_name() {
            put("RUSTUP_TOOLCHAIN", Path::new(&name))?;
        }
        Ok(Kernelspec(json!({
            "argv": [program, "kernel", "--connection-file", "{connection_file}"],
            "display_name": "Rust (eigenlens)",
            "language": "rust",
            "interrupt_mode": "message",
            "env": env,
            "metadata": { "checkout": checkout.root(), "features": features, "debugger": false },
        })))
    }

    /// The kernelspec in a folder, if one is there that can be read.
    pub(crate) fn read(folder: &Path) -> Option<Kernelspec> {
        let text = std::fs::read(folder.join(FILE)).ok()?;
        serde_json::from_slice(&text).ok().map(Kernelspec)
    }

    /// Writes it and its pictures. Whoever looks meanwhile sees the old one or the new one.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        for (name, content) in LOGOS {
            write_file(&folder.join(name), content)?;
        }
        write_file(&folder.join(FILE), &serde_json::to_vec_pretty(&self.0)?)
    }

    /// Removes what [`write`](Self::write) wrote; a folder with other files stays.
    pub(crate) fn remove(folder: &Path) -> Result<()> {
        let names = std::iter::once(FILE).chain(LOGOS.map(|(name, _)| name));
        for path in names.map(|name| folder.join(name)).filter(|path| path.exists()) {
            std::fs::remove_file(&path)
                .with_context(|| format!("could not remove {}", path.display()))?;
        }
        // Where someone put other files into it, it stays.
        let _ = std::fs::remove_dir(folder);
        Ok(())
    }

    /// Whether eigenlens wrote it.
    pub(crate) fn is_ours(&self) -> bool {
        self.0["argv"][1] == "kernel" && self.template().is_some()
    }

    /// The program that it starts.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        self.0["argv"][0].as_str().map(PathBuf::from)
    }

    /// The template that cells are compiled in.
    pub(crate) fn template(&self) -> Option<PathBuf> {
        let shown = self.0["env"][TEMPLATE_VARIABLE].as_str()?;
        Some(PathBuf::from(shown.replace("$$", "$")))
    }

    /// The checkout that it was made from.
    pub(crate) fn checkout(&self) -> Option<PathBuf> {
        self.0["metadata"]["checkout"].as_str().map(PathBuf::from)
    }

    /// Whether it was made from the same checkout with the same features as another.
    pub(crate) fn is_kin_of(&self, other: &Kernelspec) -> bool {
        self.0["metadata"] == other.0["metadata"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernelspec_reads_back_as_written_and_goes_whole() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("eigenlens spec '{}'", std::process::id()));
        let state = State::at(Path::new("/my \"lab\" $HOME/ü"));
        let checkout = Checkout::find()?;
        let toolchain = Toolchain::find()?;
        let template = Template::of(&state, &checkout, &toolchain, &[]);
        let program = Path::new("/my \"lab\"/eigenlens");
        let spec = Kernelspec::new(&state, &checkout, &[], &toolchain, &template, program)?;
        spec.write(&folder)?;
        let read = Kernelspec::read(&folder).context("it was written just now")?;
        assert!(read.is_ours());
        assert_eq!(read.program().as_deref(), Some(program));
        assert_eq!(read.template().as_deref(), Some(template.folder()));
        assert_eq!(read.checkout().as_deref(), Some(checkout.root()));
        assert!(read.is_kin_of(&spec));
        for (name, _) in LOGOS {
            assert!(folder.join(name).is_file(), "{name}");
        }
        Kernelspec::remove(&folder)?;
        assert!(!folder.exists());
        Ok(())
    }

    #[test]
    fn pictures_have_the_sizes_of_their_names() {
        for (name, content) in LOGOS {
            if let Some(size) = name.strip_prefix("logo-").and_then(|rest| rest.split('x').next())
                && let Ok(size) = size.parse::<u32>()
            {
                assert_eq!(&content[1..4], b"PNG", "{name}");
                assert_eq!(content[16..20], size.to_be_bytes(), "width of {name}");
                assert_eq!(content[20..24], size.to_be_bytes(), "height of {name}");
            } else {
                assert!(content.starts_with(b"<svg"), "{name}");
            }
        }
    }
}

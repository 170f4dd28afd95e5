//! Jupyter's folders for this project alone: kernelspec, settings, run files.
//!
//! Nothing is written to the user's own Jupyter folders or to the checkout. The server is told of
//! these folders through its environment and lists this kernel only.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::install::python::clean;
use crate::install::state::{CHECKOUT_VARIABLE, Checkout, HOME_VARIABLE, State, write_file};
use crate::install::template::{TEMPLATE_VARIABLE, Template};
use crate::install::toolchain::Toolchain;

/// Name of the kernelspec; notebooks carry it.
pub(crate) const KERNEL: &str = "eigenlens";

/// Jupyter's folders for one checkout.
#[derive(Debug, Clone)]
pub(crate) struct Jupyter {
    folder: PathBuf,
}

impl Jupyter {
    /// The folders for this checkout and set of features.
    pub(crate) fn of(state: &State, checkout: &Checkout, features: &[String]) -> Jupyter {
        Jupyter { folder: state.jupyter(checkout, features) }
    }

    /// Where the kernelspec is.
    pub(crate) fn kernelspec(&self) -> PathBuf {
        self.folder.join("data/kernels").join(KERNEL).join("kernel.json")
    }

    /// The program that the installed kernelspec starts.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        program_of(&self.kernelspec())
    }

    /// Writes the kernelspec and the settings.
    pub(crate) fn install(
        &self,
        state: &State,
        checkout: &Checkout,
        toolchain: &Toolchain,
        template: &Template,
        program: &Path,
    ) -> Result<()> {
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
        write_json(
            &self.kernelspec(),
            &json!({
                "argv": [program, "kernel", "--connection-file", "{connection_file}"],
                "display_name": "Rust (eigenlens)",
                "language": "rust",
                "interrupt_mode": "message",
                "env": env,
                "metadata": { "checkout": checkout.root(), "debugger": false },
            }),
        )?;
        write_json(
            &self.folder.join("config/jupyter_server_config.json"),
            &json!({
                "KernelSpecManager": {
                    "ensure_native_kernel": false,
                    "allowed_kernelspecs": [KERNEL],
                },
                "MultiKernelManager": { "default_kernel_name": KERNEL },
                // Nothing to look for: none of its servers is for Rust cells.
                "LanguageServerManager": { "autodetect": false },
                // Ctrl-C ends the server without a question.
                "ServerApp": { "answer_yes": true },
                // The other manager asks the package index for extensions.
                "LabApp": { "extension_manager": "readonly" },
            }),
        )?;
        write_json(
            &self.folder.join("config/labconfig/default_setting_overrides.json"),
            &json!({
                "@jupyterlab/apputils-extension:notification": {
                    "fetchNews": "false",
                    "checkForUpdates": false,
                },
                "@jupyterlab/docmanager-extension:plugin": { "autosaveInterval": 60 },
            }),
        )
    }

    /// Gives a command the environment in which Jupyter uses these folders and no others.
    pub(crate) fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        clean(command)
            .env("JUPYTER_DATA_DIR", self.folder.join("data"))
            .env("JUPYTER_CONFIG_DIR", self.folder.join("config"))
            .env("JUPYTER_RUNTIME_DIR", self.folder.join("runtime"))
            .env("JUPYTERLAB_SETTINGS_DIR", self.folder.join("config/lab/user-settings"))
            .env("JUPYTERLAB_WORKSPACES_DIR", self.folder.join("config/lab/workspaces"))
            .env("IPYTHONDIR", self.folder.join("ipython"))
            .env("PYTHONNOUSERSITE", "1")
            .env_remove("JUPYTER_PATH")
            .env_remove("JUPYTER_CONFIG_PATH")
    }
}

/// The program that a kernelspec starts.
pub(crate) fn program_of(kernelspec: &Path) -> Option<PathBuf> {
    let spec: Value = serde_json::from_slice(&std::fs::read(kernelspec).ok()?).ok()?;
    Some(PathBuf::from(spec["argv"][0].as_str()?))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_file(path, &serde_json::to_vec_pretty(value)?)
}

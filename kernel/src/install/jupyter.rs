//! Jupyter's folders for this project alone: kernelspec, settings, run files.
//!
//! Nothing is written to the checkout, and to the user's own Jupyter folders only if asked for (see
//! `user`). The server is told of these folders through its environment and lists this kernel only.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use crate::install::environment::for_python;
use crate::install::files::write_file;
pub(crate) use crate::install::kernelspec::KERNEL;
use crate::install::kernelspec::Kernelspec;
use crate::install::state::{Checkout, State};

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

    /// Folder of the kernelspec.
    pub(crate) fn kernelspec(&self) -> PathBuf {
        kernelspec_in(&self.folder)
    }

    /// Writes the kernelspec and the settings.
    pub(crate) fn install(&self, spec: &Kernelspec) -> Result<()> {
        spec.write(&self.kernelspec())?;
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
                "@jupyterlab/docmanager-extension:plugin": {
                    "autosaveInterval": 60,
                    // The start page is to be read, not edited.
                    "defaultViewers": { "markdown": "Markdown Preview" },
                },
            }),
        )
    }

    /// Gives a command the environment in which Jupyter uses these folders and no others.
    pub(crate) fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for_python(command)
            .env("JUPYTER_DATA_DIR", self.folder.join("data"))
            .env("JUPYTER_CONFIG_DIR", self.folder.join("config"))
            .env("JUPYTER_RUNTIME_DIR", self.folder.join("runtime"))
            .env("JUPYTERLAB_SETTINGS_DIR", self.folder.join("config/lab/user-settings"))
            .env("JUPYTERLAB_WORKSPACES_DIR", self.folder.join("config/lab/workspaces"))
            .env("IPYTHONDIR", self.folder.join("ipython"))
    }
}

/// Folder of the kernelspec in Jupyter's folders for one checkout.
pub(crate) fn kernelspec_in(folder: &Path) -> PathBuf {
    folder.join("data/kernels").join(KERNEL)
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_file(path, &serde_json::to_vec_pretty(value)?)
}

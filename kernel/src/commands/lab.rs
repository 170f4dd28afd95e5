//! `eigenlens lab`: set up, then JupyterLab on `notebooks/`.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::commands::args::{LabArgs, SetupArgs};
use crate::commands::setup::setup;

/// The page that JupyterLab opens, below the notebooks' folder.
const START_PAGE: &str = "README.md";
/// First port to try where none was asked for.
const PORT: u16 = 8888;

/// Becomes JupyterLab, which ends with Ctrl-C.
pub(crate) fn lab(args: &LabArgs) -> Result<()> {
    // Before minutes are spent on set-up.
    if let Some(port) = args.port {
        choose_port(Some(port))?;
    }
    let setup = setup(&args.setup)?;
    let notebooks = setup.checkout.root().join("notebooks");
    if !notebooks.is_dir() {
        bail!("{} is missing; restore it with: git checkout notebooks", notebooks.display());
    }
    let port = choose_port(args.port)?;
    println!(
        "JupyterLab on http://127.0.0.1:{port} (the address with its token follows; Ctrl-C ends it)"
    );
    let mut command = Command::new(setup.python.program());
    command
        .args(["-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0"])
        .arg(format!("--ServerApp.port={port}"))
        .arg(format!("--ServerApp.open_browser={}", if args.no_browser { "False" } else { "True" }))
        .arg(option("--ServerApp.root_dir=", &notebooks))
        .arg(format!("--LabApp.default_url=/lab/tree/{START_PAGE}"))
        .current_dir(&notebooks);
    if running_as_root() {
        command.arg("--ServerApp.allow_root=True");
    }
    Err(setup.jupyter.environment(&mut command).exec()).context("could not start JupyterLab")
}

/// Becomes the environment's Python, in which `jupyter_client` finds this project's kernel.
pub(crate) fn python(args: &SetupArgs, arguments: &[OsString]) -> Result<()> {
    let setup = setup(args)?;
    let mut command = Command::new(setup.python.program());
    Err(setup.jupyter.environment(command.args(arguments)).exec()).context("could not start Python")
}

fn option(name: &str, value: &std::path::Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(value);
    option
}

/// Containers run as root, and Jupyter refuses root unless told.
fn running_as_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The asked port if it is free, else the first free one from [`PORT`] on.
pub(super) fn choose_port(asked: Option<u16>) -> Result<u16> {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).map(drop);
    match asked {
        Some(port) => {
            free(port).with_context(|| {
                format!(
                    "port {port} of 127.0.0.1 cannot be used (another server may have it); choose \
                     another with --port, or leave --port out for the next free one"
                )
            })?;
            Ok(port)
        }
        None => (PORT..PORT + 100).find(|port| free(*port).is_ok()).with_context(|| {
            format!("no free port from {PORT} to {}; name one with --port", PORT + 99)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_an_error_only_if_asked_for() -> Result<()> {
        let taken = TcpListener::bind(("127.0.0.1", 0))?;
        let port = taken.local_addr()?.port();
        let error = choose_port(Some(port)).expect_err("it is taken");
        assert!(error.to_string().contains(&port.to_string()), "{error}");
        assert!(error.to_string().contains("--port"), "{error}");
        assert!(choose_port(None).is_ok());
        Ok(())
    }
}

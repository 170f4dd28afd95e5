//! A Python with DuckDB, Polars and a server of S3's protocol.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Path of that Python, whose environment is made on the first use and kept with what is compiled;
/// none, and the reason printed, if it cannot be made here.
pub(crate) fn python() -> Option<PathBuf> {
    let requirements =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../environment/requirements-engine.txt");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine-python");
    let python = folder.join("bin/python");
    let succeeds =
        |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let has_all =
        || succeeds(Command::new(&python).args(["-c", "import duckdb, moto.server, polars, yaml"]));
    if has_all() {
        return Some(python);
    }
    let made = succeeds(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        && succeeds(
            Command::new(&python).args(["-m", "pip", "install", "-q", "-r"]).arg(&requirements),
        )
        && has_all();
    if !made {
        println!("skipped: no Python with what {} lists", requirements.display());
    }
    made.then_some(python)
}

//! The commands on machines where something is missing: each says what, and how to get it.

use std::error::Error;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

type Outcome = Result<(), Box<dyn Error>>;

/// A folder of one test, removed when it ends well.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Scratch, Box<dyn Error>> {
        let folder = std::env::temp_dir().join(format!("eigenlens-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Scratch(folder))
    }

    /// A path that has these programs of the machine and no others.
    fn programs(&self, names: &[&str]) -> Result<PathBuf, Box<dyn Error>> {
        let folder = self.0.join("bin");
        fs::create_dir_all(&folder)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        for name in names {
            let found = std::env::split_paths(&path).map(|p| p.join(name)).find(|p| p.is_file());
            if let Some(program) = found {
                symlink(program, folder.join(name))?;
            }
        }
        Ok(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn eigenlens(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eigenlens"));
    command.env("EIGENLENS_HOME", home).env_remove("EIGENLENS_CHECKOUT");
    command
}

/// Runs a command that must fail and returns all that it said.
fn complaint(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.output()?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!output.status.success(), "it did not fail: {said}");
    assert!(!said.contains("panicked"), "{said}");
    Ok(said)
}

const RUST: [&str; 5] = ["rustc", "cargo", "rustup", "cc", "mold"];

#[test]
fn no_python_on_the_machine() -> Outcome {
    let scratch = Scratch::new("no-python")?;
    let path = scratch.programs(&RUST)?;
    let said = complaint(eigenlens(&scratch.0.join("home")).arg("setup").env("PATH", path))?;
    assert!(said.contains("no Python") && said.contains("apt install python3"), "{said}");
    Ok(())
}

#[test]
fn python_is_too_old() -> Outcome {
    let scratch = Scratch::new("old-python")?;
    let path = scratch.programs(&RUST)?;
    fs::write(path.join("python3"), "#!/bin/sh\necho 3.8.1\n")?;
    fs::set_permissions(path.join("python3"), fs::Permissions::from_mode(0o755))?;
    let said = complaint(eigenlens(&scratch.0.join("home")).arg("setup").env("PATH", path))?;
    assert!(said.contains("3.8.1") && said.contains("3.10 or newer"), "{said}");
    Ok(())
}

#[test]
fn no_rust_on_the_path() -> Outcome {
    let scratch = Scratch::new("no-rust")?;
    let path = scratch.programs(&["cc"])?;
    let said = complaint(eigenlens(&scratch.0.join("home")).arg("setup").env("PATH", path))?;
    assert!(said.contains("rustc") && said.contains("rustup"), "{said}");
    Ok(())
}

#[test]
fn no_linker_on_the_path() -> Outcome {
    let scratch = Scratch::new("no-linker")?;
    let path = scratch.programs(&["rustc", "cargo", "rustup"])?;
    let said = complaint(eigenlens(&scratch.0.join("home")).arg("setup").env("PATH", path))?;
    assert!(said.contains("apt install build-essential"), "{said}");
    Ok(())
}

#[test]
fn the_state_folder_cannot_be_written() -> Outcome {
    let scratch = Scratch::new("unwritable")?;
    // Root may write anywhere, but not below a file.
    let file = scratch.0.join("file");
    fs::write(&file, "")?;
    for command in ["setup", "lab", "doctor"] {
        let said = complaint(eigenlens(&file.join("home")).arg(command))?;
        assert!(said.contains("cannot be written") && said.contains("EIGENLENS_HOME"), "{said}");
    }
    Ok(())
}

#[test]
fn the_asked_port_is_taken() -> Outcome {
    let scratch = Scratch::new("port")?;
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let port = taken.local_addr()?.port().to_string();
    let said = complaint(eigenlens(&scratch.0).args(["lab", "--no-browser", "--port", &port]))?;
    assert!(said.contains(&port) && said.contains("--port"), "{said}");
    assert!(!said.contains("[1/5]"), "it is said before set-up begins: {said}");
    Ok(())
}

#[test]
fn the_checkout_is_named_wrongly() -> Outcome {
    let scratch = Scratch::new("checkout")?;
    let mut command = eigenlens(&scratch.0.join("home"));
    let said = complaint(command.arg("setup").env("EIGENLENS_CHECKOUT", &scratch.0))?;
    assert!(
        said.contains("no eigenlens checkout") && said.contains("EIGENLENS_CHECKOUT"),
        "{said}"
    );
    Ok(())
}

#[test]
fn there_is_no_such_feature() -> Outcome {
    let scratch = Scratch::new("feature")?;
    let said = complaint(eigenlens(&scratch.0).args(["setup", "--features", "metal"]))?;
    assert!(said.contains("metal") && said.contains("cuda"), "{said}");
    Ok(())
}

#[test]
fn notebooks_are_checked_before_set_up() -> Outcome {
    let scratch = Scratch::new("notebooks")?;
    let said = complaint(eigenlens(&scratch.0.join("home")).args(["run", "none.ipynb"]))?;
    assert!(said.contains("no notebook none.ipynb"), "{said}");
    assert!(!scratch.0.join("home").exists());
    Ok(())
}

#[test]
fn an_unbuilt_template_is_no_place_for_cells() -> Outcome {
    let scratch = Scratch::new("unbuilt")?;
    let mut command = eigenlens(&scratch.0.join("home"));
    let said = complaint(command.args(["warm", "--copy"]).arg(scratch.0.join("none")))?;
    assert!(said.contains("cargo lab"), "{said}");
    Ok(())
}

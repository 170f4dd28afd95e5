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
fn a_model_with_terms_is_fetched_once_they_are_accepted() -> Outcome {
    let scratch = Scratch::new("terms")?;
    let said = complaint(eigenlens(&scratch.0).args(["fetch", "gemma3-270m"]))?;
    assert!(said.contains("https://ai.google.dev/gemma/terms"), "{said}");
    assert!(said.contains("`--accept-licence`"), "{said}");
    assert!(!scratch.0.join("data").exists(), "nothing is downloaded");
    let said = complaint(eigenlens(&scratch.0).args(["fetch", "mnist", "--accept-licence"]))?;
    assert!(said.contains("mnist asks for no terms"), "{said}");
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

#[test]
fn a_state_folder_that_tools_cannot_work_in_is_refused_at_once() -> Outcome {
    let scratch = Scratch::new("odd-names")?;
    for name in ["a:b", "a\nb"] {
        for command in ["setup", "lab", "doctor"] {
            let begin = std::time::Instant::now();
            let said = complaint(eigenlens(&scratch.0.join(name)).arg(command))?;
            assert!(said.contains("EIGENLENS_HOME"), "{said}");
            // The doctor looks at the machine too.
            assert!(command == "doctor" || begin.elapsed().as_secs() < 5, "{command}: {said}");
        }
        assert!(!scratch.0.join(name).exists(), "nothing is made there");
    }
    Ok(())
}

#[test]
fn the_folder_for_temporary_files_is_missing() -> Outcome {
    let scratch = Scratch::new("no-temporary")?;
    let nowhere = scratch.0.join("nowhere");
    let mut command = eigenlens(&scratch.0.join("home"));
    let said = complaint(command.arg("setup").env("TMPDIR", &nowhere))?;
    assert!(said.contains("nowhere") && said.contains("TMPDIR"), "{said}");
    Ok(())
}

/// `setup --remove` with its Jupyter folder in `data`, and what it said.
fn remove(scratch: &Scratch, data: &Path) -> Result<String, Box<dyn Error>> {
    let mut command = eigenlens(&scratch.0.join("home"));
    let output = command.args(["setup", "--remove"]).env("JUPYTER_DATA_DIR", data).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn removing_a_kernel_takes_ours_and_no_other() -> Outcome {
    let scratch = Scratch::new("remove")?;
    let data = scratch.0.join("my jupyter");
    let said = remove(&scratch, &data)?;
    assert!(said.contains("nothing was removed"), "{said}");

    let spec = data.join("kernels/eigenlens/kernel.json");
    fs::create_dir_all(spec.parent().unwrap_or(&data))?;
    let foreign = r#"{"argv": ["evcxr_jupyter", "--control_file", "{connection_file}"]}"#;
    fs::write(&spec, foreign)?;
    remove(&scratch, &data)?;
    assert_eq!(fs::read_to_string(&spec)?, foreign);

    let ours = r#"{"argv": ["/gone/eigenlens", "kernel"], "env": {"EIGENLENS_TEMPLATE": "/gone"}}"#;
    fs::write(&spec, ours)?;
    let said = remove(&scratch, &data)?;
    assert!(said.contains("my jupyter/kernels/eigenlens"), "{said}");
    assert!(!spec.exists());
    Ok(())
}

#[test]
fn the_start_page_leads_to_every_notebook() -> Outcome {
    let notebooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks");
    let page = fs::read_to_string(notebooks.join("README.md"))?;
    let mut linked = 0;
    for folder in fs::read_dir(&notebooks)?.flatten().filter(|entry| entry.path().is_dir()) {
        for file in fs::read_dir(folder.path())?.flatten().map(|entry| entry.path()) {
            if file.extension().is_some_and(|extension| extension == "ipynb") {
                let name = file.strip_prefix(&notebooks)?.to_string_lossy().into_owned();
                assert!(page.contains(&format!("]({name})")), "{name} is not in README.md");
                linked += 1;
            }
        }
    }
    assert_eq!(page.matches(".ipynb)").count(), linked, "every link leads to a notebook");
    Ok(())
}

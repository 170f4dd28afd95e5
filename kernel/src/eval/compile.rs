//! Compiles a cell without cargo.
//!
//! For every cell, cargo looks at two hundred crates to find that none has changed, which takes
//! longer than many a cell's compilation. So the command with which cargo compiled the first cell
//! is written down, and as long as the manifest, the lock file and the compiler stay what they
//! were, the cells that follow are compiled by that command alone. A `:dep` line changes the
//! manifest: cargo builds then, and the command is written down anew.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::diagnostics;
use super::rewrite::SOURCE;
use super::store::{self, Compiled};
use crate::install::environment::LIBRARY_PATH;
use crate::install::files::{digest, write_file};
use crate::install::layout::{CELL_CRATE, RECORD};

/// The name under which this binary stands between cargo and rustc.
pub(crate) const RECORDER: &str = "rustc-recorder";

/// Where evcxr, through this variable, wants to read the path of what was compiled.
const PRODUCT_VARIABLE: &str = "EVCXR_EXECUTION_SO_PATH";
/// A cell is small: optimising across the pieces it is compiled in takes a quarter of the time and
/// gains nothing.
const OPTIONS: [&str; 2] = ["-C", "lto=off"];
/// Set by evcxr where it keeps compiled crates (`:cache`).
pub(crate) const WRAPPER: &str = "RUSTC_WRAPPER";

/// A compilation of a cell, to be done again with other code.
#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    /// What it is valid for.
    key: String,
    /// The folder it ran in: in a copy of the build folder, paths below it change.
    folder: String,
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// Compiles the cell in the current folder by the recorded command; `None` if there is none that
/// is valid, and cargo has to build.
pub(crate) fn without_cargo() -> Option<ExitCode> {
    let recorded = Recorded::read()?;
    let key = key()?;
    let out = recorded.out_folder()?;
    if recorded.key != key || !recorded.dependencies_exist() {
        return None;
    }
    let mut command = Command::new(&recorded.program);
    command.args(&recorded.arguments).envs(recorded.environment.iter().cloned());
    let source = source();
    let compiled = store::compile(|| {
        let output = command.stderr(Stdio::piped()).output()?;
        Ok(Compiled { success: output.status.success(), messages: output.stderr })
    });
    let Compiled { success, messages } = compiled.ok()?;
    let _ = io::stderr().write_all(&diagnostics::keep(source, success, &messages));
    if !success {
        // As cargo does.
        return Some(ExitCode::from(101));
    }
    match hand_over(&out) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("error: {error:#}");
            Some(ExitCode::FAILURE)
        }
    }
}

/// Checks the cell in the current folder, as `cargo check` does; `None` if cargo has to.
///
/// Evcxr asks for it where a variable cannot be kept. Nothing but cells is ever checked, so cargo
/// would begin with all the libraries, which takes minutes.
pub(crate) fn check_without_cargo() -> Option<ExitCode> {
    let recorded = Recorded::read()?;
    if recorded.key != key()? || !recorded.dependencies_exist() {
        return None;
    }
    let mut command = Command::new(&recorded.program);
    command.args(recorded.arguments.iter().map(|argument| match argument.as_str() {
        "--emit=dep-info,link" => "--emit=metadata",
        other => other,
    }));
    let output = command.envs(recorded.environment.iter().cloned()).output().ok()?;
    let success = output.status.success();
    let _ = io::stderr().write_all(&diagnostics::keep(source(), success, &output.stderr));
    Some(if success { ExitCode::SUCCESS } else { ExitCode::from(101) })
}

/// The crate of the cell in the current folder.
fn source() -> String {
    fs::read_to_string(SOURCE).unwrap_or_default()
}

/// Compiles or checks the cell in the current folder by `cargo`, which says what it is doing at once.
pub(crate) fn with_cargo(mut cargo: Command) -> ExitCode {
    let source = source();
    let compiled = store::compile(|| {
        let output = cargo.stdout(Stdio::piped()).stderr(Stdio::inherit()).output()?;
        Ok(Compiled { success: output.status.success(), messages: output.stdout })
    });
    match compiled {
        Ok(Compiled { success, messages }) => {
            let _ = io::stdout().write_all(&diagnostics::keep(source, success, &messages));
            ExitCode::from(if success { 0 } else { 101 })
        }
        Err(error) => {
            eprintln!("cargo could not be started: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Hands an empty file to evcxr in place of a compiled cell: the relay does not run it.
pub(crate) fn nothing() -> ExitCode {
    match hand_over_nothing() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn hand_over_nothing() -> Result<()> {
    let product = std::env::current_dir()?.join("target/restored/nothing");
    write_file(&product, b"")?;
    tell(&product)
}

/// Puts the compiled cell where cargo puts it, and tells evcxr.
fn hand_over(out: &Path) -> Result<()> {
    let name =
        format!("{}{CELL_CRATE}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let product = out.parent().unwrap_or(out).join(&name);
    let _ = fs::remove_file(&product);
    fs::hard_link(out.join(&name), &product)
        .or_else(|_| fs::copy(out.join(&name), &product).map(drop))
        .with_context(|| format!("could not write {}", product.display()))?;
    tell(&product)
}

/// Tells evcxr what was compiled.
fn tell(product: &Path) -> Result<()> {
    let answer = std::env::var_os(PRODUCT_VARIABLE)
        .with_context(|| format!("evcxr does not set {PRODUCT_VARIABLE}"))?;
    fs::write(&answer, product.as_os_str().as_encoded_bytes())
        .with_context(|| format!("could not write {}", Path::new(&answer).display()))
}

/// Makes a `cargo build` write down how it compiles the cell.
pub(crate) fn record_in(command: &mut Command) {
    let recorder = std::env::var_os("CARGO_HOME").map(|home| Path::new(&home).join("bin"));
    let wrapped = std::env::var_os(WRAPPER).is_some_and(|wrapper| !wrapper.is_empty());
    if let Some(folder) = recorder.filter(|_| !wrapped) {
        command.env(WRAPPER, folder.join(RECORDER));
    }
}

/// Runs `arguments`, a call of rustc by cargo, after writing it down if it compiles a cell.
pub(crate) fn record(arguments: &[OsString]) -> ExitCode {
    let Some((program, arguments)) = arguments.split_first() else { return ExitCode::FAILURE };
    let cell = arguments.windows(2).any(|pair| pair[0] == "--crate-name" && pair[1] == CELL_CRATE);
    let mut arguments = arguments.to_vec();
    if cell {
        Identity::keep(&mut arguments);
    }
    let arguments = arguments.as_slice();
    // A cell can do without the record: cargo compiles the next one then.
    if cell && let Some(recorded) = Recorded::of(program, arguments) {
        let _ = recorded.write();
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!("{} could not be started: {error}", Path::new(program).display());
    ExitCode::FAILURE
}

/// What the compiler hashes into the types of a notebook.
///
/// Cargo derives it from all dependencies, so that each `:dep` would make a struct of the notebook
/// another type, and its variables unreadable. It stays the same as long as the crates that a
/// struct may have been made of do.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Identity {
    /// The value of `-C metadata`.
    metadata: String,
    /// File names of the crates by name; they contain a hash of version, features and dependencies.
    crates: BTreeMap<String, String>,
}

/// Where it is kept, in the folder of the cells' manifest.
const IDENTITY: &str = "target/cell-identity.json";
const METADATA: &str = "metadata=";

impl Identity {
    /// Gives a compilation of a cell the identity of those before it, if it can be kept.
    fn keep(arguments: &mut [OsString]) {
        let known: Option<Self> =
            fs::read(IDENTITY).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let Some(identity) = known.unwrap_or_default().with(arguments)
            && let Ok(text) = serde_json::to_vec(&identity)
        {
            let _ = write_file(Path::new(IDENTITY), &text);
        }
    }

    /// The identity after a compilation, which gets this one where nothing speaks against it.
    fn with(mut self, arguments: &mut [OsString]) -> Option<Self> {
        let crates: BTreeMap<String, String> = arguments
            .windows(2)
            .filter(|pair| pair[0] == "--extern")
            .filter_map(|pair| pair[1].to_str()?.split_once('='))
            .filter_map(|(name, path)| {
                let file = Path::new(path).file_name()?.to_str()?;
                Some((name.to_owned(), file.to_owned()))
            })
            .collect();
        let same = crates
            .iter()
            .all(|(name, file)| self.crates.get(name).is_none_or(|known| known == file));
        let metadata = arguments
            .iter_mut()
            .find(|argument| argument.to_str().is_some_and(|text| text.starts_with(METADATA)))?;
        if same && !self.metadata.is_empty() {
            *metadata = format!("{METADATA}{}", self.metadata).into();
        } else {
            self.crates.clear();
            self.metadata = metadata.to_str()?.strip_prefix(METADATA)?.to_owned();
        }
        self.crates.extend(crates);
        Some(self)
    }
}

impl Recorded {
    fn of(program: &OsStr, arguments: &[OsString]) -> Option<Self> {
        let text = |value: &OsStr| value.to_str().map(str::to_owned);
        // The variables that cargo sets for rustc, not those that it was given itself.
        let kept = |name: &str| {
            name == LIBRARY_PATH
                || name == "CARGO"
                || ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
                    .iter()
                    .any(|start| name.starts_with(start))
        };
        let mut arguments: Vec<String> =
            arguments.iter().map(|value| text(value)).collect::<Option<_>>()?;
        arguments.extend(OPTIONS.map(str::to_owned));
        Some(Self {
            key: key()?,
            folder: text(std::env::current_dir().ok()?.as_os_str())?,
            program: text(program)?,
            arguments,
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, text(&value)?)))
                .filter(|(name, _)| kept(name))
                .collect(),
        })
    }

    fn write(&self) -> Result<()> {
        write_file(Path::new(RECORD), &serde_json::to_vec(self)?)
    }

    /// The record in the current folder.
    fn read() -> Option<Self> {
        let recorded: Self = serde_json::from_slice(&fs::read(RECORD).ok()?).ok()?;
        Some(recorded.moved_to(std::env::current_dir().ok()?.to_str()?))
    }

    /// The same compilation in a copy of the build folder.
    fn moved_to(mut self, folder: &str) -> Self {
        let move_path = |text: &mut String| *text = text.replace(&self.folder, folder);
        self.arguments.iter_mut().for_each(move_path);
        self.environment.iter_mut().map(|(_, value)| value).for_each(move_path);
        folder.clone_into(&mut self.folder);
        self
    }

    fn out_folder(&self) -> Option<PathBuf> {
        let at = self.arguments.iter().position(|argument| argument == "--out-dir")?;
        self.arguments.get(at + 1).map(PathBuf::from)
    }

    fn dependencies_exist(&self) -> bool {
        self.arguments
            .windows(2)
            .filter(|pair| pair[0] == "--extern")
            .filter_map(|pair| pair[1].split_once('='))
            .all(|(_, path)| Path::new(path).exists())
    }
}

/// A digest of all that decides how cells are compiled; `None` where a source outside the build
/// folder, which its owner may edit, belongs to it.
fn key() -> Option<String> {
    let manifest = fs::read_to_string("Cargo.toml").ok()?;
    if names_other_folders(&manifest) {
        return None;
    }
    let compiler = std::env::var_os("RUSTC")?;
    let changed = fs::metadata(&compiler).and_then(|meta| meta.modified()).ok()?;
    let flags = std::env::var_os("RUSTFLAGS").unwrap_or_default();
    Some(digest([
        manifest.as_bytes(),
        &fs::read("Cargo.lock").ok()?,
        compiler.as_encoded_bytes(),
        format!("{changed:?}").as_bytes(),
        flags.as_encoded_bytes(),
        OPTIONS.concat().as_bytes(),
    ]))
}

/// Whether a manifest has path dependencies other than the library.
fn names_other_folders(manifest: &str) -> bool {
    let own = ["rpath = true", "path = \"src/lib.rs\"", "path = \"library/kernel/dylib\""];
    manifest.lines().any(|line| line.contains("path") && !own.contains(&line.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_in_another_folder_is_cargos_business() {
        let library = "[lib]\npath = \"src/lib.rs\"\n[dependencies.eigenlens]\n\
                       path = \"library/kernel/dylib\"\n[profile.dev]\nrpath = true\n";
        assert!(!names_other_folders(library));
        assert!(!names_other_folders(&format!("{library}serde = {{ version = \"1\" }}")));
        assert!(names_other_folders(&format!("{library}own = {{ path = \"../own\" }}")));
    }

    #[test]
    fn a_new_crate_leaves_the_notebooks_types_what_they_are_and_a_changed_one_does_not() {
        let call = |metadata: &str, crates: &[&str]| -> Vec<OsString> {
            let mut arguments = vec!["-C".into(), format!("metadata={metadata}").into()];
            for name in crates {
                arguments.extend(["--extern".into(), OsString::from(name)]);
            }
            arguments
        };
        let mut first = call("1", &["lib=/a/liblib-11.so"]);
        let identity = Identity::default().with(&mut first).unwrap();
        assert_eq!(first, call("1", &["lib=/a/liblib-11.so"]));
        let mut more = call("2", &["lib=/b/liblib-11.so", "new=/b/libnew-5.rlib"]);
        let identity = identity.with(&mut more).unwrap();
        assert_eq!(more[1], "metadata=1");
        let mut without = call("3", &["lib=/b/liblib-11.so"]);
        let identity = identity.with(&mut without).unwrap();
        assert_eq!(without[1], "metadata=1");
        let mut other = call("4", &["lib=/b/liblib-11.so", "new=/b/libnew-6.rlib"]);
        let identity = identity.with(&mut other).unwrap();
        assert_eq!((other[1].to_str(), identity.metadata.as_str()), (Some("metadata=4"), "4"));
    }

    #[test]
    fn a_copied_folder_compiles_in_itself() {
        let recorded = Recorded {
            key: "k".to_owned(),
            folder: "/template/cells".to_owned(),
            program: "/bin/rustc".to_owned(),
            arguments: ["--out-dir", "/template/cells/deps", "--extern", "a=/template/cells/a.so"]
                .map(str::to_owned)
                .to_vec(),
            environment: vec![("CARGO_MANIFEST_DIR".to_owned(), "/template/cells".to_owned())],
        };
        assert!(!recorded.dependencies_exist());
        let moved = recorded.moved_to("/kernel/cells");
        assert_eq!(moved.out_folder(), Some(PathBuf::from("/kernel/cells/deps")));
        assert_eq!(moved.arguments[3], "a=/kernel/cells/a.so");
        assert_eq!(moved.environment[0].1, "/kernel/cells");
    }
}

//! The evaluation process: loads each cell's shared object and runs it.
//!
//! Commands come on a descriptor of their own, so that standard input belongs to the cell.

#![allow(unsafe_code, reason = "loads compiled cells and calls their functions")]

use std::ffi::c_void;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::FromRawFd;
use std::process::ExitCode;

use libloading::Library;

use super::filter::{COMPLETE, MARK};

/// Set, to the number of the command descriptor, in an evaluation process.
pub(crate) const VARIABLE: &str = "EIGENLENS_RUNTIME";
/// What evcxr sets in the process that it starts to evaluate cells.
const EVCXR_VARIABLE: &str = "EVCXR_IS_RUNTIME";
/// The library's shared object, loaded before the first cell.
pub(crate) const LIBRARY_VARIABLE: &str = "EIGENLENS_LIBRARY";

type Hook = unsafe extern "C" fn();
type Cell = unsafe extern "C" fn(*mut c_void) -> *mut c_void;

/// Runs the evaluation process until its commands end.
pub(crate) fn run(descriptor: &str) -> ExitCode {
    let Ok(descriptor) = descriptor.parse() else {
        eprintln!("{VARIABLE} must be a descriptor number, found {descriptor}");
        return ExitCode::FAILURE;
    };
    // An eigenlens that a cell starts, as `eigenlens run`, is no evaluation process itself.
    for name in [VARIABLE, EVCXR_VARIABLE] {
        // SAFETY: this process has one thread.
        unsafe { std::env::remove_var(name) };
    }
    // Stop reaches library loops through the handler that the library installs over this one.
    // SAFETY: ignoring a signal has no preconditions.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    // SAFETY: fcntl has no memory preconditions. Programs that a cell starts do not inherit it.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: the relay opened this descriptor for us and nobody else uses it.
    let commands = BufReader::new(unsafe { File::from_raw_fd(descriptor) });
    let library = load_library();
    let hook = |name: &str| {
        let library = library.as_ref()?;
        // SAFETY: the library exports these names as functions without arguments.
        unsafe { library.get::<Hook>(name.as_bytes()).ok().map(|hook| *hook) }
    };
    let call = |hook: Option<Hook>| {
        if let Some(hook) = hook {
            // SAFETY: see above; the library stays loaded for the life of the process.
            unsafe { hook() }
        }
    };
    call(hook("eigenlens_attach"));
    let (begin, end) = (hook("eigenlens_cell_begin"), hook("eigenlens_cell_end"));

    let mut store = std::ptr::null_mut();
    for line in commands.lines() {
        let Ok(line) = line else { return ExitCode::FAILURE };
        let Some((path, name)) = object_and_function(&line) else {
            eprintln!("the evaluation process does not know the command `{line}`");
            return ExitCode::FAILURE;
        };
        call(begin);
        match run_cell(path, name, store) {
            Ok(next) => store = next,
            Err(error) => {
                eprintln!("the compiled cell could not be loaded: {error}");
                return ExitCode::FAILURE;
            }
        }
        call(end);
        println!("{}{COMPLETE}", char::from(MARK));
        let _ = std::io::stdout().flush();
    }
    ExitCode::SUCCESS
}

/// What `LOAD_AND_RUN PATH FUNCTION` asks for. A path may have spaces, a function's name has none.
fn object_and_function(command: &str) -> Option<(&str, &str)> {
    command.strip_prefix("LOAD_AND_RUN ")?.rsplit_once(' ')
}

fn load_library() -> Option<Library> {
    let path = std::env::var_os(LIBRARY_VARIABLE)?;
    // SAFETY: the library's initialisers are Rust's own.
    match unsafe { Library::new(&path) } {
        Ok(library) => Some(library),
        Err(error) => {
            eprintln!("eigenlens could not be loaded from {}: {error}", path.display());
            None
        }
    }
}

fn run_cell(path: &str, name: &str, store: *mut c_void) -> Result<*mut c_void, libloading::Error> {
    // SAFETY: evcxr compiled this object just now, and gives its function this signature.
    unsafe {
        let object = Library::new(path)?;
        let cell = *object.get::<Cell>(name.as_bytes())?;
        // Never unloaded: variables, threads and thread-locals live in it.
        std::mem::forget(object);
        Ok(cell(store))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_have_spaces() {
        let both = |command| object_and_function(command);
        assert_eq!(both("LOAD_AND_RUN /a/libx.so run"), Some(("/a/libx.so", "run")));
        let spaced = "LOAD_AND_RUN /my lab/it's  a \"b\"/libü.so run_user_code_3";
        assert_eq!(both(spaced), Some(("/my lab/it's  a \"b\"/libü.so", "run_user_code_3")));
        assert_eq!(both("LOAD_AND_RUN "), None);
        assert_eq!(both("1 + 1"), None);
    }
}

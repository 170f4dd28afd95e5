//! Where a kernel works: the template it copies, its build folder, its compiler.
//!
//! Whatever is wrong here must not keep the kernel from starting, since a front end shows nothing
//! of a kernel that does not: the first cell shows what it is.

#![allow(unsafe_code, reason = "calls what sets environment variables, before any thread runs")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::eval::toolbox;
use crate::install::clone::{KernelDir, Rest, reserve};
use crate::install::environment::check_temporary_folder;
use crate::install::layout::TOOLBOX;
use crate::install::state::State;
use crate::install::template::{TEMPLATE_VARIABLE, Template};
use crate::install::toolchain::{Compiler, c_linker};

/// A build folder reserved for this process, and what goes into it.
#[derive(Debug)]
pub(super) struct Place {
    state: State,
    template: Template,
    directory: Arc<KernelDir>,
}

impl Place {
    /// Reserves a build folder, and points this process's environment to the compiler that the
    /// library was built with.
    ///
    /// # Safety
    /// Sets environment variables: no other thread may run yet.
    pub(super) unsafe fn reserve() -> Result<Place> {
        let template = std::env::var_os(TEMPLATE_VARIABLE).with_context(|| {
            format!(
                "{TEMPLATE_VARIABLE} is not set, which the kernelspec does; start notebooks with \
                 `cargo lab`, or register the kernel with `cargo run --bin eigenlens -- setup --user`"
            )
        })?;
        let template = Template::at(Path::new(&template))?;
        let state = State::open()?;
        check_temporary_folder()?;
        let compiler = match template.compiler() {
            Some(compiler) => {
                compiler.check()?;
                compiler
            }
            None => Compiler::on_path()?,
        };
        let directory = Arc::new(reserve(&state)?);
        // SAFETY: the caller vouches that this process has one thread.
        unsafe { toolbox::install(&directory.folder().join(TOOLBOX), &compiler)? };
        c_linker()?;
        Ok(Place { state, template, directory })
    }

    /// The build folder; it is removed when the last holder drops it.
    pub(super) fn directory(&self) -> Arc<KernelDir> {
        Arc::clone(&self.directory)
    }

    /// Copies what the first cells need.
    pub(super) fn fill(self) -> Result<(PathBuf, Rest)> {
        let rest = self.directory.fill(&self.state, &self.template)?;
        Ok((self.directory.folder().to_owned(), rest))
    }
}

//! This program as a child process, and what it says of its memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Bytes that the large harvest may take.
pub(crate) const MEMORY: usize = 8 << 20;
/// Bytes of a pile of it.
pub(crate) const PILE: usize = 2 << 20;

const JOB: &str = "EIGENLENS_TEST_JOB";
const STORE: &str = "EIGENLENS_TEST_STORE";

#[derive(Debug, Clone, Copy)]
pub(crate) enum Job {
    Harvest,
    LargeHarvest,
    LargeRead,
}

const JOBS: [(&str, Job); 3] = [
    ("harvest", Job::Harvest),
    ("large harvest", Job::LargeHarvest),
    ("large read", Job::LargeRead),
];

/// What this process is told to do, and where.
pub(crate) fn told() -> (Job, PathBuf) {
    let name = std::env::var(JOB).unwrap();
    let (_, job) = JOBS.iter().find(|(own, _)| *own == name).unwrap();
    (*job, std::env::var_os(STORE).unwrap().into())
}

pub(crate) struct Child(std::process::Child);

impl Child {
    pub(crate) fn start(job: Job, store: &Path) -> Self {
        Self::start_limited(job, store, ":")
    }

    /// A process that begins with what a shell does.
    pub(crate) fn start_limited(job: Job, store: &Path, shell: &str) -> Self {
        let name = JOBS.iter().find(|(_, own)| *own as u8 == job as u8).unwrap().0;
        let child = Command::new("bash")
            .arg("-c")
            .arg(format!("{shell}; exec \"$0\" process --exact --ignored --nocapture"))
            .arg(std::env::current_exe().unwrap())
            .env(JOB, name)
            .env(STORE, store)
            .env("RAYON_NUM_THREADS", "2")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    pub(crate) fn succeed(self) {
        let output = self.0.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What it said on its way to failure.
    pub(crate) fn fail(self) -> String {
        let output = self.0.wait_with_output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Sends it SIGKILL. Returns whether it was still at work.
    pub(crate) fn kill(mut self) -> bool {
        let was_running = self.0.try_wait().unwrap().is_none();
        let _ = self.0.kill();
        self.0.wait().unwrap();
        was_running
    }
}

/// A number of kB in `/proc/self/status`, in bytes.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Memory of this process now.
pub(crate) fn memory_now() -> u64 {
    status("VmRSS:")
}

/// The most there was since [`reset_peak`].
pub(crate) fn peak_memory() -> u64 {
    status("VmHWM:")
}

pub(crate) fn reset_peak() {
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

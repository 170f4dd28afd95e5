//! The process that this kernel works for: where it has ended, nobody will shut the kernel down.
//!
//! Jupyter names it in an environment variable. The parent process says less: a launcher may start
//! the kernel and end, and in a container everything may be a child of process 1. So without that
//! variable the kernel lives until it is shut down.

use std::os::unix::process::parent_id;

use crate::eval::processes;

/// Where Jupyter writes its process id.
const VARIABLE: &str = "JPY_PARENT_PID";

/// A process that is watched.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Client {
    process: u32,
    /// Whether it started this process itself: then the system tells of its end.
    is_parent: bool,
    /// When it began, where the system tells; another process may get its number.
    began: Option<u64>,
}

impl Client {
    /// The process that the environment names, if it can be seen from here.
    pub(crate) fn of_environment() -> Option<Self> {
        Self::of(std::env::var(VARIABLE).ok()?.parse().ok()?)
    }

    fn of(process: u32) -> Option<Self> {
        let client =
            Self { process, is_parent: parent_id() == process, began: state(process).map(|s| s.1) };
        // In a container the number may be that of a process outside.
        (process > 0 && !client.is_gone()).then_some(client)
    }

    /// Whether the process has ended.
    pub(crate) fn is_gone(&self) -> bool {
        if self.is_parent {
            return parent_id() != self.process;
        }
        match (state(self.process), self.began) {
            (Some((state, began)), Some(then)) => began != then || matches!(state, 'Z' | 'X'),
            _ => !processes::exists(self.process),
        }
    }
}

/// The state of a process and when it began, on systems that have `/proc`.
fn state(process: u32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn child() -> Child {
        Command::new("sleep").arg("30").spawn().unwrap()
    }

    #[test]
    fn a_client_is_gone_when_it_has_ended_whether_or_not_anyone_has_noticed() {
        let mut child = child();
        let client = Client::of(child.id()).unwrap();
        assert!(!client.is_gone());
        child.kill().unwrap();
        while state(child.id()).is_some_and(|(state, _)| state != 'Z') {
            std::thread::yield_now();
        }
        #[cfg(target_os = "linux")]
        assert!(client.is_gone(), "it is a zombie now");
        child.wait().unwrap();
        assert!(client.is_gone());
        assert_eq!(Client::of(child.id()), None);
    }

    #[test]
    fn the_parent_of_this_process_is_there() {
        let client = Client::of(parent_id()).unwrap();
        assert!(client.is_parent && !client.is_gone());
        // The first process belongs to someone else, perhaps, and is there.
        assert!(processes::exists(1));
    }
}

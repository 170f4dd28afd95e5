//! Finding and signalling the processes that the kernel started.

use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Sends `signal` to `process`, if it is still there.
pub(crate) fn signal(process: u32, signal: Signal) {
    if let Some(process) = pid(process) {
        let _ = kill_process(process, signal);
    }
}

/// Whether there is such a process, of whichever user.
pub(crate) fn exists(process: u32) -> bool {
    pid(process)
        .is_some_and(|process| matches!(test_kill_process(process), Ok(()) | Err(Errno::PERM)))
}

fn pid(process: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(process).ok()?)
}

/// Ends every compiler that runs below this process.
pub(crate) fn end_compilers() {
    let all = table();
    let mut family = vec![std::process::id()];
    let mut at = 0;
    while let Some(&parent) = family.get(at) {
        family.extend(all.iter().filter(|entry| entry.1 == parent).map(|entry| entry.0));
        at += 1;
    }
    for (process, _, name) in &all {
        let name = name.rsplit('/').next().unwrap_or(name);
        let compiler = ["cargo", "rustc", "mold", "cc", "gcc", "ld", "collect2"].contains(&name);
        if compiler && family.contains(process) {
            signal(*process, Signal::KILL);
        }
    }
}

/// Process id, parent and name of every process.
fn table() -> Vec<(u32, u32, String)> {
    let Ok(output) = Command::new("ps").args(["-A", "-o", "pid=,ppid=,comm="]).output() else {
        return from_proc();
    };
    String::from_utf8_lossy(&output.stdout).lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<(u32, u32, String)> {
    let (process, rest) = line.trim_start().split_once(char::is_whitespace)?;
    // Some systems give a program's whole path, which may have spaces.
    let (parent, name) = rest.trim_start().split_once(char::is_whitespace)?;
    Some((process.parse().ok()?, parent.parse().ok()?, name.trim().to_owned()))
}

/// The same where `ps` is not installed.
fn from_proc() -> Vec<(u32, u32, String)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let process: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
            let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
            Some((process, parent, name.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_have_spaces_in_its_path() {
        let expected = (12, 7, "/my lab/bin/rustc".to_owned());
        assert_eq!(parse("   12     7 /my lab/bin/rustc"), Some(expected));
    }

    #[test]
    fn a_child_is_in_the_table_with_its_parent() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        for table in [table(), from_proc()] {
            let entry = table.iter().find(|entry| entry.0 == child.id());
            assert_eq!(entry, Some(&(child.id(), std::process::id(), "sleep".to_owned())));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

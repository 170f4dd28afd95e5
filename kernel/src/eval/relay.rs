//! The process between evcxr and the evaluation process.
//!
//! Evcxr reads its child's output by lines, as UTF-8, and gives a cell's displays only at its end.
//! The relay stands in for that child: it starts the real one, passes evcxr the protocol lines it
//! needs, and everything else to the kernel, at once and in order. What a process wrote before it
//! was killed is not lost, because it is the relay that holds it.

#![allow(unsafe_code, reason = "signals and file descriptors of a child process")]

use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eigenlens_common::message;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Signal;

use super::event::Event;
use super::filter::{COMPLETE, Filter, Output};
use super::{processes, runtime};

/// Set, to the path of the kernel's socket, in a relay.
pub(crate) const VARIABLE: &str = "EIGENLENS_RELAY";

/// How long output may still arrive after the evaluation process ended: a process that it started
/// can hold the pipes open for ever.
const AFTERWARDS: Duration = Duration::from_millis(300);

/// Runs the relay until the evaluation process ends.
pub(crate) fn run(socket: &str) -> ExitCode {
    match relay(socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the relay to the evaluation process failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn relay(socket: &str) -> io::Result<()> {
    // SAFETY: ignoring a signal has no preconditions. Stop is meant for the evaluation process.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    let kernel = Kernel(Mutex::new(UnixStream::connect(socket)?));
    let (commands, commands_end) = pipe()?;
    let (answers, input) = pipe()?;
    let mut child = start(commands, answers)?;
    kernel.tell(&Event::Started(child.id()))?;
    let kernel = Arc::new(kernel);
    let announcements = Arc::clone(&kernel);
    let process = child.id();
    std::thread::spawn(move || {
        forward_input(input, commands_end, &announcements);
        // The kernel is gone, or going. A cell that still runs has nobody to show anything to.
        std::thread::sleep(AFTERWARDS);
        processes::signal(process, Signal::KILL);
    });
    let status = forward_output(&mut child, &kernel)?;
    kernel.tell(&Event::Exited(describe(status)))
}

/// The socket to the kernel. Two threads write to it, a whole frame at a time.
struct Kernel(Mutex<UnixStream>);

impl Kernel {
    fn tell(&self, event: &Event) -> io::Result<()> {
        event.write(&mut *self.0.lock().map_err(|_| io::Error::other("a relay thread died"))?)
    }
}

fn pipe() -> io::Result<(OwnedFd, std::fs::File)> {
    let (read, write) = io::pipe()?;
    Ok((read.into(), std::fs::File::from(OwnedFd::from(write))))
}

fn start(commands: OwnedFd, answers: OwnedFd) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    let descriptors = [commands.into_raw_fd(), answers.into_raw_fd()];
    command
        .env_remove(VARIABLE)
        // Evcxr asks for backtraces; candle would put one into every error message.
        .env_remove("RUST_BACKTRACE")
        .env_remove("RUST_LIB_BACKTRACE")
        .env(runtime::VARIABLE, descriptors[0].to_string())
        .env(message::ANSWERS_VARIABLE, descriptors[1].to_string())
        .env(message::KERNEL_VARIABLE, "1")
        // Nobody types here: what reads it, a program started by a cell too, is at its end at once.
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: both calls are async-signal-safe, and the descriptors are open until after the spawn.
    unsafe {
        command.pre_exec(move || {
            for descriptor in descriptors {
                libc::fcntl(descriptor, libc::F_SETFD, 0);
            }
            // Without its relay nobody could talk to the evaluation process or end it.
            #[cfg(target_os = "linux")]
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let child = command.spawn();
    for descriptor in descriptors {
        // SAFETY: the descriptor is ours since `into_raw_fd`; the child has its own copy.
        unsafe { libc::close(descriptor) };
    }
    child
}

/// Evcxr's lines: commands go to the command pipe, answers to the pipe that questions read.
fn forward_input(mut input: impl Write, mut commands: impl Write, kernel: &Kernel) {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let sent = if is_nothing(&line) {
            answer(COMPLETE)
        } else if line.starts_with("LOAD_AND_RUN ") {
            kernel
                .tell(&Event::RunBegins)
                .and_then(|()| commands.write_all(format!("{line}\n").as_bytes()))
        } else {
            input.write_all(format!("{line}\n").as_bytes()).and_then(|()| input.flush())
        };
        if sent.is_err() {
            break;
        }
    }
}

/// Whether a command is to run an empty file, which stands for code that has not been compiled.
fn is_nothing(command: &str) -> bool {
    let path = command.strip_prefix("LOAD_AND_RUN ").and_then(|rest| rest.rsplit_once(' '));
    path.and_then(|(path, _)| std::fs::metadata(path).ok()).is_some_and(|file| file.len() == 0)
}

/// Writes a line for evcxr.
fn answer(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The stream to read first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Stdout,
    Stderr,
}

fn forward_output(child: &mut Child, kernel: &Kernel) -> io::Result<ExitStatus> {
    let gone = || io::Error::other("no output pipes");
    let mut stdout = child.stdout.take().ok_or_else(gone)?;
    let mut stderr = child.stderr.take().ok_or_else(gone)?;
    let mut filter = Filter::default();
    let mut buffer = vec![0; 1 << 16];
    let mut open = (true, true);
    let mut turn = Turn::Stdout;
    let mut ended: Option<(ExitStatus, Instant)> = None;
    while open.0 || open.1 {
        let ready = poll(
            [open.0.then(|| stdout.as_fd()), open.1.then(|| stderr.as_fd())],
            Duration::from_millis(100),
        )?;
        // Where both have something the order is not known; those who print alternate.
        if ready.1 && (!ready.0 || turn == Turn::Stderr) {
            open.1 = forward_stderr(&mut stderr, &mut buffer, kernel)?;
            turn = Turn::Stdout;
        } else if ready.0 {
            let mut out = Vec::new();
            match stdout.read(&mut buffer)? {
                0 => {
                    open.0 = false;
                    filter.finish(&mut out);
                }
                count => filter.push(&buffer[..count], &mut out),
            }
            turn = Turn::Stderr;
            for output in out {
                // What was written to standard error before a message or the end of the run must
                // not come after it.
                let plain = matches!(output, Output::Event(Event::Stdout(_)));
                if !plain && open.1 && poll([None, Some(stderr.as_fd())], Duration::ZERO)?.1 {
                    open.1 = forward_stderr(&mut stderr, &mut buffer, kernel)?;
                }
                pass_on(output, kernel)?;
            }
        } else if ended.is_some_and(|(_, since)| since.elapsed() > AFTERWARDS) {
            break;
        }
        if ended.is_none()
            && let Some(status) = child.try_wait()?
        {
            ended = Some((status, Instant::now()));
        }
    }
    match ended {
        Some((status, _)) => Ok(status),
        None => child.wait(),
    }
}

/// Passes on what is there; false at the end of the stream.
fn forward_stderr(from: &mut impl Read, buffer: &mut [u8], kernel: &Kernel) -> io::Result<bool> {
    let count = from.read(buffer)?;
    if count > 0 {
        kernel.tell(&Event::Stderr(buffer[..count].to_vec()))?;
    }
    Ok(count > 0)
}

fn pass_on(output: Output, kernel: &Kernel) -> io::Result<()> {
    match output {
        Output::Event(event) => kernel.tell(&event),
        Output::Evcxr(line) => answer(&line),
    }
}

/// Whether each of two descriptors has something to read, or has ended; false for none.
fn poll(descriptors: [Option<BorrowedFd<'_>>; 2], timeout: Duration) -> io::Result<(bool, bool)> {
    let open = descriptors.iter().flatten();
    let mut list: Vec<PollFd<'_>> =
        open.map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN)).collect();
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    match rustix::event::poll(&mut list, Some(&timeout)) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok((false, false)),
        Err(error) => return Err(error.into()),
    }
    let mut ready = list.iter().map(|entry| !entry.revents().is_empty());
    let [first, second] =
        descriptors.map(|descriptor| descriptor.is_some() && ready.next() == Some(true));
    Ok((first, second))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it exited with status {code}"),
        (None, Some(libc::SIGKILL)) => "it was killed (signal 9)".to_owned(),
        (None, Some(libc::SIGSEGV)) => "it accessed memory it does not own (signal 11)".to_owned(),
        (None, Some(libc::SIGABRT)) => "it aborted (signal 6)".to_owned(),
        (None, Some(signal)) => format!("it ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

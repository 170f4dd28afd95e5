//! The thread that owns evcxr: prepares it, runs cells, completes and explains code.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::anyhow;
use eigenlens_common::message;
use evcxr::{CommandContext, EvalCallbacks};
use jupyter_protocol::{JupyterMessage, ReplyError};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::completion::{self, Matches};
use super::impls::Impls;
use super::sink::Sink;
use super::{bindings, failure, timing};
use crate::eval::context::{PRELUDE, start};
use crate::eval::event::Event;
use crate::eval::{diagnostics, relay, runtime, store};
use crate::install::clone::Rest;

/// A question that a cell asks the person at the notebook.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) prompt: String,
    pub(crate) password: bool,
    pub(crate) parent: JupyterMessage,
    pub(crate) answer: Sender<String>,
}

/// What the evaluator is asked to do; each answer goes back through a one-shot channel.
#[derive(Debug)]
pub(crate) enum Job {
    /// Run a cell.
    Execute {
        code: String,
        parent: Box<JupyterMessage>,
        count: usize,
        silent: bool,
        allow_stdin: bool,
        reply: oneshot::Sender<Result<(), ReplyError>>,
    },
    /// Complete code at a byte position.
    Complete { code: String, position: usize, reply: oneshot::Sender<Option<Matches>> },
    /// Explain the code before a byte position: plain text and HTML.
    Inspect { code: String, position: usize, reply: oneshot::Sender<Option<(String, String)>> },
}

/// Handle to the evaluator's thread.
#[derive(Debug, Clone)]
pub(crate) struct Evaluator {
    jobs: Sender<Job>,
}

impl Evaluator {
    /// Starts the thread; it prepares itself before it takes its first job.
    pub(crate) fn start(
        place: impl FnOnce() -> anyhow::Result<(PathBuf, Rest)> + Send + 'static,
        sink: Arc<Sink>,
        stop: Arc<AtomicBool>,
        questions: tokio::sync::mpsc::UnboundedSender<Question>,
    ) -> Self {
        let (jobs, queue) = channel();
        std::thread::Builder::new()
            .name("evaluator".to_owned())
            // Rust-analyzer recurses deeply.
            .stack_size(64 << 20)
            .spawn(move || serve(place, &sink, &stop, &questions, &queue))
            .map_or_else(|error| eprintln!("the evaluator could not start: {error}"), drop);
        Self { jobs }
    }

    /// Hands over a job. If the thread is gone, the job's reply channel closes.
    pub(crate) fn send(&self, job: Job) {
        let _ = self.jobs.send(job);
    }
}

fn serve(
    place: impl FnOnce() -> anyhow::Result<(PathBuf, Rest)>,
    sink: &Arc<Sink>,
    stop: &AtomicBool,
    questions: &tokio::sync::mpsc::UnboundedSender<Question>,
    queue: &Receiver<Job>,
) {
    let mut cells = PathBuf::new();
    let mut impls = Impls::default();
    let mut context = place().and_then(|(folder, rest)| {
        cells = folder.join("cells");
        let (preparing, ready) = channel();
        std::thread::spawn(move || {
            if let Err(error) = rest.copy_when(&ready) {
                eprintln!("{error:#}");
            }
        });
        let context = prepare(&folder, sink);
        drop(preparing);
        context
    });
    for job in queue {
        match job {
            Job::Execute { code, parent, count, silent, allow_stdin, reply } => {
                sink.begin((!silent).then_some(&parent), count);
                let result = match &mut context {
                    Err(error) => Err(failure::not_ready(error)),
                    Ok(context) => {
                        let ask = |request: &str, password: bool| {
                            if !allow_stdin {
                                return REFUSED.to_owned();
                            }
                            let (answer, answered) = channel();
                            let _ = questions.send(Question {
                                prompt: request.replace(message::COLON, ":"),
                                password,
                                parent: JupyterMessage::clone(&parent),
                                answer,
                            });
                            wait(&answered, stop)
                        };
                        guarded(|| execute(context, &cells, &mut impls, &code, sink, stop, &ask))
                            .unwrap_or_else(|| Err(failure::evaluator_crashed()))
                    }
                };
                let _ = reply.send(result);
            }
            Job::Complete { code, position, reply } => {
                let found = context.as_mut().ok().and_then(|context| {
                    guarded(|| completion::matches(context, &code, position)).flatten()
                });
                let _ = reply.send(found);
            }
            Job::Inspect { code, position, reply } => {
                let found = context.as_mut().ok().and_then(|context| {
                    guarded(|| context.hover_at(&code, position).ok()).flatten()
                });
                let _ = reply.send(found.filter(|(text, _)| text != "No documentation found"));
            }
        }
    }
}

/// The answer to a question; Stop is one too.
fn wait(answered: &Receiver<String>, stop: &AtomicBool) -> String {
    loop {
        match answered.recv_timeout(Duration::from_millis(100)) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Timeout) if !stop.load(Ordering::SeqCst) => {}
            Err(_) => return REFUSED.to_owned(),
        }
    }
}

/// What a cell reads where the front end cannot ask: "end of transmission".
const REFUSED: &str = "\u{4}";

/// Runs `work`; a panic inside evcxr or rust-analyzer must not end the kernel.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok()
}

fn prepare(folder: &Path, sink: &Arc<Sink>) -> anyhow::Result<CommandContext> {
    let (listener, socket) = super::socket::listen(folder)?;
    let events = Arc::clone(sink);
    std::thread::spawn(move || receive(&listener, &events));
    super::capture::cargo_progress(Arc::clone(sink))?;
    let ticks = Arc::clone(sink);
    std::thread::spawn(move || {
        loop {
            ticks.wait_for_output();
            std::thread::sleep(Duration::from_millis(10));
            ticks.tick();
        }
    });

    let mut command = Command::new(std::env::current_exe()?);
    command.env(relay::VARIABLE, &socket);
    if let Some(library) = shared_object(folder) {
        command.env(runtime::LIBRARY_VARIABLE, library);
    }
    let (mut context, outputs) = start(folder, command)?;
    // The relay leaves nothing for evcxr's own channels but its own last words.
    std::thread::spawn(move || outputs.stdout.iter().for_each(drop));
    std::thread::spawn(move || outputs.stderr.iter().for_each(|line| eprintln!("{line}")));

    // The `?` makes evcxr compile for it from now on; otherwise the first cell that uses it is
    // compiled twice.
    let opening = format!("{PRELUDE}\nOk::<(), String>(())?;");
    context.execute(&opening).map_err(|error| anyhow!("{error}"))?;
    // Rust-analyzer resolves the library's names, for two seconds: most users still read, and for
    // the others the first variable would take as much longer.
    let probe = "let probe = Tensor::zeros(1, DType::F32, &Device::Cpu)?; probe.";
    let _ = guarded(|| context.completions(probe, probe.len()));
    Ok(context)
}

/// The library's shared object in a build folder.
fn shared_object(folder: &Path) -> Option<PathBuf> {
    let targets = std::fs::read_dir(folder.join("cells/target")).ok()?;
    targets.flatten().find_map(|target| {
        let deps = std::fs::read_dir(target.path().join("debug/deps")).ok()?;
        deps.flatten().map(|entry| entry.path()).find(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("libeigenlens_notebook")
                && path.extension().is_some_and(|e| e == "so" || e == "dylib")
        })
    })
}

fn receive(listener: &UnixListener, sink: &Sink) {
    // A restarted evaluation process connects anew.
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        let mut stream = std::io::BufReader::new(stream);
        loop {
            match Event::read(&mut stream) {
                Ok(Some(event)) => sink.handle(event),
                Ok(None) => break,
                Err(error) => {
                    eprintln!("the relay's stream broke: {error}");
                    break;
                }
            }
        }
    }
}

fn execute(
    context: &mut CommandContext,
    cells: &Path,
    impls: &mut Impls,
    code: &str,
    sink: &Sink,
    stop: &AtomicBool,
    ask: &dyn Fn(&str, bool) -> String,
) -> Result<(), ReplyError> {
    let code = without_own_dependency(code);
    if code.lines().any(|line| line.trim_start().starts_with(":opt")) {
        return Err(failure::no_opt());
    }
    diagnostics::forget(cells);
    store::forget(cells);
    let before = bindings::names(context);
    let named = impls.name(&code);
    let mut callbacks =
        EvalCallbacks { input_reader: &|request| ask(&request.prompt, request.is_password) };
    let result = context.execute_with_callbacks(&named.code, &mut callbacks);
    let lost = matches!(result, Err(evcxr::Error::SubprocessTerminated(_)));
    if let Ok(outputs) = &result {
        let mut data: Map<String, Value> = outputs
            .content_by_mime_type
            .iter()
            .filter(|(_, content)| !content.is_empty())
            .map(|(mime, content)| (mime.clone(), Value::String(content.clone())))
            .collect();
        if !data.is_empty() {
            // The table of `:vars` before there are any.
            data.entry("text/plain").or_insert_with(|| "no variables".into());
            sink.value(data);
        }
    }
    // Evcxr lists the phases of a cell whose code ran; a cell of commands alone has none.
    let ran = result.as_ref().is_ok_and(|outputs| !outputs.phases.is_empty());
    let run = sink.end(ran, lost);
    let stopped = stop.swap(false, Ordering::SeqCst);
    let compilations = diagnostics::read(cells);
    let fate = bindings::settle(context, &before, &run);
    if result.is_ok() {
        impls.keep(named);
        sink.after(failure::warnings(&code, &compilations));
        sink.after(result.as_ref().ok().and_then(timing::words));
    }
    failure::judge(result.map(drop), run, stopped, &code, &fate, &compilations)
}

/// A notebook that also runs on the stock kernel carries a `:dep eigenlens` line; here the library
/// is a dependency already, and another path to it would compile it again.
fn without_own_dependency(code: &str) -> String {
    code.split_inclusive('\n')
        .map(|line| {
            let own = line.trim_start().strip_prefix(":dep").is_some_and(|rest| {
                rest.trim_start().strip_prefix("eigenlens").is_some_and(|rest| {
                    rest.trim_start().is_empty() || rest.trim_start().starts_with('=')
                })
            });
            if own { "\n" } else { line }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_librarys_own_dependency_line_is_dropped() {
        let code = ":dep eigenlens = { path = \"..\" }\n:dep eigenlens-extra = \"1\"\nlet x = 1;";
        assert_eq!(without_own_dependency(code), "\n:dep eigenlens-extra = \"1\"\nlet x = 1;");
    }
}

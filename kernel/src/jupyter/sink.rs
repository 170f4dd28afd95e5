//! Where the events of the evaluation process become messages to the front end.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use eigenlens_common::message::Message;
use jupyter_protocol::media::{Media, MediaType};
use jupyter_protocol::{
    ClearOutput, DisplayData, ExecuteResult, ExecutionCount, JupyterMessage, JupyterMessageContent,
    Stdio, StreamContent, Transient, UpdateDisplayData,
};
use serde_json::{Map, Value};
use tokio::sync::mpsc::UnboundedSender;

use super::text::Utf8Stream;
use crate::eval::event::Event;
use crate::eval::store::Unfinished;

/// Text that one cell may print before the rest is cut: pages freeze beyond a few megabytes.
const STREAM_LIMIT: usize = 4 << 20;
/// The largest single display.
const DISPLAY_LIMIT: usize = 32 << 20;
/// How long text waits for more of its kind.
const COALESCE: Duration = Duration::from_millis(20);
/// How long a block of evcxr's display protocol waits to learn whether it is the cell's value.
const VALUE_WAIT: Duration = Duration::from_millis(200);

/// What the cell is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// No cell runs.
    #[default]
    Idle,
    /// The cell is analysed and compiled.
    Compiling,
    /// Its code runs.
    Running,
}

/// A panic, as the library's hook reported it.
#[derive(Debug, Clone)]
pub(crate) struct Panic {
    pub(crate) message: String,
    pub(crate) file: String,
    pub(crate) line: u32,
}

/// An error value by which a cell failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure {
    pub(crate) message: String,
    /// What caused it, the nearest first.
    pub(crate) causes: Vec<String>,
    /// The line of the `?` in the compiled crate; without it the error is the cell's last value.
    pub(crate) line: Option<u32>,
}

/// How the run of a cell's code went.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// Whether compiled code ran at all.
    pub(crate) began: bool,
    /// The panic that ended it.
    pub(crate) panic: Option<Panic>,
    /// The error that `?` returned, or that is the cell's last value.
    pub(crate) failure: Option<Failure>,
    /// What became of earlier cells' variables, if the cell did not come to its end.
    pub(crate) unfinished: Option<Unfinished>,
    /// Whether library code saw the Stop button.
    pub(crate) stopped: bool,
    /// How the evaluation process ended, if it did.
    pub(crate) exited: Option<String>,
}

#[derive(Debug, Default)]
struct Cell {
    parent: Option<JupyterMessage>,
    count: usize,
    serial: usize,
    phase: Phase,
    run: Run,
    ended: bool,
    panics: Vec<Panic>,
    stdout: Utf8Stream,
    stderr: Utf8Stream,
    content: Option<(Map<String, Value>, Instant)>,
    shown: usize,
    cut: usize,
    process: Option<u32>,
}

/// Turns events into messages about the cell that runs.
#[derive(Debug)]
pub(crate) struct Sink {
    cell: Mutex<Cell>,
    changed: Condvar,
    iopub: UnboundedSender<JupyterMessage>,
}

impl Sink {
    pub(crate) fn new(iopub: UnboundedSender<JupyterMessage>) -> Self {
        Self { cell: Mutex::default(), changed: Condvar::new(), iopub }
    }

    fn lock(&self) -> MutexGuard<'_, Cell> {
        self.cell.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A cell begins: what follows belongs to `parent`, execution number `count`. Without a parent
    /// the cell is silent.
    pub(crate) fn begin(&self, parent: Option<&JupyterMessage>, count: usize) {
        let mut cell = self.lock();
        *cell = Cell {
            parent: parent.cloned(),
            count,
            serial: cell.serial + 1,
            phase: Phase::Compiling,
            process: cell.process,
            ..Cell::default()
        };
    }

    /// Waits for the output of the run to be complete, and takes how it went. `ran` tells that evcxr
    /// saw the cell's code run to its end, `process_lost` that it saw its child end.
    pub(crate) fn end(&self, ran: bool, process_lost: bool) -> Run {
        let mut cell = self.lock();
        let deadline = Instant::now() + Duration::from_secs(10);
        while (ran || cell.run.began) && !cell.ended || process_lost && cell.run.exited.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            cell = self
                .changed
                .wait_timeout(cell, left)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
        self.flush_content(&mut cell, true);
        let mut run = std::mem::take(&mut cell.run);
        if run.panic.is_none() {
            for panic in std::mem::take(&mut cell.panics) {
                let note = format!("a thread panicked: {} ({})\n", panic.message, panic.file);
                cell.stderr.push(note.as_bytes());
            }
        }
        self.flush_streams(&mut cell, true);
        if cell.cut > 0 {
            let note = format!(
                "\n[{:.1} MB of further output are not shown; write long output to a file]\n",
                cell.cut as f64 / 1e6
            );
            self.stream(&cell, Stdio::Stderr, note);
        }
        run.exited = run.exited.or_else(|| process_lost.then(|| "it ended".to_owned()));
        cell.phase = Phase::Idle;
        run
    }

    /// The phase of the running cell, and the evaluation process.
    pub(crate) fn phase(&self) -> (Phase, Option<u32>) {
        let cell = self.lock();
        (cell.phase, cell.process)
    }

    /// Whether library code has seen the Stop button during this run.
    pub(crate) fn stop_seen(&self) -> bool {
        self.lock().run.stopped
    }

    /// A number that no other cell has; execution numbers are shared by silent ones.
    pub(crate) fn serial(&self) -> usize {
        self.lock().serial
    }

    /// Text of the kernel itself on the running cell's standard error.
    pub(crate) fn note(&self, text: &str) {
        let mut cell = self.lock();
        self.flush_streams(&mut cell, true);
        self.stream(&cell, Stdio::Stderr, text.to_owned());
    }

    /// Text of the kernel about a cell that has run, below all that the cell printed.
    pub(crate) fn after(&self, text: Option<String>) {
        if let Some(text) = text {
            self.stream(&self.lock(), Stdio::Stderr, text);
        }
    }

    /// A display of the kernel itself, such as the answer of a `:vars` command.
    pub(crate) fn value(&self, data: Map<String, Value>) {
        let mut cell = self.lock();
        self.flush_streams(&mut cell, true);
        self.display(&cell, data, None, false, true);
    }

    /// Sleeps until there is output that [`tick`](Self::tick) will have to send.
    pub(crate) fn wait_for_output(&self) {
        let nothing = |cell: &mut Cell| {
            cell.content.is_none() && cell.stdout.is_empty() && cell.stderr.is_empty()
        };
        let waited = self.changed.wait_while(self.lock(), nothing);
        drop(waited.unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// Sends what has waited long enough. Called a hundred times a second while there is any.
    pub(crate) fn tick(&self) {
        let mut cell = self.lock();
        if cell.content.as_ref().is_some_and(|(_, since)| since.elapsed() > VALUE_WAIT) {
            self.flush_content(&mut cell, false);
        }
        self.flush_streams(&mut cell, false);
    }

    /// Takes one event of the evaluation process.
    pub(crate) fn handle(&self, event: Event) {
        let mut cell = self.lock();
        match event {
            Event::Started(pid) => cell.process = Some(pid),
            Event::RunBegins => {
                cell.phase = Phase::Running;
                cell.run.began = true;
                cell.ended = false;
            }
            Event::Stdout(bytes) => {
                self.flush_content(&mut cell, false);
                let bytes = admit(&mut cell, &bytes);
                cell.stdout.push(bytes);
            }
            Event::Stderr(bytes) => {
                let bytes = admit(&mut cell, &bytes);
                cell.stderr.push(bytes);
            }
            Event::Content(mime, content) => {
                self.flush_content(&mut cell, false);
                let value = if mime.contains("json") {
                    serde_json::from_str(&content).unwrap_or(Value::String(content))
                } else {
                    Value::String(content)
                };
                cell.content = Some((Map::from_iter([(mime, value)]), Instant::now()));
            }
            Event::Message(json) => match Unfinished::read(&json) {
                Some(unfinished) => cell.run.unfinished = Some(unfinished),
                None => self.library_message(&mut cell, &json),
            },
            Event::Panicked => {
                let unknown =
                    Panic { message: "the code panicked".to_owned(), file: String::new(), line: 0 };
                // Without the library's hook, Rust's own has printed the message.
                cell.run.panic = Some(cell.panics.pop().unwrap_or(unknown));
            }
            // The library has told the error already, unless the cell was compiled without it.
            Event::Failed => {
                cell.run.failure.get_or_insert_with(|| Failure {
                    message: "`?` returned an error".to_owned(),
                    ..Failure::default()
                });
            }
            Event::RunEnds => cell.ended = true,
            Event::Exited(how) => {
                cell.process = None;
                cell.ended = true;
                cell.run.exited = Some(how);
            }
        }
        self.changed.notify_all();
    }

    fn library_message(&self, cell: &mut Cell, json: &str) {
        match serde_json::from_str(json) {
            Ok(message) => self.message(cell, message),
            Err(error) => {
                let note = format!("a message of the library could not be read: {error}\n");
                cell.stderr.push(note.as_bytes());
            }
        }
    }

    fn message(&self, cell: &mut Cell, message: Message) {
        match message {
            Message::Display { data, id, update, result } => {
                self.flush_content(cell, false);
                self.flush_streams(cell, true);
                self.display(cell, data, id, update, result);
            }
            Message::Clear { wait } => {
                self.flush_content(cell, false);
                self.flush_streams(cell, true);
                self.send(cell, ClearOutput { wait });
            }
            Message::Panic { message, file, line, .. } => {
                cell.panics.push(Panic { message, file, line });
            }
            Message::Failed { message, causes, line } => {
                cell.run.failure = Some(Failure { message, causes, line });
            }
            Message::Stopping => cell.run.stopped = true,
        }
    }

    fn display(
        &self,
        cell: &Cell,
        mut data: Map<String, Value>,
        id: Option<String>,
        update: bool,
        result: bool,
    ) {
        let size: usize = data.values().map(weight).sum();
        if size > DISPLAY_LIMIT {
            let note = format!(
                "[a display of {:.0} MB is not shown: the limit is {} MB]",
                size as f64 / 1e6,
                DISPLAY_LIMIT >> 20
            );
            data = Map::from_iter([("text/plain".to_owned(), Value::String(note))]);
        }
        let data = Media::new(data.into_iter().map(MediaType::Other).collect());
        // An object, if an empty one: the protocol has no null here.
        let named = id.is_some();
        let transient = Transient { display_id: id };
        let metadata = Map::new();
        if update && named {
            self.send(cell, UpdateDisplayData { data, metadata, transient });
        } else if result {
            let execution_count = ExecutionCount::new(cell.count);
            let transient = Some(transient);
            self.send(cell, ExecuteResult { execution_count, data, metadata, transient });
        } else {
            self.send(cell, DisplayData { data, metadata, transient: Some(transient) });
        }
    }

    fn flush_content(&self, cell: &mut Cell, at_end: bool) {
        if let Some((data, _)) = cell.content.take() {
            self.flush_streams(cell, true);
            self.display(cell, data, None, false, at_end);
        }
    }

    fn flush_streams(&self, cell: &mut Cell, all: bool) {
        let due = |stream: &Utf8Stream| all || stream.age() >= COALESCE;
        if due(&cell.stdout) {
            let text = cell.stdout.take(all);
            self.stream(cell, Stdio::Stdout, text);
        }
        if due(&cell.stderr) {
            let text = cell.stderr.take(all);
            self.stream(cell, Stdio::Stderr, text);
        }
    }

    fn stream(&self, cell: &Cell, name: Stdio, text: String) {
        if !text.is_empty() {
            self.send(cell, StreamContent { name, text });
        }
    }

    fn send(&self, cell: &Cell, content: impl Into<JupyterMessageContent>) {
        // Output before the first cell has nowhere to go; a front end that is gone needs none.
        if let Some(parent) = &cell.parent {
            let _ = self.iopub.send(JupyterMessage::new(content, Some(parent)));
        }
    }
}

/// Counts `bytes` against the cell's limit, and returns those that are still shown.
fn admit<'a>(cell: &mut Cell, bytes: &'a [u8]) -> &'a [u8] {
    let room = STREAM_LIMIT.saturating_sub(cell.shown).min(bytes.len());
    cell.shown += room;
    cell.cut += bytes.len() - room;
    &bytes[..room]
}

fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 2,
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + weight(value)).sum(),
        _ => 8,
    }
}

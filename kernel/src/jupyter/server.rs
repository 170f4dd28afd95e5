//! The Jupyter protocol: five sockets, and a reply to every request.

use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use jupyter_protocol::media::{Media, MediaType};
use jupyter_protocol::{
    CodeMirrorMode, CommInfoReply, CompleteReply, ConnectionInfo, ErrorOutput, ExecuteInput,
    ExecuteReply, ExecuteRequest, ExecutionCount, ExecutionState, HistoryReply, InputRequest,
    InspectReply, InterruptReply, JupyterMessage, JupyterMessageContent, KernelInfoReply,
    LanguageInfo, ReplyError, ReplyStatus, ShutdownReply, Status, UnknownMessage,
};
use jupyter_zmq_client::{
    KernelIoPubXPubConnection, RouterRecvConnection, RouterSendConnection,
    create_kernel_control_connection, create_kernel_heartbeat_connection,
    create_kernel_iopub_xpub_connection, create_kernel_shell_connection,
    create_kernel_stdin_connection,
};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot};

use super::client::Client;
use super::complete::is_complete;
use super::evaluator::{Evaluator, Job, Question};
use super::failure;
use super::history::History;
use super::interrupt::Interrupter;
use super::text::{to_bytes, to_chars};

/// The parts that answer requests.
pub(crate) struct Server {
    pub(crate) evaluator: Evaluator,
    pub(crate) interrupter: Interrupter,
    pub(crate) iopub: UnboundedSender<JupyterMessage>,
    pub(crate) outgoing: UnboundedReceiver<JupyterMessage>,
    pub(crate) questions: UnboundedReceiver<Question>,
}

/// What the shell's loop needs.
struct Shell {
    evaluator: Evaluator,
    iopub: UnboundedSender<JupyterMessage>,
    count: usize,
    history: History,
}

/// Serves until a shutdown request has been answered.
pub(crate) async fn serve(connection: &ConnectionInfo, server: Server) -> Result<()> {
    let session = uuid::Uuid::new_v4().to_string();
    let bound = || format!("could not listen on {}:{}", connection.ip, connection.shell_port);
    let (shell_out, shell_in) =
        create_kernel_shell_connection(connection, &session).await.with_context(bound)?.split();
    let (control_out, control_in) =
        create_kernel_control_connection(connection, &session).await.with_context(bound)?.split();
    let (stdin_out, stdin_in) =
        create_kernel_stdin_connection(connection, &session).await.with_context(bound)?.split();
    // Not PUB: zeromq 0.7 hands its messages to another task, which about once in a million overlooks
    // the last one until the next comes, and a cell then looks as if it ran for ever.
    let publisher =
        create_kernel_iopub_xpub_connection(connection, &session).await.with_context(bound)?;
    let mut heartbeat = create_kernel_heartbeat_connection(connection).await.with_context(bound)?;

    let Server { evaluator, interrupter, iopub, outgoing, questions } = server;
    tokio::spawn(async move { while heartbeat.single_heartbeat().await.is_ok() {} });
    let published = tokio::spawn(publish_all(outgoing, publisher));
    let answers = Arc::new(Mutex::new(None));
    tokio::spawn(ask(questions, stdin_out, Arc::clone(&answers)));
    tokio::spawn(listen(stdin_in, answers));

    let finished = Arc::new(Notify::new());
    tokio::spawn(watch(interrupter.clone(), Arc::clone(&finished)));
    let shell = Shell { evaluator, iopub: iopub.clone(), count: 0, history: History::default() };
    let (requests, queue) = unbounded_channel();
    tokio::spawn(read_all(shell_in, requests));
    tokio::spawn(shell.run(queue, shell_out, Arc::clone(&finished)));
    tokio::spawn(control(
        control_in,
        control_out,
        interrupter,
        iopub.clone(),
        Arc::clone(&finished),
    ));

    finished.notified().await;
    // The last words are on their way; a short wait lets the sockets send them.
    drop(iopub);
    let _ = tokio::time::timeout(std::time::Duration::from_millis(300), published).await;
    Ok(())
}

/// Signals, and the end of the process that this kernel works for.
async fn watch(interrupter: Interrupter, finished: Arc<Notify>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    let client = Client::of_environment();
    let mut clock = tokio::time::interval(std::time::Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = interrupt.recv() => interrupter.interrupt(),
            _ = terminate.recv() => break,
            _ = clock.tick() => if client.as_ref().is_some_and(Client::is_gone) { break },
        }
    }
    finished.notify_one();
}

async fn read_all(mut from: RouterRecvConnection, to: UnboundedSender<JupyterMessage>) {
    let mut failures = 0;
    while failures < 100 {
        match from.read().await {
            Ok(message) => {
                failures = 0;
                if to.send(message).is_err() {
                    return;
                }
            }
            Err(error) => {
                failures += 1;
                eprintln!("a request could not be read: {error}");
            }
        }
    }
}

/// Sends what is shown to all clients that there are at that time.
async fn publish_all(
    mut outgoing: UnboundedReceiver<JupyterMessage>,
    mut publisher: KernelIoPubXPubConnection,
) {
    loop {
        tokio::select! {
            biased;
            // Clients come and go while this is waited for, and at no other time; an error is a
            // client that went.
            _ = publisher.recv_subscription() => {}
            message = outgoing.recv() => {
                let Some(message) = message else { return };
                if let Err(error) = publisher.send(message).await {
                    eprintln!("an output could not be sent: {error}");
                }
            }
        }
    }
}

fn publish(
    iopub: &UnboundedSender<JupyterMessage>,
    content: impl Into<JupyterMessageContent>,
    parent: &JupyterMessage,
) {
    let _ = iopub.send(JupyterMessage::new(content, Some(parent)));
}

fn state(iopub: &UnboundedSender<JupyterMessage>, state: ExecutionState, parent: &JupyterMessage) {
    publish(iopub, Status { execution_state: state }, parent);
}

async fn reply(
    to: &mut RouterSendConnection,
    content: impl Into<JupyterMessageContent>,
    parent: &JupyterMessage,
) {
    if let Err(error) = to.send(JupyterMessage::new(content, Some(parent))).await {
        eprintln!("a reply could not be sent: {error}");
    }
}

impl Shell {
    async fn run(
        mut self,
        mut queue: UnboundedReceiver<JupyterMessage>,
        mut out: RouterSendConnection,
        finished: Arc<Notify>,
    ) {
        while let Some(request) = queue.recv().await {
            state(&self.iopub, ExecutionState::Busy, &request);
            let mut waiting = Vec::new();
            match &request.content {
                JupyterMessageContent::ExecuteRequest(execute) => {
                    let answer = self.execute(&request, execute).await;
                    if answer.error.is_some() && execute.stop_on_error {
                        // All that was sent before anyone could know of the failure.
                        while let Ok(earlier) = queue.try_recv() {
                            waiting.push(earlier);
                        }
                    }
                    reply(&mut out, answer, &request).await;
                }
                JupyterMessageContent::ShutdownRequest(shutdown) => {
                    reply(&mut out, shutdown_reply(shutdown.restart), &request).await;
                    state(&self.iopub, ExecutionState::Idle, &request);
                    finished.notify_one();
                    return;
                }
                _ => {
                    if let Some(answer) = self.answer(&request).await {
                        reply(&mut out, answer, &request).await;
                    }
                }
            }
            state(&self.iopub, ExecutionState::Idle, &request);
            for request in waiting {
                self.abort(&request, &mut out).await;
            }
        }
    }

    /// Cells that were queued behind a failed one are not run; other requests are answered.
    async fn abort(&self, request: &JupyterMessage, out: &mut RouterSendConnection) {
        state(&self.iopub, ExecutionState::Busy, request);
        if matches!(request.content, JupyterMessageContent::ExecuteRequest(_)) {
            // Without an execution number, which would make the cell look as if it had run.
            let aborted = UnknownMessage {
                msg_type: "execute_reply".to_owned(),
                content: json!({"status": "aborted"}),
            };
            reply(out, aborted, request).await;
        } else if let Some(answer) = self.answer(request).await {
            reply(out, answer, request).await;
        }
        state(&self.iopub, ExecutionState::Idle, request);
    }

    async fn execute(
        &mut self,
        request: &JupyterMessage,
        execute: &ExecuteRequest,
    ) -> ExecuteReply {
        let store = execute.store_history && !execute.silent;
        if store {
            self.count += 1;
            self.history.push(self.count, &execute.code);
        }
        let execution_count = ExecutionCount::new(self.count);
        if !execute.silent {
            let input = ExecuteInput { code: execute.code.clone(), execution_count };
            publish(&self.iopub, input, request);
        }
        let result = if execute.code.trim().is_empty() {
            Ok(())
        } else {
            let (sender, receiver) = oneshot::channel();
            self.evaluator.send(Job::Execute {
                code: execute.code.clone(),
                parent: Box::new(request.clone()),
                count: self.count,
                silent: execute.silent,
                allow_stdin: execute.allow_stdin,
                reply: sender,
            });
            receiver.await.unwrap_or_else(|_| Err(failure::evaluator_gone()))
        };
        if let (Err(error), false) = (&result, execute.silent) {
            let ReplyError { ename, evalue, traceback } = error.clone();
            publish(&self.iopub, ErrorOutput { ename, evalue, traceback }, request);
        }
        let error = result.err().map(Box::new);
        ExecuteReply {
            status: if error.is_some() { ReplyStatus::Error } else { ReplyStatus::Ok },
            execution_count,
            payload: Vec::new(),
            user_expressions: error.is_none().then(HashMap::new),
            error,
        }
    }

    async fn answer(&self, request: &JupyterMessage) -> Option<JupyterMessageContent> {
        Some(match &request.content {
            JupyterMessageContent::KernelInfoRequest(_) => kernel_info().into(),
            JupyterMessageContent::IsCompleteRequest(code) => is_complete(&code.code).into(),
            JupyterMessageContent::CommInfoRequest(_) => CommInfoReply::default().into(),
            JupyterMessageContent::HistoryRequest(query) => {
                HistoryReply::new(self.history.find(query)).into()
            }
            JupyterMessageContent::CompleteRequest(query) => {
                let position = to_bytes(&query.code, query.cursor_pos);
                self.complete(query.code.clone(), position).await.into()
            }
            JupyterMessageContent::InspectRequest(query) => {
                let position = to_bytes(&query.code, query.cursor_pos);
                self.inspect(query.code.clone(), position).await.into()
            }
            JupyterMessageContent::CommOpen(open) => {
                // No widgets live here; the front end must not wait for one.
                let close =
                    jupyter_protocol::CommClose { comm_id: open.comm_id.clone(), data: Map::new() };
                publish(&self.iopub, close, request);
                return None;
            }
            _ => return None,
        })
    }

    async fn complete(&self, code: String, position: usize) -> CompleteReply {
        let (sender, receiver) = oneshot::channel();
        self.evaluator.send(Job::Complete { code: code.clone(), position, reply: sender });
        let found = receiver.await.ok().flatten();
        let (start, end) =
            found.as_ref().map_or((position, position), |found| (found.start, found.end));
        let items = found.map(|found| found.items).unwrap_or_default();
        let (start, end) = (to_chars(&code, start), to_chars(&code, end));
        let types: Vec<Value> = items
            .iter()
            .map(|(text, kind)| json!({"text": text, "type": kind, "start": start, "end": end}))
            .collect();
        CompleteReply {
            matches: items.into_iter().map(|(text, _)| text).collect(),
            cursor_start: start,
            cursor_end: end,
            metadata: Map::from_iter([(
                "_jupyter_types_experimental".to_owned(),
                Value::from(types),
            )]),
            status: ReplyStatus::Ok,
            error: None,
        }
    }

    async fn inspect(&self, code: String, position: usize) -> InspectReply {
        let (sender, receiver) = oneshot::channel();
        let position = end_of_word(&code, position);
        self.evaluator.send(Job::Inspect { code, position, reply: sender });
        let found = receiver.await.ok().flatten();
        let media = found.as_ref().map_or_else(Vec::new, |(text, html)| {
            vec![MediaType::Plain(text.clone()), MediaType::Html(html.clone())]
        });
        InspectReply {
            found: found.is_some(),
            data: Media::new(media),
            metadata: Map::new(),
            status: ReplyStatus::Ok,
            error: None,
        }
    }
}

/// The end of the word around `position`: the cursor may stand anywhere in a name.
fn end_of_word(code: &str, position: usize) -> usize {
    let rest = &code[position..];
    position + rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
}

async fn control(
    from: RouterRecvConnection,
    mut out: RouterSendConnection,
    interrupter: Interrupter,
    iopub: UnboundedSender<JupyterMessage>,
    finished: Arc<Notify>,
) {
    let (requests, mut queue) = unbounded_channel();
    tokio::spawn(read_all(from, requests));
    while let Some(request) = queue.recv().await {
        state(&iopub, ExecutionState::Busy, &request);
        let mut last = false;
        match &request.content {
            JupyterMessageContent::InterruptRequest(_) => {
                interrupter.interrupt();
                let answer = InterruptReply { status: ReplyStatus::Ok, error: None };
                reply(&mut out, answer, &request).await;
            }
            JupyterMessageContent::ShutdownRequest(shutdown) => {
                last = true;
                reply(&mut out, shutdown_reply(shutdown.restart), &request).await;
            }
            JupyterMessageContent::KernelInfoRequest(_) => {
                reply(&mut out, kernel_info(), &request).await;
            }
            _ => {}
        }
        state(&iopub, ExecutionState::Idle, &request);
        if last {
            finished.notify_one();
            return;
        }
    }
}

type Waiting = Arc<Mutex<Option<Sender<String>>>>;

async fn ask(
    mut questions: UnboundedReceiver<Question>,
    mut out: RouterSendConnection,
    waiting: Waiting,
) {
    while let Some(Question { prompt, password, parent, answer }) = questions.recv().await {
        *waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(answer);
        reply(&mut out, InputRequest { prompt, password }, &parent).await;
    }
}

async fn listen(mut from: RouterRecvConnection, waiting: Waiting) {
    while let Ok(message) = from.read().await {
        if let JupyterMessageContent::InputReply(input) = message.content {
            let answer = waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            if let Some(answer) = answer {
                let _ = answer.send(input.value);
            }
        }
    }
}

fn shutdown_reply(restart: bool) -> ShutdownReply {
    ShutdownReply { restart, status: ReplyStatus::Ok, error: None }
}

fn kernel_info() -> KernelInfoReply {
    KernelInfoReply {
        status: ReplyStatus::Ok,
        protocol_version: "5.3".to_owned(),
        implementation: "eigenlens".to_owned(),
        implementation_version: env!("CARGO_PKG_VERSION").to_owned(),
        language_info: LanguageInfo {
            name: "rust".to_owned(),
            version: "2024".to_owned(),
            mimetype: Some("text/rust".to_owned()),
            file_extension: Some(".rs".to_owned()),
            pygments_lexer: Some("rust".to_owned()),
            codemirror_mode: Some(CodeMirrorMode::Simple("rust".to_owned())),
            nbconvert_exporter: Some("script".to_owned()),
        },
        banner: format!(
            "eigenlens {}: Rust with the library and its prelude in scope",
            env!("CARGO_PKG_VERSION")
        ),
        help_links: Vec::new(),
        debugger: false,
        error: None,
    }
}

//! `serve`: answers queries that come line by line on standard input, until that is closed.

use std::collections::HashMap;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use datafusion::execution::runtime_env::RuntimeEnv;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::protocol::{Reply, Request};
use crate::query::Asked;
use crate::{folders, results, session};

/// What a query that was stopped says.
const STOPPED: &str = "the query was stopped";

/// Numbers the files of answers in this process.
static ANSWERS: AtomicU64 = AtomicU64::new(0);

/// Queries that run, by the text of their ids.
type Running = Arc<Mutex<HashMap<String, Arc<Notify>>>>;

/// Answers until standard input is closed.
///
/// # Errors
/// If the cache folder cannot be written.
pub(crate) async fn serve() -> Result<(), String> {
    // Stop in a notebook interrupts every process of it; here it comes as a request.
    let mut interrupts =
        signal(SignalKind::interrupt()).map_err(|error| format!("no signals: {error}"))?;
    tokio::spawn(async move { while interrupts.recv().await.is_some() {} });
    let base = session::runtime(session::default_memory()).map_err(|error| error.to_string())?;
    session::sweep(&folders::results().map_err(|error| error.to_string())?);
    let running = Running::default();
    let mut answers = JoinSet::new();
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let request: Request = match serde_json::from_str(&line) {
            Ok(request) => request,
            Err(error) => {
                say(&Reply::Failed { id: Value::Null, error: format!("not a request: {error}") });
                continue;
            }
        };
        if let Some(id) = &request.cancel {
            if let Some(stop) = lock(&running).get(&id.to_string()) {
                stop.notify_one();
            }
            continue;
        }
        let stop = Arc::new(Notify::new());
        lock(&running).insert(request.id.to_string(), Arc::clone(&stop));
        answers.spawn(reply(request, stop, Arc::clone(&base), Arc::clone(&running)));
        while answers.try_join_next().is_some() {}
    }
    // Nobody reads any more. Queries end themselves, so that their files go with them.
    lock(&running).values().for_each(|stop| stop.notify_one());
    while answers.join_next().await.is_some() {}
    Ok(())
}

/// Answers one request.
async fn reply(request: Request, stop: Arc<Notify>, base: Arc<RuntimeEnv>, running: Running) {
    let (id, start) = (request.id.clone(), Instant::now());
    // In a task of its own, so that a panic ends one query only.
    let answer = tokio::spawn(async move {
        tokio::select! {
            biased;
            () = stop.notified() => Err(STOPPED.to_owned()),
            answer = answer(&request, &base) => answer,
        }
    });
    let reply = match answer.await {
        Ok(Ok((rows, path))) => {
            Reply::Done { id: id.clone(), rows, seconds: start.elapsed().as_secs_f64(), path }
        }
        Ok(Err(error)) => Reply::Failed { id: id.clone(), error },
        Err(panic) => {
            Reply::Failed { id: id.clone(), error: format!("the query engine failed: {panic}") }
        }
    };
    lock(&running).remove(&id.to_string());
    say(&reply);
}

/// Runs a query. Returns the number of rows of the answer and its file.
async fn answer(request: &Request, base: &RuntimeEnv) -> Result<(usize, PathBuf), String> {
    let (Some(store), Some(sql)) = (&request.store, &request.sql) else {
        return Err("a request has `store` and `sql`, or `cancel`".to_owned());
    };
    let memory = request.memory.unwrap_or_else(session::default_memory);
    let asked = open(store, request.on.as_deref(), memory, base).await?;
    let stream = asked.ask(sql).await?;
    let folder = folders::results().map_err(|error| error.to_string())?;
    let failed = |error: &dyn std::error::Error| {
        format!("could not write the answer to {}: {error}", folder.display())
    };
    // It is removed if the query is stopped.
    let part = tempfile::Builder::new().prefix(".part-").tempfile_in(&folder);
    let part = part.map_err(|error| failed(&error))?;
    let rows = match results::write(stream, part.path()).await {
        Ok(rows) => rows,
        Err(error) => return Err(asked.words(&error, sql).await),
    };
    let number = ANSWERS.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("{}-{number}.parquet", std::process::id()));
    part.persist(&path).map_err(|error| failed(&error))?;
    Ok((rows, path))
}

/// Opens the store for a query on this machine or on a cluster.
async fn open(
    store: &Path,
    on: Option<&str>,
    memory: usize,
    base: &RuntimeEnv,
) -> Result<Asked, String> {
    match on {
        Some(scheduler) => crate::on_cluster(store, scheduler, &[]).await,
        None => {
            let runtime = session::with_memory(base, memory).map_err(|error| error.to_string())?;
            Asked::open(session::session(session::config(), runtime), store).await
        }
    }
}

/// The lines of standard input.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if !line.trim().is_empty() && sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Writes a reply as one line.
fn say(reply: &Reply) {
    if let Ok(mut line) = serde_json::to_vec(reply) {
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        // If nobody reads, standard input is closed too, and that ends the process.
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}

fn lock(running: &Running) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Notify>>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

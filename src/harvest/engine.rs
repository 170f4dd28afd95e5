//! Queries in SQL, by a process of its own: `eigenlens-engine`.
//!
//! A request is one line of JSON on its standard input, a reply one on its standard output; the answer
//! is a Parquet file. The process lives while this one does. A query that fails or runs out of memory
//! takes no variable with it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Store;
use crate::data::Table;
use crate::home::home;
use crate::progress::interrupted;
use crate::{Error, Result};

/// Name of the engine's program.
const PROGRAM: &str = "eigenlens-engine";
/// Says where that is, if it is elsewhere.
const VARIABLE: &str = "EIGENLENS_ENGINE";
/// Between two looks at Stop.
const LOOK: Duration = Duration::from_millis(50);
/// A query that was told to end has this long to do so; then its process ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// The engine's process, once there is one.
static ENGINE: Mutex<Option<QueryEngine>> = Mutex::new(None);

#[derive(Debug)]
struct QueryEngine {
    child: Child,
    requests: ChildStdin,
    replies: Receiver<QueryReply>,
    sent: u64,
}

#[derive(Debug, Serialize)]
struct QueryRequest<'a> {
    id: u64,
    #[serde(flatten)]
    task: Task<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Task<'a> {
    Ask {
        store: &'a Path,
        sql: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        on: Option<&'a str>,
    },
    /// Ends the request of that id.
    Cancel { cancel: u64 },
}

#[derive(Debug, Deserialize)]
struct QueryReply {
    id: Option<u64>,
    path: Option<PathBuf>,
    error: Option<String>,
}

impl Store {
    /// Answers a query in SQL. The tables are those of the module's page, `tokens`, `codes`,
    /// `statistics` and `examples`, with `by_feature`, a copy of the codes in which one feature is
    /// found quickly (`eigenlens-engine by-feature` makes it), and `runs`. Beside SQL's own there are
    /// two aggregates: `top(value, context, position, k)` and `histogram(value)`.
    ///
    /// The engine is DataFusion in a process of its own. It is not part of the library's build:
    /// `cargo engine` in the checkout builds it once. An answer has a million rows at most; lists and
    /// structs in it are JSON.
    ///
    /// ```no_run
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// let store = Store::open("gpt2-r5")?;
    /// let often = store.sql(
    ///     "select feature, count(*) count, avg(value) mean from codes \
    ///      group by feature order by count desc limit 10",
    /// )?;
    /// bar([("count", often.numbers("count")?)])?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// - [`Error::NotFound`] if the engine is not built.
    /// - [`Error::Query`] if the query is wrong, needs more memory than there is, or has too many rows.
    /// - [`Error::Interrupted`] when Stop is pressed.
    pub fn sql(&self, query: &str) -> Result<Table> {
        let mut slot = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.place().address()?;
        let mut engine = match slot.take() {
            Some(engine) => engine,
            None => QueryEngine::start()?,
        };
        let task = Task::Ask { store: &path, sql: query, on: self.scheduler() };
        // An engine that is gone is not put back: the next query starts another.
        let answer = engine.ask(task)?;
        *slot = Some(engine);
        let file = answer?;
        let table = Table::read_parquet(&file);
        let _ = std::fs::remove_file(&file);
        table
    }
}

impl QueryEngine {
    fn start() -> Result<Self> {
        let program = find_program()?;
        let child = Command::new(&program)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.map_err(Error::io("start", &program))?;
        let (Some(requests), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(gone());
        };
        let (send, replies) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                let reply = serde_json::from_str(&line);
                if reply.is_ok_and(|reply| send.send(reply).is_err()) {
                    return;
                }
            }
        });
        Ok(Self { child, requests, replies, sent: 0 })
    }

    /// The file of the answer, or what is wrong with the query. The outer error is that of an engine
    /// that cannot be asked again.
    fn ask(&mut self, task: Task<'_>) -> Result<Result<PathBuf>> {
        let id = self.send(task)?;
        let mut stopped_at: Option<Instant> = None;
        loop {
            match self.replies.recv_timeout(LOOK) {
                Ok(reply) if reply.id == Some(id) => {
                    return Ok(match (stopped_at, reply) {
                        (Some(_), QueryReply { path, .. }) => {
                            path.map(std::fs::remove_file);
                            Err(stopped())
                        }
                        (None, QueryReply { path: Some(path), .. }) => Ok(path),
                        (None, QueryReply { error, .. }) => {
                            let reason = error.unwrap_or_else(|| "no answer came".to_owned());
                            Err(Error::Query { reason })
                        }
                    });
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) => match stopped_at {
                    None if interrupted() => {
                        self.send(Task::Cancel { cancel: id })?;
                        stopped_at = Some(Instant::now());
                    }
                    Some(time) if time.elapsed() > PATIENCE => return Err(stopped()),
                    _ => {}
                },
            }
        }
    }

    fn send(&mut self, task: Task<'_>) -> Result<u64> {
        self.sent += 1;
        let id = self.sent;
        let line = serde_json::to_string(&QueryRequest { id, task }).map_err(std::io::Error::from);
        let sent = line.and_then(|line| writeln!(self.requests, "{line}"));
        sent.and_then(|()| self.requests.flush()).map_err(|_| gone())?;
        Ok(id)
    }
}

impl Drop for QueryEngine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stopped() -> Error {
    Error::Interrupted { what: "the query".to_owned() }
}

fn gone() -> Error {
    let reason = "the query engine ended (it may have been killed for its memory); the next query \
                  starts it again";
    Error::Query { reason: reason.to_owned() }
}

/// The engine's program.
fn find_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        return match path.is_file() {
            true => Ok(path),
            false => Err(Error::NotFound {
                what: format!("the query engine {}", path.display()),
                hint: format!("{VARIABLE} names it: correct or unset it."),
            }),
        };
    }
    let kept = home().map(|home| home.join("bin").join(PROGRAM)).ok();
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(PROGRAM));
    let found = [kept, beside].into_iter().flatten().find(|path| path.is_file());
    found.ok_or_else(|| Error::NotFound {
        what: "the query engine".to_owned(),
        hint:
            "Build it once: `cargo engine` in the checkout of eigenlens, about 20 minutes on two \
               cores. Store::table, examples, occurrences and cooccurrence need no engine."
                .to_owned(),
    })
}

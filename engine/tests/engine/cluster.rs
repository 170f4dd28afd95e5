//! Scheduler and executors as processes on loopback, one of them killed at work.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use eigenlens::harvest::Store;

use crate::process::{self, Engine, printed, refused};
use crate::queries;
use crate::store::{self, sums};

/// Longest wait for something that takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that ends with the test.
struct Server {
    child: Child,
    lines: Receiver<String>,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    /// The next line that it prints.
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    fn kill(&mut self) {
        // SIGKILL.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A scheduler that soon notices what is lost, and executors of one task at a time.
pub(crate) struct Cluster {
    home: PathBuf,
    pub(crate) address: String,
    _scheduler: Server,
    executors: Vec<Server>,
}

impl Cluster {
    pub(crate) fn start(folder: &Path, num_executors: usize) -> Self {
        let home = folder.join("cluster");
        let mut command = process::command(&home);
        command.args(["scheduler", "--port", "0", "--timeout", "5", "--expire", "1"]);
        let scheduler = Server::start(command.args(["--grace", "10"]));
        let address = scheduler.line().strip_prefix("scheduler at ").unwrap().to_owned();
        let mut cluster = Self { home, address, _scheduler: scheduler, executors: Vec::new() };
        (0..num_executors).for_each(|_| cluster.add());
        cluster
    }

    fn add(&mut self) {
        let mut command = process::command(&self.home);
        command.args(["executor", "--scheduler", &self.address, "--heartbeat", "1"]);
        let executor = Server::start(&mut command);
        assert!(executor.line().starts_with("executor "));
        self.executors.push(executor);
    }
}

fn num_done(store: &Path) -> usize {
    Store::open(store).unwrap().units().len()
}

#[test]
fn a_harvest_survives_a_killed_executor_and_answers_are_those_of_one_machine() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let alone = store::done(folder.path(), 24, 8);
    let (shared, harvest) = store::begin(folder.path(), "shared", 24, 8);
    drop(harvest);
    let mut cluster = Cluster::start(folder.path(), 3);
    let mut command = process::command(&home);
    command.args(["harvest", shared.to_str().unwrap(), "--on", &cluster.address]);
    let mut job = Server::start(&mut command);
    while num_done(&shared) < 4 {
        assert!(job.child.try_wait().unwrap().is_none(), "the job ended: {}", job.line());
        std::thread::sleep(Duration::from_millis(20));
    }
    // The first executor, as soon as it says that it has begun a unit.
    let first = &mut cluster.executors[0];
    while first.lines.try_recv().is_ok() {}
    let began = first.line();
    assert!(began.starts_with("unit "), "{began}");
    first.kill();
    assert!(num_done(&shared) < 24, "there was work left");
    assert!(job.child.wait().unwrap().success());
    assert_eq!(job.line(), "24 units are done");
    assert_eq!(sums(&shared), sums(&alone));

    let mut engine = Engine::start(&home);
    let local: Vec<_> = queries::about(queries::frequent(&shared))
        .into_iter()
        .map(|sql| (engine.ask(&shared, &sql).unwrap(), sql))
        .collect();
    for (expected, sql) in &local {
        let more = serde_json::json!({ "on": cluster.address });
        let found = engine.ask_with(&shared, sql, more).unwrap();
        queries::assert_equal(&found, expected, sql);
    }
    // Adaptive planning is on unless it is turned off.
    let off = ["--set", "ballista.planner.adaptive.enabled=false", "--rows", "10000"];
    for (expected, sql) in &local {
        let told = ["sql", shared.to_str().unwrap(), sql, "--on", &cluster.address];
        let printed = printed(&home, &[&told[..], &off[..]].concat());
        queries::assert_equal(&queries::parse(&printed), expected, sql);
    }
}

#[test]
fn a_job_without_executors_fails_and_goes_on_later() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let (store, harvest) = store::begin(folder.path(), "store", 12, 8);
    drop(harvest);
    let path = store.to_str().unwrap();
    let mut cluster = Cluster::start(folder.path(), 2);
    let mut command = process::command(&home);
    command.args(["harvest", path, "--on", &cluster.address]).stderr(Stdio::null());
    let mut job = Server::start(&mut command);
    while num_done(&store) < 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    cluster.executors.iter_mut().for_each(Server::kill);
    assert!(!job.child.wait().unwrap().success());
    let done = sums(&store);
    assert!(num_done(&store) < 12);
    cluster.add();
    let said = printed(&home, &["harvest", path, "--on", &cluster.address]);
    assert_eq!(said, format!("{} units are done\n", 12 - num_units(&done)));
    assert!(done.iter().all(|file| sums(&store).contains(file)), "what was done was kept");
    assert_eq!(
        printed(&home, &["harvest", path, "--on", &cluster.address]),
        "every unit is done already\n"
    );
}

fn num_units(files: &[(usize, String, String)]) -> usize {
    files.iter().map(|file| file.0).collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn a_scheduler_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let (store, harvest) = store::begin(folder.path(), "store", 1, 2);
    harvest.harvest_unit(0).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("df://127.0.0.1:{port}");
    let told = ["sql", store.to_str().unwrap(), "select count(*) from tokens", "--on", &address];
    let error = refused(&home, &told);
    assert!(error.contains(&address), "{error}");
}

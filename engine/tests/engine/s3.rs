//! A store in a bucket, on a server that the test starts.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use datafusion::object_store::ObjectStoreExt as _;
use eigenlens::harvest::{Store, s3_bucket};
use eigenlens::prelude::*;

use crate::process::{Engine, printed, refused};
use crate::store::{self, KEY, sums};
use crate::{python, queries};

const BUCKET: &str = "stores";

/// A server of S3's protocol on 127.0.0.1, with one bucket.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(python: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { child, address };
        let begin = Instant::now();
        while let Err(error) = server.make_bucket() {
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "the server does not answer: {error}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        server
    }

    fn make_bucket(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(&self.address)?;
        let host = &self.address;
        let head = "Connection: close\r\nContent-Length: 0";
        write!(stream, "PUT /{BUCKET} HTTP/1.1\r\nHost: {host}\r\n{head}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.starts_with("HTTP/1.1 200") {
            true => Ok(()),
            false => Err(std::io::Error::other(answer)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs one of the tests below in a process whose environment names the server.
fn with_server(test: &str) {
    let Some(python) = python::python() else { return };
    let server = Server::start(&python);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([&format!("s3::{test}"), "--exact", "--ignored"]);
    command.env("AWS_ENDPOINT_URL", format!("http://{}", server.address));
    command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]);
    let output = command.env("AWS_REGION", "us-east-1").output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("1 passed"), "{out}");
}

#[test]
fn a_store_in_a_bucket_is_that_of_a_folder() {
    with_server("is_that_of_a_folder");
}

#[test]
#[ignore = "a part of a_store_in_a_bucket_is_that_of_a_folder"]
fn is_that_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let local = store::done(folder.path(), 3, 8);
    let path = format!("s3://{BUCKET}/some where/run");
    let harvest = store::begin_at(path.as_ref(), folder.path(), 3, 8);
    harvest.harvest_unit(2).unwrap();
    assert_eq!(harvest.missing().unwrap(), [0, 1]);
    // Another process, which knows nothing but the address, goes on.
    assert!(printed(&home, &["harvest", &path]).ends_with("2 units are done\n"));
    assert!(harvest.missing().unwrap().is_empty());
    assert_eq!(sums(path.as_ref()), sums(&local));

    let (remote, local) = (Store::open(&path).unwrap(), Store::open(&local).unwrap());
    assert_eq!(remote.path(), Path::new(&path));
    let feature = queries::frequent(local.path()) as usize;
    let tables = |store: &Store| format!("{:?}", store.table(KEY).unwrap());
    assert_eq!(tables(&remote), tables(&local));
    let examples = |store: &Store| store.examples(KEY, feature, 24).unwrap().peaks;
    assert_eq!(examples(&remote), examples(&local));
    let rows = |store: &Store| {
        let batches = store.shuffled(HookPoint::ResidPost(1), &ShuffleOptions::default()).unwrap();
        let rows = batches.map(|batch| batch.unwrap().to_vec2::<f32>().unwrap());
        rows.collect::<Vec<_>>().concat()
    };
    assert_eq!(rows(&remote), rows(&local));
    assert_eq!(remote.check().unwrap(), local.check().unwrap());
    assert!(remote.tidy().unwrap().removed.is_empty());

    let mut engine = Engine::start(&home);
    for sql in queries::about(feature as i64) {
        let expected = engine.ask(local.path(), &sql).unwrap();
        queries::assert_equal(&engine.ask(path.as_ref(), &sql).unwrap(), &expected, &sql);
    }
    let error = refused(&home, &["by-feature", &path]);
    assert!(error.contains("in folders only"), "{error}");
    #[cfg(feature = "cluster")]
    {
        let cluster = crate::cluster::Cluster::start(folder.path(), 1);
        let sql = "select count(*), sum(value) from codes";
        let more = serde_json::json!({ "on": cluster.address });
        let found = engine.ask_with(path.as_ref(), sql, more).unwrap();
        queries::assert_equal(&found, &engine.ask(local.path(), sql).unwrap(), sql);
    }

    // What is gone is named as it was typed.
    let lost = &remote.units()[1].files[0].path;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let key = format!("some where/run/{lost}").into();
    runtime.block_on(s3_bucket(BUCKET).unwrap().delete(&key)).unwrap();
    let error = remote.check().unwrap_err().to_string();
    assert!(error.contains(&format!("{path}/{lost}")), "{error}");
    let error = Store::open(format!("s3://{BUCKET}/elsewhere")).unwrap_err().to_string();
    assert!(error.contains(&format!("a store in s3://{BUCKET}/elsewhere")), "{error}");
    for (wrong, words) in [("s3:///run", "s3://bucket/prefix"), ("s3://none/run", "s3://none/run")]
    {
        let error = Store::open(wrong).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_large_file_goes_in_parts() {
    with_server("goes_in_parts");
}

#[test]
#[ignore = "a part of a_large_file_goes_in_parts"]
fn goes_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("s3://{BUCKET}/large");
    let harvest = store::begin_at(path.as_ref(), folder.path(), 1, 400);
    let commit = harvest.harvest_unit(0).unwrap();
    let largest = commit.files.iter().map(|file| file.bytes).max().unwrap();
    assert!(largest > 20 << 20, "{largest} bytes");
    Store::open(&path).unwrap().check().unwrap();
}

#[test]
fn a_server_that_does_not_answer_is_told_with_the_variables() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = crate::process::command(folder.path());
    command
        .args(["check", "s3://stores/run"])
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"));
    command.envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]);
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(error.contains("s3://stores/run") && error.contains("AWS_ENDPOINT_URL"), "{error}");
}

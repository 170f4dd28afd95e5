//! The engine's process, and answers as the library reads them.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use datafusion::arrow::array::{Array as _, AsArray as _};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

pub(crate) type Rows = Vec<Vec<Value>>;

/// The program, with what it keeps in `home`.
pub(crate) fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eigenlens-engine"));
    command.env("EIGENLENS_HOME", home).env("RAYON_NUM_THREADS", "1");
    command
}

/// Runs a command to its end.
pub(crate) fn run(home: &Path, arguments: &[&str]) -> Output {
    command(home).args(arguments).output().unwrap()
}

/// What a command that succeeds prints.
pub(crate) fn printed(home: &Path, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What a command that fails says.
pub(crate) fn refused(home: &Path, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `serve`, with requests and replies.
pub(crate) struct Engine {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    next: u64,
}

impl Engine {
    pub(crate) fn start(home: &Path) -> Self {
        let mut command = command(home);
        command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let requests = child.stdin.take();
        let replies = BufReader::new(child.stdout.take().unwrap());
        Self { child, requests, replies, next: 0 }
    }

    pub(crate) fn send(&mut self, request: &Value) {
        let requests = self.requests.as_mut().unwrap();
        writeln!(requests, "{request}").unwrap();
        requests.flush().unwrap();
    }

    pub(crate) fn reply(&mut self) -> Value {
        let mut line = String::new();
        self.replies.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Sends a query with further fields, and returns the rows or the error.
    pub(crate) fn ask_with(
        &mut self,
        store: &Path,
        sql: &str,
        more: Value,
    ) -> Result<Rows, String> {
        self.next += 1;
        let mut request = json!({ "id": self.next, "store": store, "sql": sql });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.send(&request);
        let reply = self.reply();
        assert_eq!(reply["id"], self.next);
        match reply["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(rows(Path::new(reply["path"].as_str().unwrap()))),
        }
    }

    pub(crate) fn ask(&mut self, store: &Path, sql: &str) -> Result<Rows, String> {
        self.ask_with(store, sql, json!({}))
    }

    /// Closes standard input. Returns whether the process ended well.
    pub(crate) fn close(mut self) -> bool {
        self.requests = None;
        self.child.wait().unwrap().success()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.child.wait();
    }
}

/// Reads an answer of four types and removes its file.
pub(crate) fn rows(path: &Path) -> Rows {
    let file = File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        for row in 0..batch.num_rows() {
            let cell = |column: &datafusion::arrow::array::ArrayRef| match column.data_type() {
                _ if column.is_null(row) => Value::Null,
                DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
                DataType::Float64 => json!(column.as_primitive::<Float64Type>().value(row)),
                DataType::Boolean => json!(column.as_boolean().value(row)),
                DataType::Utf8 => json!(column.as_string::<i32>().value(row)),
                other => panic!("a column of {other}"),
            };
            rows.push(batch.columns().iter().map(cell).collect());
        }
    }
    std::fs::remove_file(path).unwrap();
    rows
}

/// A file's bytes that are below a folder, by name: nothing may be left there.
pub(crate) fn left_in(folder: PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

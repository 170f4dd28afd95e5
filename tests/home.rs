//! The folder of what is fetched: the scripts in `tools/` find it where library and kernel do.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use eigenlens_common::home::home_from;

#[test]
fn scripts_write_where_the_library_looks() {
    let cases: [&[(&str, &str)]; 7] = [
        &[("HOME", "/h")],
        &[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")],
        &[("HOME", "/h"), ("XDG_CACHE_HOME", "x")],
        &[("HOME", "/h"), ("XDG_CACHE_HOME", "~/x"), ("EIGENLENS_HOME", "")],
        &[("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("EIGENLENS_HOME", "/e")],
        &[("HOME", "/h"), ("EIGENLENS_HOME", "~/my lab")],
        &[("HOME", "/h"), ("EIGENLENS_HOME", "a/~")],
    ];
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools");
    for variables in cases {
        let expected = home_from(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        });
        let mut python = Command::new("python3");
        python.args(["-c", "import registry; print(registry.default_folder('mnist'))"]);
        for name in ["XDG_CACHE_HOME", "EIGENLENS_HOME"] {
            python.env_remove(name);
        }
        python.env("PYTHONPATH", &tools).env("PYTHONDONTWRITEBYTECODE", "1");
        let output = python.envs(variables.iter().copied()).output().expect("Python runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        let found = String::from_utf8_lossy(&output.stdout);
        let expected = expected.expect("a folder").join("data/mnist");
        assert_eq!(Path::new(found.trim_end()), expected, "{variables:?}");
    }
}

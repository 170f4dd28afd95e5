//! Files that only clusters read: they can be parsed, and call this program as it is.

use std::path::Path;
use std::process::Command;

use crate::process::run;
use crate::python;

/// Prints the arguments of every container, one array a line.
const ARGUMENTS: &str = "
import json, sys, yaml
for path in sys.argv[1:]:
    for part in yaml.safe_load_all(open(path)):
        assert part['apiVersion'] and part['metadata']['name'], part
        template = part['spec'].get('template', {'spec': {'containers': []}})
        for container in template['spec']['containers']:
            assert container['image'] == 'eigenlens-engine', container
            print(json.dumps(container['args']))
";

/// Asks the program whether it knows these arguments, and has it do nothing.
fn understands(arguments: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--help"]).collect();
    let output = run(folder.path(), &arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn manifests_call_commands_that_there_are() {
    let Some(python) = python::python() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../environment/kubernetes");
    let files = ["cluster.yaml", "harvest.yaml"].map(|name| folder.join(name));
    let output = Command::new(python).args(["-c", ARGUMENTS]).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let commands: Vec<Vec<String>> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(commands.len(), 3);
    for mut command in commands {
        command.iter_mut().for_each(|word| *word = word.replace("$(JOB_COMPLETION_INDEX)", "0"));
        if cfg!(feature = "cluster") || command[0] == "harvest" {
            understands(&command);
        }
    }
}

#[test]
fn the_slurm_script_names_its_part() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../environment/slurm-harvest.sh");
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("eigenlens-engine");
    std::os::unix::fs::symlink("/bin/echo", program).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let output = Command::new("bash")
        .arg(script)
        .arg("/stores/a")
        .env("PATH", path)
        .envs([("SLURM_ARRAY_TASK_ID", "5"), ("SLURM_ARRAY_TASK_MIN", "1")])
        .env("SLURM_ARRAY_TASK_COUNT", "8")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "harvest /stores/a --part 4/8\n");
}

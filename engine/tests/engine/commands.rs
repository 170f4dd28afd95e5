//! What a person calls.

use std::os::unix::fs::PermissionsExt as _;

use eigenlens::harvest::Store;

use crate::process::{printed, refused, run};
use crate::store;

#[test]
fn parts_of_a_harvest_are_done_by_processes_and_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let whole = store::done(folder.path(), 4, 2);
    let (parts, harvest) = store::begin(folder.path(), "parts", 4, 2);
    drop(harvest);
    let path = parts.to_str().unwrap();
    let said = printed(&home, &["harvest", path, "--part", "1/3"]);
    assert!(said.contains("unit 1:") && said.ends_with("1 unit is done\n"), "{said}");
    let error = refused(&home, &["check", path]);
    assert!(error.contains("3 missing"), "{error}");
    printed(&home, &["harvest", path]);
    let said = printed(&home, &["harvest", path, "--part", "1/3"]);
    assert_eq!(said, "every unit of this part is done already\n");
    let error = refused(&home, &["harvest", path, "--part", "3/3"]);
    assert!(error.contains("I/N"), "{error}");
    assert!(printed(&home, &["check", path]).contains("all as their records say"));
    assert_eq!(printed(&home, &["tidy", path]), "nothing to remove\n");
    let files = |store| {
        let store = Store::open(store).unwrap();
        let units = store.units().iter().flat_map(|unit| unit.files.clone());
        units.collect::<Vec<_>>()
    };
    assert_eq!(files(&whole), files(&parts));
}

#[test]
fn a_table_is_printed_with_the_number_of_rows() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let store = store::done(folder.path(), 1, 2);
    let path = store.to_str().unwrap();
    let said = printed(&home, &["sql", path, "select position from tokens", "--rows", "3"]);
    assert!(said.contains("| position |") && said.ends_with("3 of 256 rows\n"), "{said}");
    let said = printed(&home, &["sql", path, "select position from tokens where false"]);
    assert!(said.contains("| position |"), "{said}");
    let setting = ["--set", "datafusion.execution.target_partitions=3"];
    let query = "select value from information_schema.df_settings where name like '%target_part%'";
    let said = printed(&home, &[&["sql", path, query][..], &setting[..]].concat());
    assert!(said.contains("| 3     |"), "{said}");
    let error = refused(&home, &["sql", path, "select 1", "--set", "datafusion.nothing=1"]);
    assert!(error.contains("datafusion.nothing=1"), "{error}");
    let error = refused(&home, &["sql", path, "select", "--on", "nowhere"]);
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn it_installs_itself_where_the_library_looks() {
    let folder = tempfile::tempdir().unwrap();
    let said = printed(folder.path(), &["install"]);
    let program = folder.path().join("bin/eigenlens-engine");
    assert_eq!(said, format!("installed {}\n", program.display()));
    assert_ne!(program.metadata().unwrap().permissions().mode() & 0o111, 0);
    // A second time in the place of the first, which may be running.
    assert!(run(folder.path(), &["install"]).status.success());
    assert_eq!(std::fs::read_dir(folder.path().join("bin")).unwrap().count(), 1);
}

//! The sorted copy.

use std::fs;

use datafusion::parquet::basic::{Compression, Encoding};
use datafusion::parquet::file::reader::{FileReader as _, SerializedFileReader};
use datafusion::parquet::record::Field;
use serde_json::json;

use crate::process::{Engine, left_in, printed, refused};
use crate::store::{self, KEY};

#[test]
fn it_holds_the_same_rows_sorted_and_is_there_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let (store, harvest) = store::begin(folder.path(), "store", 3, 8);
    let path = store.to_str().unwrap();
    let error = refused(&home, &["by-feature", path]);
    assert!(error.contains("no codes to sort"), "{error}");
    harvest.harvest_unit(0).unwrap();
    harvest.harvest_unit(1).unwrap();
    let said = printed(&home, &["by-feature", path, "--memory", "40000000"]);
    assert!(said.starts_with("1.mlp_out: 32768 entries of 2 units"), "{said}");

    let mut engine = Engine::start(&home);
    let columns = "context, position, feature, value";
    let same = format!(
        "select count(*) from (select {columns} from by_feature intersect select {columns} from codes)"
    );
    assert_eq!(engine.ask(&store, &same).unwrap(), [[json!(32768)]]);
    // Every file has its own 512 features, in order, as its name says.
    let mut last = (-1, 0, 0);
    let copy = store.join("by_feature").join(KEY);
    let mut buckets = left_in(copy.clone());
    buckets.sort();
    assert_eq!(buckets, ["000", "001", "002", "commit.json"]);
    for bucket in &buckets[..3] {
        let file = copy.join(bucket).join(&left_in(copy.join(bucket))[0]);
        let reader = SerializedFileReader::new(fs::File::open(file).unwrap()).unwrap();
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            let cell = |name: &str| match row.get_column_iter().find(|own| own.0 == name) {
                Some((_, Field::Int(number))) => i64::from(*number),
                Some((_, Field::Long(number))) => *number,
                other => panic!("{name}: {other:?}"),
            };
            let place = (cell("feature"), cell("context"), cell("position"));
            assert!(place > last && place.0 / 512 == bucket.parse::<i64>().unwrap());
            last = place;
        }
        let group = reader.metadata().row_group(0);
        for column in group.columns() {
            assert!(matches!(column.compression(), Compression::ZSTD(_)));
            let encoding = match column.column_path().string().as_str() {
                "sae" => continue,
                "value" => Encoding::BYTE_STREAM_SPLIT,
                _ => Encoding::DELTA_BINARY_PACKED,
            };
            assert!(column.encodings().any(|own| own == encoding), "{}", column.column_path());
        }
    }

    // A unit more, and the copy is no longer of all codes: it is not asked until it is made anew.
    harvest.harvest_unit(2).unwrap();
    let error = engine.ask(&store, "select * from by_feature").unwrap_err();
    assert!(error.contains("lacks what was harvested since"), "{error}");
    // What a process that was killed left in the folders of the copy is no part of it.
    fs::write(copy.join("000/half.parquet"), "half").unwrap();
    let said = printed(&home, &["by-feature", path]);
    assert!(said.starts_with("1.mlp_out: 49152 entries of 3 units"), "{said}");
    assert_eq!(engine.ask(&store, "select count(*) from by_feature").unwrap(), [[json!(49152)]]);
    assert_eq!(left_in(copy.join("000")).len(), 1);
    assert!(printed(&home, &["check", path]).contains("all as their records say"));

    fs::write(copy.join("001").join(&left_in(copy.join("001"))[0]), "damaged").unwrap();
    let error = refused(&home, &["check", path]);
    assert!(error.contains("by_feature/1.mlp_out/001") && error.contains("by-feature"), "{error}");
}

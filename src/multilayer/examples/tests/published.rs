//! Data sets in the original's layout, as Python's `datasets` writes them.

use std::path::Path;

use super::*;
use crate::data::tests::{WrittenColumns, write_columns};
use crate::hub::Repository;
use crate::hub::tests::Server;

/// Rows of a data set: latent, layer, token, activation, and the window.
type PublishedRow = (i64, i64, i64, f64, &'static str, &'static str);

const ROWS: [PublishedRow; 5] = [
    (3, 0, 7, 1.5, "[1, 2, 3, 4, 7, 6, 5, 4]", "[0.0, 0.0, -0.25, 0.0, 1.5, 0.0, 0.5, 0.0]"),
    (0, 1, 9, 0.5, "[]", "[]"),
    (3, 0, 8, 2.5, "[8, 8, 8, 8, 8, 2]", "[2.5, 0.0, 0.0, 0.0, 2.5, 0.0]"),
    (3, 0, 6, 1.5, "[6, 1]", "[1.5, 0.0]"),
    (1, 0, 5, 0.001953125, "[4, 5, 6]", "[0.0, 0.001953125, 0.0]"),
];

/// The columns of some rows, under the published names.
fn columns(rows: &[PublishedRow]) -> WrittenColumns {
    let texts = |of: fn(&PublishedRow) -> &'static str| {
        rows.iter().map(|row| of(row).to_owned()).collect::<Vec<_>>()
    };
    WrittenColumns::default()
        .integers("id", (0..rows.len() as i64).collect())
        .integers("latent", rows.iter().map(|row| row.0).collect())
        .integers("layer", rows.iter().map(|row| row.1).collect())
        .integers("token_id", rows.iter().map(|row| row.2).collect())
        .texts("token", rows.iter().map(|row| format!("t{}", row.2)).collect())
        .numbers("act", rows.iter().map(|row| row.3).collect())
        .texts("token_ids", texts(|row| row.4))
        .texts("tokens", rows.iter().map(|_| "[\"a\"]".to_owned()).collect())
        .texts("acts", texts(|row| row.5))
}

fn put(folder: &Path, part: usize, of: usize, columns: &WrittenColumns) {
    let folder = folder.join("data");
    std::fs::create_dir_all(&folder).unwrap();
    write_columns(&folder.join(format!("train-{part:05}-of-{of:05}.parquet")), columns);
}

#[test]
fn a_published_data_set_is_read_from_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), 0, 2, &columns(&ROWS[..2]));
    put(folder.path(), 1, 2, &columns(&ROWS[2..]));
    let server = Server::start();
    server.serve("datasets/owner/mlsae-examples", folder.path());
    let place = Repository::on(server.hub.clone(), "datasets/owner/mlsae-examples");
    let found = LayerExamples::from_repository(&place).unwrap();
    assert_eq!((found.layers(), found.latents(), found.len()), (2, 4, 5));
    assert_eq!((found.options().rule, found.text()), (ExampleRule::Original, None));
    let best = found.get(0, 3).unwrap();
    let activations: Vec<f32> = best.iter().map(|own| own.activation).collect();
    assert_eq!(activations, [2.5, 1.5, 1.5]);
    let rows: Vec<u64> = best.iter().map(|own| own.context).collect();
    assert_eq!(rows, [2, 0, 3], "equal ones by the number of the row");
    assert_eq!((best[0].position, best[1].position, best[2].position), (4, 4, 0));
    assert_eq!(best[1].tokens, [1, 2, 3, 4, 7, 6, 5, 4]);
    assert_eq!(best[1].activations, [0.0, 0.0, -0.25, 0.0, 1.5, 0.0, 0.5, 0.0]);
    assert_eq!((found.get(1, 0).unwrap()[0].token, found.get(1, 0).unwrap()[0].end()), (9, 0));
    // On disk it is a file like any other.
    let path = folder.path().join("examples.parquet");
    found.save(&path).unwrap();
    assert_eq!(all(&LayerExamples::open(&path).unwrap()), all(&found));
    let missing = Repository::on(server.hub.clone(), "datasets/owner/other-examples");
    assert!(LayerExamples::from_repository(&missing).is_err());
}

#[test]
fn what_is_wrong_in_a_data_set_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = |columns: WrittenColumns| {
        put(folder.path(), 0, 1, &columns);
        let name = folder.path().to_str().unwrap();
        LayerExamples::from_pretrained(name).unwrap_err().to_string()
    };
    for name in ["latent", "layer", "token_id", "act", "token_ids", "acts"] {
        let found = message(columns(&ROWS).without(name));
        assert!(found.contains(&format!("a column `{name}` of")), "{found}");
    }
    let whole = columns(&ROWS);
    let texts = || vec!["1".to_owned(); 5];
    let found = message(whole.clone().without("latent").texts("latent", texts()));
    assert!(found.contains("integers in `latent`, found BYTE_ARRAY"), "{found}");
    let found = message(whole.clone().without("acts").integers("acts", vec![1; 5]));
    assert!(found.contains("texts in `acts`, found INT64"), "{found}");
    let nan = vec![0.5, f64::NAN, 0.5, 0.5, 0.5];
    let found = message(whole.clone().without("act").numbers("act", nan));
    assert!(found.contains("numbers in `act`, found NaN"), "{found}");
    let lists = vec![vec![1.0]; 5];
    let found = message(whole.clone().without("act").lists("act", lists));
    assert!(found.contains("a column `act` of numbers, found lists"), "{found}");
    let found = message(whole.clone().without("acts").texts("acts", texts()));
    assert!(found.contains("a JSON list of numbers in `acts`"), "{found}");
    let short = vec!["[1.0]".to_owned(); 5];
    let found = message(whole.clone().without("acts").texts("acts", short));
    assert!(found.contains("as many `acts` as `token_ids`, found 8 and 1 in row 0"), "{found}");
    let found = message(whole.clone().without("token_id").integers("token_id", vec![70; 5]));
    assert!(found.contains("`token_id` among `token_ids`, found 70 in row 0"), "{found}");
    let found = message(whole.clone().without("layer").integers("layer", vec![-1; 5]));
    assert!(found.contains("`layer` of 0 to"), "{found}");
    let found = message(whole.clone().without("layer").integers("layer", vec![1 << 30; 5]));
    assert!(found.contains("layers and latents of an autoencoder"), "{found}");
    let found = message(whole.clone().without("latent").missing("latent", vec![Some(1), None]));
    assert!(found.contains("integers in `latent`, found nothing in row 1"), "{found}");
    std::fs::write(folder.path().join("data/train-00000-of-00001.parquet"), "PAR").unwrap();
    let name = folder.path().to_str().unwrap();
    let found = LayerExamples::from_pretrained(name).unwrap_err().to_string();
    assert!(found.contains("a Parquet file of published examples"), "{found}");
    put(folder.path(), 0, 3, &whole);
    std::fs::remove_file(folder.path().join("data/train-00000-of-00001.parquet")).unwrap();
    let found = LayerExamples::from_pretrained(name).unwrap_err().to_string();
    assert!(found.contains("1 of 3 Parquet files"), "{found}");
}

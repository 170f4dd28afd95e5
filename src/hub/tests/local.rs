//! Folders, files and variables of this machine.

use super::*;

#[test]
fn a_repository_says_where_it_is() {
    let server = Server::start();
    let repository = Repository::on(server.hub.clone(), "owner/name");
    let source = || repository.read("config.json").unwrap().source;
    assert_eq!(source(), Source::Hub("owner/name".into()));
    assert_eq!(source(), Source::Cache("owner/name".into()));
    assert_eq!(repository.sibling("-scope").name(), "owner/name-scope");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), SMALL).unwrap();
    let repository = Repository::find(folder.path().to_str().unwrap()).unwrap();
    let content = repository.read("config.json").unwrap();
    assert_eq!(&*content.bytes, SMALL);
    assert_eq!(content.source, Source::Folder(folder.path().to_owned()));
    assert!(repository.read("x").unwrap_err().to_string().contains("could not read"));
}

#[test]
fn the_variables_of_the_hub_are_honoured() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("token"), "hf_file\n").unwrap();
    let with = |pairs: &[(&str, &str)]| {
        let home = ("HF_HOME", home.path().to_str().unwrap());
        let all: Vec<_> = pairs.iter().copied().chain([home]).collect();
        let find = |name: &str| all.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).into());
        Hub::from_variables(find).unwrap()
    };
    let plain = with(&[]);
    assert_eq!(plain.cache, home.path().join("hub"));
    assert_eq!(plain.token.as_deref(), Some("hf_file"));
    assert!(!plain.offline && plain.endpoint.starts_with("https://"));

    let all = with(&[
        ("HF_HUB_CACHE", "/cache"),
        ("HF_ENDPOINT", "http://127.0.0.1:1/"),
        ("HF_TOKEN", "hf_variable"),
        ("HF_HUB_OFFLINE", "True"),
    ]);
    assert_eq!(all.cache, Path::new("/cache"));
    assert_eq!(all.endpoint, "http://127.0.0.1:1");
    assert_eq!(all.token.as_deref(), Some("hf_variable"));
    assert!(all.offline);
    assert!(!with(&[("HF_HUB_OFFLINE", "0")]).offline);
}

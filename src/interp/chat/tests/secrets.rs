//! The key goes to the server and nowhere else.

use super::*;

const SECRET: &str = "sk-test-0123456789abcdef";

fn variables(name: &str) -> Option<String> {
    (name == "TEST_KEY").then(|| format!("{SECRET}\n"))
}

fn keyed(world: &ChatWorld) -> ChatModel {
    world.chat().key_from("TEST_KEY").with_variables(variables)
}

/// All that an error says, and that its causes say.
fn all_words(error: &Error) -> String {
    let mut words = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        words.push_str(&format!(" {next} {next:?}"));
        cause = next.source();
    }
    words
}

#[test]
fn the_key_is_sent() {
    let world = ChatWorld::new();
    keyed(&world).ask(&request("a")).unwrap();
    let seen = world.server.seen().remove(0);
    assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {SECRET}")));
    assert!(!seen.body.to_string().contains(SECRET));
}

#[test]
fn a_key_that_the_server_repeats_is_in_no_error() {
    let world = ChatWorld::new();
    let chat = keyed(&world);
    let told = format!("{}Incorrect key: {SECRET}", "x".repeat(280));
    let faults = [status(401, &[], &told), status(200, &[], &format!("{{{SECRET}"))];
    let once = Retries { attempts: 1, ..Retries::default() };
    for fault in faults {
        world.server.script([fault]);
        let error = chat.clone().retries(once).ask(&request("a")).unwrap_err();
        let words = all_words(&error);
        assert!(words.contains("[key]") && !words.contains(SECRET), "{words}");
        assert!(!words.contains(&SECRET[..12]), "not even its beginning: {words}");
    }
    for fault in [Fault::Drop, Fault::Truncated, Fault::WrongJson] {
        world.server.script([fault]);
        let error = chat.clone().retries(once).ask(&request("a")).unwrap_err();
        assert!(!all_words(&error).contains(SECRET));
    }
}

#[test]
fn a_key_that_the_server_repeats_is_in_no_file() {
    let world = ChatWorld::answering(|_| completion(&format!("you said {SECRET}")));
    let chat = keyed(&world);
    let answer = chat.ask(&request("a")).unwrap();
    assert_eq!(answer.text, "you said [key]");
    for file in files_below(world.folder.path()) {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(!text.contains(SECRET) && text.contains("you said [key]"), "{text}");
        assert!(!text.contains("127.0.0.1"), "nor is the server: {text}");
        assert!(!text.to_lowercase().contains("authorization"), "nor are headers: {text}");
    }
}

#[test]
fn a_handle_shows_the_name_of_the_variable_only() {
    let world = ChatWorld::new();
    let chat = keyed(&world);
    chat.ask(&request("a")).unwrap();
    let text = format!("{chat:?} {chat} {:?}", chat.spent());
    assert!(text.contains("TEST_KEY") && !text.contains(SECRET), "{text}");
}

#[test]
fn a_key_that_is_missing_or_no_word_is_told_when_it_is_needed() {
    let world = ChatWorld::new();
    let chat = world.chat().key_from("NO_KEY").with_variables(variables);
    let error = chat.ask(&request("a")).unwrap_err();
    assert!(matches!(&error, Error::NotFound { .. }));
    assert!(error.to_string().contains("`NO_KEY` was not found"), "{error}");
    let odd = |_: &str| Some(format!("{SECRET} {SECRET}"));
    let error = chat.with_variables(odd).ask(&request("a")).unwrap_err();
    assert!(error.to_string().contains("`NO_KEY` must be one word"), "{error}");
    assert!(!all_words(&error).contains(SECRET));
    assert_eq!(world.requests(), 0);
}

//! Who is answered, and with what limits.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use eigenlens_app::AppServer;
use serde_json::json;

use crate::http::{Client, mlsae, server, shared};

#[test]
fn only_this_machine_is_listened_to_and_a_taken_port_is_an_error() {
    let client = shared();
    let taken = AppServer::new(mlsae()).port(client.port).serve().unwrap_err().to_string();
    assert!(taken.contains(&format!("127.0.0.1:{}", client.port)), "{taken}");
    // Another address of this machine's loopback network leads nowhere.
    assert!(TcpStream::connect(("127.0.0.2", client.port)).is_err());
    let app = AppServer::new(mlsae()).serve().unwrap();
    let port = app.port();
    app.stop();
    assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "the port is free again");
}

#[test]
fn a_page_that_was_shown_outlives_its_value_until_it_is_shown_anew_or_stopped() {
    let is_served = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
    let unseen = AppServer::new(mlsae()).serve().unwrap();
    let port = unseen.port();
    assert!(is_served(port));
    drop(unseen);
    assert!(!is_served(port));
    let shown = AppServer::new(mlsae()).serve().unwrap();
    let first = shown.port();
    shown.evcxr_display();
    drop(shown);
    assert!(is_served(first));
    let again = AppServer::new(mlsae()).serve().unwrap();
    let second = again.port();
    again.evcxr_display();
    assert!(!is_served(first) && is_served(second));
    again.stop();
    assert!(!is_served(second));
}

#[test]
fn everything_but_the_page_needs_the_token() {
    let client = shared();
    assert_eq!(client.token.len(), 64);
    for (path, method) in [("/info", "GET"), ("/prompt", "POST"), ("/latents", "GET")] {
        let path = format!("/api/v1{path}");
        for bad in ["", "Bearer ", "Bearer x", "Basic x", &client.token] {
            let answer = client.send(method, &path, &[("Authorization", bad)], b"{}");
            assert!(answer.error(401).contains("token"), "{bad}");
        }
        let longer = format!("Bearer {}0", client.token);
        client.send(method, &path, &[("Authorization", &longer)], b"{}").error(401);
    }
    assert_eq!(client.send("GET", "/", &[("Authorization", "")], b"").status, 200);
    let other = server().serve().unwrap();
    let stranger = Client { port: other.port(), ..client.clone() };
    stranger.get("/info").error(401);
}

#[test]
fn other_names_and_other_pages_are_refused() {
    let client = shared();
    let port = client.port;
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let host = format!("{host}:{port}");
        for path in ["/", "/api/v1/info"] {
            assert_eq!(client.send("GET", path, &[("Host", &host)], b"").status, 200, "{host}");
        }
        let origin = format!("http://{host}");
        let own = [("Host", host.as_str()), ("Origin", &origin), ("Sec-Fetch-Site", "same-origin")];
        assert_eq!(client.send("GET", "/api/v1/info", &own, b"").status, 200);
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "0.0.0.0", "127.0.0.1@evil.example"] {
        for path in ["/", "/assets/main.js", "/api/v1/info"] {
            client.send("GET", path, &[("Host", host)], b"").error(403);
        }
    }
    for origin in ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1"] {
        client.send("GET", "/api/v1/info", &[("Origin", origin)], b"").error(403);
    }
    client.send("GET", "/api/v1/info", &[("Sec-Fetch-Site", "cross-site")], b"").error(403);
    let preflight =
        client.send("OPTIONS", "/api/v1/prompt", &[("Origin", "http://evil.example")], b"");
    assert_eq!(preflight.status, 403);
    for answer in [preflight, client.get("/info")] {
        assert!(!answer.head.to_ascii_lowercase().contains("access-control"), "{}", answer.head);
    }
}

#[test]
fn bodies_have_a_type_a_size_and_known_fields() {
    let client = shared();
    let post =
        |kind, body: &[u8]| client.send("POST", "/api/v1/prompt", &[("Content-Type", kind)], body);
    for kind in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        post(kind, br#"{"prompt":"a"}"#).error(415);
    }
    assert_eq!(post("application/json; charset=utf-8", br#"{"prompt":"a"}"#).status, 200);
    for (body, status) in [
        ("{", 400),
        ("", 400),
        ("[]", 422),
        (r#"{"prompt":1}"#, 422),
        (r#"{"prompt":"a","path":"/etc/passwd"}"#, 422),
        (r#"{"prompt":""}"#, 422),
    ] {
        post("application/json", body.as_bytes()).error(status);
    }
    let most = mlsae().model().config().context;
    let long = json!({"prompt": "She had ".repeat(most)}).to_string();
    let error = post("application/json", long.as_bytes()).error(422);
    assert!(
        error.contains(&format!("at most {most} tokens")) && error.contains("Shorten"),
        "{error}"
    );
    let longer = json!({"prompt": "a".repeat(33 * 1024)}).to_string();
    assert!(post("application/json", longer.as_bytes()).error(422).contains("bytes"));
    let huge = json!({"prompt": "a".repeat(70 * 1024)}).to_string();
    post("application/json", huge.as_bytes()).error(413);
    let id = client.prompt("a")["id"].clone();
    for amount in ["1e7", "-1e400", "null"] {
        let body = format!(
            r#"{{"id":{id},"top":1,"interventions":[{{"latent":0,"how":"add","amount":{amount}}}]}}"#
        );
        let answer = client.send("POST", "/api/v1/steer", &[], body.as_bytes());
        assert!([400, 422].contains(&answer.status), "{amount}: {}", answer.text());
    }
}

#[test]
fn long_heads_and_slow_clients_are_given_up() {
    let client = shared();
    let padding = "x".repeat(20 * 1024);
    let answer = client.send("GET", "/api/v1/info", &[("X-Padding", &padding)], b"");
    assert!([0, 431].contains(&answer.status), "{answer:?}");
    let begin = Instant::now();
    let mut slow = TcpStream::connect(("127.0.0.1", client.port)).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    let head = format!(
        "POST /api/v1/prompt HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{{",
        client.token
    );
    let answer = client.raw(head.as_bytes());
    assert_eq!(answer.status, 408, "{answer:?}");
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(begin.elapsed() < Duration::from_secs(25));
    assert_eq!(client.get("/info").status, 200);
}

#[test]
fn there_are_no_more_connections_than_places() {
    let app = AppServer::new(mlsae()).serve().unwrap();
    let client = Client::of(&app);
    let connect = || TcpStream::connect(("127.0.0.1", client.port)).unwrap();
    let mut held: Vec<TcpStream> = (0..32).map(|_| connect()).collect();
    // Held ones are served, one more waits until another ends.
    for stream in &mut held {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
    }
    let mut more = connect();
    more.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    more.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut byte = [0];
    assert!(more.read_exact(&mut byte).is_err(), "no place is free");
    held.pop();
    more.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    more.read_exact(&mut byte).unwrap();
}

#[test]
fn files_are_those_that_were_compiled_in() {
    let client = shared();
    for path in [
        "/assets/../src/lib.rs",
        "/assets/..%2fsrc%2flib.rs",
        "/assets/%2e%2e%2fCargo.toml",
        "/assets/%252e%252e%252fCargo.toml",
        "/assets/..\\Cargo.toml",
        "/assets/main.js%00",
        "/assets//etc/passwd",
        "/assets/",
        "/assets/Main.js",
        "/etc/passwd",
        "/api/v1/latents/../../etc/passwd",
        "/api/v2/info",
    ] {
        let answer = client.send("GET", path, &[], b"");
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
        assert!(!answer.text().contains("workspace") && !answer.text().contains("root:"), "{path}");
    }
    let plain = client.send("GET", "/assets/main.js", &[], b"");
    let packed = client.send("GET", "/assets/main.js", &[("Accept-Encoding", "br, gzip")], b"");
    assert_eq!((plain.status, packed.status), (200, 200));
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(plain.header("content-encoding").is_none() && packed.body.len() < plain.body.len());
    assert_eq!(plain.header("content-type"), packed.header("content-type"));
    assert_eq!(client.send("POST", "/", &[], b"{}").status, 405);
    assert_eq!(client.send("DELETE", "/api/v1/labels/1", &[], b"").status, 405);
}

#[test]
fn every_answer_says_what_browsers_may_do_with_it() {
    let client = shared();
    for (path, cache) in [("/", "no-cache"), ("/api/v1/info", "no-store"), ("/none", "no-cache")] {
        let answer = client.send("GET", path, &[], b"");
        let policy = answer.header("content-security-policy").unwrap();
        for rule in
            ["default-src 'none'", "script-src 'self';", "style-src 'self';", "base-uri 'none'"]
        {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(policy.contains("frame-ancestors 'self' http://127.0.0.1:* http://localhost:*"));
        assert!(!policy.contains("unsafe"));
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", cache),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
    }
    let page = client.send("GET", "/", &[], b"").text();
    assert!(!page.contains(&client.token));
}

#[test]
fn labels_are_refused_where_nothing_may_change_and_stay_in_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.json");
    let put =
        |client: &Client, body: &str| client.send("PUT", "/api/v1/labels/3", &[], body.as_bytes());
    let app = AppServer::new(mlsae()).labels(&path).serve().unwrap();
    let client = Client::of(&app);
    assert_eq!(put(&client, r#"{"label":"<img src=x onerror=alert(1)>"}"#).status, 204);
    assert_eq!(client.get("/latents/3").ok()["label"], "<img src=x onerror=alert(1)>");
    put(&client, r#"{"label":"x","file":"other.json"}"#).error(422);
    drop(app);
    let app = AppServer::new(mlsae()).labels(&path).read_only().serve().unwrap();
    let client = Client::of(&app);
    assert!(put(&client, r#"{"label":"other"}"#).error(403).contains("read-only"));
    assert_eq!(client.get("/latents/3").ok()["label"], "<img src=x onerror=alert(1)>");
    assert_eq!(client.get("/info").ok()["read_only"], true);
}

//! The server as a stranger and as an operator find it: a real one on loopback, over a real log.

use std::io::{Read as _, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;

use ledger_core::state::Stream;
use ledger_core::{Checkpoint, Index, RightEdge, SourceId, TreeSize, leaf_hash};
use ledger_log::{Batch, Door as _, DoorError, Outcome};
use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use serde_json::Value;

use crate::fixture_tests::{Fixture, event, message, register};
use crate::{
    Ask, HttpConfig, PublishedLog, Reads, ReadsError, ServeError, SocketDoor, SocketReads, Tail,
    answers, serve,
};

/// A client of the address.
fn outside() -> Client {
    Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .build()
        .unwrap()
}

/// A client of the socket.
fn inside(fixture: &Fixture) -> Client {
    let socket = fixture.paths.socket();
    Client::builder()
        .unix_socket(socket)
        .tls_certs_only([])
        .no_proxy()
        .build()
        .unwrap()
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// Checks that a response is a problem of that type and status, and gives its detail.
fn problem(response: Response, status: u16, kind: &str) -> String {
    let path = response.url().path().to_owned();
    assert_eq!(response.status().as_u16(), status, "{path}");
    assert_eq!(
        header(&response, "content-type"),
        "application/problem+json",
        "{path}"
    );
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    assert_eq!(
        !header(&response, "retry-after").is_empty(),
        status == 503,
        "{path}"
    );
    assert_eq!(header(&response, "cache-control"), "no-store");
    let body: Value = response.json().unwrap();
    assert_eq!(body["type"], format!("urn:custody:problem:{kind}"));
    assert_eq!(body["status"], status);
    assert_eq!(body["instance"], path);
    assert!(body["title"].is_string());
    body["detail"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_not_published_is_refused_and_the_published_is_served_as_the_specification_says() {
    let fixture = Fixture::new(|config| config.entries_public = true);
    let size = fixture.fill(300);
    let client = outside();
    let get = |path: &str| client.get(fixture.url(path)).send().unwrap();
    let log = "/log/main/2026";
    let beyond = (size.0 % 256) + 1;
    for path in [
        "",
        "/",
        "/log",
        "/log/main",
        "/log/main/2026",
        "/log/main/2025/checkpoint",
        "/log/other/2026/checkpoint",
        "/log/main/2026/checkpoint/",
        "/log/main/2026/tile/0/002",
        "/log/main/2026/tile/1/000",
        "/log/main/2026/tile/1/000.p/2",
        "/log/main/2026/tile/2/000.p/1",
        "/log/main/2026/tile/0/x000/001",
        "/log/main/2026/tile/0/1",
        "/log/main/2026/tile/00/001",
        "/log/main/2026/tile/64/000",
        "/log/main/2026/tile/0/000.p/256",
        "/log/main/2026/tile/0/001.p/0",
        "/log/main/2026/tile/0/%30%30%31",
        "/log/main/2026/tile/entries/002",
        "/log/main/2026/../../main/2026/nothing",
        &format!("{log}/tile/0/001.p/{beyond}"),
        &format!("{log}/tile/entries/001.p/{beyond}"),
    ] {
        problem(get(path), 404, "not-found");
    }
    let width = size.0 % 256;
    let for_ever = concat!("public, max-age=31536000, ", "immutable");
    let (minute, tile) = ("public, max-age=60", "application/octet-stream");
    for (path, kind, caching, bytes) in [
        ("tile/0/000".to_owned(), tile, for_ever, 8192),
        ("tile/0/000.p/7".to_owned(), tile, minute, 7 * 32),
        (format!("tile/0/001.p/{width}"), tile, minute, width * 32),
        ("tile/1/000.p/1".to_owned(), tile, minute, 32),
        ("tile/entries/000".to_owned(), tile, for_ever, 256 * 82),
        (
            format!("tile/entries/001.p/{width}"),
            tile,
            minute,
            width * 82,
        ),
        (
            "checkpoint".to_owned(),
            "text/plain; charset=utf-8",
            "public, max-age=1",
            0,
        ),
    ] {
        let path = format!("{log}/{path}");
        let response = get(&path);
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(header(&response, "content-type"), kind);
        assert_eq!(header(&response, "cache-control"), caching);
        let length = header(&response, "content-length").to_owned();
        let body = response.bytes().unwrap();
        assert!(
            bytes == 0 || body.len() as u64 == bytes,
            "{path}: {}",
            body.len()
        );
        let head = client.head(fixture.url(&path)).send().unwrap();
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(header(&head, "content-length"), length);
        let posted = client.post(fixture.url(&path)).send().unwrap();
        assert_eq!(header(&posted, "allow"), "GET, HEAD");
        problem(posted, 405, "method-not-allowed");
    }
}

#[test]
fn a_stranger_finds_no_door_and_only_what_was_opened_to_him() {
    let closed = Fixture::new(|config| config.publish = false);
    closed.fill(3);
    let published = Fixture::new(|_| ());
    published.fill(3);
    let client = outside();
    let get = |fixture: &Fixture, path: &str| client.get(fixture.url(path)).send().unwrap();
    for path in ["checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1"] {
        let path = format!("/log/main/2026/{path}");
        let detail = problem(get(&closed, &path), 404, "not-served");
        assert!(detail.contains("http.publish"), "{detail}");
    }
    let entries = "/log/main/2026/tile/entries/000.p/1";
    let detail = problem(get(&published, entries), 404, "not-served");
    assert!(detail.contains("http.entries_public"), "{detail}");
    for path in [
        "sources",
        "positions",
        "messages",
        "published?size=1",
        "status",
        "entries/0",
    ] {
        problem(get(&published, &format!("/v1/{path}")), 404, "not-found");
    }
    for path in ["proof/0", "query", "tail"] {
        problem(get(&published, &format!("/v1/{path}")), 404, "not-found");
    }
    assert_eq!(
        get(&published, "/log/main/2026/checkpoint").status(),
        StatusCode::OK
    );
    // The operator, on the socket, is refused none of it.
    let socket = inside(&closed);
    for path in ["checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1"] {
        let url = format!("http://custody/log/main/2026/{path}");
        assert_eq!(
            socket.get(url).send().unwrap().status(),
            StatusCode::OK,
            "{path}"
        );
    }
}

#[test]
fn a_published_log_can_be_derived_again_from_outside() {
    let fixture = Fixture::new(|config| config.entries_public = true);
    let size = fixture.fill(300);
    let log = PublishedLog::new(&fixture.url("/log/main/2026")).unwrap();
    assert_eq!(log.fetch("tile/0/002").unwrap(), None);
    let note = log.fetch("checkpoint").unwrap().unwrap();
    let text = String::from_utf8(note).unwrap();
    let body: String = text.split_inclusive('\n').take(3).collect();
    let checkpoint = Checkpoint::parse(&body).unwrap();
    assert_eq!(checkpoint.size, size);
    let partial = format!("001.p/{}", size.0 % 256);
    let fetch = |path: &str| log.fetch(path).unwrap().unwrap();
    let mut bundles = fetch("tile/entries/000");
    bundles.extend(fetch(&format!("tile/entries/{partial}")));
    let mut hashes = fetch("tile/0/000");
    hashes.extend(fetch(&format!("tile/0/{partial}")));
    let mut edge = RightEdge::new();
    for (entry, hash) in bundles.chunks(82).zip(hashes.chunks(32)) {
        assert_eq!(entry[..2], [0, 80]);
        let leaf = leaf_hash(&entry[2..]);
        assert_eq!(leaf.0, hash);
        edge.push(leaf);
    }
    assert_eq!((edge.size(), edge.root()), (size, checkpoint.root));
}

#[test]
fn entries_are_compressed_for_those_who_ask_and_hashes_never() {
    let fixture = Fixture::new(|config| config.entries_public = true);
    fixture.fill(300);
    let client = outside();
    let get = |path: &str, encoding: &str| {
        let request = client.get(fixture.url(&format!("/log/main/2026/{path}")));
        request.header("accept-encoding", encoding).send().unwrap()
    };
    let encoding = |path, asked| header(&get(path, asked), "content-encoding").to_owned();
    assert_eq!(encoding("tile/0/000", "gzip"), "");
    assert_eq!(encoding("tile/entries/000", "identity"), "");
    assert_eq!(encoding("tile/entries/000", "gzip"), "gzip");
    let plain = get("tile/entries/000", "identity").bytes().unwrap().len();
    let small = get("tile/entries/000", "gzip").bytes().unwrap().len();
    assert!(small < plain, "{small} of {plain}");
}

#[test]
fn bodies_and_parameters_that_cannot_be_read_are_named() {
    let fixture = Fixture::new(|_| ());
    fixture.fill(3);
    let client = inside(&fixture);
    let get = |path: &str| client.get(format!("http://custody{path}")).send().unwrap();
    for path in [
        "/v1/published",
        "/v1/published?size=x",
        "/v1/published?size=-1",
        "/v1/published?size=1&more=1",
        "/v1/entries/x",
        "/v1/entries/-1",
        "/v1/entries/01",
        "/v1/entries/18446744073709551616",
        "/v1/query?limit=x",
        "/v1/query?from=1",
        "/v1/query?unknown=1",
        "/v1/tail?from=x",
    ] {
        problem(get(path), 400, "malformed-request");
    }
    let detail = problem(get("/v1/query?q=aktor:alice"), 400, "query-refused");
    assert!(detail.contains("write actor:"), "{detail}");
    problem(get("/v1/tail?q=alice"), 400, "query-refused");
    problem(get("/v1/entries/999"), 404, "not-found");
    problem(get("/v1/messages"), 405, "method-not-allowed");
    problem(get("/v1/none"), 404, "not-found");

    let post = |path: &str, kind: &str, body: Vec<u8>| {
        let request = client.post(format!("http://custody{path}"));
        request
            .header("content-type", kind)
            .body(body)
            .send()
            .unwrap()
    };
    let (json, batch) = ("application/json", "application/vnd.custody.batch");
    for body in [
        "",
        "{",
        "[]",
        "{\"name\":\"a\"}",
        "{\"name\":1,\"platform\":\"p\"}",
    ] {
        problem(
            post("/v1/sources", json, body.into()),
            400,
            "malformed-request",
        );
    }
    let more = r#"{"name":"a","platform":"p","more":1}"#;
    problem(
        post("/v1/sources", json, more.into()),
        400,
        "malformed-request",
    );
    problem(
        post("/v1/sources", json, vec![b' '; (1 << 20) + 1]),
        413,
        "too-large",
    );
    let keys = format!("{{\"keys\":[{}\"k\"]}}", "\"k\",".repeat(1024));
    problem(post("/v1/positions", json, keys.into()), 413, "too-large");
    problem(
        post("/v1/messages", json, Vec::new()),
        400,
        "malformed-request",
    );
    problem(
        post("/v1/messages", batch, b"custody batch v2".into()),
        400,
        "malformed-request",
    );
    problem(
        post("/v1/messages", batch, vec![0; (16 << 20) + 1]),
        413,
        "too-large",
    );

    let good = r#"{"name":"a","platform":"postgresql"}"#;
    assert_eq!(
        post("/v1/sources", json, good.into()).status(),
        StatusCode::OK
    );
    let keys = post("/v1/positions", json, br#"{"keys":["k"]}"#.to_vec());
    assert_eq!(keys.text().unwrap(), r#"{"values":[null]}"#);
    assert_eq!(get("/v1/entries/0").status(), StatusCode::OK);
    assert_eq!(get("/v1/published?size=1").status(), StatusCode::OK);
}

#[test]
fn one_request_too_many_is_told_to_come_again() {
    let fixture = Fixture::new(|config| config.requests_max = 1);
    let size = fixture.fill(3);
    let awaited = TreeSize(size.0 + 2);
    let mut door = SocketDoor::new(&fixture.paths).unwrap();
    let waiting = thread::spawn(move || {
        loop {
            match door.wait_published(awaited) {
                // The other client was faster.
                Err(DoorError::Busy) => {}
                other => return other,
            }
        }
    });
    let client = inside(&fixture);
    let refused = loop {
        let response = client.get("http://custody/v1/status").send().unwrap();
        if response.status() != StatusCode::OK {
            break response;
        }
    };
    problem(refused, 503, "busy");
    // The address has its own room.
    let other = outside().get(fixture.url("/livez")).send().unwrap();
    assert_eq!(other.status(), StatusCode::OK);
    let mut door = fixture.log().door();
    let source = register(&mut door, "more").unwrap();
    let one = vec![message(1, &event("alice", "GRANT"))];
    door.append(Batch {
        source,
        messages: one,
        positions: Vec::new(),
    })
    .unwrap();
    assert!(waiting.join().unwrap().unwrap() >= awaited);
}

#[test]
fn a_client_that_sends_too_slowly_is_let_go() {
    let short_head = Fixture::new(|config| config.head_ms = 100);
    let short_request = Fixture::new(|config| config.request_ms = 1_000);
    let answer = |mut stream: UnixStream, sent: &str| {
        stream.write_all(sent.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A server that has not read all that was sent may reset the connection behind its answer.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    };
    let connect = |fixture: &Fixture| UnixStream::connect(fixture.paths.socket()).unwrap();
    let head = "POST /v1/sources HTTP/1.1\r\nHost: custody\r\nConnection: close\r\n";
    let slow_head = answer(connect(&short_head), head);
    assert!(slow_head.starts_with("HTTP/1.1 408"), "{slow_head}");
    let slow_body = answer(
        connect(&short_request),
        &format!("{head}Content-Length: 99\r\n\r\n{{"),
    );
    assert!(slow_body.starts_with("HTTP/1.1 503"), "{slow_body}");
    assert!(
        slow_body.contains("urn:custody:problem:timeout"),
        "{slow_body}"
    );
    assert!(
        slow_body.contains("\"instance\":\"/v1/sources\""),
        "{slow_body}"
    );
    let body = r#"{"name":"a","platform":"postgresql"}"#;
    let whole = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let in_time = answer(connect(&short_request), &whole);
    assert!(in_time.starts_with("HTTP/1.1 200"), "{in_time}");
}

#[test]
fn many_senders_at_once_are_all_served_and_nothing_comes_twice() {
    const SENDERS: u64 = 8;
    const BATCHES: u64 = 20;
    let fixture = Fixture::new(|_| ());
    let before = fixture.log().status().size;
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let mut door = SocketDoor::new(&fixture.paths).unwrap();
            scope.spawn(move || {
                let source = register(&mut door, &format!("sender/{sender}")).unwrap();
                for number in 1..=BATCHES {
                    let messages = vec![message(number, &event("alice", "GRANT"))];
                    let one = Batch {
                        source,
                        messages,
                        positions: Vec::new(),
                    };
                    let appended = door.append(one).unwrap();
                    let outcome = appended.outcomes.first().unwrap();
                    assert!(matches!(outcome, Outcome::Appended(_)), "{outcome:?}");
                }
            });
        }
    });
    let status = fixture.log().status();
    assert!(
        status
            .sources
            .iter()
            .all(|source| source.records == BATCHES)
    );
    // Besides the records, the registration of each source.
    assert_eq!(status.size - before, SENDERS * (BATCHES + 1));
}

#[test]
fn one_stream_too_many_is_told_to_come_again() {
    let fixture = Fixture::new(|config| config.streams_max = 1);
    fixture.fill(3);
    let ask = Ask {
        query: "",
        now: ledger_core::Nanos(0),
        limit: None,
    };
    let mut reads = SocketReads::new(&fixture.paths).unwrap();
    let mut other = reads.clone();
    let mut visit = |_: Tail<'_>| {
        let error = other
            .query(&ask, &mut |_| ControlFlow::Continue(()))
            .unwrap_err();
        let busy = matches!(
            error,
            ReadsError::Refused {
                kind: crate::ProblemType::Busy,
                ..
            }
        );
        assert!(busy, "{error}");
        ControlFlow::Break(())
    };
    reads.tail(&ask, Some(Index(0)), &mut visit).unwrap();
}

#[test]
fn a_stop_ends_tails_and_removes_the_socket() {
    let mut fixture = Fixture::new(|_| ());
    fixture.fill(3);
    let path = fixture.paths.socket();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert!(answers(&path));
    let mut reads = SocketReads::new(&fixture.paths).unwrap();
    let (began, begin) = channel();
    let tail = thread::spawn(move || {
        let ask = Ask {
            query: "kind:tick",
            now: ledger_core::Nanos(0),
            limit: None,
        };
        reads.tail(&ask, None, &mut |_| {
            began.send(()).unwrap();
            ControlFlow::Continue(())
        })
    });
    begin.recv().unwrap();
    let address = fixture.server().address().unwrap();
    fixture.server.take().unwrap().stop();
    let error = tail.join().unwrap().unwrap_err();
    let stopped = matches!(
        error,
        ReadsError::Refused {
            kind: crate::ProblemType::Stopped,
            ..
        }
    );
    assert!(stopped, "{error}");
    assert!(!path.exists());
    assert!(std::net::TcpStream::connect(address).is_err());
    // The log itself is as well as before.
    assert!(register(&mut fixture.log().door(), "later").is_ok());
}

#[test]
fn a_port_or_socket_in_use_is_named_and_the_next_one_taken() {
    let mut fixture = Fixture::new(|_| ());
    let taken = fixture.server().address().unwrap();
    let config = |listen: String| {
        HttpConfig {
            listen,
            ..HttpConfig::default()
        }
        .check()
        .unwrap()
    };
    let again = |fixture: &Fixture, listen: String| {
        let log = fixture.log();
        serve(
            &config(listen),
            &fixture.paths,
            (log.door(), log.reader()),
            None,
        )
    };
    let error = again(&fixture, taken.to_string()).unwrap_err();
    assert!(
        matches!(error, ServeError::PortInUse { address, .. } if address == taken),
        "{error}"
    );
    assert!(error.to_string().contains("http.listen"), "{error}");
    let error = again(&fixture, "192.0.2.1:0".to_owned()).unwrap_err();
    assert!(matches!(error, ServeError::Address { .. }), "{error}");
    let error = again(&fixture, String::new()).unwrap_err();
    assert!(matches!(error, ServeError::Socket(_)), "{error}");
    assert!(answers(&fixture.paths.socket()), "the first server goes on");
    drop(fixture.server.take());
    let server = again(&fixture, taken.to_string()).unwrap();
    assert_eq!(server.address(), Some(taken));
    drop(server);
    let socket_only = again(&fixture, String::new()).unwrap();
    assert_eq!(socket_only.address(), None);
}

#[test]
fn readiness_names_what_is_not_well() {
    let full = Fixture::new(|config| config.ready_disk_free_mib = 1 << 20);
    let mut well = Fixture::new(|_| ());
    let client = outside();
    let get = |fixture: &Fixture, path| client.get(fixture.url(path)).send().unwrap();
    let not_ready = get(&full, "/readyz");
    let detail = problem(not_ready, 503, "not-ready");
    assert!(
        detail.contains("MiB of the disk are free") && !detail.contains(';'),
        "{detail}"
    );
    let checks = |response: Response| {
        let body: Value = response.json().unwrap();
        let checks = body["checks"].as_array().unwrap().clone();
        checks
            .iter()
            .map(|check| check["ok"].as_bool().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(checks(get(&full, "/readyz")), [true, true, false]);
    let ready = get(&well, "/readyz");
    assert_eq!(ready.status(), StatusCode::OK);
    assert_eq!(checks(ready), [true, true, true]);
    assert_eq!(get(&well, "/livez").text().unwrap(), "alive\n");
    drop(well.log.take());
    assert_eq!(get(&well, "/livez").status(), StatusCode::OK);
}

/// A heartbeat of the source that filled the log: it has bound five records and seven bytes more.
fn beat(fixture: &Fixture) -> TreeSize {
    let mut message = message(1, b"");
    let value = format!(
        "{{\"source\":1,\"epoch\":{},\"bound\":5,\"acknowledged\":0,\"backlog_bytes\":7,\"at\":0}}",
        message.epoch
    );
    (message.stream, message.value) = (Stream::Heartbeat, value.into_bytes());
    let batch = Batch {
        source: SourceId(1),
        messages: vec![message],
        positions: Vec::new(),
    };
    let mut door = fixture.log().door();
    let size = door.append(batch).unwrap().size;
    door.wait_published(size).unwrap()
}

#[test]
fn every_number_has_its_name_help_and_type() {
    let fixture = Fixture::new(|_| ());
    fixture.fill(3);
    let size = beat(&fixture);
    let client = outside();
    let missing = client.get(fixture.url("/none")).send().unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    let response = client.get(fixture.url("/metrics")).send().unwrap();
    assert_eq!(
        header(&response, "content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = response.text().unwrap();
    let mut described = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let name = help.split(' ').next().unwrap();
            let kind = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
            let total = name.ends_with("_total");
            assert_eq!(
                kind,
                format!("{name} {}", if total { "counter" } else { "gauge" })
            );
            assert!(!described.contains(&name), "{name} twice");
            described.push(name);
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = name.split('{').next().unwrap();
        assert_eq!(described.last(), Some(&name), "{line}");
        let legal = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(
            name.starts_with("custody_") && name.chars().all(legal),
            "{line}"
        );
        assert!(
            value.parse::<f64>().is_ok_and(|value| value >= 0.0),
            "{line}"
        );
    }
    for line in [
        format!("custody_log_entries {size}"),
        format!("custody_published_entries {size}"),
        "custody_log_stopped 0".to_owned(),
        "custody_source_records{source=\"1\"} 3".to_owned(),
        "custody_source_missing_records{source=\"1\"} 0".to_owned(),
        "custody_source_unsent_records{source=\"1\"} 2".to_owned(),
        "custody_source_unread_bytes{source=\"1\"} 7".to_owned(),
        "custody_http_requests_total{listener=\"address\",status=\"4xx\"} 1".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(
        !text.contains("fill") && !text.contains("main"),
        "no names of sources or tenants"
    );
}

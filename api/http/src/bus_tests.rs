//! The contract of `Bus`, passed in process, over the socket and over TLS alike; and everything
//! that the listener for agents refuses.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use collectors_bus::{
    Bus, BusError, Chain, Credentials, HttpBus, InProcess, Outcome, Sent, TlsIdentity, form,
};
use keys_secret::{AgentsAuthority, Keystore};
use ledger_core::message::{Message, VALUE_MAX};
use ledger_core::state::{Position, ShortMac, Stream};
use ledger_core::{Flags, Index, Nanos, Sequence, SourceId, TreeSize};
use ledger_log::{Door as _, SourceSpec};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::agents::now;
use crate::fixture_tests::{EPOCH, Fixture, event};
use crate::{HttpConfig, SocketDoor};

const WAIT: Duration = Duration::from_secs(20);

fn agents(config: &mut HttpConfig) {
    config.agents.listen = "127.0.0.1:0".to_owned();
}

/// A log with agents, and what the contract needs of it.
struct Bench {
    fixture: Fixture,
    authority: AgentsAuthority,
}

impl Bench {
    fn new() -> Bench {
        let fixture = Fixture::new(agents);
        let store = Keystore::open(&fixture.paths.keys()).unwrap();
        let authority = store.agents_authority("example.org").unwrap();
        Bench { fixture, authority }
    }

    fn source(&self, name: &str) -> Credentials {
        let spec = SourceSpec {
            name: name.to_owned(),
            platform: "postgresql".to_owned(),
        };
        let source = self.fixture.log().door().register_keyed(&spec).unwrap().id;
        let store = Keystore::open(&self.fixture.paths.keys()).unwrap();
        let key = store.source_key(source).unwrap();
        Credentials { source, key }
    }

    fn identity(&self, tenant: &str, source: SourceId) -> TlsIdentity {
        identity(&self.authority, tenant, source, now())
    }

    fn address(&self) -> String {
        self.fixture.server().agents_address().unwrap().to_string()
    }

    fn http(&self, source: SourceId) -> HttpBus {
        HttpBus::new(&self.address(), &self.identity("main", source)).unwrap()
    }

    fn kinds(&self) -> Vec<&'static str> {
        let reader = self.fixture.log().reader();
        let kind = |index| reader.entry(Index(index)).unwrap().entry.kind.name();
        (0..reader.size().0).map(|i| kind(i).unwrap()).collect()
    }
}

fn identity(
    authority: &AgentsAuthority,
    tenant: &str,
    source: SourceId,
    now: Nanos,
) -> TlsIdentity {
    TlsIdentity {
        authority: authority.certificate().to_vec(),
        own: authority.for_agent(tenant, source, now).unwrap(),
    }
}

fn sealed(credentials: &Credentials, count: u64) -> Vec<Message> {
    let mut chain = Chain::new(Stream::Record, EPOCH, None);
    let value = event("alice", "GRANT");
    let mut seal = |_| chain.seal(&credentials.key, value.clone(), Flags::NONE);
    (0..count).map(|n| seal(n).unwrap()).collect()
}

fn taken(bus: &mut dyn Bus, source: SourceId, messages: &[Message]) -> (Vec<Outcome>, TreeSize) {
    match bus.send(source, messages).unwrap() {
        Sent::Taken { outcomes, size } => (outcomes, size),
        Sent::Carried => panic!("what reaches a door is taken"),
    }
}

/// What every bus does, with a source of its own.
fn contract(bus: &mut dyn Bus, mine: &Credentials) {
    let source = mine.source;
    let messages = sealed(mine, 6);
    // Refusals, each with its twin below.
    let unknown = SourceId(999);
    for error in [
        bus.send(unknown, &messages).unwrap_err(),
        bus.acknowledged(unknown, Duration::ZERO).unwrap_err(),
    ] {
        assert!(matches!(error, BusError::Refused { .. }), "{error}");
    }
    let mut long = messages[1].clone();
    long.value = vec![b' '; VALUE_MAX + 1];
    let error = bus.send(source, &[messages[0].clone(), long]).unwrap_err();
    assert!(matches!(error, BusError::Malformed { .. }), "{error}");
    let mut snapshot = messages[0].clone();
    snapshot.stream = Stream::Snapshot;
    let error = bus.send(source, &[snapshot]).unwrap_err();
    assert!(matches!(error, BusError::Malformed { .. }), "{error}");

    let none = bus.acknowledged(source, Duration::ZERO);
    let none = none.or_else(|_| bus.acknowledged(source, WAIT)).unwrap();
    assert_eq!(none.through(Stream::Record), Sequence(0));
    let mut forged = messages[0].clone();
    forged.value = event("mallory", "GRANT");
    let (outcomes, _) = taken(bus, source, &[forged]);
    assert!(matches!(outcomes[..], [Outcome::Forged(_)]), "{outcomes:?}");

    let (outcomes, size) = taken(bus, source, &messages[..2]);
    assert!(
        matches!(outcomes[..], [Outcome::Appended(_), Outcome::Appended(_)]),
        "a forged message moves nothing: {outcomes:?}"
    );
    let acknowledged = bus.acknowledged(source, WAIT).unwrap();
    assert!(acknowledged.size >= size);
    assert_eq!(acknowledged.epoch, EPOCH);
    let mark = acknowledged.mark(Stream::Record);
    assert_eq!(mark.sequence, Sequence(2));
    assert_eq!(mark.mac, ShortMac::of(&messages[1].mac));
    let (again, _) = taken(bus, source, &messages[..2]);
    assert_eq!(again, [Outcome::Repeat, Outcome::Repeat]);

    let (ahead, _) = taken(bus, source, &messages[5..]);
    assert!(matches!(ahead[..], [Outcome::Appended(_)]), "{ahead:?}");
    let holed = bus.acknowledged(source, WAIT).unwrap();
    assert_eq!(holed.through(Stream::Record), Sequence(2));
    assert_eq!(holed.missing.len(), 1);
    let (late, _) = taken(bus, source, &messages[2..5]);
    assert!(
        late.iter()
            .all(|outcome| matches!(outcome, Outcome::Late(_))),
        "{late:?}"
    );
    let mut last = bus.acknowledged(source, WAIT).unwrap();
    while last.through(Stream::Record) < Sequence(6) {
        last = bus.acknowledged(source, WAIT).unwrap();
    }
    // Nothing moves any more, so the wait ends with the same.
    let idle = bus.acknowledged(source, Duration::from_millis(1)).unwrap();
    assert_eq!((idle.marks, idle.missing), (last.marks, Vec::new()));
    assert!(!bus.lost(source), "what was sent is in the log");

    // What is handed over before the answer to what was before it comes after that.
    let more = sealed(mine, 10);
    let handed = [&more[6..8], &more[8..]].map(|two| bus.hand_over(source, two.to_vec()));
    let mut indexes = Vec::new();
    for answer in handed {
        match answer.wait().unwrap() {
            Sent::Taken { outcomes, .. } => indexes.extend(outcomes.iter().map(|one| match one {
                Outcome::Appended(index) => index.0,
                other => panic!("{other:?}"),
            })),
            Sent::Carried => panic!("a door takes"),
        }
    }
    assert_eq!(indexes.len(), 4);
    assert!(indexes.is_sorted_by(|one, next| one < next), "{indexes:?}");
    let refused = bus.hand_over(unknown, more[..1].to_vec()).wait();
    assert!(
        matches!(refused, Err(BusError::Refused { .. })),
        "{refused:?}"
    );
}

#[test]
fn the_contract_in_process() {
    let bench = Bench::new();
    let mine = bench.source("mine");
    contract(&mut InProcess::new(bench.fixture.log().door()), &mine);
}

#[test]
fn the_contract_over_the_socket() {
    let bench = Bench::new();
    let mine = bench.source("mine");
    let door = SocketDoor::new(&bench.fixture.paths).unwrap();
    contract(&mut InProcess::new(door), &mine);
}

#[test]
fn the_contract_over_tls() {
    let bench = Bench::new();
    let mine = bench.source("mine");
    contract(&mut bench.http(mine.source), &mine);
    assert!(bench.kinds().contains(&"forged"));
}

#[test]
fn a_certificate_of_another_source_tenant_or_authority_sends_nothing() {
    let bench = Bench::new();
    let (mine, other) = (bench.source("mine"), bench.source("other"));
    let messages = sealed(&mine, 1);
    let before = bench.kinds().len();
    // Known to the authority, but not this source of this tenant.
    let strangers = [
        ("another source", bench.identity("main", other.source)),
        ("another tenant", bench.identity("other", mine.source)),
    ];
    for (who, identity) in strangers {
        let mut bus = HttpBus::new(&bench.address(), &identity).unwrap();
        let error = bus.acknowledged(mine.source, WAIT).unwrap_err();
        assert!(matches!(error, BusError::Refused { .. }), "{who}: {error}");
        let error = bus.send(mine.source, &messages).unwrap_err();
        assert!(matches!(error, BusError::Refused { .. }), "{who}: {error}");
        let text = error.to_string();
        assert!(
            !text.contains("other") && !text.contains("tenant"),
            "{text}"
        );
    }
    assert_eq!(bench.kinds().len(), before, "nothing was appended");
    let (sent, _) = taken(&mut bench.http(mine.source), mine.source, &messages);
    assert!(matches!(sent[..], [Outcome::Appended(_)]));
}

#[test]
fn a_certificate_that_the_server_does_not_trust_ends_the_handshake() {
    let bench = Bench::new();
    let mine = bench.source("mine");
    let folder = tempfile::tempdir().unwrap();
    let store = Keystore::open(folder.path()).unwrap();
    let foreign = store.agents_authority("example.org").unwrap();
    // The server is believed, so the refusal is the server's.
    let own = foreign.for_agent("main", mine.source, now()).unwrap();
    let authority = bench.authority.certificate().to_vec();
    let stranger = TlsIdentity { authority, own };
    let past = Nanos(now().0 - 20 * 365 * 86_400 * 1_000_000_000);
    let expired = identity(&bench.authority, "main", mine.source, past);
    for identity in [stranger, expired] {
        let mut bus = HttpBus::new(&bench.address(), &identity).unwrap();
        let error = bus.acknowledged(mine.source, WAIT).unwrap_err();
        // Whether the alert arrives before the connection is reset is up to the network.
        assert!(
            matches!(error, BusError::Refused { .. } | BusError::Away { .. }),
            "{error}"
        );
    }
    let none = Raw::connect(&bench, None).map(|mut raw| raw.ask("GET", "/livez", &[], b""));
    assert!(
        none.as_ref().map_or(true, |answer| answer.is_err()),
        "no certificate: {none:?}"
    );
    assert!(
        bench
            .http(mine.source)
            .acknowledged(mine.source, WAIT)
            .is_ok()
    );
}

/// A connection on which a request can be as wrong as it likes.
struct Raw {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Raw {
    fn connect(bench: &Bench, identity: Option<TlsIdentity>) -> std::io::Result<Raw> {
        let mut roots = RootCertStore::empty();
        let anchor = CertificateDer::from(bench.authority.certificate().to_vec());
        roots.add(anchor).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let key = PrivatePkcs8KeyDer::from(identity.own.key.to_vec());
                let chain = vec![identity.own.certificate.into()];
                config
                    .with_client_auth_cert(chain, PrivateKeyDer::Pkcs8(key))
                    .unwrap()
            }
        };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let tcp = TcpStream::connect(bench.address())?;
        Ok(Raw {
            stream: StreamOwned::new(session, tcp),
        })
    }

    fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> std::io::Result<String> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.stream.write_all(format!("{head}\r\n").as_bytes())?;
        self.stream.write_all(body)?;
        let mut answer = Vec::new();
        self.stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

#[test]
fn agents_have_two_routes_and_their_bounds() {
    let bench = Bench::new();
    let mine = bench.source("mine");
    let ask = |method: &str, path: &str, headers: &[(&str, String)], body: &[u8]| {
        let identity = bench.identity("main", mine.source);
        let mut raw = Raw::connect(&bench, Some(identity)).unwrap();
        raw.ask(method, path, headers, body).unwrap()
    };
    for path in [
        "/livez",
        "/metrics",
        "/v1/status",
        "/v1/entries/0",
        "/v1/query",
    ] {
        let answer = ask("GET", path, &[], b"");
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    let kind = ("Content-Type", form::BATCH_TYPE.to_owned());
    let length = |len: usize| ("Content-Length", len.to_string());
    let too_long = [kind.clone(), length(form::BATCH_BYTES_MAX + 1)];
    let answer = ask("POST", "/v1/messages", &too_long, b"");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let messages = sealed(&mine, 1);
    let position = Position {
        key: "file:other".to_owned(),
        value: Vec::new(),
    };
    let body = form::encode(mine.source, &messages, &[position]);
    let answer = ask(
        "POST",
        "/v1/messages",
        &[kind.clone(), length(body.len())],
        &body,
    );
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let body = form::encode(mine.source, &messages, &[]);
    let answer = ask("POST", "/v1/messages", &[length(body.len())], &body);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    for bad in ["x", "01", "-1"] {
        let path = format!("/v1/sources/{bad}/acknowledged");
        let answer = ask("GET", &path, &[], b"");
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let path = format!("/v1/sources/{}/acknowledged?wait=1", mine.source);
    assert!(ask("GET", &path, &[], b"").starts_with("HTTP/1.1 400"));

    let answer = ask("POST", "/v1/messages", &[kind, length(body.len())], &body);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut plain = TcpStream::connect(bench.address()).unwrap();
    plain
        .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    // Reset or closed: no HTTP without TLS.
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[test]
fn a_log_without_agents_listens_for_none_and_makes_no_key() {
    let fixture = Fixture::new(|_| ());
    assert_eq!(fixture.server().agents_address(), None);
    assert!(!fixture.paths.keys().join("agents.ed25519.key").exists());
    let with = Fixture::new(agents);
    assert!(with.paths.keys().join("agents.ed25519.key").exists());
    let store = Keystore::open(&with.paths.keys()).unwrap();
    let listed = store.list().unwrap();
    assert!(listed.iter().any(|key| key.file == "agents.ed25519.key"));
}

//! Somebody on the wire: ends the TLS of an agent with the installation's own authority, opens
//! another one to the server with the agent's certificate, and writes down what passes, both ways.
//!
//! Not here: understanding any of it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys_secret::Keystore;
use ledger_core::Nanos;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

/// How long one direction is listened to before the other gets its turn.
const TURN: Duration = Duration::from_millis(3);

/// What passed on one connection, one way.
pub(crate) struct Traffic {
    pub(crate) way: &'static str,
    pub(crate) bytes: Arc<Mutex<Vec<u8>>>,
}

/// The listener; it lives as long as the test.
pub(crate) struct Proxy {
    passed: Arc<Mutex<Vec<Traffic>>>,
    stop: Arc<AtomicBool>,
    port: u16,
}

/// Whom the proxy plays: the server to agents, and each agent to the server.
struct Roles {
    as_server: Arc<ServerConfig>,
    /// By the certificate that the agent shows.
    as_agent: Vec<(CertificateDer<'static>, Arc<ClientConfig>)>,
    upstream: u16,
}

impl Proxy {
    /// Listens on `listener` with the keys of the installation in `ledger`, for the agents whose
    /// credentials are in the files.
    pub(crate) fn start(
        listener: TcpListener,
        upstream: u16,
        ledger: &Path,
        credentials: &[std::path::PathBuf],
    ) -> Proxy {
        let port = listener.local_addr().expect("an address").port();
        let roles = Arc::new(Roles {
            as_server: Arc::new(as_server(ledger)),
            as_agent: credentials.iter().map(|file| as_agent(file)).collect(),
            upstream,
        });
        let passed = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let proxy = Proxy {
            passed: passed.clone(),
            stop: stop.clone(),
            port,
        };
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (roles, passed, stop) = (roles.clone(), passed.clone(), stop.clone());
                let connection = connection.expect("a connection");
                // Either side may be killed at any time: then the connection ends.
                std::thread::spawn(move || relay(connection, &roles, &passed, &stop));
            }
        });
        proxy
    }

    /// Everything that passed, a connection and a way at a time.
    pub(crate) fn passed(&self) -> Vec<(String, Vec<u8>)> {
        let passed = self.passed.lock().expect("no thread fell");
        (passed.iter().enumerate())
            .map(|(number, traffic)| {
                let bytes = traffic.bytes.lock().expect("no thread fell").clone();
                (format!("connection {number} {}", traffic.way), bytes)
            })
            .collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn roots(authority: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let anchor = CertificateDer::from(authority.to_vec());
    roots.add(anchor).expect("an authority");
    roots
}

fn as_server(ledger: &Path) -> ServerConfig {
    let keys = Keystore::open(&ledger.join("keys")).expect("the keys");
    let authority = keys.agents_authority("db.example.org").expect("its key");
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock");
    let now = Nanos(i64::try_from(since.as_nanos()).expect("a time"));
    let own = authority.for_server(&["127.0.0.1".to_owned()], now);
    let own = own.expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(roots(authority.certificate()));
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build();
    let key = PrivatePkcs8KeyDer::from(own.key.to_vec());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a version")
        .with_client_cert_verifier(verifier.expect("a verifier"))
        .with_single_cert(vec![own.certificate.into()], PrivateKeyDer::Pkcs8(key))
        .expect("a certificate")
}

fn as_agent(credentials: &Path) -> (CertificateDer<'static>, Arc<ClientConfig>) {
    let text = std::fs::read_to_string(credentials).expect("credentials");
    let table: toml::Table = text.parse().expect("TOML");
    let bytes = |key: &str| {
        let text = table.get(key).and_then(toml::Value::as_str);
        STANDARD.decode(text.expect("a text")).expect("base64")
    };
    let shown = CertificateDer::from(bytes("certificate"));
    let key = PrivatePkcs8KeyDer::from(bytes("certificate_key"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a version")
        .with_root_certificates(roots(&bytes("authority")))
        .with_client_auth_cert(vec![shown.clone()], PrivateKeyDer::Pkcs8(key))
        .expect("a certificate");
    (shown, Arc::new(config))
}

fn relay(
    agent: TcpStream,
    roles: &Roles,
    passed: &Mutex<Vec<Traffic>>,
    stop: &AtomicBool,
) -> io::Result<()> {
    let tls = ServerConnection::new(roles.as_server.clone()).map_err(io::Error::other)?;
    let mut agent = StreamOwned::new(tls, agent);
    while agent.conn.is_handshaking() {
        agent.conn.complete_io(&mut agent.sock)?;
    }
    let shown = agent.conn.peer_certificates().and_then(<[_]>::first);
    let role = roles.as_agent.iter().find(|(own, _)| Some(own) == shown);
    let (_, config) = role.ok_or_else(|| io::Error::other("a stranger"))?;
    let server = TcpStream::connect(("127.0.0.1", roles.upstream))?;
    let name = ServerName::try_from("127.0.0.1").map_err(io::Error::other)?;
    let tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    let mut server = StreamOwned::new(tls, server);
    agent.sock.set_read_timeout(Some(TURN))?;
    server.sock.set_read_timeout(Some(TURN))?;
    let [up, down] = ["from the agent", "from the server"].map(|way| {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = bytes.clone();
        passed
            .lock()
            .expect("no thread fell")
            .push(Traffic { way, bytes });
        kept
    });
    while !stop.load(Ordering::Relaxed)
        && pass(&mut agent, &mut server, &up)?
        && pass(&mut server, &mut agent, &down)?
    {}
    Ok(())
}

/// Passes what is there; `false` at the end of the connection.
fn pass(from: &mut impl Read, to: &mut impl Write, kept: &Mutex<Vec<u8>>) -> io::Result<bool> {
    let mut buffer = [0; 1 << 14];
    match from.read(&mut buffer) {
        Ok(0) => Ok(false),
        Ok(len) => {
            kept.lock()
                .expect("no thread fell")
                .extend_from_slice(&buffer[..len]);
            to.write_all(&buffer[..len])?;
            to.flush()?;
            Ok(true)
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

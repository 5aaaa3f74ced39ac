//! The listener for agents on other machines: TLS 1.3 with certificates on both sides, and two
//! routes (docs/formats/messages.md).
//!
//! A certificate says which source connects; the MAC of each message, which the door checks, that
//! the source sealed it. Not here: making certificates (keys/secret), and the routes' own work.

use std::any::Any;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use actix_web::web::{Data, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use keys_secret::{Keystore, KeystoreError, agent_uri};
use ledger_core::{Nanos, SourceId};
use ledger_log::LogPaths;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use crate::local::{self, ACKNOWLEDGED_ROUTE, MESSAGES_ROUTE, append_batch};
use crate::problem::{Problem, ProblemType};
use crate::server::{posting, reading};
use crate::site::{Front, Site};

/// Why agents cannot be listened for.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// The authority or its certificates.
    #[error(transparent)]
    Keys(#[from] KeystoreError),
    /// TLS does not take them.
    #[error("the server's certificate for agents cannot be used: {reason}")]
    Tls {
        /// What rustls said.
        reason: String,
    },
}

/// What a connection's certificate says; kept with the connection.
#[derive(Clone, Debug)]
struct Peer {
    /// The one URI name of the certificate; `None` if it has another number of them.
    uri: Option<String>,
}

/// The settings of the listener's TLS. The server's certificate is made afresh at each start: only
/// the authority's key lasts.
pub(crate) fn tls(paths: &LogPaths, names: &[String]) -> Result<ServerConfig, AgentsError> {
    let store = Keystore::open(&paths.keys())?;
    let authority = store.agents_authority(paths.deployment())?;
    let own = authority
        .for_server(names, now())
        .map_err(KeystoreError::from)?;
    let mut roots = RootCertStore::empty();
    let anchor = CertificateDer::from(authority.certificate().to_vec());
    roots.add(anchor).map_err(refused)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let verifier = verifier.map_err(|error: VerifierBuilderError| AgentsError::Tls {
        reason: error.to_string(),
    })?;
    let key = PrivatePkcs8KeyDer::from(own.key.to_vec());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(refused)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![own.certificate.into()], PrivateKeyDer::Pkcs8(key))
        .map_err(refused)
}

fn refused(error: rustls::Error) -> AgentsError {
    AgentsError::Tls {
        reason: error.to_string(),
    }
}

pub(crate) fn now() -> Nanos {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Remembers whose certificate a new connection showed.
pub(crate) fn remember_peer(connection: &dyn Any, data: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>() else {
        return;
    };
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().and_then(<[_]>::first);
    data.insert(Peer {
        uri: shown.and_then(only_uri),
    });
}

fn only_uri(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_uri_names();
    let first = names.next()?.to_owned();
    names.next().is_none().then_some(first)
}

/// Adds the routes.
pub(crate) fn routes(config: &mut ServiceConfig) {
    config
        .service(posting(MESSAGES_ROUTE, append))
        .service(reading(ACKNOWLEDGED_ROUTE, acknowledged));
}

async fn append(
    front: Data<Front>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let peer = peer(&request)?;
    let site = front.site.clone();
    let allowed = move |batch: &ledger_log::Batch| {
        speaks_for(&peer, &site, batch.source)?;
        if batch.positions.is_empty() {
            return Ok(());
        }
        // Their keys are shared by all readers of the log's own process.
        let detail = "an agent keeps its positions in its journal: send none";
        Err(Problem::new(ProblemType::NotAllowed, detail))
    };
    append_batch(&front, &request, payload, allowed).await
}

async fn acknowledged(front: Data<Front>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    speaks_for(&peer(&request)?, &front.site, local::source(&request)?)?;
    local::acknowledged(front, request).await
}

fn peer(request: &HttpRequest) -> Result<Peer, Problem> {
    let nobody = || {
        Problem::new(
            ProblemType::NotAllowed,
            "the connection shows no certificate",
        )
    };
    request.conn_data::<Peer>().cloned().ok_or_else(nobody)
}

/// Whether the certificate is that of `source` in this log's tenant. What it is of instead is not
/// told: names of tenants stay with them.
fn speaks_for(peer: &Peer, site: &Site, source: SourceId) -> Result<(), Problem> {
    let (deployment, tenant) = &site.tenant;
    let expected = agent_uri(deployment, tenant, source);
    if peer.uri.as_deref() == Some(&expected) {
        return Ok(());
    }
    tracing::warn!(source = source.0, "a certificate of another source refused");
    let detail = format!(
        "the certificate is not that of source {source} of this log: use the file that `custody \
         sources add` gave for it"
    );
    Err(Problem::new(ProblemType::NotAllowed, detail))
}

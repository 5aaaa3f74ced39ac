//! The bus over HTTP with mutual TLS: the agent shows the certificate of its source, the server one
//! that the same authority signed.
//!
//! Not here: trying again, proxies, other authorities: an agent speaks to its own log only.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::Duration;

use ledger_core::message::Message;
use ledger_core::{SourceId, TreeSize};
use ledger_log::{Acknowledged, Appended};
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::agent_file::TlsIdentity;
use crate::answer::{AcknowledgedAnswer, AppendedAnswer};
use crate::bus::{BUSY_PAUSE, Bus, BusError, Sent, WAIT_MAX, in_pieces};
use crate::form::{self, BATCH_TYPE};

/// Longest wait for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for an answer, besides the wait that was asked for.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Longest time that a busy log may ask for.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What each problem of the server begins with.
const PROBLEM: &str = "urn:custody:problem:";

/// A log behind `http.agents.listen`.
#[derive(Debug)]
pub struct HttpBus {
    client: Client,
    base: String,
    seen: HashMap<SourceId, TreeSize>,
}

impl HttpBus {
    /// The bus to the server at `address`, a host and a port. Nothing is connected yet.
    ///
    /// # Errors
    /// [`BusError::Refused`] for certificates or a key that cannot be used, [`BusError::Malformed`]
    /// for an address that is none.
    pub fn new(address: &str, tls: &TlsIdentity) -> Result<HttpBus, BusError> {
        let base = format!("https://{address}");
        let illegal = |reason: String| BusError::Malformed {
            reason: format!("the address {address:?} is not a host and a port: {reason}"),
        };
        let url = reqwest::Url::parse(&base).map_err(|error| illegal(error.to_string()))?;
        if url.port().is_none() || url.path() != "/" || !url.username().is_empty() {
            return Err(illegal("write HOST:PORT".to_owned()));
        }
        let client = Client::builder()
            .tls_backend_preconfigured(client_config(tls)?)
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_WAIT)
            .timeout(None)
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| failed(&error))?;
        Ok(HttpBus {
            client,
            base,
            seen: HashMap::new(),
        })
    }
}

impl Bus for HttpBus {
    fn send(&mut self, source: SourceId, messages: &[Message]) -> Result<Sent, BusError> {
        let url = format!("{}/v1/messages", self.base);
        in_pieces(messages, |piece| {
            let request = self.client.post(&url).header(CONTENT_TYPE, BATCH_TYPE);
            let body = form::encode(source, piece, &[]);
            let answer: AppendedAnswer = ask(request.body(body).timeout(ANSWER_WAIT))?;
            Ok(Appended::from(answer))
        })
    }

    fn acknowledged(&mut self, source: SourceId, wait: Duration) -> Result<Acknowledged, BusError> {
        let wait = wait.min(WAIT_MAX);
        let mut url = format!(
            "{}/v1/sources/{source}/acknowledged?wait_ms={}",
            self.base,
            wait.as_millis()
        );
        if let Some(after) = self.seen.get(&source) {
            url.push_str(&format!("&after={after}"));
        }
        let timeout = ANSWER_WAIT.saturating_add(wait);
        let answer: AcknowledgedAnswer = ask(self.client.get(&url).timeout(timeout))?;
        let found = Acknowledged::try_from(answer).map_err(|error| BusError::Away {
            reason: error.to_string(),
        })?;
        self.seen.insert(source, found.size);
        Ok(found)
    }

    fn lost(&mut self, _source: SourceId) -> bool {
        // What was sent is in the log.
        false
    }
}

/// TLS 1.3 with our own authority and nobody else's.
fn client_config(tls: &TlsIdentity) -> Result<ClientConfig, BusError> {
    let refused = |error: rustls::Error| BusError::Refused {
        reason: format!("the certificates of the agent's file cannot be used: {error}"),
    };
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from(tls.authority.clone());
    roots.add(authority).map_err(refused)?;
    let own = vec![CertificateDer::from(tls.own.certificate.clone())];
    let key = PrivatePkcs8KeyDer::from(tls.own.key.to_vec());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(refused)?
        .with_root_certificates(roots)
        .with_client_auth_cert(own, PrivateKeyDer::Pkcs8(key))
        .map_err(refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// What our clients need of a problem (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    detail: String,
}

fn ask<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, BusError> {
    let answer = request.send().map_err(|error| failed(&error))?;
    let status = answer.status();
    let retry_after = retry_after(&answer);
    let mut bytes = Vec::new();
    let read = answer.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| failed(&error))?;
    if status.is_success() {
        return serde_json::from_slice(&bytes).map_err(|error| BusError::Away {
            reason: format!("the server answered nonsense: {error}"),
        });
    }
    let Ok(problem) = serde_json::from_slice::<Problem>(&bytes) else {
        return Err(BusError::Away {
            reason: format!("the server answered with status {status} and no problem"),
        });
    };
    Err(refusal(problem, retry_after))
}

fn retry_after(answer: &Response) -> Duration {
    let seconds = answer.headers().get(RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
    let asked = seconds.map_or(BUSY_PAUSE, Duration::from_secs);
    asked.min(RETRY_MAX)
}

fn refusal(problem: Problem, retry_after: Duration) -> BusError {
    let reason = problem.detail;
    match problem.kind.strip_prefix(PROBLEM) {
        Some("busy" | "timeout" | "not-published") => BusError::Busy { retry_after },
        Some("not-allowed" | "unknown-source" | "source-stopped" | "source-differs") => {
            BusError::Refused { reason }
        }
        Some("malformed-request" | "too-large" | "method-not-allowed") => {
            BusError::Malformed { reason }
        }
        // The log stopped, cannot be read, or is of another version: somebody mends it.
        _ => BusError::Away { reason },
    }
}

/// Why there is no answer: a certificate that is refused on either side is no outage.
fn failed(error: &(dyn Error + 'static)) -> BusError {
    let mut reason = error.to_string();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(|error| error.get_ref())
            .map(|inner| -> &(dyn Error + 'static) { inner });
        for error in [Some(error), inner].into_iter().flatten() {
            if let Some(tls) = error.downcast_ref::<rustls::Error>()
                && is_refusal(tls)
            {
                return BusError::Refused { reason: said(tls) };
            }
        }
        cause = inner.or_else(|| error.source());
        if let Some(next) = cause {
            let text = next.to_string();
            if !reason.contains(&text) {
                reason.push_str(": ");
                reason.push_str(&text);
            }
        }
    }
    BusError::Away { reason }
}

fn is_refusal(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => true,
        rustls::Error::AlertReceived(alert) => matches!(
            alert,
            AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError
                | AlertDescription::CertificateRequired
        ),
        _ => false,
    }
}

fn said(error: &rustls::Error) -> String {
    match error {
        rustls::Error::AlertReceived(alert) => {
            format!("the server does not take the agent's certificate ({alert:?})")
        }
        other => format!("the server shows no certificate of this log's authority ({other})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str) -> BusError {
        let kind = format!("{PROBLEM}{kind}");
        let detail = "x".to_owned();
        refusal(Problem { kind, detail }, Duration::from_secs(3))
    }

    #[test]
    fn problems_say_whether_to_try_again() {
        let reason = || "x".to_owned();
        let busy = BusError::Busy {
            retry_after: Duration::from_secs(3),
        };
        for (kind, expected) in [
            ("busy", busy.clone()),
            ("timeout", busy),
            ("not-allowed", BusError::Refused { reason: reason() }),
            ("unknown-source", BusError::Refused { reason: reason() }),
            ("too-large", BusError::Malformed { reason: reason() }),
            ("stopped", BusError::Away { reason: reason() }),
            ("of-a-later-version", BusError::Away { reason: reason() }),
        ] {
            assert_eq!(problem(kind), expected, "{kind}");
        }
    }

    #[test]
    fn a_refused_certificate_is_told_from_an_outage() {
        let alert = |alert| rustls::Error::AlertReceived(alert);
        for (tls, refused) in [
            (alert(AlertDescription::UnknownCA), true),
            (alert(AlertDescription::CertificateRequired), true),
            (alert(AlertDescription::InternalError), false),
            (
                rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer),
                true,
            ),
            (rustls::Error::HandshakeNotComplete, false),
        ] {
            let text = tls.to_string();
            let error = io::Error::other(io::Error::other(tls));
            let refusal = matches!(failed(&error), BusError::Refused { .. });
            assert_eq!(refusal, refused, "{text}");
        }
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        let tls = TlsIdentity {
            authority: b"no certificate".to_vec(),
            own: keys_secret::TlsCertificate {
                certificate: Vec::new(),
                key: zeroize::Zeroizing::default(),
            },
        };
        for address in [
            "",
            "ledger.example.org",
            "a b:1",
            "h:70000",
            "h:1/path",
            "u@h:1",
        ] {
            let error = HttpBus::new(address, &tls).unwrap_err();
            assert!(
                matches!(error, BusError::Malformed { .. }),
                "{address}: {error}"
            );
        }
        let error = HttpBus::new("ledger.example.org:7481", &tls).unwrap_err();
        assert!(
            matches!(error, BusError::Refused { .. }),
            "the certificates: {error}"
        );
    }
}

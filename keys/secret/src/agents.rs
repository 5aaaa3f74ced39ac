//! The installation's own small authority: certificates for agents, one a source, and for the
//! server that they connect to.
//!
//! Its one secret is an Ed25519 key file; its own certificate follows from the key and the name of
//! the deployment, always with the same bytes, and is stored nowhere. Not here: revocation, which
//! comes with the retirement of sources; who checks a certificate (api/http, collectors/bus).

use std::net::IpAddr;

use ledger_core::{Nanos, SourceId};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType, date_time_ymd,
};
use thiserror::Error;
use zeroize::Zeroizing;

/// What stands before the seed in the PKCS #8 form of an Ed25519 key (RFC 8410 section 7).
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const NANOS: i64 = 1_000_000_000;
const DAY_S: u64 = 86_400;
/// How long a certificate holds, in days; there is no renewal, only another one.
const VALID_DAYS: u64 = 3_653;

/// Why a certificate was not made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// No randomness for a new key.
    #[error("the system gives no random bytes for the key of a certificate: {reason}")]
    NoRandomness {
        /// What the system said.
        reason: String,
    },
    /// A name that no certificate can hold.
    #[error("{name:?} cannot stand in a certificate: give a host name or an IP address")]
    Name {
        /// The name.
        name: String,
    },
    /// The library of certificates refused.
    #[error("a certificate cannot be made: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
}

/// A certificate and its key.
pub struct TlsCertificate {
    /// X.509, DER.
    pub certificate: Vec<u8>,
    /// PKCS #8, DER.
    pub key: Zeroizing<Vec<u8>>,
}

/// The one URI name in the certificate of an agent: which source of which tenant it speaks for.
pub fn agent_uri(deployment: &str, tenant: &str, source: SourceId) -> String {
    format!("urn:custody:source:{deployment}/{tenant}:{source}")
}

/// The authority of one deployment.
pub struct AgentsAuthority {
    deployment: String,
    certificate: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl AgentsAuthority {
    pub(crate) fn of_seed(
        deployment: &str,
        seed: &[u8; 32],
    ) -> Result<AgentsAuthority, CertificateError> {
        let key = key_pair(&pkcs8(seed))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&format!("Custody agents of {deployment}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // An anchor of trust has no end; RFC 5280 section 4.1.2.5 writes that so.
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(9999, 12, 31);
        let certificate = params.self_signed(&key).map_err(refused)?;
        let certificate = certificate.der().to_vec();
        let deployment = deployment.to_owned();
        Ok(AgentsAuthority {
            deployment,
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    /// The authority's own certificate (DER): what both sides trust.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// A certificate for the agent that sends the records of `source`, with a fresh key.
    ///
    /// # Errors
    /// No randomness; names that no certificate can hold.
    pub fn for_agent(
        &self,
        tenant: &str,
        source: SourceId,
        now: Nanos,
    ) -> Result<TlsCertificate, CertificateError> {
        let uri = agent_uri(&self.deployment, tenant, source);
        let name = uri.clone().try_into();
        let name = name.map_err(|_| CertificateError::Name { name: uri.clone() })?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&format!("Custody agent, source {source}"));
        params.subject_alt_names = vec![SanType::URI(name)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, now)
    }

    /// A certificate for the server that agents reach under `names`, with a fresh key.
    ///
    /// # Errors
    /// No randomness; names that no certificate can hold.
    pub fn for_server(
        &self,
        names: &[String],
        now: Nanos,
    ) -> Result<TlsCertificate, CertificateError> {
        let san = |name: &String| {
            if let Ok(address) = name.parse::<IpAddr>() {
                return Ok(SanType::IpAddress(address));
            }
            let refused = |_| CertificateError::Name { name: name.clone() };
            name.clone()
                .try_into()
                .map(SanType::DnsName)
                .map_err(refused)
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Custody server");
        params.subject_alt_names = names.iter().map(san).collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params, now)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        now: Nanos,
    ) -> Result<TlsCertificate, CertificateError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|error| CertificateError::NoRandomness {
            reason: error.to_string(),
        })?;
        let key = pkcs8(&seed);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let seconds = u64::try_from(now.0.div_euclid(NANOS)).unwrap_or(0);
        let at = |seconds: u64| date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds);
        // A day for clocks that differ.
        params.not_before = at(seconds.saturating_sub(DAY_S));
        params.not_after = at(seconds.saturating_add(VALID_DAYS * DAY_S));
        let signed = params.signed_by(&key_pair(&key)?, &self.issuer);
        let certificate = signed.map_err(refused)?.der().to_vec();
        Ok(TlsCertificate { certificate, key })
    }
}

impl std::fmt::Debug for AgentsAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AgentsAuthority({})", self.deployment)
    }
}

impl std::fmt::Debug for TlsCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsCertificate(…)")
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// The PKCS #8 form of the key with that seed.
fn pkcs8(seed: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    // Reserved once: a vector that grows leaves copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(PKCS8_HEAD.len() + seed.len()));
    bytes.extend_from_slice(&PKCS8_HEAD);
    bytes.extend_from_slice(seed);
    bytes
}

fn key_pair(pkcs8: &[u8]) -> Result<KeyPair, CertificateError> {
    KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), &PKCS_ED25519).map_err(refused)
}

fn refused(error: rcgen::Error) -> CertificateError {
    CertificateError::Refused {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = Nanos(1_795_600_000_000_000_000);

    fn authority(seed: u8) -> AgentsAuthority {
        AgentsAuthority::of_seed("db.example.org", &[seed; 32]).unwrap()
    }

    fn holds(certificate: &[u8], text: &str) -> bool {
        certificate
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    }

    #[test]
    fn names_that_no_certificate_can_hold_are_refused() {
        let authority = authority(1);
        let error = authority
            .for_agent("t\u{e9}", SourceId(1), NOW)
            .unwrap_err();
        assert!(matches!(error, CertificateError::Name { .. }), "{error}");
        let error = authority.for_server(&["\u{e9}.example".to_owned()], NOW);
        assert!(matches!(error, Err(CertificateError::Name { .. })));
        for good in ["ledger.example.org", "192.0.2.1", "2001:db8::1"] {
            assert!(
                authority.for_server(&[good.to_owned()], NOW).is_ok(),
                "{good}"
            );
        }
    }

    #[test]
    fn the_authority_follows_from_its_key_and_every_certificate_has_its_own() {
        let first = authority(1);
        assert_eq!(first.certificate(), authority(1).certificate());
        assert_ne!(first.certificate(), authority(2).certificate());
        let one = first.for_agent("main", SourceId(7), NOW).unwrap();
        let two = first.for_agent("main", SourceId(7), NOW).unwrap();
        assert_ne!(one.key, two.key);
        let uri = "urn:custody:source:db.example.org/main:7";
        assert!(holds(&one.certificate, uri));
        assert_eq!(
            format!("{one:?} {first:?}"),
            "TlsCertificate(…) AgentsAuthority(db.example.org)"
        );
    }
}

//! What an agent is given once, in one private file: the source's key, its certificate, and where
//! to send to (docs/formats/messages.md).
//!
//! Not here: who makes it (`custody sources add`) and what an agent does with it.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys_secret::private_file;
use keys_secret::{PrivateFileError, SecretKey32, TlsCertificate};
use ledger_core::SourceId;
use serde::Deserialize;
use zeroize::{Zeroize as _, Zeroizing};

use crate::chain::Credentials;

/// Longest file, in bytes; ours have about 2,000.
const FILE_BYTES_MAX: usize = 64 << 10;
/// The version that this program reads and writes.
const VERSION: u32 = 1;

/// Who an agent is on a TLS connection, and whom it believes.
#[derive(Debug)]
pub struct TlsIdentity {
    /// The authority's certificate (DER): a server shows one that it signed.
    pub authority: Vec<u8>,
    /// The agent's own certificate and key.
    pub own: TlsCertificate,
}

/// All that an agent needs to send the records of one source.
#[derive(Debug)]
pub struct AgentFile {
    /// The source's number and key.
    pub credentials: Credentials,
    /// The source's name.
    pub name: String,
    /// The platform whose records it sends.
    pub platform: String,
    /// The log that it was registered in.
    pub origin: String,
    /// Host and port of the log's server; empty if only the log's own machine is meant.
    pub address: String,
    /// For the connection to it.
    pub tls: TlsIdentity,
}

/// Why a file gives no agent its keys. No message shows a key.
#[derive(Debug, thiserror::Error)]
pub enum AgentFileError {
    /// It cannot be read, or others can.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// It is no such file.
    #[error(
        "{} is refused at line {line}: {reason}; make another source with `custody sources add`",
        path.display()
    )]
    Content {
        /// Which.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A newer program wrote it.
    #[error("{} has version {version}, this program reads version 1", path.display())]
    Version {
        /// Which.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// The file as TOML.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: u32,
    source: u32,
    name: String,
    platform: String,
    origin: String,
    address: String,
    key: String,
    authority: String,
    certificate: String,
    certificate_key: String,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.key.zeroize();
        self.certificate_key.zeroize();
    }
}

/// What the file says, with the bytes of the key.
pub struct HandedOut<'f> {
    /// The source's number.
    pub source: SourceId,
    /// Its name.
    pub name: &'f str,
    /// Its platform.
    pub platform: &'f str,
    /// The log's origin.
    pub origin: &'f str,
    /// Host and port, or empty.
    pub address: &'f str,
    /// The source's key.
    pub key: &'f [u8; 32],
    /// The authority's certificate, DER.
    pub authority: &'f [u8],
    /// The agent's certificate and key.
    pub own: &'f TlsCertificate,
}

impl HandedOut<'_> {
    /// The file's text. Names are those of a registered source: none needs an escape.
    pub fn to_text(&self) -> Zeroizing<String> {
        // Reserved once: a string that grows leaves copies of the secrets behind.
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
        text.push_str(HEAD);
        text.push_str(&format!("version = {VERSION}\nsource = {}\n", self.source));
        for (name, value) in [
            ("name", self.name),
            ("platform", self.platform),
            ("origin", self.origin),
            ("address", self.address),
        ] {
            text.push_str(&format!("{name} = \"{value}\"\n"));
        }
        for (name, bytes) in [
            ("key", self.key.as_slice()),
            ("authority", self.authority),
            ("certificate", &self.own.certificate),
            ("certificate_key", &self.own.key),
        ] {
            text.push_str(name);
            text.push_str(" = \"");
            STANDARD.encode_string(bytes, &mut text);
            text.push_str("\"\n");
        }
        text
    }

    /// Writes the file: mode 0600, synced, never over another one.
    ///
    /// # Errors
    /// Something lies there, or the system refuses.
    pub fn create(&self, path: &Path) -> Result<(), PrivateFileError> {
        private_file::create(path, self.to_text().as_bytes())?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        private_file::sync_directory(folder.unwrap_or(Path::new(".")))
    }
}

/// What the file says of itself.
const HEAD: &str = "\
# The key and the certificate of one source of Custody, for its agent and nobody else.
# Whoever has this file can send as this source. It is given out once.
";

impl AgentFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// See [`AgentFileError`]; a file that others may read is refused.
    pub fn read(path: &Path) -> Result<AgentFile, AgentFileError> {
        let bytes = private_file::read(path, FILE_BYTES_MAX)?;
        let refused = |line, reason: &str| AgentFileError::Content {
            path: path.to_owned(),
            line,
            reason: reason.to_owned(),
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| refused(1, "it is not UTF-8"))?;
        let wire: Wire = toml::from_str(text).map_err(|error| {
            // The parser's own words may quote a line with a key.
            let at = error.span().map_or(0, |span| span.start);
            let before = text.bytes().take(at).filter(|byte| *byte == b'\n').count();
            refused(
                before.saturating_add(1),
                "a key is unknown, missing or of another type",
            )
        })?;
        if wire.version != VERSION {
            let (path, version) = (path.to_owned(), wire.version);
            return Err(AgentFileError::Version { path, version });
        }
        let line_of = |key: &str| {
            let mut lines = text.lines();
            let found = lines.position(|line| line.starts_with(&format!("{key} =")));
            found.unwrap_or(0).saturating_add(1)
        };
        let bytes = |key: &str, value: &str| {
            let decoded = STANDARD.decode(value).map(Zeroizing::new);
            decoded.map_err(|_| refused(line_of(key), "the value is not base64"))
        };
        let key = bytes("key", &wire.key)?;
        let key = <&[u8; 32]>::try_from(key.as_slice())
            .map_err(|_| refused(line_of("key"), "a key has 32 bytes"))?;
        Ok(AgentFile {
            credentials: Credentials {
                source: SourceId(wire.source),
                key: SecretKey32::from_bytes(key),
            },
            name: wire.name.clone(),
            platform: wire.platform.clone(),
            origin: wire.origin.clone(),
            address: wire.address.clone(),
            tls: TlsIdentity {
                authority: bytes("authority", &wire.authority)?.to_vec(),
                own: TlsCertificate {
                    certificate: bytes("certificate", &wire.certificate)?.to_vec(),
                    key: bytes("certificate_key", &wire.certificate_key)?,
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn text() -> Zeroizing<String> {
        let own = TlsCertificate {
            certificate: vec![2; 300],
            key: Zeroizing::new(vec![3; 48]),
        };
        HandedOut {
            source: SourceId(7),
            name: "orders",
            platform: "postgresql",
            origin: "db.example.org/main/2026",
            address: "ledger.example.org:7481",
            key: &[1; 32],
            authority: &[4; 300],
            own: &own,
        }
        .to_text()
    }

    fn read(text: &str, mode: u32) -> Result<AgentFile, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        AgentFile::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_that_gives_no_keys_is_refused_without_showing_one() {
        let good = text();
        let secret = STANDARD.encode([1; 32]);
        for (from, to, word) in [
            ("version = 1", "version = 2", "version 2"),
            ("source = 7", "source = -7", "line 4"),
            (
                "key = \"AQE",
                "key = \"!QE",
                "line 9: the value is not base64",
            ),
            ("key = \"AQEB", "key = \"", "line 9: a key has 32 bytes"),
            ("address", "adress", "unknown"),
            ("\"\nauthority", "\nauthority", "line 9"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = read(&good.replacen(from, to, 1), 0o600).unwrap_err();
            assert!(
                error.contains(word) && error.contains("orders.key"),
                "{error}"
            );
            assert!(!error.contains(&secret[4..]), "{error}");
        }
        let error = read(&good, 0o640).unwrap_err();
        assert!(error.contains("0640"), "{error}");

        let file = read(&good, 0o600).unwrap();
        assert_eq!(file.credentials.source, SourceId(7));
        let key = SecretKey32::from_bytes(&[1; 32]);
        assert_eq!(file.credentials.key.hmac(b"x", &[]), key.hmac(b"x", &[]));
        assert_eq!(file.tls.own.key.as_slice(), [3; 48]);
        assert_eq!(
            (file.name.as_str(), file.address.as_str()),
            ("orders", "ledger.example.org:7481")
        );
        assert!(!format!("{file:?}").contains("[1, 1"));
    }

    #[test]
    fn it_is_private_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.key");
        let own = TlsCertificate {
            certificate: Vec::new(),
            key: Zeroizing::default(),
        };
        let file = HandedOut {
            source: SourceId(7),
            name: "orders",
            platform: "postgresql",
            origin: "o",
            address: "",
            key: &[1; 32],
            authority: &[],
            own: &own,
        };
        file.create(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(matches!(
            file.create(&path),
            Err(PrivateFileError::Exists { .. })
        ));
        assert!(AgentFile::read(&path).is_ok());
    }
}

//! The bytes of a key file, version 1 (docs/formats/keys.md): what the key is for, whose it is, its
//! public part, its secret part, and a checksum.
//!
//! Not here: where the file lies and who may read it (see [`crate::private_file`]).

use std::fmt;

use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"custkey\x01";
const HEADER_LEN: usize = 16;
const CHECKSUM_LEN: usize = 32;
const NAME_LEN_MAX: usize = 255;

/// The longest key file: an ML-DSA-44 key with the longest name, in bytes.
pub const KEY_FILE_BYTES_MAX: usize = HEADER_LEN + NAME_LEN_MAX + 1312 + 2560 + CHECKSUM_LEN;

/// What a key computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// Signs; 0x01 in the file.
    Ed25519,
    /// Signs; 0x06 in the file.
    MlDsa44,
    /// HMAC-SHA-256 with 32 secret bytes and no public part; 0x20 in the file.
    HmacSha256,
}

impl Algorithm {
    fn byte(self) -> u8 {
        match self {
            Algorithm::Ed25519 => 0x01,
            Algorithm::MlDsa44 => 0x06,
            Algorithm::HmacSha256 => 0x20,
        }
    }

    fn from_byte(byte: u8) -> Option<Algorithm> {
        match byte {
            0x01 => Some(Algorithm::Ed25519),
            0x06 => Some(Algorithm::MlDsa44),
            0x20 => Some(Algorithm::HmacSha256),
            _ => None,
        }
    }

    /// Length of the public part in bytes.
    pub fn public_len(self) -> usize {
        match self {
            Algorithm::Ed25519 => 32,
            Algorithm::MlDsa44 => 1312,
            Algorithm::HmacSha256 => 0,
        }
    }

    /// Length of the secret part in bytes: a seed, an encoded secret key, or the key itself.
    pub fn secret_len(self) -> usize {
        match self {
            Algorithm::Ed25519 | Algorithm::HmacSha256 => 32,
            Algorithm::MlDsa44 => 2560,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Ed25519 => "Ed25519",
            Algorithm::MlDsa44 => "ML-DSA-44",
            Algorithm::HmacSha256 => "HMAC-SHA-256",
        })
    }
}

/// What a key may be used for. A key of one purpose is refused for every other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Signs a log's checkpoints; the name is the origin. 1 in the file.
    Log,
    /// Signs evidence bundles; the name is `<origin>/evidence`. 2 in the file.
    Evidence,
    /// Turns a tenant's account names into pseudonyms; the name is the tenant. 3 in the file.
    Pseudonym,
    /// Chains a source's messages; the name is the source's number. 4 in the file.
    Source,
    /// Signs the certificates of agents and of the server they connect to; the name is the
    /// deployment. 5 in the file.
    Agents,
}

impl Purpose {
    fn byte(self) -> u8 {
        match self {
            Purpose::Log => 1,
            Purpose::Evidence => 2,
            Purpose::Pseudonym => 3,
            Purpose::Source => 4,
            Purpose::Agents => 5,
        }
    }

    fn from_byte(byte: u8) -> Option<Purpose> {
        match byte {
            1 => Some(Purpose::Log),
            2 => Some(Purpose::Evidence),
            3 => Some(Purpose::Pseudonym),
            4 => Some(Purpose::Source),
            5 => Some(Purpose::Agents),
            _ => None,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Log => "log",
            Purpose::Evidence => "evidence",
            Purpose::Pseudonym => "pseudonym",
            Purpose::Source => "source",
            Purpose::Agents => "agents",
        })
    }
}

/// A key file's content. The secret part is wiped when this is dropped.
pub(crate) struct KeyFile {
    pub(crate) algorithm: Algorithm,
    pub(crate) purpose: Purpose,
    pub(crate) name: String,
    pub(crate) public: Vec<u8>,
    pub(crate) secret: Zeroizing<Vec<u8>>,
}

impl KeyFile {
    /// The file's bytes.
    ///
    /// # Errors
    /// A name that is empty or longer than 255 bytes, a part of another length than its
    /// algorithm's.
    pub(crate) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
        let (public, secret) = (self.algorithm.public_len(), self.algorithm.secret_len());
        if self.public.len() != public || self.secret.len() != secret {
            let expected = expected_len(self.algorithm, self.name.len());
            let found = self.public.len().saturating_add(self.secret.len());
            return Err(KeyFileError::Length { expected, found });
        }
        let name_len = u16::try_from(self.name.len()).map_err(|_| KeyFileError::Name)?;
        if self.name.is_empty() || self.name.len() > NAME_LEN_MAX {
            return Err(KeyFileError::Name);
        }
        // Reserved once: a vector that grows leaves copies of the secret behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX));
        bytes.extend_from_slice(MAGIC);
        bytes.push(self.algorithm.byte());
        bytes.push(self.purpose.byte());
        bytes.extend_from_slice(&name_len.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(self.name.as_bytes());
        bytes.extend_from_slice(&self.public);
        bytes.extend_from_slice(&self.secret);
        let checksum: [u8; CHECKSUM_LEN] = Sha256::digest(&bytes[..]).into();
        bytes.extend_from_slice(&checksum);
        Ok(bytes)
    }

    /// Reads a file's bytes; every byte is accounted for.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<KeyFile, KeyFileError> {
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(KeyFileError::Length {
                expected: HEADER_LEN,
                found: bytes.len(),
            });
        };
        let [
            m0,
            m1,
            m2,
            m3,
            m4,
            m5,
            m6,
            version,
            algorithm,
            purpose,
            n0,
            n1,
            reserved @ ..,
        ] = *header;
        if [m0, m1, m2, m3, m4, m5, m6] != MAGIC[..7] {
            return Err(KeyFileError::NotAKeyFile);
        }
        if version != 1 {
            return Err(KeyFileError::Version(version));
        }
        let algorithm =
            Algorithm::from_byte(algorithm).ok_or(KeyFileError::Algorithm(algorithm))?;
        let purpose = Purpose::from_byte(purpose).ok_or(KeyFileError::Purpose(purpose))?;
        let name_len = usize::from(u16::from_be_bytes([n0, n1]));
        if name_len == 0 || name_len > NAME_LEN_MAX {
            return Err(KeyFileError::Name);
        }
        if reserved != [0; 4] {
            return Err(KeyFileError::Reserved);
        }
        let expected = expected_len(algorithm, name_len);
        if bytes.len() != expected {
            return Err(KeyFileError::Length {
                expected,
                found: bytes.len(),
            });
        }
        let cut = KeyFileError::Length {
            expected,
            found: bytes.len(),
        };
        let (body, checksum) = bytes
            .split_last_chunk::<CHECKSUM_LEN>()
            .ok_or(cut.clone())?;
        let computed: [u8; CHECKSUM_LEN] = Sha256::digest(body).into();
        if computed != *checksum {
            return Err(KeyFileError::Checksum);
        }
        let parts = fields(body, name_len, algorithm.public_len());
        let (name, public, secret) = parts.ok_or(cut)?;
        let name = std::str::from_utf8(name)
            .map_err(|_| KeyFileError::Name)?
            .to_owned();
        let secret = Zeroizing::new(secret.to_vec());
        Ok(KeyFile {
            algorithm,
            purpose,
            name,
            public: public.to_vec(),
            secret,
        })
    }
}

/// Name, public and secret bytes behind the header.
fn fields(body: &[u8], name_len: usize, public_len: usize) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, rest) = body.get(HEADER_LEN..)?.split_at_checked(name_len)?;
    let (public, secret) = rest.split_at_checked(public_len)?;
    Some((name, public, secret))
}

/// Why bytes are no key file.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum KeyFileError {
    /// It begins with something else.
    #[error("it is no key file of Custody")]
    NotAKeyFile,
    /// A format of another time.
    #[error("it has the key file version {0}, this program reads version 1")]
    Version(u8),
    /// An algorithm byte without meaning.
    #[error("it names the unknown algorithm {0:#04x}")]
    Algorithm(u8),
    /// A purpose byte without meaning.
    #[error("it names the unknown purpose {0}")]
    Purpose(u8),
    /// A name that is empty, longer than 255 bytes, or not UTF-8.
    #[error("its name is empty, too long or not UTF-8")]
    Name,
    /// Reserved bytes are zero.
    #[error("its reserved bytes are not zero")]
    Reserved,
    /// Every key file has one length, given its algorithm and name.
    #[error("it has {found} bytes instead of {expected}: it was cut or added to")]
    Length {
        /// The only possible length.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// The bytes are not those that were written.
    #[error("its checksum does not match: it was altered or damaged")]
    Checksum,
}

fn expected_len(algorithm: Algorithm, name_len: usize) -> usize {
    let parts = algorithm
        .public_len()
        .saturating_add(algorithm.secret_len());
    HEADER_LEN
        .saturating_add(name_len)
        .saturating_add(parts)
        .saturating_add(CHECKSUM_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/formats/keys.md");

    fn block(name: &str) -> Vec<u8> {
        let (_, rest) = PAGE.split_once(&format!("```text {name}\n")).unwrap();
        let (hex, _) = rest.split_once("```").unwrap();
        hex.split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    fn example() -> KeyFile {
        let seed = [1u8; 32];
        let public = ed25519_dalek::SigningKey::from_bytes(&seed)
            .verifying_key()
            .to_bytes();
        KeyFile {
            algorithm: Algorithm::Ed25519,
            purpose: Purpose::Log,
            name: "example.org/main/2026".into(),
            public: public.to_vec(),
            secret: Zeroizing::new(seed.to_vec()),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        let row = |row: &[u8]| {
            row.iter()
                .map(|b| format!("{b:02x}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        bytes.chunks(16).map(row).collect::<Vec<_>>().join("\n")
    }

    /// With the checksum made to fit, so that the fault itself is what is refused.
    fn changed(bytes: &[u8], change: impl Fn(&mut Vec<u8>)) -> Result<KeyFile, KeyFileError> {
        let mut body = bytes[..bytes.len() - CHECKSUM_LEN].to_vec();
        change(&mut body);
        let checksum = Sha256::digest(&body);
        body.extend_from_slice(&checksum);
        KeyFile::decode(&body)
    }

    #[test]
    fn bad_files_are_refused_by_name() {
        let good = example().encode().unwrap();
        let expect = |result: Result<KeyFile, KeyFileError>, error| {
            assert_eq!(result.map(|file| file.name), Err(error));
        };
        let length = |found| KeyFileError::Length {
            expected: good.len(),
            found,
        };
        expect(changed(&good, |b| b[0] = b'C'), KeyFileError::NotAKeyFile);
        expect(changed(&good, |b| b[7] = 2), KeyFileError::Version(2));
        expect(changed(&good, |b| b[8] = 2), KeyFileError::Algorithm(2));
        expect(changed(&good, |b| b[9] = 9), KeyFileError::Purpose(9));
        expect(changed(&good, |b| b[11] = 0), KeyFileError::Name);
        expect(changed(&good, |b| b[10] = 1), KeyFileError::Name);
        expect(changed(&good, |b| b[16] = 0xff), KeyFileError::Name);
        expect(changed(&good, |b| b[12] = 1), KeyFileError::Reserved);
        expect(changed(&good, |b| b.push(0)), length(good.len() + 1));
        expect(
            changed(&good, |b| b.truncate(b.len() - 1)),
            length(good.len() - 1),
        );
        expect(
            KeyFile::decode(&good[..10]),
            KeyFileError::Length {
                expected: 16,
                found: 10,
            },
        );
        for at in HEADER_LEN..good.len() {
            let mut bytes = good.to_vec();
            bytes[at] ^= 1;
            expect(KeyFile::decode(&bytes), KeyFileError::Checksum);
        }
        assert!(KeyFile::decode(&good).is_ok());
        for (name, secret) in [("", 32), (&"n".repeat(256), 32), ("n", 31)] {
            let mut file = example();
            file.name = name.to_owned();
            file.secret = Zeroizing::new(vec![1; secret]);
            assert!(file.encode().is_err());
        }
    }

    #[test]
    fn the_format_page_shows_what_is_read_and_written() {
        let hmac = KeyFile {
            algorithm: Algorithm::HmacSha256,
            purpose: Purpose::Source,
            name: "7".into(),
            public: vec![],
            secret: Zeroizing::new(vec![4; 32]),
        };
        for (name, file) in [("log.ed25519.key", example()), ("source.7.key", hmac)] {
            let bytes = file.encode().unwrap();
            assert_eq!(
                block(name),
                bytes.to_vec(),
                "{name} must read:\n{}",
                hex(&bytes)
            );
            let again = KeyFile::decode(&block(name)).unwrap();
            assert_eq!(again.algorithm, file.algorithm);
            assert_eq!(again.purpose, file.purpose);
            assert_eq!(again.name, file.name);
            assert_eq!(again.public, file.public);
            assert_eq!(again.secret, file.secret);
        }
    }

    #[test]
    fn the_longest_file_has_the_longest_length() {
        let file = KeyFile {
            algorithm: Algorithm::MlDsa44,
            purpose: Purpose::Evidence,
            name: "n".repeat(255),
            public: vec![1; 1312],
            secret: Zeroizing::new(vec![2; 2560]),
        };
        let bytes = file.encode().unwrap();
        assert_eq!(bytes.len(), KEY_FILE_BYTES_MAX);
        assert_eq!(KeyFile::decode(&bytes).unwrap().public, file.public);
    }
}

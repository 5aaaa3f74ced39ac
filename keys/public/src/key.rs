//! Verifier keys: a name, a kind and a public key, written as a C2SP vkey
//! `name+hex8(key id)+base64(type ‖ public key)` (C2SP signed-note, "Verifier keys"; the types 0x04
//! and 0x06 are those of C2SP tlog-cosignature).
//!
//! Not here: secret keys (keys/secret), and what a signature covers (see [`crate::signature`]).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ml_dsa::{EncodedVerifyingKey, MlDsa44};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// A key's name: 1–255 bytes of UTF-8 without white space, control characters or `+`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyName(String);

impl KeyName {
    /// The longest name, in bytes: the signed messages of type 0x06 have one byte for its length.
    pub const BYTES_MAX: usize = 255;

    /// Takes `text` as a name.
    ///
    /// # Errors
    /// A name that is empty, too long, or holds white space, a control character or `+`
    /// (C2SP signed-note, "Format").
    pub fn new(text: &str) -> Result<KeyName, KeyNameError> {
        check_name(text)?;
        Ok(KeyName(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Length in bytes, as the one byte that signed messages give it.
    pub fn len_u8(&self) -> u8 {
        // INVARIANT: `new` is the only constructor and refuses more than 255 bytes.
        u8::try_from(self.0.len()).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no key name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum KeyNameError {
    /// No character at all.
    #[error("the key name is empty")]
    Empty,
    /// More than [`KeyName::BYTES_MAX`] bytes.
    #[error("the key name has {0} bytes, at most 255 are allowed")]
    TooLong(usize),
    /// White space, a control character or `+`.
    #[error("the key name holds the character {0:?}, which a key name may not hold")]
    Character(char),
}

/// The rule of [`KeyName::new`], without making one.
pub(crate) fn check_name(text: &str) -> Result<(), KeyNameError> {
    if text.is_empty() {
        return Err(KeyNameError::Empty);
    }
    if text.len() > KeyName::BYTES_MAX {
        return Err(KeyNameError::TooLong(text.len()));
    }
    match text
        .chars()
        .find(|c| c.is_whitespace() || c.is_control() || *c == '+')
    {
        Some(bad) => Err(KeyNameError::Character(bad)),
        None => Ok(()),
    }
}

/// The kinds of keys that Custody verifies with. Other assigned types are refused by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum KeyKind {
    /// Type 0x01: signs the text of a note (RFC 8032).
    Ed25519,
    /// Type 0x04: a witness's timestamped cosignature over a checkpoint.
    Ed25519Cosignature,
    /// Type 0x06: a timestamped ML-DSA-44 signature over a checkpoint (FIPS 204, empty context).
    MlDsa44,
}

impl KeyKind {
    /// The assigned type byte (C2SP signed-note, "Signature types").
    pub fn type_byte(self) -> u8 {
        match self {
            KeyKind::Ed25519 => 0x01,
            KeyKind::Ed25519Cosignature => 0x04,
            KeyKind::MlDsa44 => 0x06,
        }
    }

    /// Length of a public key in bytes.
    pub fn public_len(self) -> usize {
        match self {
            KeyKind::Ed25519 | KeyKind::Ed25519Cosignature => 32,
            KeyKind::MlDsa44 => 1312,
        }
    }

    /// Length in bytes of what stands in a signature line after the key id.
    pub fn signature_len(self) -> usize {
        match self {
            KeyKind::Ed25519 => 64,
            KeyKind::Ed25519Cosignature => 8 + 64,
            KeyKind::MlDsa44 => 8 + 2420,
        }
    }

    fn from_type_byte(byte: u8) -> Option<KeyKind> {
        match byte {
            0x01 => Some(KeyKind::Ed25519),
            0x04 => Some(KeyKind::Ed25519Cosignature),
            0x06 => Some(KeyKind::MlDsa44),
            _ => None,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyKind::Ed25519 => "Ed25519 (type 0x01)",
            KeyKind::Ed25519Cosignature => "Ed25519 cosignature (type 0x04)",
            KeyKind::MlDsa44 => "ML-DSA-44 (type 0x06)",
        })
    }
}

/// A public key with its name and kind, checked and ready to verify with. Cheap to clone.
#[derive(Clone)]
pub struct VerifierKey {
    name: KeyName,
    kind: KeyKind,
    id: u32,
    public: Arc<[u8]>,
    material: Material,
}

/// The decoded key. ML-DSA's matrix (16 KiB) is expanded once, here, and shared by clones.
#[derive(Clone)]
pub(crate) enum Material {
    Ed25519(ed25519_dalek::VerifyingKey),
    MlDsa44(Arc<ml_dsa::VerifyingKey<MlDsa44>>),
}

impl VerifierKey {
    /// Takes the public key `public` of the given kind under `name`.
    ///
    /// # Errors
    /// A wrong length, or an Ed25519 key that is no point of the curve or of small order (such a
    /// key verifies signatures that nobody made).
    pub fn new(name: KeyName, kind: KeyKind, public: &[u8]) -> Result<VerifierKey, KeyError> {
        let wrong_length = || KeyError::Length {
            kind,
            expected: kind.public_len(),
            found: public.len(),
        };
        let material = match kind {
            KeyKind::Ed25519 | KeyKind::Ed25519Cosignature => {
                let bytes = <&[u8; 32]>::try_from(public).map_err(|_| wrong_length())?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(bytes)
                    .map_err(|_| KeyError::NotAPoint)?;
                if key.is_weak() {
                    return Err(KeyError::SmallOrder);
                }
                Material::Ed25519(key)
            }
            KeyKind::MlDsa44 => {
                let encoded =
                    EncodedVerifyingKey::<MlDsa44>::try_from(public).map_err(|_| wrong_length())?;
                Material::MlDsa44(Arc::new(ml_dsa::VerifyingKey::decode(&encoded)))
            }
        };
        let id = key_id(&name, kind, public);
        Ok(VerifierKey {
            name,
            kind,
            id,
            public: public.into(),
            material,
        })
    }

    /// Reads a vkey.
    ///
    /// # Errors
    /// A text of another shape, a type that Custody does not verify, a key id that does not belong
    /// to the name and key beside it, and what [`VerifierKey::new`] refuses.
    pub fn parse(vkey: &str) -> Result<VerifierKey, KeyError> {
        // The name and the key id hold no '+'; the base64 may.
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Shape);
        };
        let name = KeyName::new(name)?;
        let written = parse_key_id(id).ok_or(KeyError::Id)?;
        let bytes = STANDARD.decode(key).map_err(|_| KeyError::Base64)?;
        let (&type_byte, public) = bytes.split_first().ok_or(KeyError::Base64)?;
        let kind = KeyKind::from_type_byte(type_byte).ok_or(KeyError::Type(type_byte))?;
        let key = VerifierKey::new(name, kind, public)?;
        if key.id != written {
            return Err(KeyError::IdDiffers {
                written,
                computed: key.id,
            });
        }
        Ok(key)
    }

    /// The key's name. A log's keys are named like its origin.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// What kind of signatures it verifies.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// SHA-256(name ‖ 0x0A ‖ type ‖ public key), its first four bytes as a big-endian number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The public key: 32 bytes (Ed25519) or 1312 bytes (ML-DSA-44).
    pub fn public_bytes(&self) -> &[u8] {
        &self.public
    }

    pub(crate) fn material(&self) -> &Material {
        &self.material
    }
}

impl PartialEq for VerifierKey {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name && self.public == other.public
    }
}

impl Eq for VerifierKey {}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<Self, KeyError> {
        VerifierKey::parse(vkey)
    }
}

impl fmt::Display for VerifierKey {
    /// The vkey.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(1 + self.public.len());
        bytes.push(self.kind.type_byte());
        bytes.extend_from_slice(&self.public);
        write!(
            f,
            "{}+{:08x}+{}",
            self.name,
            self.id,
            STANDARD.encode(bytes)
        )
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "VerifierKey({}+{:08x}, {})",
            self.name, self.id, self.kind
        )
    }
}

/// Why a text or some bytes are no verifier key that Custody can use.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum KeyError {
    /// Not three fields joined by `+`.
    #[error("a vkey is name+keyid+base64, joined by plus signs")]
    Shape,
    /// The first field is no key name.
    #[error(transparent)]
    Name(#[from] KeyNameError),
    /// The second field is not eight lower-case hexadecimal digits.
    #[error("the key id of the vkey is not eight lower-case hexadecimal digits")]
    Id,
    /// The third field is not standard base64 with padding, or empty.
    #[error("the key of the vkey is not standard base64")]
    Base64,
    /// A type that has no place here.
    #[error(
        "keys of type {0:#04x} are not supported; use Ed25519 (0x01, a log), Ed25519 cosignature \
         (0x04, a witness) or ML-DSA-44 (0x06)"
    )]
    Type(u8),
    /// The public key is too short or too long.
    #[error("a public key of kind {kind} has {expected} bytes, this one has {found}")]
    Length {
        /// The kind that the type byte names.
        kind: KeyKind,
        /// Its length in bytes.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// 32 bytes that encode no point.
    #[error("the Ed25519 public key is no point of the curve")]
    NotAPoint,
    /// A key under which anyone can make signatures.
    #[error("the Ed25519 public key is of small order: anyone can sign for it")]
    SmallOrder,
    /// The id is not that of the key: the vkey was altered or badly copied.
    #[error("the vkey says key id {written:08x}, its name and key have {computed:08x}")]
    IdDiffers {
        /// What the vkey says.
        written: u32,
        /// What it must be.
        computed: u32,
    },
}

/// C2SP signed-note, "Signatures": the recommended key id, which types 0x04 and 0x06 require.
fn key_id(name: &KeyName, kind: KeyKind, public: &[u8]) -> u32 {
    let mut hasher = Sha256::new();
    hasher.update(name.as_str());
    hasher.update([b'\n', kind.type_byte()]);
    hasher.update(public);
    let digest: [u8; 32] = hasher.finalize().into();
    let [a, b, c, d, ..] = digest;
    u32::from_be_bytes([a, b, c, d])
}

fn parse_key_id(text: &str) -> Option<u32> {
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != 8 || !text.bytes().all(lower_hex) {
        return None;
    }
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::{ed25519_key, ml_dsa_key};

    fn good() -> String {
        ed25519_key(1)
            .public("log.example/main/2026", KeyKind::Ed25519)
            .to_string()
    }

    #[test]
    fn names_are_refused_and_their_twin_is_taken() {
        let long = "n".repeat(256);
        for (name, error) in [
            ("", KeyNameError::Empty),
            (long.as_str(), KeyNameError::TooLong(256)),
            ("a b", KeyNameError::Character(' ')),
            ("a+b", KeyNameError::Character('+')),
            ("a\nb", KeyNameError::Character('\n')),
            ("a\u{a0}b", KeyNameError::Character('\u{a0}')),
            ("a\u{0}b", KeyNameError::Character('\u{0}')),
        ] {
            assert_eq!(KeyName::new(name), Err(error), "{name:?}");
        }
        for name in ["log.example/main/2026", "é", &"n".repeat(255)] {
            assert_eq!(KeyName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn vkeys_are_refused_and_their_twin_is_taken() {
        let good = good();
        let mut fields = good.splitn(3, '+');
        let (name, id, key) = (
            fields.next().unwrap(),
            fields.next().unwrap(),
            fields.next().unwrap(),
        );
        let typed = |type_byte: u8, public: &[u8]| {
            let bytes = [&[type_byte], public].concat();
            format!("{name}+{id}+{}", STANDARD.encode(bytes))
        };
        let no_point = {
            let mut public = [0u8; 32];
            public[0] = 2; // y = 2 is the coordinate of no point
            public
        };
        let small_order = {
            let mut public = [0u8; 32];
            public[0] = 1; // the neutral element
            public
        };
        for (vkey, error) in [
            (String::new(), KeyError::Shape),
            (format!("{name}+{id}"), KeyError::Shape),
            (format!("+{id}+{key}"), KeyError::Name(KeyNameError::Empty)),
            (format!("{name}+{}+{key}", &id[1..]), KeyError::Id),
            (format!("{name}+0000000G+{key}"), KeyError::Id),
            (format!("{name}+{id}+"), KeyError::Base64),
            (format!("{name}+{id}+{key}="), KeyError::Base64),
            (typed(0x02, &[4; 32]), KeyError::Type(0x02)),
            (typed(0x05, &[4; 32]), KeyError::Type(0x05)),
            (typed(0xff, &[4; 32]), KeyError::Type(0xff)),
            (
                typed(0x01, &[4; 31]),
                KeyError::Length {
                    kind: KeyKind::Ed25519,
                    expected: 32,
                    found: 31,
                },
            ),
            (
                typed(0x06, &[4; 1311]),
                KeyError::Length {
                    kind: KeyKind::MlDsa44,
                    expected: 1312,
                    found: 1311,
                },
            ),
            (typed(0x01, &no_point), KeyError::NotAPoint),
            (typed(0x04, &small_order), KeyError::SmallOrder),
        ] {
            assert_eq!(VerifierKey::parse(&vkey), Err(error), "{vkey}");
        }
        let other_name = good.replacen("2026", "2027", 1);
        assert!(matches!(
            VerifierKey::parse(&other_name),
            Err(KeyError::IdDiffers { .. })
        ));
        assert_eq!(VerifierKey::parse(&good).unwrap().to_string(), good);
    }

    #[test]
    fn every_kind_is_written_as_it_was_read() {
        for vkey in [
            ed25519_key(2).public("log.example/a", KeyKind::Ed25519),
            ed25519_key(2).public("witness.example/w", KeyKind::Ed25519Cosignature),
            ml_dsa_key(2).public("log.example/a"),
        ] {
            let text = vkey.to_string();
            let again = VerifierKey::parse(&text).unwrap();
            assert_eq!(again, vkey);
            assert_eq!(again.to_string(), text);
            assert_eq!(again.public_bytes().len(), again.kind().public_len());
        }
    }
}

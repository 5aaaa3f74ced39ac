//! The second opinion on fresh signatures, by implementations other than the signing ones:
//! aws-lc-rs checks Ed25519, RustCrypto's ml-dsa checks ML-DSA-44 (DESIGN section 6).
//!
//! Not here: signing, or the checks against the last note (keys/secret).

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use keys_public::{Half, LogKeys, Note, SecondOpinionRefused};

/// Checks both halves of a fresh note.
pub(crate) fn second_opinion(keys: &LogKeys, note: &Note) -> Result<(), SecondOpinionRefused> {
    let classical = SecondOpinionRefused {
        half: Half::Classical,
        by: "aws-lc-rs",
    };
    let line = note
        .signatures()
        .iter()
        .find(|line| line.is_of(keys.ed25519()));
    let key = UnparsedPublicKey::new(&ED25519, keys.ed25519().public_bytes());
    line.and_then(|line| key.verify(note.text().as_bytes(), &line.bytes).ok())
        .ok_or(classical)?;
    // keys/public verifies ML-DSA with RustCrypto's crate; keys/secret signs with PQClean's.
    let post_quantum = SecondOpinionRefused {
        half: Half::PostQuantum,
        by: "ml-dsa",
    };
    note.verify(keys.ml_dsa()).map_err(|_| post_quantum)?;
    Ok(())
}

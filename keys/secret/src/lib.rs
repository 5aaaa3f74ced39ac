//! The secret halves: key files on the ledger's own disk, and the signer that uses them.
//!
//! Reading order: [`key_file`] (the bytes of a key file), [`private_file`] (reading and creating
//! files that nobody else may read), [`secret`] (keys in memory), [`store`] (the directory of
//! keys), [`agents`] (certificates of agents), [`last_note`] (the signer's durable state),
//! [`local_signer`] (the signer).
//!
//! **Invariant:** a log's keys sign checkpoints only, and only through [`LocalSigner`]; there is no
//! fallback key, and no key file is ever written over.
//!
//! What is wiped from memory when it is no longer needed: the bytes of every key file that was read
//! or written, Ed25519 seeds, HMAC keys. What is not, because the crate that signs with ML-DSA-44
//! neither wipes nor lets others do it: the copies of an ML-DSA-44 secret key that pass over the
//! stack while it is made and loaded, and the C code's working memory while it signs. The one
//! long-lived copy is overwritten on a best-effort basis. HMAC's inner state is not wiped either.
//!
//! Deliberately not here: verification (keys/public), people's keys, which never lie on the
//! ledger's host; a remote signer and rotation, which come with their own work.

pub mod agents;
pub mod key_file;
pub mod last_note;
pub mod local_signer;
pub mod private_file;
pub mod secret;
pub mod store;

mod store_error;

pub use agents::{AgentsAuthority, CertificateError, TlsCertificate, agent_uri};
pub use key_file::{Algorithm, KeyFileError, Purpose};
pub use keys_public::{SecondOpinionRefused, SignRefusal, Signer};
pub use last_note::LastNoteError;
pub use local_signer::{LocalSigner, OpenSignerError, SecondOpinion};
pub use private_file::PrivateFileError;
pub use secret::{SecretKey32, SigningPair};
pub use store::{Keystore, KeystoreError, StoredKey};

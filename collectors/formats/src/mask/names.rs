//! Which names stand beside secrets.
//!
//! Not here: where the secret stands relative to the name (see `rules`).

use super::{Kind, prefilter};

/// The longest name that is looked at.
const NAME_MAX: usize = 128;

/// Parts that make a name sensitive wherever they stand in it.
const PASSWORD_PARTS: &[&str] = &[
    "passw",
    "passphrase",
    "pwd",
    "secret",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "accesskey",
    "private_key",
    "privatekey",
    "sslkey",
    "encryption_key",
    "account_key",
    "accountkey",
    "auth_token",
    "access_token",
    "refresh_token",
    "id_token",
    "session_token",
];

/// Whole words, or words between underscores, that make a name sensitive.
const PASSWORD_WORDS: &[&str] = &["pass", "credential", "credentials", "token", "psw"];

/// The same for authentication data of cards.
const AUTH_WORDS: &[&str] = &[
    "cvv", "cvv2", "cvc", "cvc2", "cav2", "csc", "pinblock", "track1", "track2",
];
const AUTH_PARTS: &[&str] = &[
    "pin_block",
    "card_ver",
    "security_code",
    "track_data",
    "trackdata",
];

/// Names that only look sensitive: settings whose value is a method, a number or a flag.
const HARMLESS: &[&str] = &[
    "password_encryption",
    "passwordcheck",
    "password_required",
    "password_lock_time",
    "password_history",
    "password_reuse_interval",
    "default_password_lifetime",
    "pg_shadow",
];

/// What a secret beside this name would be.
pub(super) fn sensitive(name: &str) -> Option<Kind> {
    // Most names have nothing of a secret's in them, which is seen without another copy of them.
    if name.len() < 3 || name.len() > NAME_MAX || !prefilter::hit(name.as_bytes()) {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or(&name);
    if HARMLESS.contains(&last) {
        return None;
    }
    let has_word = |words: &[&str]| {
        name.split(['_', '.', '-'])
            .any(|word| words.contains(&word))
    };
    let has_part = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    if has_part(AUTH_PARTS) || has_word(AUTH_WORDS) {
        Some(Kind::AuthData)
    } else if has_part(PASSWORD_PARTS) || has_word(PASSWORD_WORDS) {
        Some(Kind::Password)
    } else {
        None
    }
}

/// Whether a function of this name takes a secret among its arguments (pgcrypto and its like).
pub(super) fn takes_secret(function: &str) -> bool {
    const FAMILY: &str = "pgp_sym_";
    const NAMES: &[&str] = &[
        "crypt",
        "encrypt",
        "decrypt",
        "encrypt_iv",
        "decrypt_iv",
        "hmac",
        "pgp_pub_decrypt",
        "pgp_pub_decrypt_bytea",
        "aes_encrypt",
        "aes_decrypt",
        "des_encrypt",
        "des_decrypt",
        "scram_build_secret",
    ];
    let family = function.get(..FAMILY.len());
    NAMES.iter().any(|name| function.eq_ignore_ascii_case(name))
        || family.is_some_and(|family| family.eq_ignore_ascii_case(FAMILY))
}

/// Whether a literal can be a name, as in `set_config('app.secret', …)`.
pub(super) fn is_name_like(body: &str) -> bool {
    !body.is_empty()
        && body.len() <= NAME_MAX
        && body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefilter_finds_every_name() {
        let lists = [PASSWORD_PARTS, PASSWORD_WORDS, AUTH_PARTS, AUTH_WORDS];
        for name in lists.into_iter().flatten() {
            assert!(sensitive(name).is_some(), "{name}");
            assert!(sensitive(&format!("app.{}", name.to_uppercase())).is_some());
        }
        for name in ["id", "note", "spawn", "crosswalk", "privat_ekey"] {
            assert_eq!(sensitive(name), None, "{name}");
        }
    }
}

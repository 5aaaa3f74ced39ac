//! Tests of the directory of keys: each refusal beside the directory that is taken.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

const ORIGIN: &str = "log.example/main/2026";

fn origin(text: &str) -> Origin {
    Origin::new(text).unwrap()
}

struct Made {
    _folder: tempfile::TempDir,
    dir: PathBuf,
    store: Keystore,
}

fn made() -> Made {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("keys");
    let store = Keystore::create(&dir, &origin(ORIGIN), "main").unwrap();
    Made {
        _folder: folder,
        dir,
        store,
    }
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_new_directory_holds_five_private_files_and_nothing_else() {
    let made = made();
    assert_eq!(mode_of(&made.dir), 0o700);
    let listed = made.store.list().unwrap();
    let files: Vec<&str> = listed.iter().map(|key| key.file.as_str()).collect();
    assert_eq!(
        files,
        [
            "evidence.ed25519.key",
            "evidence.ml-dsa-44.key",
            "log.ed25519.key",
            "log.ml-dsa-44.key",
            "pseudonym.main.key"
        ]
    );
    for key in &listed {
        assert_eq!(mode_of(&made.dir.join(&key.file)), 0o600, "{}", key.file);
    }
    let beside: Vec<_> = fs::read_dir(made.dir.parent().unwrap()).unwrap().collect();
    assert_eq!(
        beside.len(),
        1,
        "no directory of an unfinished creation is left"
    );
    let log = made.store.log_signing_keys(&origin(ORIGIN)).unwrap();
    assert_eq!(listed[2].verifier.as_ref(), Some(log.public().ed25519()));
    assert_eq!(listed[3].verifier.as_ref(), Some(log.public().ml_dsa()));
    let evidence = made.store.evidence_keys(&origin(ORIGIN)).unwrap();
    assert_eq!(
        evidence.public().origin().as_str(),
        "log.example/main/2026/evidence"
    );
    assert_ne!(
        evidence.public().ed25519().public_bytes(),
        log.public().ed25519().public_bytes()
    );
}

#[test]
fn keys_are_the_same_every_time_they_are_read() {
    let made = made();
    let again = Keystore::open(&made.dir).unwrap();
    let log = |store: &Keystore| {
        store
            .log_signing_keys(&origin(ORIGIN))
            .unwrap()
            .public()
            .clone()
    };
    assert_eq!(log(&made.store), log(&again));
    let mac = |store: &Keystore| store.pseudonym_key("main").unwrap().hmac(b"x", &[]);
    assert_eq!(mac(&made.store), mac(&again));
}

#[test]
fn a_directory_is_never_made_over_another() {
    let made = made();
    let before = fs::read(made.dir.join("log.ed25519.key")).unwrap();
    assert!(matches!(
        Keystore::create(&made.dir, &origin(ORIGIN), "main"),
        Err(KeystoreError::Exists { .. })
    ));
    assert_eq!(fs::read(made.dir.join("log.ed25519.key")).unwrap(), before);

    let other = made.dir.with_file_name("other");
    symlink(&made.dir, &other).unwrap();
    assert!(matches!(
        Keystore::create(&other, &origin(ORIGIN), "main"),
        Err(KeystoreError::Exists { .. })
    ));
    fs::remove_file(&other).unwrap();
    fs::create_dir(other.with_file_name("other.new")).unwrap();
    assert!(matches!(
        Keystore::create(&other, &origin(ORIGIN), "main"),
        Err(KeystoreError::Unfinished { .. })
    ));
    fs::remove_dir(other.with_file_name("other.new")).unwrap();
    assert!(Keystore::create(&other, &origin(ORIGIN), "main").is_ok());
}

#[test]
fn a_creation_that_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").join("keys");
    assert!(matches!(
        Keystore::create(&missing, &origin(ORIGIN), "main"),
        Err(KeystoreError::File(PrivateFileError::Io { .. }))
    ));
    let dir = folder.path().join("keys");
    for tenant in ["", "a/b", "..", "A", "a b", &"a".repeat(65)] {
        assert!(
            matches!(
                Keystore::create(&dir, &origin(ORIGIN), tenant),
                Err(KeystoreError::Tenant { .. })
            ),
            "{tenant}"
        );
    }
    let long = origin(&"o".repeat(247));
    assert!(matches!(
        Keystore::create(&dir, &long, "main"),
        Err(KeystoreError::OriginTooLong { .. })
    ));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(Keystore::create(&dir, &origin(&"o".repeat(246)), &"a".repeat(64)).is_ok());
}

#[test]
fn directories_that_others_may_change_are_refused() {
    let made = made();
    for mode in [0o770, 0o702, 0o777] {
        chmod(&made.dir, mode);
        assert!(
            matches!(
                Keystore::open(&made.dir),
                Err(KeystoreError::WritableForOthers { .. })
            ),
            "{mode:o}"
        );
    }
    for mode in [0o700, 0o755] {
        chmod(&made.dir, mode);
        assert!(Keystore::open(&made.dir).is_ok(), "{mode:o}");
    }
    let link = made.dir.with_file_name("link");
    symlink(&made.dir, &link).unwrap();
    assert!(matches!(
        Keystore::open(&link),
        Err(KeystoreError::File(PrivateFileError::Link { .. }))
    ));
    assert!(matches!(
        Keystore::open(&made.dir.join("log.ed25519.key")),
        Err(KeystoreError::NotADirectory { .. })
    ));
    assert!(matches!(
        Keystore::open(&made.dir.join("none")),
        Err(KeystoreError::File(PrivateFileError::Missing { .. }))
    ));
}

/// Damages one file of a fresh directory and returns what reading the log's keys then says.
fn damaged(file: &str, damage: impl Fn(&Path)) -> KeystoreError {
    let made = made();
    damage(&made.dir.join(file));
    made.store.log_signing_keys(&origin(ORIGIN)).unwrap_err()
}

fn edit(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_open_missing_and_swapped_files_are_refused_by_name() {
    for file in ["log.ed25519.key", "log.ml-dsa-44.key"] {
        let of = |damage: &dyn Fn(&Path)| damaged(file, damage);
        let copy = |from: &'static str| {
            move |path: &Path| assert!(fs::copy(path.with_file_name(from), path).unwrap() > 0)
        };
        use KeyFileError as C;
        use KeystoreError as E;
        use PrivateFileError as F;
        assert!(matches!(
            of(&|path| edit(path, |b| b.truncate(b.len() - 1))),
            E::Content {
                error: C::Length { .. },
                ..
            }
        ));
        assert!(matches!(
            of(&|path| edit(path, |b| b[60] ^= 1)),
            E::Content {
                error: C::Checksum,
                ..
            }
        ));
        assert!(matches!(
            of(&|path| edit(path, |b| b.resize(9000, 0))),
            E::File(F::TooLong { .. })
        ));
        assert!(matches!(
            of(&|path| edit(path, Vec::clear)),
            E::Content {
                error: C::Length { .. },
                ..
            }
        ));
        assert!(matches!(
            of(&|path| chmod(path, 0o640)),
            E::File(F::OpenToOthers { .. })
        ));
        assert!(matches!(
            of(&|path| chmod(path, 0o604)),
            E::File(F::OpenToOthers { .. })
        ));
        assert!(matches!(
            of(&|path| fs::remove_file(path).unwrap()),
            E::File(F::Missing { .. })
        ));
        assert!(matches!(
            of(&|path| {
                let real = path.with_file_name("real");
                fs::rename(path, &real).unwrap();
                symlink(&real, path).unwrap();
            }),
            E::File(F::Link { .. })
        ));
        assert!(matches!(
            of(&copy("pseudonym.main.key")),
            E::WrongKey { .. }
        ));
        assert!(matches!(
            of(&copy("evidence.ed25519.key")),
            E::WrongKey { .. }
        ));
        assert!(matches!(
            of(&copy("evidence.ml-dsa-44.key")),
            E::WrongKey { .. }
        ));
    }
    let made = made();
    assert!(made.store.log_signing_keys(&origin(ORIGIN)).is_ok());
}

#[test]
fn keys_of_another_log_are_refused() {
    let made = made();
    assert!(matches!(
        made.store
            .log_signing_keys(&origin("log.example/main/2027")),
        Err(KeystoreError::WrongKey { .. })
    ));
    assert!(matches!(
        made.store.evidence_keys(&origin("log.example/main/2027")),
        Err(KeystoreError::WrongKey { .. })
    ));
    assert!(matches!(
        made.store.pseudonym_key("other"),
        Err(KeystoreError::File(PrivateFileError::Missing { .. }))
    ));
    assert!(matches!(
        made.store.pseudonym_key("../main"),
        Err(KeystoreError::Tenant { .. })
    ));
    assert!(made.store.log_signing_keys(&origin(ORIGIN)).is_ok());
}

#[test]
fn a_source_has_one_key_for_ever() {
    let made = made();
    assert!(matches!(
        made.store.source_key(SourceId(7)),
        Err(KeystoreError::File(PrivateFileError::Missing { .. }))
    ));
    let first = made
        .store
        .create_source_key(SourceId(7))
        .unwrap()
        .hmac(b"x", &[]);
    assert!(matches!(
        made.store.create_source_key(SourceId(7)),
        Err(KeystoreError::File(PrivateFileError::Exists { .. }))
    ));
    assert_eq!(
        made.store.source_key(SourceId(7)).unwrap().hmac(b"x", &[]),
        first
    );
    let other = made
        .store
        .create_source_key(SourceId(8))
        .unwrap()
        .hmac(b"x", &[]);
    assert_ne!(first, other);
    fs::copy(made.dir.join("source.8.key"), made.dir.join("source.7.key")).unwrap();
    assert!(matches!(
        made.store.source_key(SourceId(7)),
        Err(KeystoreError::WrongKey { .. })
    ));
    assert_eq!(made.store.list().unwrap().len(), 7);
}

#[test]
fn a_stray_file_is_named_by_list() {
    let made = made();
    private_file::create(&made.dir.join("notes.txt"), b"my keys are here somewhere").unwrap();
    let error = made.store.list().unwrap_err();
    assert!(error.to_string().contains("notes.txt"), "{error}");
    fs::remove_file(made.dir.join("notes.txt")).unwrap();
    assert!(made.store.list().is_ok());
}

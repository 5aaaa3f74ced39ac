//! Tests of trust files: each refusal beside the file that is taken.

use super::*;
use crate::checkpoint::LogKeysError;
use crate::examples::{checkpoint, ed25519_key, log_keys, ml_dsa_key, signed_note};
use crate::key::KeyError;

/// Words that the cases below use for long keys.
fn filled(text: &str) -> String {
    let keys = log_keys();
    let origin = keys.origin().as_str();
    let cosigner = |seed: u8, name: &str| {
        ed25519_key(seed)
            .public(name, KeyKind::Ed25519Cosignature)
            .to_string()
    };
    text.replace(
        "<LOG2>",
        &ed25519_key(9).public(origin, KeyKind::Ed25519).to_string(),
    )
    .replace("<LOG>", &keys.ed25519().to_string())
    .replace(
        "<PQX>",
        &ml_dsa_key(2).public("log.example/other").to_string(),
    )
    .replace("<PQ>", &keys.ml_dsa().to_string())
    .replace("<W1>", &cosigner(3, "witness.example/1"))
    .replace("<W2>", &cosigner(4, "witness.example/2"))
    .replace(
        "<W3>",
        &ml_dsa_key(5).public("witness.example/3").to_string(),
    )
    .replace("<SELF>", &cosigner(1, origin))
}

const GOOD: &str = "log <LOG>\nwitness pq <PQ>\nquorum pq\n";
const WITNESSED: &str = "# both halves, and one of three\n\tlog  <LOG> https://log.example/ \n\n\
     witness pq <PQ>\nwitness one <W1> https://w.example/\nwitness two <W2>\nwitness three <W3>\n\
     group others any one two three\ngroup both all pq others\nquorum both\n";

#[test]
fn good_files_are_read_and_written_back_byte_for_byte() {
    for text in [GOOD, WITNESSED] {
        let text = filled(text);
        let trust = TrustFile::parse(&text).unwrap();
        assert_eq!(trust.to_string(), text);
        assert_eq!(trust.keys(), &log_keys());
        assert_eq!(trust.origin(), log_keys().origin());
        assert_eq!(trust.fingerprint(), Hash::sha256(text.as_bytes()));
    }
    let made = TrustFile::parse(&trust_file_for(&log_keys())).unwrap();
    assert_eq!(made.keys(), &log_keys());
    assert!(!made.needs_witnesses());
    let witnessed = TrustFile::parse(&filled(WITNESSED)).unwrap();
    assert!(witnessed.needs_witnesses());
    let names: Vec<&str> = witnessed.witnesses().map(|(name, _)| name).collect();
    assert_eq!(names, ["one", "two", "three"]);
}

#[test]
fn every_bad_file_is_refused_by_name() {
    use TrustFileError as E;
    let form = |line, form| E::Form { line, form };
    let name = |name: &str| name.to_owned();
    for (text, error) in [
        ("", E::NotEnded),
        ("\n", E::LogMissing),
        (GOOD.trim_end(), E::NotEnded),
        (
            "log <LOG>\r\nwitness pq <PQ>\nquorum pq\n",
            E::Character {
                line: 1,
                character: '\r',
            },
        ),
        (
            "log <LOG>\nwitness pq <PQ>\nquorum pq\n\0\n",
            E::Character {
                line: 4,
                character: '\0',
            },
        ),
        (
            "log <LOG>\nsignature x\n",
            E::UnknownLine {
                line: 2,
                word: name("signature"),
            },
        ),
        ("log\n", form(1, LOG_FORM)),
        ("log <LOG> url more\n", form(1, LOG_FORM)),
        ("log <LOG>\nwitness pq\n", form(2, WITNESS_FORM)),
        (
            "log <LOG>\nwitness pq <PQ> url more\n",
            form(2, WITNESS_FORM),
        ),
        (
            "log <LOG>\nwitness pq <PQ>\ngroup g all\n",
            form(3, GROUP_FORM),
        ),
        (
            "log <LOG>\nwitness pq <PQ>\nquorum pq pq\n",
            form(3, QUORUM_FORM),
        ),
        (
            "log nonsense\n",
            E::Key {
                line: 1,
                error: KeyError::Shape,
            },
        ),
        (
            "log <LOG>\nwitness pq nonsense\n",
            E::Key {
                line: 2,
                error: KeyError::Shape,
            },
        ),
        (
            "log <LOG>\nwitness w <LOG2>\n",
            E::WitnessKind {
                line: 2,
                kind: KeyKind::Ed25519,
            },
        ),
        ("log <LOG>\nlog <LOG2>\n", E::SecondLog { line: 2 }),
        (
            "log <LOG>\nwitness pq <PQ>\nwitness self <SELF>\n",
            E::KeyRepeated { line: 3 },
        ),
        (
            "witness a <W1>\nwitness b <W1>\n",
            E::KeyRepeated { line: 2 },
        ),
        (
            "witness pq <PQ>\nwitness other <PQX>\n",
            E::KeyRepeated { line: 2 },
        ),
        ("witness pq <PQ>\nquorum pq\n", E::LogMissing),
        (
            "log <LOG>\nwitness other <PQ>\nquorum other\n",
            E::PostQuantumHalfMissing,
        ),
        ("log <LOG>\nquorum none\n", E::PostQuantumHalfMissing),
        (
            "witness none <PQ>\n",
            E::NameTaken {
                line: 1,
                name: name("none"),
            },
        ),
        (
            "witness a <W1>\nwitness a <W2>\n",
            E::NameTaken {
                line: 2,
                name: name("a"),
            },
        ),
        (
            "witness a <W1>\ngroup a any a\n",
            E::NameTaken {
                line: 2,
                name: name("a"),
            },
        ),
        (
            "quorum pq\nwitness pq <PQ>\n",
            E::NameUnknown {
                line: 1,
                name: name("pq"),
            },
        ),
        (
            "group g any g\n",
            E::NameUnknown {
                line: 1,
                name: name("g"),
            },
        ),
        (
            "witness a <W1>\ngroup g any none\n",
            E::NameUnknown {
                line: 2,
                name: name("none"),
            },
        ),
        (
            "witness a <W1>\ngroup g any a a\n",
            E::MemberRepeated {
                line: 2,
                name: name("a"),
            },
        ),
        (
            "witness a <W1>\ngroup g any a\ngroup h any a\n",
            E::MemberRepeated {
                line: 3,
                name: name("a"),
            },
        ),
        ("log <LOG>\nwitness pq <PQ>\n", E::QuorumMissing),
        (
            "log <LOG>\nwitness pq <PQ>\nquorum pq\nquorum pq\n",
            E::SecondQuorum { line: 4 },
        ),
        (
            "log <LOG>\nwitness pq <PQ>\nquorum none\n",
            E::QuorumWithoutPostQuantum {
                quorum: name("none"),
            },
        ),
        (
            "log <LOG>\nwitness pq <PQ>\nwitness a <W1>\nquorum a\n",
            E::QuorumWithoutPostQuantum { quorum: name("a") },
        ),
        (
            "log <LOG>\nwitness pq <PQ>\nwitness a <W1>\ngroup g any pq a\nquorum g\n",
            E::QuorumWithoutPostQuantum { quorum: name("g") },
        ),
    ] {
        assert_eq!(TrustFile::parse(&filled(text)), Err(error), "{text}");
    }
    for threshold in [
        "0",
        "3",
        "01",
        "-1",
        "+1",
        "most",
        "99999999999999999999999",
    ] {
        let text = format!("witness a <W1>\nwitness b <W2>\ngroup g {threshold} a b\n");
        assert_eq!(
            TrustFile::parse(&filled(&text)),
            Err(E::Threshold {
                line: 3,
                threshold: name(threshold),
                members: 2
            })
        );
    }
    assert!(matches!(
        TrustFile::parse(&filled("log <LOG>\nwitness pq <PQX>\nquorum pq\n")),
        Err(E::NoPair(LogKeysError::NamesDiffer { .. }))
    ));
    assert!(matches!(
        TrustFile::parse(&filled("log <PQ>\nwitness pq <W1>\nquorum pq\n")),
        Err(E::NoPair(LogKeysError::ClassicalKind(KeyKind::MlDsa44)))
    ));
    assert!(matches!(
        TrustFile::parse(&filled("log <LOG>\nwitness pq <W1>\nquorum pq\n")),
        Err(E::NoPair(LogKeysError::PostQuantumKind(
            KeyKind::Ed25519Cosignature
        )))
    ));
}

#[test]
fn the_bounds_hold() {
    let large = format!("#{}\n", "x".repeat(TrustFile::BYTES_MAX));
    assert_eq!(
        TrustFile::parse(&large),
        Err(TrustFileError::TooLarge {
            bytes: TrustFile::BYTES_MAX + 2
        })
    );
    let with_witnesses = |count: u8| {
        let mut text = filled("log <LOG>\nwitness pq <PQ>\n");
        for n in 0..count {
            let key = ed25519_key(100 + n).public("w", KeyKind::Ed25519Cosignature);
            text.push_str(&format!("witness w{n} {key}\n"));
        }
        text.push_str("quorum pq\n");
        TrustFile::parse(&text)
    };
    assert!(with_witnesses(63).is_ok());
    assert_eq!(
        with_witnesses(64),
        Err(TrustFileError::TooMany { line: 66 })
    );
    let with_groups = |count: usize| {
        let mut text = filled("log <LOG>\nwitness pq <PQ>\ngroup g0 all pq\n");
        for n in 1..count {
            text.push_str(&format!("group g{n} all g{}\n", n - 1));
        }
        text.push_str(&format!("quorum g{}\n", count - 1));
        TrustFile::parse(&text)
    };
    assert!(with_groups(64).is_ok());
    assert_eq!(with_groups(65), Err(TrustFileError::TooMany { line: 67 }));
}

#[test]
fn the_quorum_decides_and_a_false_witness_is_named() {
    let trust = TrustFile::parse(&filled(WITNESSED)).unwrap();
    let bare = signed_note(12, 99);
    assert_eq!(
        trust.verify(&bare),
        Err(CheckpointRefusal::QuorumNotMet {
            quorum: "both".into(),
            cosigners: vec![]
        })
    );

    let mut cosigned = bare.clone();
    cosigned
        .add(ed25519_key(4).cosign(bare.text(), "witness.example/2", 100))
        .unwrap();
    let verified = trust.verify(&cosigned).unwrap();
    assert_eq!(verified.cosigners(), ["two"]);
    assert_eq!(verified.pq_timestamp(), 99);
    assert_eq!(verified.checkpoint(), &checkpoint(12));

    // A later line of a witness that is false refuses the note, though the quorum was met.
    let mut wrong = cosigned.clone();
    wrong
        .add(ed25519_key(3).cosign("other text\n", "witness.example/1", 100))
        .unwrap();
    assert!(matches!(
        trust.verify(&wrong),
        Err(CheckpointRefusal::WitnessWrong { witness, .. }) if witness == "one"
    ));

    // A zero time does not say that this was the largest tree seen.
    let mut timeless = bare.clone();
    let third = ml_dsa_key(5);
    timeless
        .add(third.sign_as("witness.example/3", &checkpoint(12), 0))
        .unwrap();
    assert!(matches!(
        trust.verify(&timeless),
        Err(CheckpointRefusal::QuorumNotMet { .. })
    ));
    let mut timed = bare.clone();
    timed
        .add(third.sign_as("witness.example/3", &checkpoint(12), 7))
        .unwrap();
    assert_eq!(trust.verify(&timed).unwrap().cosigners(), ["three"]);
}

#[test]
fn witnesses_never_replace_a_half_of_the_log() {
    let trust = TrustFile::parse(&filled(WITNESSED)).unwrap();
    let whole = signed_note(12, 99);
    for (missing, refusal) in [
        (0, CheckpointRefusal::ClassicalHalfMissing),
        (1, CheckpointRefusal::PostQuantumHalfMissing),
    ] {
        let mut note = Note::new(whole.text().to_owned()).unwrap();
        for (index, line) in whole.signatures().iter().enumerate() {
            if index != missing {
                note.add(line.clone()).unwrap();
            }
        }
        note.add(ed25519_key(3).cosign(whole.text(), "witness.example/1", 100))
            .unwrap();
        note.add(ed25519_key(4).cosign(whole.text(), "witness.example/2", 100))
            .unwrap();
        assert_eq!(trust.verify(&note), Err(refusal));
    }
    let plain = TrustFile::parse(&filled(GOOD)).unwrap();
    assert!(plain.verify(&whole).is_ok());
}

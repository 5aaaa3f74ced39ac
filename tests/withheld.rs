//! Parts withheld: whoever hands out a proof may keep back any part of the payload and give its
//! commitment instead; the proof still verifies. Nothing else may be changed by a byte.
//!
//! A withheld part has the form of an erased one: `erased` with the commitment, no salt, no bytes.
//! Not here: parts erased in the log itself (ledger/verify).

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger_core::{Part, Salt, part_commitment};
use serde_json::{Value, json};

use crate::program::{Program, SAMPLES, sample};

/// A proof and its payload, as `custody proof` wrote them.
struct Proof {
    program: Program,
    folder: tempfile::TempDir,
    index: u64,
    payload: Value,
}

impl Proof {
    /// The proof of the first entry whose payload has all three parts.
    fn of_three_parts() -> Proof {
        let program = Program::init();
        program.ingest(&[sample(SAMPLES[0])]);
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().display().to_string();
        for index in 2..30 {
            program.done(&["proof", &index.to_string(), "--out", &out]);
            let path = folder.path().join(format!("{index}.payload.json"));
            let payload: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            if payload["parts"].as_array().unwrap().len() == 3 {
                return Proof {
                    program,
                    folder,
                    index,
                    payload,
                };
            }
        }
        panic!("no event of the sample has three parts");
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.folder
            .path()
            .join(format!("{}.{extension}", self.index))
    }

    /// The JSON verdict of `custody verify --proof` on this payload, and its exit code.
    fn judged(&self, payload: &Value) -> (Value, i32) {
        std::fs::write(self.path("payload.json"), payload.to_string()).unwrap();
        self.verified(&self.path("tlog-proof"))
    }

    fn verified(&self, proof: &Path) -> (Value, i32) {
        let proof = proof.display().to_string();
        let trust = self.program.trust();
        let output = self
            .program
            .run(&["verify", "--json", "--proof", &proof, "--trust", &trust]);
        let verdict = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {:?}", output.stderr));
        (verdict, output.status.code().unwrap())
    }

    fn accepted(&self, payload: &Value, parts: usize, withheld: usize, what: &str) {
        let (verdict, code) = self.judged(payload);
        assert_eq!(code, 0, "{what}: {verdict}");
        assert_eq!(verdict["verified"], true, "{what}: {verdict}");
        assert_eq!(verdict["index"], self.index, "{what}");
        assert_eq!(verdict["parts"], parts, "{what}");
        assert_eq!(verdict["parts_erased"], withheld, "{what}");
    }

    fn refused(&self, payload: &Value, what: &str) {
        let (verdict, code) = self.judged(payload);
        assert_eq!(code, 1, "{what}: {verdict}");
        assert_eq!(verdict["verified"], false, "{what}: {verdict}");
    }

    /// The payload without the parts at these places.
    fn without(&self, places: &[usize]) -> Value {
        let mut payload = self.payload.clone();
        for place in places {
            let part = &mut payload["parts"][*place];
            *part = json!({ "part": part["part"], "erased": commitment(part) });
        }
        payload
    }
}

/// The commitment of a part, from what `custody proof` wrote of it.
fn commitment(part: &Value) -> String {
    let kind = Part::ALL
        .into_iter()
        .find(|kind| part["part"] == kind.name())
        .unwrap();
    let salt = part["salt"].as_str().unwrap();
    let salt: Vec<u8> = (0..16)
        .map(|at| u8::from_str_radix(&salt[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let bytes = STANDARD.decode(part["bytes"].as_str().unwrap()).unwrap();
    part_commitment(kind, &Salt(salt.try_into().unwrap()), &bytes).to_string()
}

/// The hexadecimal text with one bit of its byte `at` changed.
fn altered_hex(text: &Value, at: usize) -> Value {
    let mut text = text.as_str().unwrap().to_owned();
    let byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    text.replace_range(2 * at..2 * at + 2, &format!("{:02x}", byte ^ 1));
    text.into()
}

fn altered_base64(text: &Value, at: usize) -> Value {
    let mut bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 1;
    STANDARD.encode(bytes).into()
}

#[test]
fn parts_withheld_in_any_choice_still_verify() {
    let proof = Proof::of_three_parts();
    proof.accepted(&proof.payload, 3, 0, "nothing withheld");
    for choice in 1..8_usize {
        let places: Vec<usize> = (0..3).filter(|place| choice >> place & 1 == 1).collect();
        let payload = proof.without(&places);
        let what = format!("without {places:?}");
        proof.accepted(&payload, 3 - places.len(), places.len(), &what);
        // And what is withheld is not there.
        let text = payload.to_string();
        for place in places {
            let part = &proof.payload["parts"][place];
            assert!(!text.contains(part["bytes"].as_str().unwrap()), "{what}");
            assert!(!text.contains(part["salt"].as_str().unwrap()), "{what}");
        }
    }
}

#[test]
fn one_byte_changed_in_a_part_a_salt_or_a_commitment_is_refused() {
    let proof = Proof::of_three_parts();
    for place in 0..3 {
        for at in [0, 7, usize::MAX] {
            let mut payload = proof.payload.clone();
            let bytes = &mut payload["parts"][place]["bytes"];
            *bytes = altered_base64(bytes, at);
            proof.refused(&payload, &format!("byte {at} of part {place}"));
        }
        for at in [0, 15] {
            let mut payload = proof.payload.clone();
            let salt = &mut payload["parts"][place]["salt"];
            *salt = altered_hex(salt, at);
            proof.refused(&payload, &format!("byte {at} of salt {place}"));
        }
        for at in [0, 31] {
            let mut payload = proof.without(&[place]);
            let erased = &mut payload["parts"][place]["erased"];
            *erased = altered_hex(erased, at);
            proof.refused(&payload, &format!("byte {at} of commitment {place}"));
        }
        proof.accepted(&proof.without(&[place]), 2, 1, "the twin");
    }
    for at in [1, 2, 20, 47, 48, 79] {
        let mut payload = proof.payload.clone();
        payload["entry"] = altered_hex(&payload["entry"], at);
        proof.refused(&payload, &format!("byte {at} of the entry"));
    }
    proof.accepted(&proof.payload, 3, 0, "the twin");
}

#[test]
fn a_part_in_no_proper_form_is_refused() {
    let proof = Proof::of_three_parts();
    let changed = |what: &str, change: &dyn Fn(&mut Vec<Value>)| {
        let mut payload = proof.payload.clone();
        change(payload["parts"].as_array_mut().unwrap());
        proof.refused(&payload, what);
    };
    changed("a part left out", &|parts| drop(parts.remove(1)));
    changed("a part twice", &|parts| parts.push(parts[0].clone()));
    changed("a part under another's name", &|parts| {
        let name = parts[0]["part"].clone();
        parts[0]["part"] = parts[1]["part"].clone();
        parts[1]["part"] = name;
    });
    changed("an unknown part", &|parts| {
        parts[0]["part"] = "other".into()
    });
    changed("salt but no bytes", &|parts| {
        drop(parts[0].as_object_mut().unwrap().remove("bytes"))
    });
    changed("bytes but no salt", &|parts| {
        drop(parts[0].as_object_mut().unwrap().remove("salt"))
    });
    changed("both the part and a commitment", &|parts| {
        parts[0]["erased"] = commitment(&parts[0]).into();
    });
    changed("a short salt", &|parts| parts[0]["salt"] = "00".into());
    changed("no commitment at all", &|parts| {
        parts[0] = json!({ "part": parts[0]["part"], "erased": "00".repeat(32) });
    });
    changed("another part's commitment", &|parts| {
        parts[0] = json!({ "part": parts[0]["part"], "erased": commitment(&parts[1]) });
    });
    let mut other = proof.payload.clone();
    other["index"] = (proof.index + 1).into();
    proof.refused(&other, "another entry's payload");
    proof.accepted(&proof.payload, 3, 0, "the twin");
}

#[test]
fn a_proof_changed_in_a_byte_is_refused() {
    let proof = Proof::of_three_parts();
    let good = std::fs::read(proof.path("tlog-proof")).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let (head, note) = text.split_once("\n\n").unwrap();
    let hashes: Vec<&str> = head.lines().skip(2).collect();
    let hash = |number: usize| text.find(hashes[number]).unwrap() + 3;
    let checkpoint = text.find(note).unwrap();
    let places = [
        0,
        head.find("index ").unwrap() + 6,
        hash(0),
        hash(hashes.len() - 1),
    ];
    let in_note = [
        checkpoint,
        checkpoint + note.find('\n').unwrap() + 1,
        text.len() - 100,
    ];
    for at in places.into_iter().chain(in_note) {
        let mut bad = good.clone();
        bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
        std::fs::write(proof.path("tlog-proof"), bad).unwrap();
        let (verdict, code) = proof.verified(&proof.path("tlog-proof"));
        assert_eq!(
            (code, &verdict["verified"]),
            (1, &json!(false)),
            "byte {at}: {verdict}"
        );
    }
    std::fs::write(proof.path("tlog-proof"), good).unwrap();
    proof.accepted(&proof.payload, 3, 0, "the twin");
}

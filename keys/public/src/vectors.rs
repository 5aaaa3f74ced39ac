//! Every vector of another implementation, judged with each of its keys as it says.
//!
//! Not here: our own notes opened there; that needs the other implementation and is another test.

use serde_json::Value;

use crate::{Note, VerifierKey};

const VECTORS: &str = include_str!("../../../tests/vectors/checkpoints.json");

fn opens(note: &str, vkey: &str) -> bool {
    let key = VerifierKey::parse(vkey).unwrap_or_else(|error| panic!("{vkey}: {error}"));
    assert_eq!(key.to_string(), vkey, "a vkey is written as it was read");
    Note::parse(note.as_bytes()).is_ok_and(|note| note.verify(&key).is_ok())
}

#[test]
fn every_vector_is_judged_as_it_says() {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let note = vector["note"].as_str().unwrap();
        let keys = vector["vkeys"].as_array().unwrap();
        let verdicts = vector["valid"].as_array().unwrap();
        assert_eq!(keys.len(), verdicts.len(), "{name}");
        for (key, verdict) in keys.iter().zip(verdicts) {
            let (key, expected) = (key.as_str().unwrap(), verdict.as_bool().unwrap());
            assert_eq!(
                opens(note, key),
                expected,
                "vector {name}, key {}",
                &key[..50]
            );
            if expected { valid += 1 } else { invalid += 1 }
        }
        if let Ok(note) = Note::parse(note.as_bytes()) {
            assert_eq!(
                note.encode(),
                vector["note"].as_str().unwrap().as_bytes(),
                "{name}"
            );
        }
    }
    // The file must not have shrunk to something that cannot fail.
    assert_eq!((vectors.len(), valid, invalid), (19, 27, 49));
}

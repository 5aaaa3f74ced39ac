//! What lies beside a proof file: the entry, its parts and their salts, so that the proof can be
//! checked down to the payload (docs/formats/payload.md).
//!
//! Not here: the proof itself (ledger/core) and checking it (ledger/verify).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger_core::{Part, Salt};
use ledger_log::{OwnedPart, StoredEntry};
use serde::Serialize;

#[derive(Serialize)]
struct Payload {
    index: u64,
    entry: String,
    parts: Vec<PayloadPart>,
}

#[derive(Serialize)]
struct PayloadPart {
    part: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    erased: Option<String>,
}

/// The entry with its parts and salts as one JSON object.
pub(crate) fn payload_json(stored: &StoredEntry) -> String {
    let parts = Part::ALL.into_iter().zip(&stored.parts).zip(&stored.salts);
    let payload = Payload {
        index: stored.index.0,
        entry: hex(&stored.entry.encode()),
        parts: parts
            .filter_map(|((part, stored), salt)| payload_part(part, stored, salt))
            .collect(),
    };
    // Numbers and strings always have a JSON form, so this never falls back.
    serde_json::to_string(&payload).unwrap_or_default()
}

fn payload_part(part: Part, stored: &OwnedPart, salt: &Salt) -> Option<PayloadPart> {
    let part = part.name();
    match stored {
        OwnedPart::Absent => None,
        OwnedPart::Present(bytes) => Some(PayloadPart {
            part,
            salt: Some(hex(&salt.0)),
            bytes: Some(STANDARD.encode(bytes)),
            erased: None,
        }),
        OwnedPart::Erased(commitment) => Some(PayloadPart {
            part,
            salt: None,
            bytes: None,
            erased: Some(commitment.to_string()),
        }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use ledger_core::state::ShortMac;
    use ledger_core::{Entry, Hash, Index, part_commitment, payload_commitment};

    use super::*;

    #[test]
    fn the_example_of_the_documentation_is_what_is_written_and_its_commitment_holds() {
        let page = include_str!("../../../docs/formats/payload.md");
        let mut lines = page
            .lines()
            .skip_while(|line| *line != "```json payload")
            .skip(1);
        let example = lines.next().unwrap();
        let salts = [Salt([0x0a; 16]), Salt::ZERO, Salt([0x0c; 16])];
        let erased = Hash([0xee; 32]);
        let (facts, text) = (b"{\"class_uid\":6005}", b"{\"message\":\"m\"}");
        let parts = [
            OwnedPart::Present(facts.to_vec()),
            OwnedPart::Erased(erased),
            OwnedPart::Present(text.to_vec()),
        ];
        let c0 = part_commitment(Part::ALL[0], &salts[0], facts);
        let c2 = part_commitment(Part::ALL[2], &salts[2], text);
        let commitment = payload_commitment(&[c0, erased, c2]);
        let head = "01 01 0008 00001775 0001 01 01 00000000 00000001 6afd86c0 0000000000000003";
        let times = "18eb2d0c9eb3a000 18eb2d0c9eb3a000";
        let digits = format!("{head} {times} {commitment}").replace(' ', "");
        let bytes: Vec<u8> = (0..80)
            .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let stored = StoredEntry {
            index: Index(7),
            entry: Entry::decode(&bytes).unwrap(),
            mac: ShortMac::ZERO,
            salts,
            parts,
        };
        assert_eq!(payload_json(&stored), example);
    }
}

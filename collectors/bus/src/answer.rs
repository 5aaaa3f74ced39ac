//! The JSON that the log answers with: what became of a batch, and what a published checkpoint
//! covers of a source (docs/formats/messages.md).
//!
//! Not here: problems (api/http makes them, [`crate::http`] reads them).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger_core::state::{Mark, ShortMac, Stream};
use ledger_core::{Epoch, Hash, Index, Nanos, Sequence, TreeSize};
use ledger_log::{Acknowledged, Appended, Missing, Outcome, Receipt};
use serde::{Deserialize, Serialize};

/// The answer to a batch.
#[derive(Debug, Serialize, Deserialize)]
pub struct AppendedAnswer {
    size: u64,
    outcomes: Vec<WireOutcome>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WireOutcome {
    Appended(u64),
    Late(u64),
    Repeat,
    Conflict(u64),
    Forged(u64),
}

impl From<&Appended> for AppendedAnswer {
    fn from(appended: &Appended) -> Self {
        let outcomes = appended.outcomes.iter().map(|outcome| match outcome {
            Outcome::Appended(index) => WireOutcome::Appended(index.0),
            Outcome::Late(index) => WireOutcome::Late(index.0),
            Outcome::Repeat => WireOutcome::Repeat,
            Outcome::Conflict(index) => WireOutcome::Conflict(index.0),
            Outcome::Forged(index) => WireOutcome::Forged(index.0),
        });
        AppendedAnswer {
            size: appended.size.0,
            outcomes: outcomes.collect(),
        }
    }
}

impl From<AppendedAnswer> for Appended {
    fn from(answer: AppendedAnswer) -> Self {
        let outcomes = answer.outcomes.into_iter().map(|outcome| match outcome {
            WireOutcome::Appended(index) => Outcome::Appended(Index(index)),
            WireOutcome::Late(index) => Outcome::Late(Index(index)),
            WireOutcome::Repeat => Outcome::Repeat,
            WireOutcome::Conflict(index) => Outcome::Conflict(Index(index)),
            WireOutcome::Forged(index) => Outcome::Forged(Index(index)),
        });
        Appended {
            outcomes: outcomes.collect(),
            size: TreeSize(answer.size),
        }
    }
}

/// The answer to `GET /v1/sources/<id>/acknowledged`.
#[derive(Debug, Serialize, Deserialize)]
pub struct AcknowledgedAnswer {
    size: u64,
    epoch: u32,
    streams: Vec<StreamAnswer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptAnswer>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ReceiptAnswer {
    /// Ledger time in nanoseconds since 1970.
    at: i64,
    /// Base64 of 32 bytes.
    mac: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct StreamAnswer {
    stream: String,
    sequence: u64,
    /// Base64 of the first 16 bytes of the MAC.
    mac: String,
    /// First and last number of each range that is not held.
    missing: Vec<(u64, u64)>,
}

impl From<&Acknowledged> for AcknowledgedAnswer {
    fn from(found: &Acknowledged) -> Self {
        let answer = |stream: Stream| {
            let mark = found.mark(stream);
            let holes = found.missing.iter().filter(|hole| hole.stream == stream);
            StreamAnswer {
                stream: stream.name().to_owned(),
                sequence: mark.sequence.0,
                mac: STANDARD.encode(mark.mac.0),
                missing: holes.map(|hole| (hole.from.0, hole.to.0)).collect(),
            }
        };
        AcknowledgedAnswer {
            size: found.size.0,
            epoch: found.epoch.0,
            streams: Stream::ALL.into_iter().map(answer).collect(),
            receipt: found.receipt.map(|receipt| ReceiptAnswer {
                at: receipt.at.0,
                mac: STANDARD.encode(receipt.mac.0),
            }),
        }
    }
}

/// An answer that no log of ours gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the acknowledgement cannot be read: another stream, MAC or order than a log answers")]
pub struct NoAcknowledgement;

impl TryFrom<AcknowledgedAnswer> for Acknowledged {
    type Error = NoAcknowledgement;

    fn try_from(answer: AcknowledgedAnswer) -> Result<Acknowledged, NoAcknowledgement> {
        let mut marks = [Mark::default(); 3];
        let mut missing = Vec::new();
        if answer.streams.len() != marks.len() {
            return Err(NoAcknowledgement);
        }
        let expected = Stream::ALL.into_iter().zip(&mut marks);
        for ((stream, mark), found) in expected.zip(answer.streams) {
            if found.stream != stream.name() {
                return Err(NoAcknowledgement);
            }
            let mac = STANDARD.decode(&found.mac).ok();
            let mac = mac.and_then(|bytes| <[u8; ShortMac::LEN]>::try_from(bytes).ok());
            *mark = Mark {
                sequence: Sequence(found.sequence),
                mac: ShortMac(mac.ok_or(NoAcknowledgement)?),
            };
            let mut before = 0;
            for (from, to) in found.missing {
                // Trusted by the journal: what is said to be held is forgotten there.
                if from <= before || to < from || to >= found.sequence {
                    return Err(NoAcknowledgement);
                }
                before = to;
                let (from, to) = (Sequence(from), Sequence(to));
                missing.push(Missing { stream, from, to });
            }
        }
        let receipt = |found: ReceiptAnswer| {
            let mac = Hash::from_base64(&found.mac).ok_or(NoAcknowledgement)?;
            let at = Nanos(found.at);
            Ok(Receipt { at, mac })
        };
        Ok(Acknowledged {
            size: TreeSize(answer.size),
            epoch: Epoch(answer.epoch),
            marks,
            missing,
            receipt: answer.receipt.map(receipt).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/formats/messages.md");

    #[test]
    fn outcomes_have_the_form_of_the_documentation_and_come_back() {
        let example = PAGE
            .lines()
            .find(|line| line.starts_with("{\"size\":12,\"outcomes\""))
            .unwrap();
        let appended = Appended {
            size: TreeSize(12),
            outcomes: vec![
                Outcome::Appended(Index(10)),
                Outcome::Late(Index(11)),
                Outcome::Repeat,
                Outcome::Conflict(Index(12)),
                Outcome::Forged(Index(13)),
            ],
        };
        let answer = AppendedAnswer::from(&appended);
        assert_eq!(serde_json::to_string(&answer).unwrap(), example);
        let read: AppendedAnswer = serde_json::from_str(example).unwrap();
        assert_eq!(Appended::from(read), appended);
        for bad in [
            "{}",
            r#"{"size":1,"outcomes":["lost"]}"#,
            r#"{"size":-1,"outcomes":[]}"#,
        ] {
            assert!(
                serde_json::from_str::<AppendedAnswer>(bad).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_acknowledgement_has_the_form_of_the_documentation_and_comes_back() {
        let example: String = PAGE
            .lines()
            .skip_while(|line| !line.starts_with("{\"size\":12,\"epoch\""))
            .take_while(|line| *line != "```")
            .map(str::trim)
            .collect();
        let read: AcknowledgedAnswer = serde_json::from_str(&example).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), example);
        let found = Acknowledged::try_from(read).unwrap();
        assert_eq!((found.size, found.epoch.0), (TreeSize(12), 1_795_000_000));
        assert_eq!(found.mark(Stream::Record).sequence, Sequence(9));
        assert_eq!(found.mark(Stream::Record).mac, ShortMac([0x22; 16]));
        assert_eq!(found.through(Stream::Record), Sequence(3));
        assert_eq!(found.through(Stream::Heartbeat), Sequence(2));
        let again = serde_json::to_string(&AcknowledgedAnswer::from(&found)).unwrap();
        assert_eq!(again, example);

        for (from, to) in [
            ("[[4,5],[7,7]]", "[[7,7],[4,5]]"),
            ("[[4,5],[7,7]]", "[[4,9]]"),
            ("[[4,5],[7,7]]", "[[0,2]]"),
            ("[[4,5],[7,7]]", "[[5,4]]"),
            ("\"heartbeat\"", "\"record\""),
            ("\"IiIiIiIiIiIiIiIiIiIiIg==\"", "\"IiIi\""),
            ("VVVVVVVVVVVVVVVV", "VVVV"),
        ] {
            assert!(example.contains(from), "{from}");
            let bad = example.replacen(from, to, 1);
            let bad: AcknowledgedAnswer = serde_json::from_str(&bad).unwrap();
            assert_eq!(Acknowledged::try_from(bad), Err(NoAcknowledgement), "{to}");
        }
    }
}

//! Signed notes as text (C2SP signed-note, "Format"): a text that ends in a newline, an empty line,
//! and signature lines.
//!
//! Not here: what the signatures cover and whether they hold (see [`crate::signature`]).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::key::{KeyNameError, VerifierKey, check_name};

/// What begins a signature line: an em dash and a space.
const LINE_START: &str = "\u{2014} ";

/// One signature line: `— <name> base64(key id ‖ bytes)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignatureLine {
    /// The name of the key, as the line says. It may be unknown.
    pub name: String,
    /// The key id, as the line says.
    pub key_id: u32,
    /// What follows the key id: a signature, or a timestamp and a signature.
    pub bytes: Vec<u8>,
}

impl SignatureLine {
    /// The line of `key` with `bytes`: the signature, behind its timestamp for types 0x04 and 0x06.
    pub fn of(key: &VerifierKey, bytes: Vec<u8>) -> SignatureLine {
        SignatureLine {
            name: key.name().as_str().to_owned(),
            key_id: key.id(),
            bytes,
        }
    }

    /// Reads one line, without its newline. A witness's answer is such lines.
    ///
    /// # Errors
    /// The reason alone; [`Note::parse`] adds the line's number.
    pub fn parse(line: &str) -> Result<SignatureLine, BadLine> {
        let rest = line.strip_prefix(LINE_START).ok_or(BadLine::Start)?;
        let (name, signature) = rest.split_once(' ').ok_or(BadLine::NoSignature)?;
        check_name(name)?;
        let bytes = STANDARD.decode(signature).map_err(|_| BadLine::Base64)?;
        match bytes.split_first_chunk::<4>() {
            Some((id, signature)) if !signature.is_empty() => Ok(SignatureLine {
                name: name.to_owned(),
                key_id: u32::from_be_bytes(*id),
                bytes: signature.to_vec(),
            }),
            _ => Err(BadLine::TooShort),
        }
    }

    /// Whether the line says that it was made by `key`.
    pub fn is_of(&self, key: &VerifierKey) -> bool {
        self.key_id == key.id() && self.name == key.name().as_str()
    }
}

impl fmt::Display for SignatureLine {
    /// The line without its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(4 + self.bytes.len());
        bytes.extend_from_slice(&self.key_id.to_be_bytes());
        bytes.extend_from_slice(&self.bytes);
        write!(f, "{LINE_START}{} {}", self.name, STANDARD.encode(bytes))
    }
}

/// What is wrong with one signature line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BadLine {
    /// It does not begin with an em dash and a space.
    #[error("it does not begin with an em dash and a space")]
    Start,
    /// Nothing follows the name.
    #[error("it has a name but no signature")]
    NoSignature,
    /// The name is none.
    #[error(transparent)]
    Name(#[from] KeyNameError),
    /// The signature is not standard base64 with padding.
    #[error("its signature is not standard base64")]
    Base64,
    /// A key id is four bytes and a signature at least one.
    #[error("its signature has fewer than five bytes")]
    TooShort,
}

/// A text and the signature lines below it. Nothing about it is verified yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    text: String,
    signatures: Vec<SignatureLine>,
}

impl Note {
    /// The largest note that is read, in bytes.
    pub const BYTES_MAX: usize = 1024 * 1024;
    /// The most signature lines that are read or kept (C2SP asks for at least 16).
    pub const SIGNATURES_MAX: usize = 64;

    /// A note of `text` without signatures yet. It can be read again once it has one.
    ///
    /// # Errors
    /// A text that does not end in a newline, or holds a control character other than newline.
    pub fn new(text: String) -> Result<Note, MalformedNote> {
        check_characters(&text)?;
        if !text.ends_with('\n') {
            return Err(MalformedNote::TextNotEnded);
        }
        if text.len() > Note::BYTES_MAX {
            return Err(MalformedNote::TooLarge { bytes: text.len() });
        }
        Ok(Note {
            text,
            signatures: Vec::new(),
        })
    }

    /// Reads a signed note.
    ///
    /// # Errors
    /// See [`MalformedNote`]. Reading is strict: what is taken is written back by
    /// [`Note::encode`] byte for byte.
    pub fn parse(bytes: &[u8]) -> Result<Note, MalformedNote> {
        if bytes.len() > Note::BYTES_MAX {
            return Err(MalformedNote::TooLarge { bytes: bytes.len() });
        }
        let whole = std::str::from_utf8(bytes).map_err(|error| MalformedNote::NotUtf8 {
            at: error.valid_up_to(),
        })?;
        check_characters(whole)?;
        // The text may hold empty lines: the last one separates (and no signature line is empty).
        let at = whole.rfind("\n\n").ok_or(MalformedNote::NoSeparator)?;
        let (text, rest) = whole.split_at(at.saturating_add(1));
        let lines = rest.strip_prefix('\n').unwrap_or(rest);
        if lines.is_empty() {
            return Err(MalformedNote::NoSignatures);
        }
        let lines = lines
            .strip_suffix('\n')
            .ok_or(MalformedNote::LastLineNotEnded)?;
        let mut signatures = Vec::with_capacity(4);
        for (index, line) in lines.split('\n').enumerate() {
            if index >= Note::SIGNATURES_MAX {
                return Err(MalformedNote::TooManySignatures);
            }
            let line = SignatureLine::parse(line).map_err(|reason| MalformedNote::Line {
                line: index.saturating_add(1),
                reason,
            })?;
            signatures.push(line);
        }
        Ok(Note {
            text: text.to_owned(),
            signatures,
        })
    }

    /// The note as it is stored and served.
    pub fn encode(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// The signed text, with its final newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines in their order, of known and unknown keys alike.
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// Adds a signature line, for instance a witness's, unless the same line is there already.
    ///
    /// # Errors
    /// [`MalformedNote::TooManySignatures`] when [`Note::SIGNATURES_MAX`] are there, and what
    /// [`Note::parse`] would say about the line.
    pub fn add(&mut self, line: SignatureLine) -> Result<(), MalformedNote> {
        if self.signatures.contains(&line) {
            return Ok(());
        }
        if self.signatures.len() >= Note::SIGNATURES_MAX {
            return Err(MalformedNote::TooManySignatures);
        }
        let number = self.signatures.len().saturating_add(1);
        let bad = |reason| MalformedNote::Line {
            line: number,
            reason,
        };
        check_name(&line.name).map_err(|error| bad(BadLine::Name(error)))?;
        if line.bytes.is_empty() {
            return Err(bad(BadLine::TooShort));
        }
        self.signatures.push(line);
        Ok(())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for line in &self.signatures {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

/// Why bytes are no signed note.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum MalformedNote {
    /// Larger than [`Note::BYTES_MAX`].
    #[error("the note has {bytes} bytes, at most 1048576 are read")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Not UTF-8.
    #[error("the note is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// The first byte that does not fit.
        at: usize,
    },
    /// A control character other than newline; a carriage return is one.
    #[error("the note holds the control character {character:?} at byte {at}")]
    ControlCharacter {
        /// The character.
        character: char,
        /// Where it stands.
        at: usize,
    },
    /// No empty line.
    #[error("the note has no empty line between its text and its signatures")]
    NoSeparator,
    /// The text of a new note is not ended.
    #[error("the text of the note does not end with a newline")]
    TextNotEnded,
    /// Nothing follows the last empty line.
    #[error("the note has no signature line")]
    NoSignatures,
    /// The note is cut.
    #[error("the last line of the note does not end with a newline: the note was cut")]
    LastLineNotEnded,
    /// More than [`Note::SIGNATURES_MAX`] signature lines.
    #[error("the note has more than 64 signature lines")]
    TooManySignatures,
    /// One signature line is bad.
    #[error("signature line {line} of the note is bad: {reason}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: BadLine,
    },
}

fn check_characters(text: &str) -> Result<(), MalformedNote> {
    // In UTF-8 every byte below 0x20 is a character of its own.
    match text
        .bytes()
        .enumerate()
        .find(|(_, byte)| *byte < 0x20 && *byte != b'\n')
    {
        Some((at, byte)) => Err(MalformedNote::ControlCharacter {
            character: char::from(byte),
            at,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "text\n\nmore\n\n\u{2014} log.example/a AAAAAQE=\n\u{2014} b AAAAAgIC\n";

    #[test]
    fn bad_notes_are_refused_by_name() {
        let line = |reason| MalformedNote::Line { line: 1, reason };
        let many = format!("t\n\n{}", "\u{2014} b AAAAAgIC\n".repeat(65));
        for (text, error) in [
            ("", MalformedNote::NoSeparator),
            ("text\n", MalformedNote::NoSeparator),
            ("text\n\u{2014} b AAAAAgIC\n", MalformedNote::NoSeparator),
            ("text\n\n", MalformedNote::NoSignatures),
            (GOOD.trim_end(), MalformedNote::LastLineNotEnded),
            (
                "t\r\n\n\u{2014} b AAAAAgIC\n",
                MalformedNote::ControlCharacter {
                    character: '\r',
                    at: 1,
                },
            ),
            (
                "t\t\n\n\u{2014} b AAAAAgIC\n",
                MalformedNote::ControlCharacter {
                    character: '\t',
                    at: 1,
                },
            ),
            ("t\n\n- b AAAAAgIC\n", line(BadLine::Start)),
            ("t\n\n\u{2014} b\n", line(BadLine::NoSignature)),
            (
                "t\n\n\u{2014}  AAAAAgIC\n",
                line(BadLine::Name(KeyNameError::Empty)),
            ),
            (
                "t\n\n\u{2014} a+b AAAAAgIC\n",
                line(BadLine::Name(KeyNameError::Character('+'))),
            ),
            ("t\n\n\u{2014} b AAAAAgIC \n", line(BadLine::Base64)),
            ("t\n\n\u{2014} b AAAAAgI\n", line(BadLine::Base64)),
            ("t\n\n\u{2014} b AAAAAQF=\n", line(BadLine::Base64)), // bits after the last byte
            ("t\n\n\u{2014} b AAAAAg==\n", line(BadLine::TooShort)),
            (many.as_str(), MalformedNote::TooManySignatures),
        ] {
            assert_eq!(Note::parse(text.as_bytes()), Err(error), "{text:?}");
        }
        assert_eq!(
            Note::parse(b"t\n\n\xe2\x80 b"),
            Err(MalformedNote::NotUtf8 { at: 3 }),
            "half an em dash"
        );
        let large = vec![b'x'; Note::BYTES_MAX + 1];
        assert_eq!(
            Note::parse(&large),
            Err(MalformedNote::TooLarge {
                bytes: Note::BYTES_MAX + 1
            })
        );
    }

    #[test]
    fn a_good_note_is_read_and_written_back_byte_for_byte() {
        let note = Note::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(note.text(), "text\n\nmore\n");
        assert_eq!(note.signatures().len(), 2);
        assert_eq!(note.signatures()[0].name, "log.example/a");
        assert_eq!(note.signatures()[0].key_id, 1);
        assert_eq!(note.signatures()[1].bytes, [2, 2]);
        assert_eq!(note.encode(), GOOD.as_bytes());
        let most = format!(
            "t\n\n{}",
            "\u{2014} b AAAAAgIC\n".repeat(Note::SIGNATURES_MAX)
        );
        assert_eq!(
            Note::parse(most.as_bytes()).unwrap().encode(),
            most.as_bytes()
        );
    }

    #[test]
    fn every_cut_of_a_note_is_refused_or_reads_as_what_it_says() {
        for end in 0..GOOD.len() {
            let cut = &GOOD.as_bytes()[..end];
            if let Ok(note) = Note::parse(cut) {
                assert_eq!(note.encode(), cut);
            }
        }
    }

    #[test]
    fn lines_are_added_up_to_the_bound_and_never_twice() {
        let line = |n: u32| SignatureLine {
            name: "w".into(),
            key_id: n,
            bytes: vec![1],
        };
        let mut note = Note::new("text\n".into()).unwrap();
        for n in 0..64 {
            note.add(line(n)).unwrap();
            note.add(line(n)).unwrap();
        }
        assert_eq!(note.signatures().len(), 64);
        assert_eq!(note.add(line(64)), Err(MalformedNote::TooManySignatures));
        assert_eq!(Note::parse(&note.encode()).unwrap(), note);

        let mut note = Note::new("text\n".into()).unwrap();
        let spaced = SignatureLine {
            name: "a b".into(),
            key_id: 1,
            bytes: vec![1],
        };
        assert!(matches!(
            note.add(spaced),
            Err(MalformedNote::Line { line: 1, .. })
        ));
        let empty = SignatureLine {
            name: "a".into(),
            key_id: 1,
            bytes: vec![],
        };
        assert!(matches!(
            note.add(empty),
            Err(MalformedNote::Line { line: 1, .. })
        ));
        assert_eq!(Note::new("text".into()), Err(MalformedNote::TextNotEnded));
    }
}

//! A message as a record of the events topic: the event's bytes as the value, all else in
//! CloudEvents headers, binary mode (docs/formats/kafka.md).
//!
//! Not here: the broker's client; a record is a list of headers and a value here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger_core::message::{Message, MessageMac};
use ledger_core::state::Stream;
use ledger_core::{Epoch, Flags, Sequence, SourceId};

/// What the value is: it names the version of this form.
pub const MESSAGE_TYPE: &str = "org.custody.message.v1";
/// The version of CloudEvents.
const SPECVERSION: &str = "1.0";
/// What a value is.
const CONTENT_TYPE: &str = "application/json";

const H_SPECVERSION: &str = "ce_specversion";
const H_TYPE: &str = "ce_type";
const H_SOURCE: &str = "ce_source";
const H_ID: &str = "ce_id";
const H_CONTENT_TYPE: &str = "content-type";
const H_PREV: &str = "ce_custodyprev";
const H_FLAGS: &str = "ce_custodyflags";
/// The header with a MAC, in acknowledgements too.
pub const H_MAC: &str = "ce_custodymac";

/// What begins the name of every source, of whichever tenant.
const SOURCES: &str = "urn:custody:source:";

/// The sources of one tenant of one deployment, as records name them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    prefix: String,
}

impl Home {
    /// The sources of `tenant` in `deployment`.
    pub fn new(deployment: &str, tenant: &str) -> Home {
        Home {
            prefix: format!("{SOURCES}{deployment}/{tenant}:"),
        }
    }

    /// The name of one of its sources.
    pub fn source(&self, source: SourceId) -> String {
        format!("{}{source}", self.prefix)
    }
}

/// All of a message but its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Who sent it.
    pub source: SourceId,
    /// Which of the source's streams.
    pub stream: Stream,
    /// The life of the sender's journal.
    pub epoch: Epoch,
    /// The number within stream and epoch.
    pub sequence: Sequence,
    /// What the sender says about it.
    pub flags: Flags,
    /// The MAC of the message before.
    pub prev: MessageMac,
    /// The MAC of this message.
    pub mac: MessageMac,
}

impl Head {
    /// The message with this head and value.
    pub fn message(self, value: Vec<u8>) -> Message {
        Message {
            stream: self.stream,
            epoch: self.epoch,
            sequence: self.sequence,
            prev: self.prev,
            mac: self.mac,
            flags: self.flags,
            value,
        }
    }
}

/// Why a record is no message of a source of ours. No text of the record is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotOurs {
    /// A header that every message has is not there.
    #[error("header {0} is missing: no agent of this log wrote it")]
    Missing(&'static str),
    /// A header stands there twice.
    #[error("header {0} stands there twice")]
    Twice(&'static str),
    /// A header has a value that no message has.
    #[error("header {0} has a value that no message has")]
    Illegal(&'static str),
    /// It is a message of another tenant or deployment.
    #[error("it is a message of another tenant or deployment: nothing of it is kept")]
    OtherTenant,
    /// Its key is not the number of the source that it names.
    #[error("its key is not the number of the source that it names")]
    Key,
    /// The name of a header is no text.
    #[error("a header has a name that is not UTF-8")]
    HeaderName,
}

/// The headers of `message` from the source named `sender` (see [`Home::source`]), in their order.
pub fn headers(message: &Message, sender: &str) -> Vec<(&'static str, String)> {
    let id = format!(
        "{}/{}/{}",
        message.stream.number(),
        message.epoch,
        message.sequence
    );
    let mut headers = vec![
        (H_SPECVERSION, SPECVERSION.to_owned()),
        (H_TYPE, MESSAGE_TYPE.to_owned()),
        (H_SOURCE, sender.to_owned()),
        (H_ID, id),
        (H_CONTENT_TYPE, CONTENT_TYPE.to_owned()),
        (H_PREV, STANDARD.encode(message.prev)),
        (H_MAC, STANDARD.encode(message.mac)),
    ];
    if message.flags != Flags::NONE {
        headers.push((H_FLAGS, message.flags.0.to_string()));
    }
    headers
}

/// Reads the headers of a record. Headers of other names are passed over, so that brokers and
/// tracing may add theirs.
///
/// # Errors
/// The first thing that no message of a source of `home` has.
pub fn read<'h>(
    headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>,
    home: &Home,
) -> Result<Head, NotOurs> {
    let mut found = Found::default();
    let mut wrong = Ok(());
    for (name, value) in headers {
        let value = value.unwrap_or_default();
        // Asked first: of another tenant's record nothing may be said, not even what is wrong in
        // it.
        if name == H_SOURCE && of_home(value, home) == Err(NotOurs::OtherTenant) {
            return Err(NotOurs::OtherTenant);
        }
        wrong = wrong.and(found.take(name, value));
    }
    wrong?;
    let source = of_home(found.source.ok_or(NotOurs::Missing(H_SOURCE))?, home)?;
    let exactly = |name, value: Option<&[u8]>, expected: &str| match value {
        None => Err(NotOurs::Missing(name)),
        Some(value) if value == expected.as_bytes() => Ok(()),
        Some(_) => Err(NotOurs::Illegal(name)),
    };
    exactly(H_SPECVERSION, found.specversion, SPECVERSION)?;
    exactly(H_TYPE, found.kind, MESSAGE_TYPE)?;
    exactly(H_CONTENT_TYPE, found.content_type, CONTENT_TYPE)?;
    let (stream, epoch, sequence) =
        id(found.id.ok_or(NotOurs::Missing(H_ID))?).ok_or(NotOurs::Illegal(H_ID))?;
    let flags = match found.flags {
        None => Flags::NONE,
        Some(text) => Flags(number(text).ok_or(NotOurs::Illegal(H_FLAGS))?),
    };
    Ok(Head {
        source,
        stream,
        epoch,
        sequence,
        flags,
        prev: mac(H_PREV, found.prev)?,
        mac: mac(H_MAC, found.mac)?,
    })
}

/// The head of a record with this key.
///
/// # Errors
/// The key is not the number of the source.
pub fn with_key(head: Head, key: Option<&[u8]>) -> Result<Head, NotOurs> {
    match key.and_then(number).map(SourceId) {
        Some(source) if source == head.source => Ok(head),
        _ => Err(NotOurs::Key),
    }
}

/// The headers that count, each at most once.
#[derive(Default)]
struct Found<'h> {
    specversion: Option<&'h [u8]>,
    kind: Option<&'h [u8]>,
    source: Option<&'h [u8]>,
    id: Option<&'h [u8]>,
    content_type: Option<&'h [u8]>,
    prev: Option<&'h [u8]>,
    mac: Option<&'h [u8]>,
    flags: Option<&'h [u8]>,
}

impl<'h> Found<'h> {
    fn take(&mut self, name: &str, value: &'h [u8]) -> Result<(), NotOurs> {
        let (slot, name) = match name {
            H_SPECVERSION => (&mut self.specversion, H_SPECVERSION),
            H_TYPE => (&mut self.kind, H_TYPE),
            H_SOURCE => (&mut self.source, H_SOURCE),
            H_ID => (&mut self.id, H_ID),
            H_CONTENT_TYPE => (&mut self.content_type, H_CONTENT_TYPE),
            H_PREV => (&mut self.prev, H_PREV),
            H_MAC => (&mut self.mac, H_MAC),
            H_FLAGS => (&mut self.flags, H_FLAGS),
            _ => return Ok(()),
        };
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(NotOurs::Twice(name)),
        }
    }
}

fn of_home(name: &[u8], home: &Home) -> Result<SourceId, NotOurs> {
    match name.strip_prefix(home.prefix.as_bytes()) {
        Some(source) => number(source)
            .map(SourceId)
            .ok_or(NotOurs::Illegal(H_SOURCE)),
        None if name.starts_with(SOURCES.as_bytes()) => Err(NotOurs::OtherTenant),
        None => Err(NotOurs::Illegal(H_SOURCE)),
    }
}

/// `<stream>/<epoch>/<sequence>`.
fn id(text: &[u8]) -> Option<(Stream, Epoch, Sequence)> {
    let mut parts = text.split(|byte| *byte == b'/');
    let stream = Stream::from_number(number(parts.next()?)?)?;
    let epoch = Epoch(number(parts.next()?)?);
    let sequence = Sequence(number(parts.next()?)?);
    parts.next().is_none().then_some((stream, epoch, sequence))
}

/// A number in the one way in which it is written: no sign, no zero in front.
fn number<N: TryFrom<u64>>(text: &[u8]) -> Option<N> {
    let plain = matches!(text, [b'0'] | [b'1'..=b'9', ..]);
    if !plain || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    N::try_from(text.parse::<u64>().ok()?).ok()
}

fn mac(name: &'static str, text: Option<&[u8]>) -> Result<MessageMac, NotOurs> {
    let text = text.ok_or(NotOurs::Missing(name))?;
    let mut mac = [0; 32];
    // Three bytes of room: the decoder wants whole groups of four characters.
    let mut room = [0; 35];
    let length = STANDARD
        .decode_slice(text, &mut room)
        .map_err(|_| NotOurs::Illegal(name))?;
    match room.get(..length) {
        Some(bytes) if length == mac.len() => mac.copy_from_slice(bytes),
        Some(_) | None => return Err(NotOurs::Illegal(name)),
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../../docs/formats/kafka.md");

    fn home() -> Home {
        Home::new("db.example.org", "main")
    }

    /// Headers and value of the example of the documentation.
    fn example() -> (Vec<(String, String)>, String) {
        let block = PAGE.split("```record\n").nth(1).unwrap();
        let mut headers = Vec::new();
        let mut value = String::new();
        for line in block.split("```").next().unwrap().lines() {
            let (name, text) = line.split_once(": ").unwrap();
            match name {
                "key" => assert_eq!(text, "7"),
                "value" => value = text.to_owned(),
                name => headers.push((name.to_owned(), text.to_owned())),
            }
        }
        (headers, value)
    }

    fn decode(headers: &[(String, String)]) -> Result<Head, NotOurs> {
        let all = headers.iter();
        read(
            all.map(|(name, value)| (name.as_str(), Some(value.as_bytes()))),
            &home(),
        )
    }

    fn with(name: &str, value: &str) -> Result<Head, NotOurs> {
        let (mut headers, _) = example();
        let found = headers.iter_mut().find(|header| header.0 == name);
        value.clone_into(&mut found.unwrap().1);
        decode(&headers)
    }

    #[test]
    fn every_header_that_is_missing_twice_or_other_is_named() {
        let (headers, _) = example();
        for at in 0..headers.len() {
            let name = headers[at].0.as_str();
            let mut without = headers.clone();
            without.remove(at);
            let missing = decode(&without);
            match name {
                H_FLAGS => assert_eq!(missing.unwrap().flags, Flags::NONE),
                _ => assert!(matches!(missing, Err(NotOurs::Missing(of)) if of == name)),
            }
            let mut twice = headers.clone();
            twice.push(headers[at].clone());
            assert!(matches!(decode(&twice), Err(NotOurs::Twice(of)) if of == name));
            for bad in ["", "x", "-1", "01", " 1", "1 ", "\u{e9}", "AAAA"] {
                let illegal = with(name, bad);
                assert!(
                    matches!(illegal, Err(NotOurs::Illegal(of)) if of == name),
                    "{name}: {bad:?}: {illegal:?}"
                );
            }
            let mut none: Vec<_> = (headers.iter())
                .map(|(name, value)| (name.as_str(), Some(value.as_bytes())))
                .collect();
            none[at].1 = None;
            assert!(read(none.into_iter(), &home()).is_err(), "{name}");
        }
    }

    #[test]
    fn numbers_have_one_spelling_and_their_bounds() {
        for (id, legal) in [
            ("0/5/1", true),
            ("1/4294967295/18446744073709551615", true),
            ("3/5/1", false),
            ("0/5", false),
            ("0/5/1/1", false),
            ("0/4294967296/1", false),
            ("0/5/18446744073709551616", false),
            ("0/5/+1", false),
            ("0/05/1", false),
        ] {
            assert_eq!(with(H_ID, id).is_ok(), legal, "{id}");
        }
        let source = |number: &str| format!("urn:custody:source:db.example.org/main:{number}");
        for (number, legal) in [
            ("7", true),
            ("4294967296", false),
            ("07", false),
            ("", false),
        ] {
            assert_eq!(with(H_SOURCE, &source(number)).is_ok(), legal, "{number}");
        }
        for (flags, legal) in [("4", true), ("65536", false), ("0x4", false)] {
            assert_eq!(with(H_FLAGS, flags).is_ok(), legal, "{flags}");
        }
        let mac = STANDARD.encode([3; 32]);
        for (mac, legal) in [
            (mac.as_str(), true),
            (&mac[..40], false),
            (&mac.replace('=', ""), false),
            (&STANDARD.encode([3; 33]), false),
            (&STANDARD.encode([3; 31]), false),
        ] {
            assert_eq!(with(H_MAC, mac).is_ok(), legal, "{mac}");
        }
    }

    #[test]
    fn the_key_is_the_number_of_the_source() {
        let head = decode(&example().0).unwrap();
        for bad in [None, Some(&b"8"[..]), Some(b"07"), Some(b""), Some(b"x")] {
            assert_eq!(with_key(head, bad), Err(NotOurs::Key), "{bad:?}");
        }
        assert_eq!(with_key(head, Some(b"7")), Ok(head));
    }

    #[test]
    fn another_tenants_record_is_known_as_that_whatever_is_wrong_with_it() {
        for name in [
            "urn:custody:source:db.example.org/other:7",
            "urn:custody:source:x",
        ] {
            let (mut headers, _) = example();
            headers.retain(|header| header.0 == H_SOURCE);
            name.clone_into(&mut headers[0].1);
            assert_eq!(decode(&headers), Err(NotOurs::OtherTenant));
            let twice = (H_TYPE.to_owned(), String::new());
            let mut before = vec![twice.clone(), twice];
            before.extend(headers);
            assert_eq!(decode(&before), Err(NotOurs::OtherTenant));
        }
        // A tenant whose name begins with ours is another one.
        let longer = "urn:custody:source:db.example.org/main2:7";
        assert_eq!(with(H_SOURCE, longer), Err(NotOurs::OtherTenant));
        let illegal = Err(NotOurs::Illegal(H_SOURCE));
        assert_eq!(with(H_SOURCE, "urn:other:source"), illegal);
    }

    #[test]
    fn the_example_of_the_documentation_decodes_and_comes_back() {
        let (mut headers_of, value) = example();
        let head = decode(&headers_of).unwrap();
        assert_eq!((head.source, head.stream), (SourceId(7), Stream::Record));
        assert_eq!(
            (head.epoch, head.sequence),
            (Epoch(1_795_000_000), Sequence(1))
        );
        assert_eq!((head.flags, head.mac), (Flags::REREAD, [0x11; 32]));
        let message = head.message(value.into_bytes());
        let again = headers(&message, &home().source(SourceId(7)));
        let again: Vec<_> = (again.into_iter())
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        assert_eq!(again, headers_of);
        // In any order, and with others between them.
        headers_of.reverse();
        headers_of.insert(2, ("ce_traceparent".to_owned(), "x".to_owned()));
        assert!(decode(&headers_of).is_ok());
    }
}

//! Secrets: the shipped records hold card numbers and passwords, and none of them may be in anything
//! that the program writes or says: every file as it lies there, every part of every payload read
//! through our own reader, everything on stdout and stderr, with the server down and up.
//!
//! The same search finds a harmless marker that was planted in a record, and every secret in the
//! records themselves, so it cannot fail silently. Not here: what masking does with a statement
//! (collectors/formats).

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::mpsc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ledger_core::{Index, Part};
use ledger_log::{LogPaths, Reader};

use crate::program::{Program, SAMPLES, sample};

/// Secrets that whoever made the samples used. Some are in records of other forms only.
pub(crate) const PASSWORDS: [&str; 6] = [
    "S3cret-pw!",
    "N3w-pw!",
    "rootpw",
    "leak-1",
    "leak-2",
    "leak-3",
];
pub(crate) const CARDS: [&str; 4] = [
    "4111111111111111",
    "5500000000000004",
    "4012888888881881",
    "371449635398431",
];
/// A word that means nothing to any rule of masking.
pub(crate) const MARKER: &str = "planted_marker_of_the_search";

/// Something to look for, in the forms in which this program writes bytes: as they are, and in the
/// hexadecimal and base64 of its JSON. Digits are found with separators between them too.
pub(crate) struct Needle {
    name: String,
    forms: Vec<Vec<u8>>,
    is_number: bool,
}

impl Needle {
    pub(crate) fn new(text: &str) -> Needle {
        let bytes = text.as_bytes();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![bytes.to_vec(), hex.to_uppercase().into(), hex.into()];
        // Where the bytes begin within three decides the characters, but for those at both ends.
        for (before, cut) in [(0, 0), (1, 2), (2, 3)] {
            let bytes = [&vec![0; before], bytes].concat();
            let text = STANDARD_NO_PAD.encode(&bytes);
            forms.push(text.as_bytes()[cut..bytes.len() * 8 / 6].to_vec());
        }
        Needle {
            name: text.to_owned(),
            forms,
            is_number: bytes.iter().all(u8::is_ascii_digit),
        }
    }

    pub(crate) fn is_in(&self, hay: &Hay) -> bool {
        let whole = self.forms.iter().any(|form| has(&hay.bytes, form));
        whole || (self.is_number && has(&hay.joined, self.name.as_bytes()))
    }
}

fn has(hay: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(hay, needle).is_some()
}

/// One thing to look in, with a copy whose separators between digits are gone.
pub(crate) struct Hay {
    pub(crate) name: String,
    bytes: Vec<u8>,
    joined: Vec<u8>,
}

impl Hay {
    pub(crate) fn new(name: String, bytes: Vec<u8>) -> Hay {
        let separates = |byte: &u8| b" -.\t_/\\\"'".contains(byte);
        let joined = bytes.iter().copied().filter(|byte| !separates(byte));
        Hay {
            name,
            joined: joined.collect(),
            bytes,
        }
    }
}

/// Which needle is in what.
pub(crate) fn found(hays: &[Hay], needles: &[Needle]) -> Vec<(String, String)> {
    let pairs = hays
        .iter()
        .flat_map(|hay| needles.iter().map(move |needle| (needle, hay)));
    pairs
        .filter(|(needle, hay)| needle.is_in(hay))
        .map(|(needle, hay)| (needle.name.clone(), hay.name.clone()))
        .collect()
}

/// Every file under a folder.
pub(crate) fn files(folder: &Path, hays: &mut Vec<Hay>) {
    for item in std::fs::read_dir(folder).unwrap() {
        let item = item.unwrap();
        if item.file_type().unwrap().is_dir() {
            files(&item.path(), hays);
        } else if item.file_type().unwrap().is_file() {
            let name = item.path().display().to_string();
            hays.push(Hay::new(name, std::fs::read(item.path()).unwrap()));
        }
    }
}

/// Every part of every payload, decompressed.
pub(crate) fn parts(root: &Path, hays: &mut Vec<Hay>) {
    let paths = LogPaths::new(root, "db.example.org", "main", "2026").unwrap();
    let reader = Reader::open(&paths).unwrap();
    let mut keep = |stored: ledger_log::StoredEntry| {
        for (part, stored_part) in Part::ALL.iter().zip(&stored.parts) {
            if let Some(bytes) = stored_part.bytes() {
                let name = format!("entry {} part {}", stored.index, part.name());
                hays.push(Hay::new(name, bytes.to_vec()));
            }
        }
        ControlFlow::Continue(())
    };
    reader.scan(Index(0), reader.size(), &mut keep).unwrap();
}

/// The program's output, kept to be searched.
fn said(what: &str, output: Output) -> [Hay; 2] {
    let hay = |stream, bytes| Hay::new(format!("{stream} of {what}"), bytes);
    [hay("stdout", output.stdout), hay("stderr", output.stderr)]
}

/// What people ask a log, and what is answered.
fn asked(program: &Program, hays: &mut Vec<Hay>) {
    for args in [
        &["query", "kind:event", "--json"][..],
        &["query", "kind:event"],
        &["query", "op:insert", "--json"],
        &["show", "8"],
        &["show", "8", "--json"],
        &["status", "--json"],
    ] {
        let output = program.run(args);
        assert!(!output.stdout.is_empty(), "{args:?} says nothing");
        hays.extend(said(&args.join(" "), output));
    }
    for index in 0..30 {
        let out = program.root().join("proofs").display().to_string();
        std::fs::create_dir_all(&out).unwrap();
        let index = index.to_string();
        hays.extend(said(
            "proof",
            program.done(&["proof", &index, "--out", &out]),
        ));
    }
}

/// Everything written and said while the files were ingested.
fn everything(program: &Program, sources: &[PathBuf], mut hays: Vec<Hay>) -> Vec<Hay> {
    for source in sources {
        let path = source.display().to_string();
        let output = program.done(&["parse", "--platform", "postgresql", &path]);
        hays.extend(said("parse", output));
    }
    files(program.root(), &mut hays);
    parts(program.root(), &mut hays);
    let counted = hays
        .iter()
        .filter(|hay| hay.name.starts_with("entry "))
        .count();
    assert!(counted > 200, "only {counted} parts were read");
    assert!(hays.iter().any(|hay| hay.name.ends_with(".key")));
    assert!(hays.iter().any(|hay| hay.name.ends_with(".payload.json")));
    hays
}

/// Whether digits are a card number: a known scheme's beginning and length, and the check digit.
fn is_card(digits: &[u8]) -> bool {
    let text = String::from_utf8(digits.to_vec()).unwrap();
    let begins = |count: usize| text[..count].parse::<u32>().unwrap();
    let known = match digits.len() {
        13 => text.starts_with('4'),
        14 => matches!(begins(2), 36 | 38 | 39) || matches!(begins(3), 300..=305),
        15 => matches!(begins(2), 34 | 37),
        16 => {
            text.starts_with('4')
                || matches!(begins(2), 51..=55 | 62 | 65)
                || matches!(begins(3), 644..=649)
                || matches!(begins(4), 2221..=2720 | 3528..=3589 | 6011)
        }
        17..=19 => matches!(begins(2), 62 | 65) || (digits.len() == 19 && text.starts_with('4')),
        _ => false,
    };
    let sum: u32 = (0..)
        .zip(digits.iter().rev())
        .map(|(at, digit)| {
            let value = u32::from(digit - b'0') << (at & 1);
            value / 10 + value % 10
        })
        .sum();
    known && sum.is_multiple_of(10)
}

/// Every card number of a text, by its digits.
fn cards_in(text: &[u8]) -> BTreeSet<String> {
    let mut cards = BTreeSet::new();
    let mut run: Vec<u8> = Vec::new();
    let mut gap = false;
    for byte in text.iter().chain(b"|") {
        match byte {
            b'0'..=b'9' => {
                run.push(*byte);
                gap = false;
            }
            b' ' | b'-' if !run.is_empty() && !gap => gap = true,
            _ => {
                if is_card(&run) {
                    cards.insert(String::from_utf8(run.clone()).unwrap());
                }
                run.clear();
                gap = false;
            }
        }
    }
    cards
}

fn needles(sources: &[PathBuf]) -> Vec<Needle> {
    let mut texts: BTreeSet<String> = PASSWORDS
        .iter()
        .chain(&CARDS)
        .map(|text| (*text).to_owned())
        .collect();
    for source in sources {
        texts.extend(cards_in(&std::fs::read(source).unwrap()));
    }
    texts.iter().map(|text| Needle::new(text)).collect()
}

fn samples() -> Vec<PathBuf> {
    SAMPLES.iter().map(|name| sample(name)).collect()
}

pub(crate) fn none_found(hays: &[Hay], needles: &[Needle]) {
    let found = found(hays, needles);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_search_finds_every_secret_of_the_records_themselves() {
    let hays: Vec<Hay> = samples()
        .iter()
        .map(|path| Hay::new(path.display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    let names: BTreeSet<String> = found(&hays, &needles(&samples()))
        .into_iter()
        .map(|(needle, _)| needle)
        .collect();
    let expected = [
        "4012888888881881",
        "4111111111111111",
        "5500000000000004",
        "leak-2",
        "leak-3",
    ];
    assert_eq!(
        names.iter().map(String::as_str).collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn the_search_sees_through_encodings_and_separators() {
    let needle = [Needle::new(CARDS[0]), Needle::new(PASSWORDS[0])];
    let hex = |text: &str| {
        text.bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    for (index, plain) in [CARDS[0], PASSWORDS[0]].into_iter().enumerate() {
        let mut hidden = vec![plain.to_owned(), hex(plain), hex(plain).to_uppercase()];
        for around in ["", "a", "ab", "abc"] {
            hidden.push(STANDARD_NO_PAD.encode(format!("{around}{plain}{around}")));
        }
        for hidden in hidden {
            let hay = |text: &str| [Hay::new("hay".to_owned(), format!("<{text}>").into_bytes())];
            let names: Vec<String> = found(&hay(&hidden), &needle)
                .into_iter()
                .map(|(name, _)| name)
                .collect();
            assert_eq!(names, [needle[index].name.clone()], "{hidden}");
            let cut: String = hidden.chars().take(hidden.len() * 2 / 3).collect();
            none_found(&hay(&cut), &needle);
        }
    }
    for separated in [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4 111111111111111",
    ] {
        let hay = [Hay::new("hay".to_owned(), separated.as_bytes().to_vec())];
        assert_eq!(found(&hay, &needle).len(), 1, "{separated}");
        assert_eq!(cards_in(separated.as_bytes()).len(), 1, "{separated}");
    }
    assert!(cards_in(b"4111111111111112 41111111111111111 1111111111111").is_empty());
}

#[test]
fn no_secret_is_in_anything_written_or_said() {
    let program = Program::init();
    let mut hays = Vec::from(said("ingest", program.ingest(&samples())));
    asked(&program, &mut hays);
    let hays = everything(&program, &samples(), hays);
    none_found(&hays, &needles(&samples()));
}

#[test]
fn no_secret_is_in_anything_that_a_server_writes_or_says() {
    let program = Program::init();
    let settings = program.root().join("custody.toml");
    let mut text = std::fs::read_to_string(&settings).unwrap();
    text.push_str("\n[messages]\nlevel = \"trace\"\n");
    std::fs::write(&settings, text).unwrap();
    let mut server = program.command(&["serve"]);
    let mut server = server
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = mpsc::channel();
    let stderr = BufReader::new(server.stderr.take().unwrap());
    let reads = std::thread::spawn(move || {
        for line in stderr.lines() {
            // The test may have failed already, and listens no more.
            let _ = sender.send(line.unwrap());
        }
    });
    let mut server_said: Vec<String> = Vec::new();
    while !server_said
        .last()
        .is_some_and(|line| line.contains("log served"))
    {
        server_said.push(lines.recv().expect("a server that starts"));
    }
    let mut hays = Vec::from(said("ingest", program.ingest(&samples())));
    asked(&program, &mut hays);
    let pid = server.id().to_string();
    let asked_to_end = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    assert!(asked_to_end.unwrap().success());
    assert!(server.wait().unwrap().success());
    reads.join().unwrap();
    server_said.extend(lines.iter());
    assert!(server_said.iter().any(|line| line.contains("log closed")));
    let mut stdout = Vec::new();
    server
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut stdout)
        .unwrap();
    hays.push(Hay::new("stdout of serve".to_owned(), stdout));
    let stderr = server_said.join("\n").into_bytes();
    hays.push(Hay::new("stderr of serve".to_owned(), stderr));
    let hays = everything(&program, &samples(), hays);
    none_found(&hays, &needles(&samples()));
}

#[test]
fn a_marker_planted_in_a_record_is_found_where_it_must_be() {
    let program = Program::init();
    let folder = tempfile::tempdir().unwrap();
    let copies: Vec<PathBuf> = SAMPLES
        .iter()
        .map(|name| folder.path().join(name))
        .collect();
    for (original, copy) in samples().iter().zip(&copies) {
        let text = std::fs::read_to_string(original).unwrap();
        let planted = text.replace("FROM payment", &format!("FROM {MARKER}"));
        assert_ne!(planted, text, "nothing to plant the marker in");
        std::fs::write(copy, planted).unwrap();
    }
    let mut hays = Vec::from(said("ingest", program.ingest(&copies)));
    asked(&program, &mut hays);
    let hays = everything(&program, &copies, hays);
    let found = found(&hays, &[Needle::new(MARKER)]);
    for place in [
        "part text",
        "stdout of parse",
        "stdout of query kind:event --json",
        ".payload.json",
    ] {
        let seen = found.iter().any(|(_, name)| name.contains(place));
        assert!(seen, "the marker was not found in {place}: {found:#?}");
    }
    // It lies in compressed blocks: only our own reader brings it to light.
    let raw = |name: &str| name.contains(".payloads.g");
    assert!(hays.iter().any(|hay| raw(&hay.name)));
    assert!(
        !found
            .iter()
            .any(|(_, name)| name.contains("stderr") || name.ends_with(".key"))
    );
    none_found(&hays, &needles(&samples()));
}

//! Words: claims that no text of ours makes, and traces of the machine that a text was written
//! on. They stand here in halves, because this file is read too.
//!
//! Not here: the licence text, locked manifests and shipped audit records, which are not ours.

use super::{Text, none, planted, root, tree};

/// Claims that a log cannot keep. Whole words, in any case.
const CLAIMS: &[&str] = &[
    concat!("compli", "ant"),
    concat!("certi", "fied"),
    concat!("immu", "table"),
    concat!("tamper", "-proof"),
    concat!("tamper", "proof"),
    concat!("guaran", "teed"),
    concat!("guaran", "tees"),
    concat!("unbreak", "able"),
    concat!("court", "-proof"),
    concat!("quantum", "-safe"),
    concat!("quantum", "-proof"),
    concat!("bullet", "proof"),
    concat!("is comp", "lete"),
    concat!("are comp", "lete"),
    concat!("comp", "lete log"),
    concat!("comp", "lete record"),
    concat!("comp", "lete history"),
    concat!("comp", "lete evidence"),
    concat!("comp", "lete audit trail"),
];

/// The one claim that HTTP makes for us: a directive of `Cache-Control`, with its `max-age`.
const DIRECTIVE: (&str, &str) = (concat!("immu", "table"), concat!("max", "-age="));

/// Folders of one machine and hosts of package registries.
const PLACES: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/tmp/", "team"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("py", "pi.org"),
    concat!("files.", "pythonhosted.org"),
    concat!("proxy.", "golang.org"),
    concat!("registry.", "npmjs.org"),
    concat!("repo1.", "maven.org"),
    concat!("deb.", "debian.org"),
];

/// Files that others wrote, whatever their place.
const NOT_OURS: &[&str] = &["LICENSE", "Cargo.lock", "interop/go.sum"];

/// Endings of data: shipped audit records and vectors hold what real servers wrote.
const DATA: &[&str] = &["csv", "json", "jsonl", "log", "hex", "1"];

fn is_ours(text: &Text) -> bool {
    !NOT_OURS.contains(&text.path.as_str())
        && !DATA.iter().any(|extension| text.has_extension(extension))
}

fn word_faults(text: &Text) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(text.text.lines()) {
        let lower = line.to_lowercase();
        for claim in CLAIMS.iter().filter(|claim| has_word(&lower, claim)) {
            let directive = *claim == DIRECTIVE.0 && lower.contains(DIRECTIVE.1);
            if !directive {
                faults.push(format!("{}:{number}: never say {claim:?}", text.path));
            }
        }
        for place in PLACES.iter().filter(|place| line.contains(*place)) {
            faults.push(format!("{}:{number}: names {place:?}, a place", text.path));
        }
    }
    faults
}

/// Whether the word stands in the line with no letter or digit on either side.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

#[test]
fn no_text_of_ours_claims_too_much() {
    let texts = tree(&root());
    let ours: Vec<&Text> = texts.iter().filter(|text| is_ours(text)).collect();
    assert!(
        ours.iter().any(|text| text.path == "README.md"),
        "the README was not read"
    );
    let faults: Vec<String> = ours.iter().flat_map(|text| word_faults(text)).collect();
    none(&faults);
}

#[test]
fn a_claim_or_a_place_is_named() {
    let faults = |text: &str| word_faults(&Text::new("README.md", text));
    let twin = faults("A tamper-evident log; compliance, certificates and completions.");
    for word in CLAIMS.iter().chain(PLACES) {
        planted(&faults(&format!("It says {word}, so.")), word, &twin);
        let capital = word.to_uppercase();
        if CLAIMS.contains(word) {
            planted(&faults(&capital), word, &twin);
        }
    }
    let (directive, age) = DIRECTIVE;
    none(&faults(&format!("public, {age}31536000, {directive}")));
    planted(
        &faults(&format!("{age}60, {}", CLAIMS[0])),
        CLAIMS[0],
        &twin,
    );
}

#[test]
fn only_foreign_files_are_left_out() {
    for (path, expected) in [
        ("LICENSE", false),
        ("samples/postgresql/edge.csv", false),
        ("docs/LICENSE", true),
        ("README.md", true),
        ("tests/house/words.rs", true),
    ] {
        assert_eq!(is_ours(&Text::new(path, "")), expected, "{path}");
    }
}

//! Pages: links lead somewhere, the architecture page names the rooms that exist and no others,
//! and the commands that a newcomer types are the commands that the machine runs.
//!
//! Not here: whether the examples print what the pages say (`../docs.rs`).

use std::collections::BTreeSet;

use super::{Text, none, planted, root, tree};

/// Lines of docs/ARCHITECTURE.md.
const ARCHITECTURE_LINES_MAX: usize = 300;
/// Lines in it that name an invariant: fewer would say too little.
const INVARIANTS_MIN: usize = 8;
/// The wings of the house: a word such as `ledger/core` in backticks names a room.
const WINGS: &[&str] = &["ledger", "keys", "collectors", "policies", "api"];

/// The pages of a tree, with every path that a link may name.
struct Pages<'a> {
    pages: Vec<&'a Text>,
    paths: BTreeSet<String>,
}

impl<'a> Pages<'a> {
    fn of(texts: &'a [Text]) -> Pages<'a> {
        let mut paths = BTreeSet::new();
        for text in texts {
            let mut path = text.path.as_str();
            paths.insert(path.to_owned());
            while let Some((folder, _)) = path.rsplit_once('/') {
                paths.insert(folder.to_owned());
                path = folder;
            }
        }
        let pages = texts
            .iter()
            .filter(|text| text.has_extension("md"))
            .collect();
        Pages { pages, paths }
    }

    fn link_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for page in &self.pages {
            for target in links(&page.text) {
                if let Some(fault) = self.link_fault(page, &target) {
                    faults.push(format!("{}: ({target}) {fault}", page.path));
                }
            }
        }
        faults
    }

    fn link_fault(&self, page: &Text, target: &str) -> Option<&'static str> {
        if target.starts_with("https://") || target.starts_with("mailto:") {
            return None;
        }
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        let path = if file.is_empty() {
            page.path.clone()
        } else {
            join(&page.path, file)?
        };
        if !self.paths.contains(&path) {
            return Some("leads to no file");
        }
        let linked = self.pages.iter().find(|linked| linked.path == path);
        match linked {
            Some(linked) if !heading.is_empty() && !headings(&linked.text).contains(heading) => {
                Some("leads to no heading")
            }
            _ => None,
        }
    }
}

/// The path that a link on `page` names, from the root; none if it leaves the tree.
fn join(page: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The lines of a page that are not within a fenced block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The targets of `[text](target)` outside fenced blocks and backticks.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        let spoken: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for piece in spoken.split("](").skip(1) {
            if let Some((target, _)) = piece.split_once(')') {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// The anchors of a page's headings, as hosts of repositories make them.
fn headings(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

fn architecture_faults(page: &str, rooms: &[String], folders: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = page.lines().count();
    if lines > ARCHITECTURE_LINES_MAX {
        faults.push(format!("{lines} lines, bound {ARCHITECTURE_LINES_MAX}"));
    }
    let invariants = page
        .lines()
        .filter(|line| line.contains("**Invariant**"))
        .count();
    if invariants < INVARIANTS_MIN {
        faults.push(format!(
            "{invariants} **Invariant** lines, at least {INVARIANTS_MIN}"
        ));
    }
    let quoted: BTreeSet<&str> = page.split('`').skip(1).step_by(2).collect();
    for room in rooms.iter().filter(|room| !quoted.contains(room.as_str())) {
        faults.push(format!("the room {room} exists, but is not named"));
    }
    for name in quoted {
        let mut parts = name.split('/');
        let wing = parts.next().is_some_and(|wing| WINGS.contains(&wing));
        let room = parts
            .next()
            .is_some_and(|room| room.chars().all(char::is_alphanumeric));
        if wing && room && parts.next().is_none() && !folders.contains(name) {
            faults.push(format!("the room {name} is named, but does not exist"));
        }
    }
    faults
}

/// The commands of the README must be the ones that continuous integration runs.
fn command_faults(readme: &str, ci: &str, makefile: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for target in ["test", "demo"] {
        let command = format!("make {target}");
        for (name, text) in [("README.md", readme), (".ci/run", ci)] {
            if !text.lines().any(|line| line.contains(&command)) {
                faults.push(format!("{name} does not say `{command}`"));
            }
        }
        if !makefile
            .lines()
            .any(|line| line.starts_with(&format!("{target}:")))
        {
            faults.push(format!("the Makefile has no {target}"));
        }
    }
    faults
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn links_lead_somewhere() {
    let texts = tree(&root());
    let pages = Pages::of(&texts);
    let count: usize = pages.pages.iter().map(|page| links(&page.text).len()).sum();
    assert!(count > 10, "only {count} links were found");
    none(&pages.link_faults());
}

#[test]
fn a_link_that_leads_nowhere_is_named() {
    let faults = |link: &str| {
        let texts = [
            Text::new("docs/a.md", &format!("# One way\n\nSee [it]({link}).\n")),
            Text::new(
                "docs/formats/b.md",
                "# B\n\n```\n# Not a heading\n```\n\n## The 2nd, *part*\n",
            ),
            Text::new("README.md", "# Top\n"),
        ];
        Pages::of(&texts).link_faults()
    };
    let good = [
        "formats/b.md",
        "formats/",
        "../README.md#top",
        "#one-way",
        "./formats/b.md",
    ];
    let mut twin: Vec<String> = good.iter().flat_map(|link| faults(link)).collect();
    twin.extend(faults("formats/b.md#the-2nd-part"));
    twin.extend(faults("https://c2sp.org/tlog-tiles"));
    planted(&faults("formats/c.md"), "no file", &twin);
    planted(&faults("formats/b.md#not-a-heading"), "no heading", &twin);
    planted(&faults("#another-way"), "no heading", &twin);
    none(
        &faults("x")
            .iter()
            .filter(|fault| !fault.contains("no file"))
            .cloned()
            .collect::<Vec<_>>(),
    );
    assert!(links("`[not](a-link)` and\n```\n[nor](this)\n```\n").is_empty());
}

#[test]
fn the_architecture_page_names_the_rooms_that_exist() {
    let texts = tree(&root());
    let paths = Pages::of(&texts).paths;
    none(&architecture_faults(
        &read("docs/ARCHITECTURE.md"),
        &super::crates::rooms(),
        &paths,
    ));
}

#[test]
fn a_wrong_architecture_page_is_named() {
    let rooms = ["ledger/core".to_owned()];
    let folders: BTreeSet<String> = rooms.iter().cloned().collect();
    let good = format!(
        "`ledger/core`, `ledger/core/src`, `api`\n{}",
        "**Invariant**: x\n".repeat(8)
    );
    let faults = |page: &str| architecture_faults(page, &rooms, &folders);
    let twin = faults(&good);
    planted(
        &faults(&good.replace("`ledger/core`", "")),
        "exists, but is not named",
        &twin,
    );
    planted(
        &faults(&format!("{good}`api/web`\n")),
        "named, but does not exist",
        &twin,
    );
    planted(
        &faults(&good.replacen("**Invariant**", "", 1)),
        "Invariant",
        &twin,
    );
    planted(
        &faults(&format!("{good}{}", "\n".repeat(300))),
        "bound 300",
        &twin,
    );
}

#[test]
fn the_two_commands_are_the_ones_that_are_run() {
    none(&command_faults(
        &read("README.md"),
        &read(".ci/run"),
        &read("Makefile"),
    ));
}

#[test]
fn a_command_that_is_not_run_is_named() {
    let (both, rules) = ("make test\nmake demo\n", "test: build\ndemo: build\n");
    let twin = command_faults(both, both, rules);
    planted(
        &command_faults("make demo\n", both, rules),
        "README.md",
        &twin,
    );
    planted(
        &command_faults(both, "cargo test\nmake demo\n", rules),
        ".ci/run",
        &twin,
    );
    planted(
        &command_faults(both, both, "test: build\n"),
        "no demo",
        &twin,
    );
}

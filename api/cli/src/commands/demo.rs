//! `custody demo`: from real audit records that are shipped in the program to a verified log, then
//! tampered copies of it, each refused with the misdeed named. Works without network and settings,
//! in a folder of its own.
//!
//! Not here: any shortcut. It calls what `init`, `ingest`, `query`, `proof` and `verify` call.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use api_http::{Ask, DirectReads, Reads as _};
use clap::Args;
use indicatif::ProgressBar;
use ledger_core::{Checkpoint, Index, TreeSize};
use ledger_log::{LogPaths, Reader};
use ledger_verify::{Report, VerifyOptions, verify_dir};
use serde_json::{Map, Value, json};

use crate::access::{Accepted, Access, now};
use crate::commands::Context;
use crate::commands::ingest::SourceArg;
use crate::commands::init;
use crate::commands::verify::{read_trust, what_holds};
use crate::config::{Flag, Place, load};
use crate::demo_story::{LOGIN_FAILED, Moment, moments};
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::{Colour, Output, plural, size, span};
use crate::proof_check;
use crate::reading::AuditFile;
use crate::taking::{Taken, take};
use crate::tamper::{Copy, TamperError};

/// Where.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Work in this folder and keep it; it must be empty or new
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep the folder, to look around in
    #[arg(long)]
    keep: bool,
}

/// The shipped records: what PostgreSQL 15 with pgaudit 1.7 wrote. Names and numbers are made up.
const SAMPLES: [(&str, &str, &[u8]); 2] = [
    (
        "orders",
        "pg15-pgaudit17-rows-off-utc.csv",
        include_bytes!("../../../../collectors/formats/samples/pg15-pgaudit17-rows-off-utc.csv"),
    ),
    (
        "branch",
        "pg15-pgaudit17-edge-rows-on-newyork.csv",
        include_bytes!(
            "../../../../collectors/formats/samples/pg15-pgaudit17-edge-rows-on-newyork.csv"
        ),
    ),
];

/// Runs it.
///
/// # Errors
/// A folder that is not empty, a full disk, or a tampered copy that was not refused.
pub fn run(args: &DemoArgs, context: &Context) -> Result<Exit, CommandError> {
    let temporary = tempfile::Builder::new()
        .prefix("custody-demo-")
        .tempdir()
        .map_err(CommandError::file("creating", &std::env::temp_dir()))?;
    let folder = match &args.dir {
        Some(dir) => {
            check_empty(dir)?;
            dir.clone()
        }
        None => temporary.path().to_owned(),
    };
    let mut demo = Demo {
        folder,
        output: &context.output,
        facts: Map::new(),
        started: Instant::now(),
    };
    demo.show()?;
    if let Some(dir) = &args.dir {
        demo.end(Some(dir.clone()))
    } else if args.keep {
        demo.end(Some(temporary.keep()))
    } else {
        let path = temporary.path().to_owned();
        temporary
            .close()
            .map_err(CommandError::file("removing", &path))?;
        demo.end(None)
    }
}

fn check_empty(dir: &Path) -> Result<(), CommandError> {
    fs::create_dir_all(dir).map_err(CommandError::file("creating", dir))?;
    let mut items = fs::read_dir(dir).map_err(CommandError::file("reading", dir))?;
    if items.next().is_none() {
        return Ok(());
    }
    Err(CommandError::Usage(format!(
        "{} is not empty: give a new folder",
        dir.display()
    )))
}

struct Demo<'a> {
    folder: PathBuf,
    output: &'a Output,
    facts: Map<String, Value>,
    started: Instant,
}

impl Demo<'_> {
    fn show(&mut self) -> Result<(), CommandError> {
        let ledger = self.folder.join("ledger");
        let paths = self.create(&ledger)?;
        self.ingest(&ledger)?;
        let (checkpoint, note) = Reader::open(&paths)?.published()?;
        self.sign(&checkpoint, note.len())?;
        let told = self.tell(&paths)?;
        self.prove(&paths, told)?;
        self.verify(&paths)?;
        self.tamper(&paths, &checkpoint, told)
    }

    fn create(&mut self, ledger: &Path) -> Result<LogPaths, CommandError> {
        self.title("1  a new log, with two keys")?;
        let started = Instant::now();
        let (paths, created) = init::create(ledger, "demo.example", "main", "demo")?;
        let took = started.elapsed();
        self.line(
            "log",
            &format!("{}, made in {}", paths.origin(), span(took)),
        )?;
        self.line(
            "trust file",
            &format!("SHA-256 {}", created.trust_fingerprint),
        )?;
        self.facts
            .insert("origin".into(), json!(paths.origin().as_str()));
        let print = created.trust_fingerprint.to_string();
        self.facts.insert("fingerprint".into(), json!(print));
        Ok(paths)
    }

    fn ingest(&mut self, ledger: &Path) -> Result<(), CommandError> {
        self.title("2  audit records of two PostgreSQL servers, masked, appended once")?;
        let audit = self.folder.join("audit");
        fs::create_dir_all(&audit).map_err(CommandError::file("creating", &audit))?;
        // Checkpoints come at once, so that nobody waits for one.
        let soon = Flag {
            name: "demo",
            key: "log.checkpoint_every_ms",
            value: toml::Value::Integer(20),
        };
        let config = load(&Place::of_dir(ledger), &[soon])?.config;
        let started = Instant::now();
        let mut access = Access::open(&config, Accepted::default(), self.output)?;
        let mut all = Vec::new();
        let mut size = TreeSize(0);
        for (name, file_name, bytes) in SAMPLES {
            let path = audit.join(file_name);
            fs::write(&path, bytes).map_err(CommandError::file("writing", &path))?;
            let (taken, reached) = take_sample(name, path.clone(), &mut access)?;
            size = reached;
            all.push(taken);
            // A second time: the log knows where it stands and takes nothing twice.
            let (again, _) = take_sample(name, path, &mut access)?;
            if again.records > 0 {
                let what = format!("{} records were taken twice", again.records);
                return Err(CommandError::Demo { what });
            }
        }
        access.finish(size)?;
        let took = started.elapsed();
        for taken in &all {
            let records = plural(taken.records, "record", "records");
            let (masked, unparsed) = (taken.masked, taken.unparsed);
            let text = format!("{records}, {masked} with something masked, {unparsed} unparsed");
            self.line(&taken.name, &text)?;
        }
        self.line("again", "read a second time: nothing taken twice")?;
        self.line("took", &format!("{}, with the checkpoint", span(took)))?;
        self.facts.insert("sources".into(), json!(all));
        Ok(())
    }

    fn sign(&mut self, checkpoint: &Checkpoint, note_bytes: usize) -> Result<(), CommandError> {
        self.title("3  one checkpoint, two signatures")?;
        self.line("size", &plural(checkpoint.size.0, "entry", "entries"))?;
        self.line("root", &checkpoint.root.to_string())?;
        let bytes = size(note_bytes as u64);
        self.line(
            "signed",
            &format!("Ed25519 and ML-DSA-44, a note of {bytes}"),
        )?;
        self.facts.insert("size".into(), json!(checkpoint.size.0));
        self.facts
            .insert("root".into(), json!(checkpoint.root.to_string()));
        Ok(())
    }

    /// Shows telling entries; returns the index of the failed login.
    fn tell(&mut self, paths: &LogPaths) -> Result<Index, CommandError> {
        self.title("4  what it holds, for instance")?;
        let mut reads = DirectReads::of_files(Reader::open(paths)?);
        let mut entries = Vec::new();
        let ask = Ask {
            query: "kind:event",
            now: now(),
            limit: None,
        };
        reads.query(&ask, &mut |line| {
            entries.extend(serde_json::from_str::<Value>(line));
            std::ops::ControlFlow::Continue(())
        })?;
        let moments = moments(&entries);
        let failed = moments.iter().find(|moment| moment.what == LOGIN_FAILED);
        let Some(failed_login) = failed.map(|moment| moment.index) else {
            return Err(CommandError::Demo {
                what: "no failed login was found".into(),
            });
        };
        for Moment { index, what, text } in &moments {
            self.line(&format!("entry {index}"), &format!("{what:<22}{text}"))?;
        }
        self.facts.insert("entries".into(), json!(moments));
        Ok(Index(failed_login))
    }

    fn prove(&mut self, paths: &LogPaths, index: Index) -> Result<(), CommandError> {
        self.title("5  one entry, proven by itself")?;
        let proof = DirectReads::of_files(Reader::open(paths)?).proof(index)?;
        let trust = read_trust(&paths.trust())?;
        let proven = proof_check::check(proof.proof.as_bytes(), proof.payload.as_bytes(), &trust)
            .map_err(|error| CommandError::Demo {
            what: error.to_string(),
        })?;
        let bytes = size(proof.proof.len() as u64);
        let text = format!(
            "entry {index} under the root of {}: {bytes}, checked with the trust file alone",
            plural(proven.size.0, "entry", "entries")
        );
        self.line("proof", &text)?;
        self.facts
            .insert("proof_bytes".into(), json!(proof.proof.len()));
        Ok(())
    }

    fn verify(&mut self, paths: &LogPaths) -> Result<(), CommandError> {
        self.title("6  everything, from the files and the trust file alone")?;
        let trust = read_trust(&paths.trust())?;
        let started = Instant::now();
        let report = verify_dir(paths.root(), &trust, &VerifyOptions::default(), &|_| ())?;
        let took = started.elapsed();
        if let Some(misdeed) = report.misdeeds.first() {
            return Err(CommandError::Demo {
                what: misdeed.to_string(),
            });
        }
        for (name, text) in what_holds(&report, &trust, took) {
            self.painted(Colour::Green, name, &text)?;
        }
        self.facts
            .insert("verified".into(), json!(report.verified()));
        Ok(())
    }

    fn tamper(
        &mut self,
        paths: &LogPaths,
        checkpoint: &Checkpoint,
        failed_login: Index,
    ) -> Result<(), CommandError> {
        self.title("7  copies of it, tampered with")?;
        let trust = read_trust(&paths.trust())?;
        let mut refusals = Vec::new();
        let folder = format!("logs/{}/{}/", paths.tenant(), paths.label());
        let deeds: [(&str, &str, &Deed<'_>); 4] = [
            ("a statement", "one byte of it changed", &|copy| {
                copy.change_payload()
            }),
            (
                "a login",
                "its failure made a success, checksum and hash made to fit",
                &|copy| copy.make_success(failed_login),
            ),
            (
                "a batch",
                "cut out, as if it had never been there",
                &|copy| copy.remove_frame(failed_login),
            ),
            (
                "the log",
                "signed anew, with other keys of the same names",
                &|copy| copy.sign_anew(checkpoint, now()),
            ),
        ];
        for (number, (what, how, deed)) in deeds.into_iter().enumerate() {
            let root = self.folder.join(format!("tampered-{}", number + 1));
            let copy = Copy::of(paths, &root).map_err(failed)?;
            let untouched = verify_dir(copy.root(), &trust, &VerifyOptions::default(), &|_| ())?;
            if !untouched.verified() {
                return Err(CommandError::Demo {
                    what: "an untouched copy was refused".into(),
                });
            }
            deed(&copy).map_err(failed)?;
            let report = verify_dir(copy.root(), &trust, &VerifyOptions::default(), &|_| ())?;
            let misdeed = named(&report, what, &folder)?;
            self.line(what, how)?;
            self.painted(Colour::Red, "  refused", &misdeed)?;
            refusals.push(json!({ "what": format!("{what} {how}"), "refused": misdeed }));
        }
        self.facts.insert("tampered".into(), json!(refusals));
        Ok(())
    }

    fn end(&self, kept: Option<PathBuf>) -> Result<Exit, CommandError> {
        let took = self.started.elapsed();
        if self.output.is_json() {
            let mut facts = self.facts.clone();
            let folder = kept.as_ref().map(|path| path.display().to_string());
            facts.insert("kept".into(), json!(folder));
            facts.insert("seconds".into(), json!(took.as_secs_f64()));
            self.output.json(&facts).map_err(CommandError::Stdout)?;
        } else {
            let kept = kept.map(|folder| format!(", kept in {}", folder.display()));
            self.print("")?;
            self.print(&format!(
                "all of it in {}{}",
                span(took),
                kept.unwrap_or_default()
            ))?;
        }
        Ok(Exit::Done)
    }

    fn title(&self, text: &str) -> Result<(), CommandError> {
        if !text.starts_with('1') {
            self.print("")?;
        }
        self.print(&self.output.paint(Colour::Bold, text))
    }

    fn line(&self, name: &str, text: &str) -> Result<(), CommandError> {
        self.print(&format!("   {name:<11} {text}"))
    }

    fn painted(&self, colour: Colour, name: &str, text: &str) -> Result<(), CommandError> {
        let name = self.output.paint(colour, &format!("{name:<11}"));
        self.print(&format!("   {name} {text}"))
    }

    fn print(&self, line: &str) -> Result<(), CommandError> {
        if self.output.is_json() {
            return Ok(());
        }
        self.output.line(line).map_err(CommandError::Stdout)
    }
}

type Deed<'a> = dyn Fn(&Copy) -> Result<(), TamperError> + 'a;

fn failed(error: TamperError) -> CommandError {
    CommandError::Demo {
        what: error.to_string(),
    }
}

/// The first misdeed that the report names, without the folder, which is the same for all; a copy
/// that is not refused ends the demo.
fn named(report: &Report, what: &str, folder: &str) -> Result<String, CommandError> {
    let misdeed = report.misdeeds.first().map(ToString::to_string);
    let misdeed = misdeed.ok_or_else(|| CommandError::Demo {
        what: format!("{what}: not refused"),
    })?;
    Ok(misdeed.strip_prefix(folder).unwrap_or(&misdeed).to_owned())
}

fn take_sample(
    name: &str,
    path: PathBuf,
    access: &mut Access,
) -> Result<(Taken, TreeSize), CommandError> {
    let source = SourceArg {
        name: name.to_owned(),
        platform: "postgresql".to_owned(),
        path,
    };
    let file = AuditFile::open(&source.path)?;
    let never = AtomicBool::new(false);
    take(&source, &file, access, &ProgressBar::hidden(), &never)
}

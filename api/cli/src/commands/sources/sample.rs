//! `custody sources test --platform P [--settings FILE] SAMPLE`: the first events of a sample as a
//! table, and what it shows to be missing.
//!
//! Not here: the rules (`sample.rs` of the crate).

use std::path::PathBuf;

use clap::Args;
use collectors_formats::{FormatKeys, format_for};
use serde_json::{Value, json};

use crate::brief::Words;
use crate::commands::Context;
use crate::commands::parse::parse_setting;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::{Colour, plural};
use crate::reading::{AuditFile, Records};
use crate::sample::{Advice, Seen, Verdict, advice, not_understood, parse_settings};

/// What to read.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Who wrote the sample, such as `postgresql`
    #[arg(long, value_name = "P")]
    platform: String,
    /// A setting of the format, such as `form=csvlog`; the form is found out by default
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    set: Vec<(String, String)>,
    /// What `SELECT name, setting FROM pg_settings` or `SHOW VARIABLES` printed
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// How many events to show
    #[arg(long, value_name = "N", default_value_t = 10)]
    first: usize,
    /// The sample: a part of the audit file that begins at a record
    #[arg(value_name = "SAMPLE")]
    sample: PathBuf,
}

/// Records of a sample that are looked at; enough to show what happens on a server.
const RECORDS_MAX: u64 = 200_000;
/// Longest file of settings, in bytes.
const SETTINGS_BYTES_MAX: u64 = 4 << 20;

/// Runs it.
///
/// # Errors
/// A file that cannot be read, an unknown platform or setting, stdout.
pub fn run(args: &TestArgs, context: &Context) -> Result<Exit, CommandError> {
    let settings = args.settings.as_ref().map(|path| {
        let file = AuditFile::open(path)?;
        if file.size() > SETTINGS_BYTES_MAX {
            return Err(CommandError::Usage(format!(
                "{} has more than 4 MiB: it is no list of settings",
                path.display()
            )));
        }
        let bytes = file.bytes(0, usize::try_from(file.size()).unwrap_or_default())?;
        let settings = parse_settings(&String::from_utf8_lossy(&bytes));
        if settings.is_empty() {
            return Err(CommandError::Usage(format!(
                "{} names no setting: save what SELECT name, setting FROM pg_settings or SHOW \
                 VARIABLES prints",
                path.display()
            )));
        }
        Ok(settings)
    });
    let settings = settings.transpose()?;
    let mut digest_key = [0; 32];
    getrandom::fill(&mut digest_key).map_err(CommandError::Random)?;
    let format = format_for(&args.platform, &args.set, &FormatKeys { digest_key })?;
    let file = AuditFile::open(&args.sample)?;
    let mut records = Records::new(&file, format, 0, 1);
    let (mut seen, mut unparsed, mut first) = (Seen::default(), 0, Vec::new());
    while let Some(record) = records.next_record()? {
        unparsed += u64::from(record.head.unparsed);
        let event = serde_json::from_slice::<Value>(&record.value).unwrap_or_default();
        seen.add(&event);
        if first.len() < args.first {
            first.push(event);
        }
        if seen.events >= RECORDS_MAX {
            break;
        }
    }
    // What is not understood shows nothing; settings speak for themselves.
    let understood = seen.events > 0 && unparsed <= seen.events / 2;
    let nothing = Seen::default();
    let found = match (understood, &settings) {
        (true, settings) => advice(&args.platform, &seen, settings.as_ref()),
        (false, Some(settings)) => advice(&args.platform, &nothing, Some(settings)),
        (false, None) => None,
    };
    let found = found.unwrap_or_default();
    if !understood {
        let try_this = not_understood(&args.platform, settings.as_ref());
        let what = match seen.events {
            0 => "there is no record in it",
            _ => "most of it is not understood",
        };
        context.output.say(&format!("{what}: {try_this}"));
    }
    if context.output.is_json() {
        print_json(context, &seen, unparsed, &first, &found)?;
    } else {
        print(context, &seen, unparsed, first, &found)?;
    }
    Ok(match () {
        () if seen.events == 0 => Exit::NotFound,
        () if unparsed > 0 => Exit::Partial,
        () if found.iter().any(|one| one.verdict == Verdict::Off) => Exit::Found,
        () => Exit::Done,
    })
}

fn print(
    context: &Context,
    seen: &Seen,
    unparsed: u64,
    first: Vec<Value>,
    found: &[Advice],
) -> Result<(), CommandError> {
    let output = &context.output;
    let line = |text: &str| output.line(text).map_err(CommandError::Stdout);
    let row = |event: Value| {
        let failed = event.get("status_id").and_then(Value::as_u64) == Some(2);
        let time = event.pointer("/metadata/original_time");
        let time = time.and_then(Value::as_str).unwrap_or_default().to_owned();
        let words = Words::of(&json!({ "kind": "event", "event": event }));
        let outcome = if failed { "failed" } else { "" };
        let text = words.text.chars().take(60).collect();
        vec![
            time,
            words.what,
            outcome.to_owned(),
            words.who,
            words.place,
            text,
        ]
    };
    let rows: Vec<Vec<String>> = first.into_iter().map(row).collect();
    let headings = ["time", "what", "", "who", "database", "text"];
    output
        .table(&headings, &rows)
        .map_err(CommandError::Stdout)?;
    if !rows.is_empty() {
        line("")?;
    }
    let of = plural(seen.events, "record", "records");
    line(&format!("{of} in the sample, {unparsed} not understood"))?;
    for one in found {
        let because = one.because.as_deref().map(|why| format!(" ({why})"));
        let because = because.unwrap_or_default();
        let text = match one.verdict {
            Verdict::On => format!("{}  {}", output.paint(Colour::Green, "on      "), one.what),
            Verdict::Off => format!(
                "{}  {}{because}: {}",
                output.paint(Colour::Red, "off     "),
                one.what,
                one.statement
            ),
            Verdict::NotSeen => format!(
                "{}  {}: if it is off, {}",
                output.paint(Colour::Yellow, "not seen"),
                one.what,
                one.statement
            ),
        };
        line(&text)?;
    }
    if found.iter().any(|one| one.verdict == Verdict::NotSeen) {
        output.say(
            "Not seen may mean that nobody did it while the sample was written: give --settings \
             FILE to know.",
        );
    }
    Ok(())
}

fn print_json(
    context: &Context,
    seen: &Seen,
    unparsed: u64,
    first: &[Value],
    found: &[Advice],
) -> Result<(), CommandError> {
    let advice = |one: &Advice| {
        let verdict = match one.verdict {
            Verdict::On => "on",
            Verdict::Off => "off",
            Verdict::NotSeen => "not-seen",
        };
        let statement = (one.verdict != Verdict::On).then_some(one.statement);
        json!({
            "what": one.what,
            "verdict": verdict,
            "because": one.because,
            "statement": statement,
        })
    };
    let answer = json!({
        "records": seen.events,
        "unparsed": unparsed,
        "first": first,
        "audited": found.iter().map(advice).collect::<Vec<_>>(),
    });
    context.output.json(&answer).map_err(CommandError::Stdout)
}

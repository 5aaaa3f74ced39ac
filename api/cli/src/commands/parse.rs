//! `custody parse --platform P [--set k=v …] FILE`: a dry run; the events on stdout, one OCSF
//! object a line. Nothing is appended and no log is needed.
//!
//! Not here: keys of a log, so digests of unmasked bytes are keyed with a key of this run.

use std::borrow::Cow;
use std::path::PathBuf;

use clap::Args;
use collectors_formats::{FormatKeys, format_for};

use crate::brief::{Flush, Printer};
use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::{plural, printable};
use crate::reading::{AuditFile, Records};

/// What to read.
#[derive(Args, Debug)]
pub struct ParseArgs {
    /// Who wrote the file, such as `postgresql`
    #[arg(long, value_name = "PLATFORM")]
    platform: String,
    /// A setting of the format, such as `form=csvlog`; the form is found out by default
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, such as form=csvlog".to_owned()),
    }
}

/// Runs it.
///
/// # Errors
/// A file that cannot be read, an unknown platform or setting, stdout.
pub fn run(args: &ParseArgs, context: &Context) -> Result<Exit, CommandError> {
    let mut digest_key = [0; 32];
    getrandom::fill(&mut digest_key).map_err(CommandError::Random)?;
    let format = format_for(&args.platform, &args.settings, &FormatKeys { digest_key })?;
    let file = AuditFile::open(&args.file)?;
    let mut records = Records::new(&file, format, 0, 1);
    let mut printer = Printer::new(&context.output, Flush::AtTheEnd);
    let (mut all, mut unparsed, mut masked) = (0, 0, 0);
    while let Some(record) = records.next_record()? {
        all += 1;
        unparsed += u64::from(record.head.unparsed);
        masked += u64::from(record.head.masked);
        let line = String::from_utf8_lossy(&record.value);
        // JSON lets some characters stand that steer a terminal.
        let line = match context.output.is_terminal() {
            true => Cow::Owned(printable(&line)),
            false => line,
        };
        if printer.print_as_it_is(&line).is_err() {
            break;
        }
    }
    printer.finish()?;
    context.output.say(&format!(
        "{}, {unparsed} unparsed, {masked} masked",
        plural(all, "record", "records")
    ));
    if records.left() > 0 {
        context.output.say(&format!(
            "{} after line {} are no whole record yet",
            plural(records.left(), "byte", "bytes"),
            records.line().saturating_sub(1)
        ));
    }
    Ok(if unparsed > 0 {
        Exit::Partial
    } else {
        Exit::Done
    })
}

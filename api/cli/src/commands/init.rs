//! `custody init DIR --deployment NAME [--tenant T] [--label L]`: makes keys, trust file, log and
//! settings. Creating a log is a command of its own; nothing else ever does it.
//!
//! Not here: what lies in the first entry (ledger/log).

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ledger_log::{Created, LogPaths, create_log};
use serde_json::json;

use crate::commands::Context;
use crate::config::{FILE_NAME, Place, load};
use crate::error::CommandError;
use crate::exit::Exit;

/// Which log.
#[derive(Args, Debug)]
pub struct InitArgs {
    /// The folder; it may be there, but must not hold a log
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Name of this installation, such as db.example.org; a part of every signature
    #[arg(long, value_name = "NAME")]
    deployment: String,
    /// Whose log it is
    #[arg(long, value_name = "T", default_value = "main")]
    tenant: String,
    /// Which log of the tenant's series; default: the year
    #[arg(long, value_name = "L")]
    label: Option<String>,
}

/// Runs it.
///
/// # Errors
/// A folder that holds a log, names that are not legal, files that cannot be written.
pub fn run(args: &InitArgs, context: &Context) -> Result<Exit, CommandError> {
    let year = || {
        Timestamp::now()
            .to_zoned_datetime(TimeZone::UTC)
            .year()
            .to_string()
    };
    let label = args.label.clone().unwrap_or_else(year);
    let (paths, created) = create(&args.dir, &args.deployment, &args.tenant, &label)?;
    let fingerprint = created.trust_fingerprint.to_string();
    if context.output.is_json() {
        let answer = json!({
            "dir": args.dir.display().to_string(),
            "origin": paths.origin().as_str(),
            "trust": paths.trust().display().to_string(),
            "fingerprint": fingerprint,
            "size": created.checkpoint.size.0,
            "root": created.checkpoint.root.to_string(),
        });
        context.output.json(&answer).map_err(CommandError::Stdout)?;
        return Ok(Exit::Done);
    }
    let fields = [
        ("log", paths.origin().to_string()),
        ("settings", args.dir.join(FILE_NAME).display().to_string()),
        ("trust file", paths.trust().display().to_string()),
        ("fingerprint", fingerprint),
    ];
    context
        .output
        .fields(&fields)
        .map_err(CommandError::Stdout)?;
    context.output.say(
        "Give the trust file to whoever will check the log, and its fingerprint by another way. \
         Copy keys/ to a place that is locked.",
    );
    Ok(Exit::Done)
}

/// Makes the log and its settings.
pub(crate) fn create(
    dir: &Path,
    deployment: &str,
    tenant: &str,
    label: &str,
) -> Result<(LogPaths, Created), CommandError> {
    let paths = LogPaths::new(dir, deployment, tenant, label)?;
    if paths.folder().exists() {
        return Err(CommandError::Usage(format!(
            "{} holds the log {} already: go on with it, or choose another folder",
            dir.display(),
            paths.origin()
        )));
    }
    let settings = dir.join(FILE_NAME);
    if settings.exists() {
        check_settings(dir, &paths)?;
    }
    // First, so that a log never lacks them; alone they mean nothing, and a next `init` keeps them.
    if !settings.exists() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(CommandError::file("creating", dir))?;
        write_settings(&settings, deployment, tenant, label)?;
    }
    let created = create_log(&paths)?;
    Ok((paths, created))
}

/// Settings that somebody wrote before the log was made must mean this log.
fn check_settings(dir: &Path, paths: &LogPaths) -> Result<(), CommandError> {
    let place = Place::of_dir(dir);
    let found = load(&place, &[])?.config.paths;
    if found.origin() == paths.origin() {
        return Ok(());
    }
    Err(CommandError::Usage(format!(
        "{} is there already and names the log {}, not {}: change it or move it away",
        place.path().display(),
        found.origin(),
        paths.origin()
    )))
}

fn write_settings(
    path: &Path,
    deployment: &str,
    tenant: &str,
    label: &str,
) -> Result<(), CommandError> {
    let text = format!(
        "# Settings of one Custody installation. Every key has a default, but for the log's name:\n\
         # `custody config show --origin` lists them, `custody config check` reads this file.\n\
         \n\
         # The log's origin, deployment/tenant/label: a part of every signature, so leave it.\n\
         deployment = \"{deployment}\"\n\
         tenant = \"{tenant}\"\n\
         label = \"{label}\"\n\
         \n\
         # [http]\n\
         # listen = \"127.0.0.1:7480\"   # no TCP port is opened unless it is set here\n\
         # publish = true               # checkpoint and hash tiles for everybody who reaches it\n"
    );
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(CommandError::file("creating", path))?;
    file.write_all(text.as_bytes())
        .map_err(CommandError::file("writing", path))?;
    file.sync_all().map_err(CommandError::file("writing", path))
}

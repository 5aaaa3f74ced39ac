//! `custody sources add NAME --platform P --out FILE.key`: registers a source, makes its key and
//! its certificate, and writes both into one private file for its agent.
//!
//! Not here: revoking one, which comes with the retirement of sources.

use std::path::{Path, PathBuf};

use clap::Args;
use collectors_bus::agent_file::HandedOut;
use keys_secret::Keystore;
use ledger_core::SourceId;
use ledger_core::TreeSize;
use ledger_log::{LogPaths, SourceSpec, SourceStatus};
use serde_json::json;

use crate::access::{Accepted, Access, check_platform, now};
use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;

/// Which source.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// Its name, such as orders-db1
    #[arg(value_name = "NAME")]
    name: String,
    /// Whose records it sends, such as `postgresql`
    #[arg(long, value_name = "P")]
    platform: String,
    /// The file for its agent; its name ends in .key
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs it.
///
/// # Errors
/// A name or file that cannot be had, a source whose file was given out and used, the log.
pub fn run(args: &AddArgs, context: &Context) -> Result<Exit, CommandError> {
    let config = context.config(&[])?;
    check_platform(&args.platform)?;
    check_out(args)?;
    let mut access = Access::open(&config, Accepted::default(), &context.output)?;
    let before = access.door().status()?;
    let known = before.sources.iter().find(|one| one.name == args.name);
    if let Some(known) = known {
        check_known(known)?;
    }
    let spec = SourceSpec {
        name: args.name.clone(),
        platform: args.platform.clone(),
    };
    let source = access.door().register_keyed(&spec)?.id;
    let address = config.http.agents_address();
    let sends_to = address.as_deref().unwrap_or_default();
    hand_out(&config.paths, (source, &spec), sends_to, &args.out)?;
    let size = TreeSize(access.door().status()?.size);
    access.finish(size)?;
    if context.output.is_json() {
        let answer = json!({
            "source": source.0,
            "name": args.name,
            "platform": args.platform,
            "file": args.out.display().to_string(),
            "address": address,
        });
        context.output.json(&answer).map_err(CommandError::Stdout)?;
        return Ok(Exit::Done);
    }
    let fields = [
        ("source", source.to_string()),
        ("name", args.name.clone()),
        ("file", args.out.display().to_string()),
        ("sends to", address.clone().unwrap_or_default()),
    ];
    let fields = if address.is_some() {
        &fields[..]
    } else {
        &fields[..3]
    };
    context
        .output
        .fields(fields)
        .map_err(CommandError::Stdout)?;
    context.output.say(
        "The file holds the source's key and its certificate, and is given out this once: move it \
         to the agent by a safe way, and leave no copy.",
    );
    if address.is_none() {
        context.output.say(
            "No agent of another machine can send yet: set http.agents.listen, restart the server, \
             and write its address into the file.",
        );
    }
    Ok(Exit::Done)
}

/// A secret's file ends in `.key`, and nothing is written over.
fn check_out(args: &AddArgs) -> Result<(), CommandError> {
    let out = &args.out;
    if out.extension().is_none_or(|extension| extension != "key") {
        return Err(CommandError::Usage(format!(
            "{} will hold a secret: give a name that ends in .key, such as {}.key",
            out.display(),
            args.name
        )));
    }
    if std::fs::symlink_metadata(out).is_ok() {
        return Err(CommandError::Usage(format!(
            "{} is there already: keys are never written over, choose another name",
            out.display()
        )));
    }
    Ok(())
}

/// A source that was added may be given out again only if nothing was ever sent with its key.
fn check_known(known: &SourceStatus) -> Result<(), CommandError> {
    let name = &known.name;
    if !known.keyed {
        return Err(CommandError::Usage(format!(
            "source {name} is read by `custody ingest` and has no key: use another name"
        )));
    }
    if known.epoch != 0 {
        return Err(CommandError::Usage(format!(
            "source {name} was added before and its agent has sent: its key is given out once; use \
             another name"
        )));
    }
    Ok(())
}

/// Writes the file of a source's agent: the source's key, and a certificate made for it.
pub(crate) fn hand_out(
    paths: &LogPaths,
    (source, spec): (SourceId, &SourceSpec),
    address: &str,
    out: &Path,
) -> Result<(), CommandError> {
    let store = Keystore::open(&paths.keys())?;
    let key = store.source_key_bytes(source)?;
    let authority = store.agents_authority(paths.deployment())?;
    let own = authority
        .for_agent(paths.tenant(), source, now())
        .map_err(keys_secret::KeystoreError::from)?;
    let file = HandedOut {
        source,
        name: &spec.name,
        platform: &spec.platform,
        origin: paths.origin().as_str(),
        address,
        key: &key,
        authority: authority.certificate(),
        own: &own,
    };
    file.create(out).map_err(keys_secret::KeystoreError::from)?;
    Ok(())
}

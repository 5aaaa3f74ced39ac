//! `custody tiles OUT`: the published log as a folder of static tlog-tiles (C2SP), which any tool
//! can serve and check: hash tiles, full and partial, entry bundles, and the checkpoint last.
//!
//! Not here: payloads. A folder of tiles holds no personal data.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use ledger_core::tile::{Tile, TileKind, bundles_of, tiles_of};
use ledger_core::{Entry, Hash, TreeSize};
use ledger_log::Reader;
use serde_json::json;

use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::output::{Unit, plural};

/// Where to.
#[derive(Args, Debug)]
pub struct TilesArgs {
    /// The folder to write; one of an earlier run is brought up to date
    #[arg(value_name = "OUT")]
    out: PathBuf,
}

const CHECKPOINT: &str = "checkpoint";

/// Runs it.
///
/// # Errors
/// A folder that holds something else, a log that cannot be read, files that cannot be written.
pub fn run(args: &TilesArgs, context: &Context) -> Result<Exit, CommandError> {
    let config = context.config(&[])?;
    let reader = Reader::open(&config.paths)?;
    let (checkpoint, note) = reader.published()?;
    check_out(&args.out, checkpoint.origin.as_str())?;
    let size = checkpoint.size;
    let total = tiles_of(size).count() + bundles_of(size).count();
    let bar = context
        .output
        .bar(total as u64, "writing tiles", Unit::Entries);
    let mut written = 0;
    for tile in tiles_of(size).chain(bundles_of(size)) {
        written += u64::from(write_tile(&reader, &args.out, &tile)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    // Last, and at once: whoever reads the checkpoint finds all that it covers.
    let path = args.out.join(CHECKPOINT);
    let draft = args.out.join(".checkpoint.new");
    fs::write(&draft, &note).map_err(CommandError::file("writing", &draft))?;
    fs::rename(&draft, &path).map_err(CommandError::file("renaming", &draft))?;
    print(args, context, size, total as u64, written)
}

fn print(
    args: &TilesArgs,
    context: &Context,
    size: TreeSize,
    total: u64,
    written: u64,
) -> Result<Exit, CommandError> {
    let out = args.out.display().to_string();
    if context.output.is_json() {
        let answer = json!({ "out": out, "size": size.0, "tiles": total, "written": written });
        context.output.json(&answer).map_err(CommandError::Stdout)?;
    } else {
        let tiles = plural(total, "tile", "tiles");
        let entries = plural(size.0, "entry", "entries");
        let line = format!("{out}: {tiles} of {entries}, {written} of them new; no payloads");
        context.output.line(&line).map_err(CommandError::Stdout)?;
    }
    Ok(Exit::Done)
}

/// Empty, new, or written by an earlier run for the same log.
fn check_out(out: &Path, origin: &str) -> Result<(), CommandError> {
    fs::create_dir_all(out).map_err(CommandError::file("creating", out))?;
    let mut items = fs::read_dir(out).map_err(CommandError::file("reading", out))?;
    if items.next().is_none() {
        return Ok(());
    }
    let checkpoint = fs::read_to_string(out.join(CHECKPOINT)).unwrap_or_default();
    if checkpoint.lines().next() == Some(origin) || interrupted(out) {
        return Ok(());
    }
    Err(CommandError::Usage(format!(
        "{} holds something else than tiles of {origin}: give an empty folder",
        out.display()
    )))
}

/// Whether there is nothing but tiles yet, from a first run that did not come to its end.
fn interrupted(out: &Path) -> bool {
    fs::read_dir(out).is_ok_and(|items| items.flatten().all(|item| item.file_name() == "tile"))
}

/// Writes a tile, unless a full one of the same length is there. Says whether it was written.
fn write_tile(reader: &Reader, out: &Path, tile: &Tile) -> Result<bool, CommandError> {
    let path = out.join(tile.to_string());
    let one = match tile.kind {
        TileKind::Hashes(_) => Hash::LEN,
        TileKind::Entries => Entry::LEN + 2,
    };
    let len = (one * usize::from(tile.width)) as u64;
    // A tile never changes, and one that was cut in the middle of writing is shorter.
    if fs::metadata(&path).is_ok_and(|there| there.len() == len) {
        return Ok(false);
    }
    let bytes = reader
        .tile(tile)?
        .ok_or_else(|| CommandError::TileMissing {
            tile: tile.to_string(),
        })?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(CommandError::file("creating", folder))?;
    }
    fs::write(&path, bytes).map_err(CommandError::file("writing", &path))?;
    Ok(true)
}

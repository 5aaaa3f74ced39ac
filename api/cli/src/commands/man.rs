//! `custody man`: the manual page of the program or of one command, or all of them into a folder.
//!
//! Not here: installing them.

use std::path::{Path, PathBuf};

use clap::Args;
use clap_mangen::Man;

use crate::cli;
use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;

/// Which page.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// The command, such as `ingest` or `config show`; default: the program
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// Write every page into this folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    out: Option<PathBuf>,
}

/// Prints or writes.
///
/// # Errors
/// No such command; those of stdout and files.
pub fn run(args: &ManArgs, context: &Context) -> Result<Exit, CommandError> {
    let program = cli::command();
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).map_err(CommandError::file("creating", folder))?;
        return write_all(&program, folder).map(|()| Exit::Done);
    }
    let mut command = &program;
    for name in &args.command {
        command = command.find_subcommand(name).ok_or_else(|| {
            CommandError::Usage(format!("there is no command {name:?}: see `custody help`"))
        })?;
    }
    let page = page(command).map_err(CommandError::Stdout)?;
    context
        .output
        .line(page.trim_end())
        .map_err(CommandError::Stdout)?;
    Ok(Exit::Done)
}

fn write_all(command: &clap::Command, folder: &Path) -> Result<(), CommandError> {
    let path = folder.join(format!("{}.1", page_name(command)));
    let text = page(command).map_err(CommandError::file("writing", &path))?;
    std::fs::write(&path, text).map_err(CommandError::file("writing", &path))?;
    for inner in command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
    {
        write_all(inner, folder)?;
    }
    Ok(())
}

/// `custody-config-show`, as clap names it once the tree is built.
fn page_name(command: &clap::Command) -> String {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned()
}

fn page(command: &clap::Command) -> std::io::Result<String> {
    let mut page = Vec::new();
    let command = command.clone().name(page_name(command));
    Man::new(command).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_of_its_own_name() {
        let program = cli::command();
        let config = program.find_subcommand("config").unwrap();
        let show = config.find_subcommand("show").unwrap();
        assert_eq!(page_name(show), "custody-config-show");
        let text = page(show).unwrap();
        assert!(text.contains("custody\\-config\\-show"), "{text}");
        assert!(page(&program).unwrap().contains("Exit codes"));
    }
}

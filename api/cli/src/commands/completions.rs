//! `custody completions SHELL`: a completion script on stdout.
//!
//! Not here: installing it; the manual of each shell says where scripts lie.

use clap::{Args, ValueEnum};
use clap_complete::{Generator, Shell};
use clap_complete_nushell::Nushell;

use crate::cli;
use crate::commands::Context;
use crate::error::CommandError;
use crate::exit::Exit;

/// The shell.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// Which shell
    shell: ShellName,
}

/// Shells that a script can be made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ShellName {
    /// Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
    /// PowerShell.
    #[value(name = "powershell")]
    PowerShell,
    /// Elvish.
    Elvish,
    /// Nushell.
    Nushell,
}

/// Prints it.
///
/// # Errors
/// Those of stdout.
pub fn run(args: &CompletionsArgs, context: &Context) -> Result<Exit, CommandError> {
    let script = match args.shell {
        ShellName::Bash => generate(Shell::Bash),
        ShellName::Zsh => generate(Shell::Zsh),
        ShellName::Fish => generate(Shell::Fish),
        ShellName::PowerShell => generate(Shell::PowerShell),
        ShellName::Elvish => generate(Shell::Elvish),
        ShellName::Nushell => generate(Nushell),
    };
    context
        .output
        .line(script.trim_end())
        .map_err(CommandError::Stdout)?;
    Ok(Exit::Done)
}

fn generate(generator: impl Generator) -> String {
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut cli::command(), "custody", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for script in [
            generate(Shell::Bash),
            generate(Shell::Zsh),
            generate(Shell::Fish),
            generate(Shell::PowerShell),
            generate(Shell::Elvish),
            generate(Nushell),
        ] {
            assert!(
                script.contains("completions") && script.contains("config"),
                "{script}"
            );
        }
    }
}

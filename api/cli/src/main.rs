//! The program `custody`.
//!
//! Not here: anything but the start; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    api_cli::run(std::env::args_os().collect()).into()
}

//! What several tests need: where the built program is.
//!
//! Not here: building it. `make test` does that first, so that a test never starts a build.

use std::path::PathBuf;

/// The program beside this test binary: `target/release/custody` for `target/release/deps/main-…`.
///
/// # Panics
/// If it has not been built.
pub(crate) fn custody_bin() -> PathBuf {
    let tests = std::env::current_exe().expect("the test binary has a path");
    let folder = tests
        .ancestors()
        .nth(2)
        .expect("the test binary lies in a folder of cargo's");
    let program = folder.join(format!("custody{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.is_file(),
        "{} is missing: run `cargo build --release -p api-cli`, or `make test`",
        program.display()
    );
    program
}

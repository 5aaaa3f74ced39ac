//! What the program says about itself while it serves: tracing, on stderr, as text or JSON.
//!
//! Not here: the lines of other commands (`output.rs`). Never an event's body, a key or a name.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::config::MessageSettings;

/// Begins to write messages. A second call changes nothing.
pub(crate) fn begin(settings: &MessageSettings) {
    // Libraries say what goes wrong; the rest of what they say is theirs.
    let rooms = [
        "api_cli",
        "api_http",
        "collectors_agent",
        "collectors_bus",
        "keys_secret",
        "ledger_log",
    ];
    let own = rooms
        .map(|room| format!("{room}={}", settings.level))
        .join(",");
    let filter = EnvFilter::new(format!("warn,{own}"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false);
    // Only fails if there is one already, as in tests that serve twice in a process.
    let _ = if settings.form == "json" {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(io::stderr().is_terminal()).try_init()
    };
}

//! The seam between bytes and events: [`Format`], and which one a platform and its settings mean.
//!
//! A format is fed a window of bytes that begins at a record and answers one step at a time. It
//! holds no more than one cut record, whatever the size of the input. Not here: any platform's
//! form.

use ledger_event::Event;

use crate::{mariadb, postgresql};

/// Native records longer than this many bytes are cut (their event says so and keeps a keyed
/// digest of the whole). Together with the limits of single texts it keeps every event under
/// [`ledger_event::EVENT_BYTES_MAX`]. A reader's window must be able to hold a little more than
/// this.
pub const RECORD_BYTES_MAX: usize = 192 * 1024;

/// One form of an audit trail, read as a stream.
pub trait Format {
    /// Looks at a window of input that begins where the last step ended. `at_end` says that
    /// nothing will ever follow the window: a last record without its line end is then `unparsed`;
    /// otherwise the format waits for the rest of it.
    fn next<'i>(&mut self, input: &'i [u8], at_end: bool) -> Step<'i>;

    /// Looks at a window that nothing has followed for a while. A record whose last line is there,
    /// and that waits only for lines that may go on with it, is given now, with the bounds that it
    /// has if no such line comes; whatever else waits on. A line that goes on with it all the same
    /// is `Unparsed`, by itself, with nothing of its text: what stood before decides what is a
    /// secret.
    fn pause<'i>(&mut self, input: &'i [u8]) -> Step<'i>;

    /// Says that the next window begins at this offset of the native stream, after a record.
    fn resume(&mut self, offset: u64);
}

/// What a look at the input gave.
#[derive(Debug)]
pub enum Step<'i> {
    /// One native record.
    Record {
        /// Bytes of the window that it and its line end took.
        consumed: usize,
        /// The event, masked.
        event: Box<Event<'i>>,
    },
    /// Bytes that are no record of the form: kept, masked, as a Base Event.
    Unparsed {
        /// Bytes of the window that they took.
        consumed: usize,
        /// The event, masked.
        event: Box<Event<'i>>,
    },
    /// Bytes that give no event by themselves: a byte order mark, an empty line, or a piece of a
    /// record that is being cut. Only the end of a `Record` or `Unparsed` is a position to go on
    /// from.
    Skip {
        /// Bytes of the window to pass over; never 0.
        consumed: usize,
    },
    /// The window ends inside a record: give the same bytes again with more behind them.
    NeedMore,
}

/// Keys of one source that a format needs.
#[derive(Clone)]
pub struct FormatKeys {
    /// Keys the digests of unmasked bytes and the identifiers of events (HMAC-SHA-256).
    pub digest_key: [u8; 32],
}

impl std::fmt::Debug for FormatKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FormatKeys(…)")
    }
}

/// Why a platform's settings do not name a form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No form of this platform can be read.
    #[error(
        "platform {platform} is not known: this version reads {known}",
        known = PLATFORMS.join(", ")
    )]
    UnknownPlatform {
        /// What was asked for.
        platform: String,
    },
    /// The platform has no such setting.
    #[error("platform {platform} has no setting {name}: it has {known}")]
    UnknownSetting {
        /// The platform.
        platform: &'static str,
        /// What was given.
        name: String,
        /// What there is.
        known: &'static str,
    },
    /// The setting cannot have this value.
    #[error("setting {name} cannot be {value}: give {expected}")]
    BadValue {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What it can be.
        expected: &'static str,
    },
}

/// The platforms that can be read.
const PLATFORMS: &[&str] = &["postgresql", "mariadb"];

/// The format that a platform and its settings mean.
///
/// # Errors
/// Unknown platform or setting, or a value that a setting cannot have.
pub fn format_for(
    platform: &str,
    settings: &[(String, String)],
    keys: &FormatKeys,
) -> Result<Box<dyn Format + Send>, SettingsError> {
    match platform {
        "postgresql" => postgresql::format(settings, keys),
        "mariadb" => mariadb::format(settings, keys),
        other => Err(SettingsError::UnknownPlatform {
            platform: other.to_owned(),
        }),
    }
}

//! Why a command ended without doing what it was asked: one line that says what to do, and an exit
//! code.
//!
//! Not here: findings of `verify` and `doctor`; those are results, and are printed as data.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use api_http::{FetchError, ReadsError, ServeError};
use collectors_formats::SettingsError;
use keys_public::TrustFileError;
use keys_secret::KeystoreError;
use ledger_log::bench::BenchError;
use ledger_log::{
    CloseError, CreateError, DoorError, OpenError, PathError, ReadError, RebuildError,
};
use ledger_verify::VerifyError;
use thiserror::Error;

use crate::config::ConfigError;
use crate::exit::Exit;
use crate::position::PositionRefused;
use crate::reading::FileRefused;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The configuration is wrong.
    #[error("{first}{}", and_more(*more))]
    Config {
        /// The first fault.
        first: ConfigError,
        /// How many others there are.
        more: usize,
    },
    /// Something on the command line that only the command itself can judge.
    #[error("{0}")]
    Usage(String),
    /// Stdout cannot be written.
    #[error("stdout cannot be written: {0}")]
    Stdout(#[source] io::Error),
    /// A file or folder cannot be read or written.
    #[error("{verb} {} failed: {error}", path.display())]
    File {
        /// `reading`, `writing`, `creating`.
        verb: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// An audit file cannot be read.
    #[error(transparent)]
    Audit(#[from] FileRefused),
    /// A source does not go on in this file.
    #[error(transparent)]
    Position(#[from] PositionRefused),
    /// Somebody else appends for the same source.
    #[error(
        "source {name} is being read by another process at the same time: nothing was lost; run it \
         again when the other has ended"
    )]
    TakenByAnother {
        /// The source.
        name: String,
    },
    /// An unknown platform, or a setting that it does not have.
    #[error(transparent)]
    Format(#[from] SettingsError),
    /// Deployment, tenant or label are not legal.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The log was not made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The log cannot be opened.
    #[error(transparent)]
    Open(Box<OpenError>),
    /// The log did not end well.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// The door did not take something.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// An answer could not be read from the log.
    #[error(transparent)]
    Reads(Box<ReadsError>),
    /// The log's files cannot be read.
    #[error(transparent)]
    Read(Box<ReadError>),
    /// Derived files were not rebuilt.
    #[error(transparent)]
    Rebuild(Box<RebuildError>),
    /// A key cannot be used.
    #[error(transparent)]
    Keys(Box<KeystoreError>),
    /// A trust file is refused.
    #[error("{}: {error}", path.display())]
    Trust {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: TrustFileError,
    },
    /// Nothing can be said about a log.
    #[error(transparent)]
    Verify(Box<VerifyError>),
    /// A published log cannot be read from its URL.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The configuration of an agent, or the credentials that it names.
    #[error("{}: {error}", path.display())]
    AgentConfig {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        #[source]
        error: Box<collectors_agent::ConfigError>,
    },
    /// A source cannot be followed.
    #[error(transparent)]
    Follow(#[from] collectors_agent::FollowError),
    /// There is no way to the log.
    #[error(transparent)]
    Bus(#[from] collectors_bus::BusError),
    /// A setting of the way to Kafka.
    #[error(transparent)]
    KafkaConfig(#[from] collectors_bus::kafka::KafkaConfigError),
    /// Kafka cannot be used as it is set.
    #[error(transparent)]
    Kafka(#[from] collectors_bus::kafka::KafkaFailed),
    /// Nothing is read from Kafka.
    #[error(transparent)]
    Intake(#[from] collectors_bus::kafka::IntakeError),
    /// The server did not start.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The log stopped while it was served.
    #[error("the log stopped: {reason}; look at `custody doctor`, then start again")]
    LogStopped {
        /// Why.
        reason: String,
    },
    /// Another ledger of the same log reads Kafka in its place.
    #[error("nothing was read from Kafka any more: {0}")]
    Fenced(collectors_bus::kafka::KafkaFailed),
    /// A tile that the checkpoint implies is not there.
    #[error("the log has no {tile}, though its checkpoint covers it: run `custody rebuild`")]
    TileMissing {
        /// Its path.
        tile: String,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// Signals cannot be waited for.
    #[error("signals cannot be waited for: {0}")]
    Signals(#[source] io::Error),
    /// Nothing was measured on the way through Kafka.
    #[error(transparent)]
    Pipeline(Box<collectors_bus::kafka::bench::PipelineError>),
    /// Nothing was measured.
    #[error(transparent)]
    Bench(Box<BenchError>),
    /// The demo met something that it must not meet.
    #[error("the demo went wrong: {what}")]
    Demo {
        /// What.
        what: String,
    },
}

macro_rules! boxed {
    ($($variant:ident($error:ty);)*) => {
        $(impl From<$error> for CommandError {
            fn from(error: $error) -> CommandError {
                CommandError::$variant(Box::new(error))
            }
        })*
    };
}

boxed! {
    Open(OpenError);
    Reads(ReadsError);
    Read(ReadError);
    Rebuild(RebuildError);
    Keys(KeystoreError);
    Verify(VerifyError);
    Bench(BenchError);
    Pipeline(collectors_bus::kafka::bench::PipelineError);
}

impl CommandError {
    /// A failed operation on a file; for `map_err`.
    pub fn file(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CommandError {
        let path = path.to_owned();
        move |error| CommandError::File { verb, path, error }
    }

    /// How the program ends.
    pub fn exit(&self) -> Exit {
        match self {
            CommandError::Config { .. }
            | CommandError::Usage(_)
            | CommandError::AgentConfig { .. }
            | CommandError::Bus(_)
            | CommandError::KafkaConfig(_)
            | CommandError::Kafka(_)
            | CommandError::Format(_)
            | CommandError::Path(_)
            | CommandError::Trust { .. } => Exit::Usage,
            CommandError::File { error, .. } => Exit::of_io(error),
            CommandError::Audit(error) => exit_of_file(error),
            CommandError::Position(PositionRefused::File(error)) => exit_of_file(error),
            CommandError::Position(_) => Exit::Usage,
            CommandError::Create(error) => exit_of_create(error),
            CommandError::Open(error) => exit_of_open(error),
            CommandError::Door(error) => exit_of_door(error),
            CommandError::Reads(error) => exit_of_reads(error),
            CommandError::Read(error) => exit_of_read(error),
            CommandError::Rebuild(error) => exit_of_rebuild(error),
            CommandError::Keys(_) => Exit::NotAllowed,
            CommandError::Verify(error) => exit_of_verify(error),
            CommandError::Fetch(FetchError::Url { .. }) => Exit::Usage,
            CommandError::TileMissing { .. } | CommandError::Demo { .. } => Exit::Found,
            CommandError::Serve(_)
            | CommandError::Follow(_)
            | CommandError::Intake(_)
            | CommandError::Fetch(_)
            | CommandError::Close(_)
            | CommandError::TakenByAnother { .. }
            | CommandError::LogStopped { .. }
            | CommandError::Fenced(_)
            | CommandError::Bench(_)
            | CommandError::Pipeline(_)
            | CommandError::Stdout(_)
            | CommandError::Random(_)
            | CommandError::Signals(_) => Exit::Unavailable,
        }
    }

    /// Whether whoever read stdout went away, as `head` does: no failure of ours.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, CommandError::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

fn exit_of_file(error: &FileRefused) -> Exit {
    match error {
        FileRefused::Io { error, .. } => Exit::of_io(error),
        FileRefused::NotAFile { .. } => Exit::Usage,
    }
}

fn exit_of_door(error: &DoorError) -> Exit {
    match error {
        DoorError::Busy | DoorError::Stopped { .. } | DoorError::Unreachable { .. } => {
            Exit::Unavailable
        }
        DoorError::UnknownSource { .. } => Exit::NotFound,
        DoorError::SourceStopped { .. }
        | DoorError::TooManySources
        | DoorError::TooManyPositions
        | DoorError::Key { .. } => Exit::NotAllowed,
        DoorError::TooLarge { .. }
        | DoorError::TooMany { .. }
        | DoorError::BadPosition { .. }
        | DoorError::BadName { .. }
        | DoorError::OtherPlatform { .. }
        | DoorError::StreamNotTaken => Exit::Usage,
    }
}

fn exit_of_read(error: &ReadError) -> Exit {
    match error {
        ReadError::NotFound { .. } | ReadError::NoLog { .. } => Exit::NotFound,
        ReadError::Io { error, .. } => Exit::of_io(error),
        ReadError::Damaged { .. } | ReadError::Commitment { .. } | ReadError::Note { .. } => {
            Exit::Found
        }
    }
}

fn exit_of_open(error: &OpenError) -> Exit {
    match error {
        OpenError::Read(error) => exit_of_read(error),
        OpenError::Io { error, .. } => Exit::of_io(error),
        OpenError::Held { .. } | OpenError::Write(_) => Exit::Unavailable,
        OpenError::OtherOrigin { .. } | OpenError::Trust { .. } => Exit::Usage,
        OpenError::ClockBehind { .. }
        | OpenError::ClockStopped { .. }
        | OpenError::MarkDamaged { .. }
        | OpenError::Keystore(_)
        | OpenError::Signer(_) => Exit::NotAllowed,
        OpenError::Corrupt { .. }
        | OpenError::PayloadsShort { .. }
        | OpenError::SegmentMissing { .. }
        | OpenError::ShorterThanSigned { .. }
        | OpenError::RolledBack { .. }
        | OpenError::Restored { .. }
        | OpenError::RootMismatch { .. } => Exit::Found,
    }
}

fn exit_of_create(error: &CreateError) -> Exit {
    match error {
        CreateError::Exists { .. } | CreateError::Trust { .. } => Exit::Usage,
        CreateError::Keystore(_) | CreateError::Signer(_) => Exit::NotAllowed,
        CreateError::Io { error, .. } => Exit::of_io(error),
        CreateError::Open(error) => exit_of_open(error),
        CreateError::Read(error) => exit_of_read(error),
        CreateError::Write(_) | CreateError::Close(_) => Exit::Unavailable,
    }
}

fn exit_of_rebuild(error: &RebuildError) -> Exit {
    match error {
        RebuildError::Open(error) => exit_of_open(error),
        RebuildError::Read(error) => exit_of_read(error),
        RebuildError::Write(_) => Exit::Unavailable,
        RebuildError::RootMismatch { .. } => Exit::Found,
    }
}

fn exit_of_reads(error: &ReadsError) -> Exit {
    match error {
        ReadsError::NotFound { .. } => Exit::NotFound,
        ReadsError::Query(_) => Exit::Usage,
        ReadsError::Log(error) => exit_of_read(error),
        ReadsError::ProofWrong { .. } => Exit::Found,
        ReadsError::NotPublished { .. }
        | ReadsError::NotOpen
        | ReadsError::Refused { .. }
        | ReadsError::Unreachable { .. }
        | ReadsError::Nonsense { .. } => Exit::Unavailable,
    }
}

fn exit_of_verify(error: &VerifyError) -> Exit {
    match error {
        VerifyError::NoLog { .. } => Exit::NotFound,
        VerifyError::Read { error, .. } => Exit::of_io(error),
        VerifyError::Origin { .. }
        | VerifyError::SinceMalformed(_)
        | VerifyError::SinceRefused(_) => Exit::Usage,
        VerifyError::Fetch { .. } => Exit::Unavailable,
    }
}

impl From<Vec<ConfigError>> for CommandError {
    fn from(errors: Vec<ConfigError>) -> CommandError {
        let more = errors.len().saturating_sub(1);
        match errors.into_iter().next() {
            Some(first) => CommandError::Config { first, more },
            // An empty list of faults is no fault; nothing builds one.
            None => CommandError::Usage("the configuration is wrong".to_owned()),
        }
    }
}

fn and_more(more: usize) -> String {
    match more {
        0 => String::new(),
        more => format!(" (and {more} more: see `custody config check`)"),
    }
}

/// The error and its causes on one line; a cause that its error already quotes is not repeated.
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = next.source();
    }
    crate::output::printable(&line.replace('\n', "; "))
}

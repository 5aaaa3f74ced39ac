//! What the agent says about a file: an event in the stream of records, so that nothing that
//! happened to a file goes unsaid.
//!
//! Not here: when that is (`tailer`).

use std::path::PathBuf;

use ledger_core::Nanos;
use ledger_event::{Event, OCSF_VERSION, Text};

/// Something happened to a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The file was cut or overwritten; its new content is read from its beginning.
    Replaced {
        /// Which.
        path: PathBuf,
        /// How far the old content had been read.
        offset: u64,
        /// Bytes of the old content that were seen and are nowhere to be found.
        unread: u64,
        /// A copy of the old content, which is read on.
        copy: Option<PathBuf>,
        /// Whether the operator allows it.
        allowed: Allowed,
    },
    /// The file is gone, and with it what may have followed.
    Vanished {
        /// Which.
        path: PathBuf,
        /// How far it had been read.
        offset: u64,
        /// Bytes that were seen and not read.
        unread: u64,
    },
    /// Rotated files that were there when the source was first read are not read.
    Left {
        /// The oldest and the youngest of them.
        oldest: PathBuf,
        /// See `oldest`.
        youngest: PathBuf,
        /// How many.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// The name is no regular file.
    Refused {
        /// Which.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The folder or a file in it cannot be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It can be read again.
    Readable {
        /// Which.
        path: PathBuf,
    },
    /// A compressed file cannot be read to its end.
    Damaged {
        /// Which.
        path: PathBuf,
        /// How far it could be read, uncompressed.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// More files than can be followed.
    TooMany {
        /// How many are known.
        known: usize,
    },
}

/// Whether a file may be cut in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowed {
    /// `allow_copytruncate` is set: known to lose what is written between copy and cut.
    Yes,
    /// It is not.
    No,
}

impl Notice {
    /// The name in the event's `activity_name`.
    pub fn name(&self) -> &'static str {
        match self {
            Notice::Replaced { .. } => "stream.generation",
            Notice::Vanished { .. } => "stream.lost",
            Notice::Left { .. } => "stream.left",
            Notice::Refused { .. } => "stream.refused",
            Notice::Unreadable { .. } => "stream.unreadable",
            Notice::Readable { .. } => "stream.readable",
            Notice::Damaged { .. } => "stream.damaged",
            Notice::TooMany { .. } => "stream.too-many",
        }
    }

    /// OCSF severity: 1 informational to 4 high.
    fn severity(&self) -> u8 {
        match self {
            Notice::Replaced { unread, .. } if *unread > 0 => 4,
            Notice::Replaced { allowed, .. } => match allowed {
                Allowed::Yes => 2,
                Allowed::No => 3,
            },
            Notice::Vanished { .. } | Notice::Damaged { .. } | Notice::TooMany { .. } => 4,
            Notice::Left { .. } => 2,
            Notice::Refused { .. } | Notice::Unreadable { .. } => 3,
            Notice::Readable { .. } => 1,
        }
    }

    fn message(&self) -> String {
        match self {
            Notice::Replaced {
                path,
                offset,
                unread,
                copy,
                allowed,
            } => {
                let rest = match copy {
                    Some(copy) => format!("; the rest is read from {}", copy.display()),
                    None => String::new(),
                };
                let advice = match allowed {
                    Allowed::Yes => "",
                    Allowed::No => "; rotate by renaming, or set allow_copytruncate",
                };
                format!(
                    "{} was cut or overwritten after byte {offset} was read: {unread} bytes that \
                     were seen there are lost, what was written unseen is not known{rest}{advice}",
                    path.display()
                )
            }
            Notice::Vanished {
                path,
                offset,
                unread,
            } => format!(
                "{} is gone: it was read up to byte {offset}, {unread} bytes that were seen there \
                 are lost, what was written unseen is not known",
                path.display()
            ),
            Notice::Left {
                oldest,
                youngest,
                files,
                bytes,
            } => format!(
                "{files} rotated files with {bytes} bytes were there when the source was first \
                 read, and are left as leave_rotated says: {} to {}",
                oldest.display(),
                youngest.display()
            ),
            Notice::Refused { path, what } => {
                format!("{} is {what}: only a regular file is read", path.display())
            }
            Notice::Unreadable { path, reason } => format!(
                "{} cannot be read: {reason}; it is tried again, and what is open is read on",
                path.display()
            ),
            Notice::Readable { path } => format!("{} can be read again", path.display()),
            Notice::Damaged {
                path,
                offset,
                reason,
            } => format!(
                "{} cannot be read behind byte {offset} (uncompressed): {reason}",
                path.display()
            ),
            Notice::TooMany { known } => format!(
                "{known} files are known, more are not followed: remove old ones, or name fewer"
            ),
        }
    }

    /// Says it on this host too.
    pub(crate) fn tell(&self) {
        let (notice, about) = (self.name(), self.message());
        if self.severity() > 1 {
            tracing::warn!(notice, about, "noted in the log");
        } else {
            tracing::info!(notice, about, "noted in the log");
        }
    }

    /// The event, as JSON.
    pub fn value(&self, at: Nanos) -> Vec<u8> {
        let mut event = Event::default();
        event.classify(6002, 99);
        event.activity_name = Some(Text::from(self.name()));
        event.set_time(at);
        event.severity_id = Some(self.severity());
        event.status_id = Some(0);
        event.metadata.version = Some(Text::from(OCSF_VERSION));
        event.metadata.product.name = Some(Text::from("Custody"));
        event.metadata.product.vendor_name = Some(Text::from("Custody"));
        event.app.name = Some(Text::from("Custody agent"));
        event.message = Some(Text::from(self.message()));
        let lossy = matches!(
            self,
            Notice::Replaced {
                allowed: Allowed::Yes,
                ..
            }
        );
        if lossy {
            event.unmapped.grade = Some(Text::from("C"));
            event.unmapped.flags.push(Text::from("lossy"));
        }
        event.to_json()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_an_event_that_the_door_reads() {
        let cut = |unread, allowed| Notice::Replaced {
            path: PathBuf::from("/v/audit.log"),
            offset: 66,
            unread,
            copy: None,
            allowed,
        };
        for (notice, severity, lossy) in [
            (cut(0, Allowed::No), 3, false),
            (cut(0, Allowed::Yes), 2, true),
            (cut(9, Allowed::Yes), 4, true),
            (Notice::TooMany { known: 4000 }, 4, false),
        ] {
            let value = notice.value(Nanos(5_000_000_000));
            let event = Event::parse(&value).unwrap();
            assert_eq!(event.severity_id, Some(severity));
            assert_eq!(event.time, Some(5_000));
            assert_eq!(event.unmapped.grade.is_some(), lossy);
            assert_eq!(event.activity_name, Some(Text::from(notice.name())));
        }
    }
}

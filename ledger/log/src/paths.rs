//! Where a log and what belongs to it lie under DIR.
//!
//! Not here: the names inside a log's folder ([`ledger_core::layout`]).

use std::path::{Path, PathBuf};

use ledger_core::{Hash, Origin};

/// The places of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPaths {
    root: PathBuf,
    tenant: String,
    label: String,
    origin: Origin,
}

/// Why no places can be given.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    /// A part of the origin cannot be a folder's name or a part of a URL.
    #[error(
        "{what} {value:?} is no name: use 1 to 64 letters, digits, '.', '_' or '-', not first a '.'"
    )]
    Name {
        /// Which part: deployment, tenant or label.
        what: &'static str,
        /// What was given.
        value: String,
    },
    /// The origin is not `<deployment>/<tenant>/<label>`.
    #[error("the origin {origin:?} is not of the form <deployment>/<tenant>/<label>")]
    Origin {
        /// What was given.
        origin: String,
    },
}

fn checked(what: &'static str, value: &str) -> Result<(), PathError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let good =
        (1..=64).contains(&value.len()) && value.chars().all(legal) && !value.starts_with('.');
    if good {
        Ok(())
    } else {
        Err(PathError::Name {
            what,
            value: value.to_owned(),
        })
    }
}

impl LogPaths {
    /// The places of the log `<deployment>/<tenant>/<label>` under `root`.
    ///
    /// # Errors
    /// A part that cannot be a folder's name.
    pub fn new(
        root: &Path,
        deployment: &str,
        tenant: &str,
        label: &str,
    ) -> Result<LogPaths, PathError> {
        // A deployment may be a host with a path, such as `example.org/audit`.
        for piece in deployment.split('/') {
            checked("deployment", piece)?;
        }
        checked("tenant", tenant)?;
        checked("label", label)?;
        let text = format!("{deployment}/{tenant}/{label}");
        let origin = Origin::new(&text).map_err(|_| PathError::Origin {
            origin: text.clone(),
        })?;
        Ok(LogPaths {
            root: root.to_owned(),
            tenant: tenant.to_owned(),
            label: label.to_owned(),
            origin,
        })
    }

    /// The places of the log with this origin under `root`.
    ///
    /// # Errors
    /// An origin that is not `<deployment>/<tenant>/<label>`.
    pub fn of_origin(root: &Path, origin: &Origin) -> Result<LogPaths, PathError> {
        let mut parts = origin.as_str().rsplitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(label), Some(tenant), Some(deployment)) => {
                LogPaths::new(root, deployment, tenant, label)
            }
            _ => Err(PathError::Origin {
                origin: origin.to_string(),
            }),
        }
    }

    /// DIR.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The tenant.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The label within the tenant's series.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The first part of the origin: the installation's name.
    pub fn deployment(&self) -> &str {
        let text = self.origin.as_str();
        let rest = self.tenant.len() + self.label.len() + "//".len();
        text.get(..text.len().saturating_sub(rest)).unwrap_or(text)
    }

    /// The log's origin.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// SHA-256 of the origin, as payload files carry it.
    pub fn origin_hash(&self) -> Hash {
        Hash::sha256(self.origin.as_str().as_bytes())
    }

    /// `DIR/logs/<tenant>/<label>`.
    pub fn folder(&self) -> PathBuf {
        self.root.join("logs").join(&self.tenant).join(&self.label)
    }

    /// A file of the log's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// `DIR/keys`.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// `DIR/trust/<tenant>.policy`.
    pub fn trust(&self) -> PathBuf {
        self.root
            .join("trust")
            .join(format!("{}.policy", self.tenant))
    }

    /// `DIR/custody.lock`, held by the one writer.
    pub fn lock(&self) -> PathBuf {
        self.root.join("custody.lock")
    }

    /// `DIR/custody.sock`, where the writer listens.
    pub fn socket(&self) -> PathBuf {
        self.root.join("custody.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_their_folder_are_refused_and_plain_ones_taken() {
        let root = Path::new("d");
        for (deployment, tenant, label) in [
            ("", "main", "2026"),
            ("example.org", "..", "2026"),
            ("example.org", "main", "a/b"),
            ("example.org", "main", ""),
            ("a b", "main", "2026"),
            ("example.org/", "main", "2026"),
            ("example.org", ".hidden", "2026"),
        ] {
            assert!(
                LogPaths::new(root, deployment, tenant, label).is_err(),
                "{deployment}"
            );
        }
        let paths = LogPaths::new(root, "example.org/audit", "main", "2026").unwrap();
        assert_eq!(paths.origin().as_str(), "example.org/audit/main/2026");
        assert_eq!(paths.folder(), Path::new("d/logs/main/2026"));
        assert_eq!(paths.deployment(), "example.org/audit");
        assert_eq!(LogPaths::of_origin(root, paths.origin()), Ok(paths));
    }
}

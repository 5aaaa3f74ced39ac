//! Where the configuration is: `--config FILE`, else `CUSTODY_CONFIG`, else `./custody.toml`. This
//! module and `main.rs` are the only readers of the environment.
//!
//! Not here: what the file may say.

use std::path::{Path, PathBuf};

use super::resolve::{ConfigError, ENV_PREFIX, Flag, Resolved, resolve};

/// The name of the file in an installation's folder.
pub const FILE_NAME: &str = "custody.toml";
/// The environment variable that names the file.
const CONFIG_ENV: &str = "CUSTODY_CONFIG";

/// The file that holds the settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    path: PathBuf,
}

impl Place {
    /// `--config` if given, else the environment, else the current folder.
    pub fn find(flag: Option<PathBuf>) -> Place {
        let env = || std::env::var_os(CONFIG_ENV).filter(|value| !value.is_empty());
        let path = flag.or_else(|| env().map(PathBuf::from));
        Place {
            path: path.unwrap_or_else(|| PathBuf::from(FILE_NAME)),
        }
    }

    /// The file of the installation in `dir`.
    pub fn of_dir(dir: &Path) -> Place {
        Place {
            path: dir.join(FILE_NAME),
        }
    }

    /// The file's path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder it lies in.
    fn folder(&self) -> PathBuf {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }
}

/// Reads the file and the environment, and merges them with the flags.
///
/// # Errors
/// Everything that is wrong, see [`ConfigError`].
pub fn load(place: &Place, flags: &[Flag]) -> Result<Resolved, Vec<ConfigError>> {
    let path = place.path();
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![match error.kind() {
            std::io::ErrorKind::NotFound => ConfigError::Missing {
                path: path.to_owned(),
            },
            _ => ConfigError::Unreadable {
                path: path.to_owned(),
                error,
            },
        }]
    })?;
    let env: Vec<(String, String)> = std::env::vars_os()
        .map(|(name, value)| {
            let text = |part: std::ffi::OsString| part.to_string_lossy().into_owned();
            (text(name), text(value))
        })
        .filter(|(name, _)| name.starts_with(ENV_PREFIX))
        .collect();
    resolve(Some((path, &text)), &place.folder(), &env, flags)
}

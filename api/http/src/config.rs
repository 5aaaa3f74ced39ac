//! What an operator can set about the server: the section `[http]` of custody.toml.
//!
//! Not here: reading the file (api/cli), TLS for others than agents (a proxy in front ends it),
//! tokens.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The section `[http]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port to listen on, such as `127.0.0.1:7480` or `[::1]:7480`; empty for none.
    /// The socket in the log's folder is always there.
    pub listen: String,
    /// Serve the checkpoint and the hash tiles to everybody who reaches that address.
    pub publish: bool,
    /// Serve entry bundles to everybody as well. They hold no personal data and no payloads, but
    /// times, sources and kinds of everything that happened.
    pub entries_public: bool,
    /// Connections that the address takes at once: 1 to 10,000. Further ones wait.
    pub connections_max: usize,
    /// Requests that are worked on at once, on the address and on the socket each: 1 to 1,000.
    /// Further ones are told to come again.
    pub requests_max: usize,
    /// Queries and tails that are answered at once on the socket: 1 to 256.
    pub streams_max: usize,
    /// A client must send the head of its request within this many milliseconds: 100 to 60,000.
    pub head_ms: u64,
    /// A request must be answered within this many milliseconds: 1,000 to 300,000. Queries and
    /// tails must begin within it.
    pub request_ms: u64,
    /// On a stop, requests that are being worked on have this many seconds to end: 0 to 300.
    pub stop_s: u64,
    /// Not ready when entries wait for a checkpoint and the last one is older than this many
    /// seconds: 90 to 7,200. An idle log signs once a minute, so less would be said in vain; set
    /// it above `log.checkpoint_every_ms`.
    pub ready_checkpoint_age_s: u64,
    /// Not ready when the log's disk has less than this many MiB free: 0 to 1,048,576.
    pub ready_disk_free_mib: u64,
    /// Where agents on other machines send to.
    pub agents: AgentsConfig,
}

/// The section `[http.agents]`: agents on other machines, over TLS with certificates of the
/// installation's own authority (`custody sources add` gives each agent its one).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentsConfig {
    /// Address and port to listen on, such as `0.0.0.0:7481`; empty for none.
    pub listen: String,
    /// Host name or IP address, and port, under which agents reach it, such as
    /// `ledger.example.org:7481`; empty: the address that is listened on. The host stands in the
    /// server's certificate, and both in the file that an agent is given.
    pub address: String,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            listen: "127.0.0.1:7480".to_owned(),
            publish: false,
            entries_public: false,
            connections_max: 512,
            requests_max: 64,
            streams_max: 16,
            head_ms: 5_000,
            request_ms: 30_000,
            stop_s: 10,
            ready_checkpoint_age_s: 120,
            ready_disk_free_mib: 256,
            agents: AgentsConfig::default(),
        }
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpConfigError {
    /// Not an address and a port.
    #[error("http.listen is {value:?}; give an address and a port, such as \"127.0.0.1:7480\"")]
    Listen {
        /// What was set.
        value: String,
    },
    /// Not an address and a port.
    #[error(
        "http.agents.listen is {value:?}; give an address and a port, such as \"0.0.0.0:7481\""
    )]
    AgentsListen {
        /// What was set.
        value: String,
    },
    /// Not what an agent can connect to.
    #[error(
        "http.agents.address is {value:?}; give the host name and port that agents connect to, \
         such as \"ledger.example.org:7481\""
    )]
    AgentsAddress {
        /// What was set.
        value: String,
    },
    /// Entries without what proves them.
    #[error("http.entries_public is true but http.publish is not: publish both, or neither")]
    EntriesWithoutTiles,
    /// A number outside its bounds.
    #[error("http.{key} is {value}; it must be {least} to {most}")]
    OutOfBounds {
        /// The key.
        key: &'static str,
        /// What was set.
        value: u64,
        /// The least legal value.
        least: u64,
        /// The greatest legal value.
        most: u64,
    },
}

/// Checked settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) publish: bool,
    pub(crate) entries_public: bool,
    pub(crate) connections_max: usize,
    pub(crate) requests_max: usize,
    pub(crate) streams_max: usize,
    pub(crate) head: Duration,
    pub(crate) request: Duration,
    pub(crate) stop_s: u64,
    pub(crate) ready_checkpoint_age: Duration,
    pub(crate) ready_disk_free_bytes: u64,
    pub(crate) agents: Option<AgentsOptions>,
}

/// Where agents send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentsOptions {
    pub(crate) listen: SocketAddr,
    /// What stands in the server's certificate.
    pub(crate) names: Vec<String>,
    /// Host and port for agents, if set.
    pub(crate) address: Option<String>,
}

impl HttpOptions {
    /// Host and port that agents are told to send to; `None` if nothing listens for them.
    pub fn agents_address(&self) -> Option<String> {
        let agents = self.agents.as_ref()?;
        let listen = || agents.listen.to_string();
        Some(agents.address.clone().unwrap_or_else(listen))
    }
}

impl AgentsConfig {
    fn check(&self) -> Result<Option<AgentsOptions>, HttpConfigError> {
        let shown = |text: &str| text.chars().take(128).collect();
        let host = match self.address.as_str() {
            "" => None,
            address => {
                let host = host_of(address);
                let refused = || HttpConfigError::AgentsAddress {
                    value: shown(address),
                };
                Some(host.ok_or_else(refused)?)
            }
        };
        if self.listen.is_empty() {
            return Ok(None);
        }
        let listen: SocketAddr = (self.listen.parse()).map_err(|_| {
            let value = shown(&self.listen);
            HttpConfigError::AgentsListen { value }
        })?;
        let mut names: Vec<String> = host.into_iter().collect();
        if !listen.ip().is_unspecified() && !names.contains(&listen.ip().to_string()) {
            names.push(listen.ip().to_string());
        }
        if names.is_empty() {
            // Every address is listened on, so none of them is a name.
            return Err(HttpConfigError::AgentsAddress {
                value: String::new(),
            });
        }
        Ok(Some(AgentsOptions {
            listen,
            names,
            address: Some(self.address.clone()).filter(|address| !address.is_empty()),
        }))
    }
}

/// The host of `HOST:PORT`, as it stands in a certificate.
fn host_of(address: &str) -> Option<String> {
    if let Ok(address) = address.parse::<SocketAddr>() {
        let usable = !address.ip().is_unspecified() && address.port() != 0;
        return usable.then(|| address.ip().to_string());
    }
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port != 0);
    let label = |label: &str| {
        let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(letters)
    };
    let named = host.len() <= 253 && host.split('.').all(label);
    let number = host.parse::<IpAddr>().is_ok();
    (port.is_some() && named && !number).then(|| host.to_owned())
}

impl HttpConfig {
    /// The checked form.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn check(&self) -> Result<HttpOptions, HttpConfigError> {
        for (key, value, least, most) in [
            ("connections_max", self.connections_max as u64, 1, 10_000),
            ("requests_max", self.requests_max as u64, 1, 1_000),
            ("streams_max", self.streams_max as u64, 1, 256),
            ("head_ms", self.head_ms, 100, 60_000),
            ("request_ms", self.request_ms, 1_000, 300_000),
            ("stop_s", self.stop_s, 0, 300),
            (
                "ready_checkpoint_age_s",
                self.ready_checkpoint_age_s,
                90,
                7_200,
            ),
            ("ready_disk_free_mib", self.ready_disk_free_mib, 0, 1 << 20),
        ] {
            if !(least..=most).contains(&value) {
                return Err(HttpConfigError::OutOfBounds {
                    key,
                    value,
                    least,
                    most,
                });
            }
        }
        if self.entries_public && !self.publish {
            return Err(HttpConfigError::EntriesWithoutTiles);
        }
        Ok(HttpOptions {
            listen: self.listen_address()?,
            publish: self.publish,
            entries_public: self.entries_public,
            connections_max: self.connections_max,
            requests_max: self.requests_max,
            streams_max: self.streams_max,
            head: Duration::from_millis(self.head_ms),
            request: Duration::from_millis(self.request_ms),
            stop_s: self.stop_s,
            ready_checkpoint_age: Duration::from_secs(self.ready_checkpoint_age_s),
            ready_disk_free_bytes: self.ready_disk_free_mib << 20,
            agents: self.agents.check()?,
        })
    }

    fn listen_address(&self) -> Result<Option<SocketAddr>, HttpConfigError> {
        if self.listen.is_empty() {
            return Ok(None);
        }
        let refused = |_| HttpConfigError::Listen {
            value: self.listen.chars().take(128).collect(),
        };
        self.listen.parse().map(Some).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_are_named_and_their_twins_taken() {
        let check = |change: &dyn Fn(&mut HttpConfig)| {
            let mut config = HttpConfig::default();
            change(&mut config);
            config.check().map_err(|error| error.to_string())
        };
        for listen in [
            "7480",
            "localhost:7480",
            "127.0.0.1",
            "127.0.0.1:65536",
            "::1:7480x",
        ] {
            let error = check(&|c| c.listen = listen.to_owned()).unwrap_err();
            assert!(
                error.contains("http.listen is") && error.contains("a port"),
                "{error}"
            );
        }
        let error = check(&|c| c.entries_public = true).unwrap_err();
        assert!(error.contains("http.publish"), "{error}");
        for (change, key) in [
            (
                &(|c: &mut HttpConfig| c.connections_max = 0) as &dyn Fn(&mut HttpConfig),
                "connec",
            ),
            (&|c| c.requests_max = 1_001, "requests_max"),
            (&|c| c.streams_max = 0, "streams_max"),
            (&|c| c.head_ms = 99, "head_ms"),
            (&|c| c.request_ms = 999, "request_ms"),
            (&|c| c.stop_s = 301, "stop_s"),
            (&|c| c.ready_checkpoint_age_s = 89, "ready_checkpoint_age_s"),
            (
                &|c| c.ready_disk_free_mib = (1 << 20) + 1,
                "ready_disk_free_mib",
            ),
        ] {
            let error = check(change).unwrap_err();
            assert!(
                error.contains(key) && error.contains("it must be"),
                "{error}"
            );
        }
        let agents = |listen: &str, address: &str| {
            let (listen, address) = (listen.to_owned(), address.to_owned());
            check(&|c| {
                c.agents = AgentsConfig {
                    listen: listen.clone(),
                    address: address.clone(),
                }
            })
        };
        for (listen, address, key) in [
            ("7481", "", "http.agents.listen"),
            ("0.0.0.0:7481", "", "http.agents.address"),
            ("[::]:7481", "", "http.agents.address"),
            (
                "127.0.0.1:7481",
                "ledger.example.org",
                "http.agents.address",
            ),
            ("127.0.0.1:7481", "a b:1", "http.agents.address"),
            ("127.0.0.1:7481", "0.0.0.0:1", "http.agents.address"),
            ("", "ledger.example.org:0", "http.agents.address"),
        ] {
            let error = agents(listen, address).unwrap_err();
            assert!(error.contains(key), "{listen} {address}: {error}");
        }
        let names = |listen: &str, address: &str| {
            let options = agents(listen, address).unwrap();
            let told = options.agents_address().unwrap();
            (options.agents.unwrap().names.join(" "), told)
        };
        let pair = |names: &str, told: &str| (names.to_owned(), told.to_owned());
        assert_eq!(names("127.0.0.1:1", ""), pair("127.0.0.1", "127.0.0.1:1"));
        assert_eq!(
            names("0.0.0.0:1", "h.example:2"),
            pair("h.example", "h.example:2")
        );
        assert_eq!(names("[::1]:1", "[::1]:2"), pair("::1", "[::1]:2"));
        assert_eq!(names("10.0.0.1:1", "h:2"), pair("h 10.0.0.1", "h:2"));
        assert_eq!(agents("", "h.example:2").unwrap().agents_address(), None);

        assert!(check(&|_| ()).is_ok());
        assert_eq!(check(&|c| c.listen = String::new()).unwrap().listen, None);
        assert!(check(&|c| c.listen = "[::1]:0".to_owned()).is_ok());
        let public = check(&|c| {
            c.publish = true;
            c.entries_public = true;
        });
        assert!(public.unwrap().entries_public);
    }
}

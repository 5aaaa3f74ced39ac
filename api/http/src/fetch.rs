//! Reading a published log over HTTP or HTTPS: checkpoint and tiles, one bounded GET each, for
//! `custody verify URL`.
//!
//! Not here: believing anything that arrives (ledger/verify), and which TLS provider there is
//! (api/cli installs aws-lc-rs once; without it reqwest takes the same).

use std::error::Error;
use std::io::Read;
use std::thread;
use std::time::Duration;

use reqwest::blocking::{Client, Response};
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};

/// Longest checkpoint that is read, in bytes (the bound of a signed note).
pub const CHECKPOINT_BYTES_MAX: u64 = 1 << 20;
/// Longest hash tile: 256 hashes of 32 bytes.
pub const HASH_TILE_BYTES_MAX: u64 = 256 * 32;
/// Longest entry bundle: 256 entries of at most 65,535 bytes, each behind a length of two.
pub const BUNDLE_BYTES_MAX: u64 = 256 * (65_535 + 2);

/// Attempts at one GET, the first included.
const ATTEMPTS_MAX: u32 = 4;
/// Longest wait that a server can ask for between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const GET_TIMEOUT: Duration = Duration::from_secs(60);
const REDIRECTS_MAX: usize = 3;

/// Why a log cannot be read from there.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not the URL of a log.
    #[error("{url:?} is not the URL of a log: give http:// or https:// and its prefix")]
    Url {
        /// What was given, cut at 256 characters.
        url: String,
    },
    /// No client could be made, for want of certificates of authorities.
    #[error("cannot prepare for {url}: {reason}")]
    Client {
        /// The log's URL.
        url: String,
        /// What the library said.
        reason: String,
    },
    /// No answer.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
    },
    /// An answer that is neither the file nor its absence.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// More bytes than the file can have.
    #[error("{url} has more than {bound} bytes, which no such file has")]
    TooLong {
        /// What was asked for.
        url: String,
        /// The bound.
        bound: u64,
    },
}

/// A published log at a URL.
#[derive(Clone, Debug)]
pub struct PublishedLog {
    client: Client,
    prefix: String,
}

impl PublishedLog {
    /// Prepares to read the log at `url`, such as `https://log.example.org/log/main/2026`.
    ///
    /// # Errors
    /// Not a URL of HTTP, with a query or a password in it, or no way to speak TLS.
    pub fn new(url: &str) -> Result<PublishedLog, FetchError> {
        let refused = || FetchError::Url {
            url: url.chars().take(256).collect(),
        };
        let parsed = Url::parse(url).map_err(|_| refused())?;
        let plain = parsed.query().is_none()
            && parsed.fragment().is_none()
            && parsed.username().is_empty()
            && parsed.password().is_none();
        if !plain || !matches!(parsed.scheme(), "http" | "https") {
            return Err(refused());
        }
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(GET_TIMEOUT)
            .redirect(Policy::limited(REDIRECTS_MAX))
            .user_agent(concat!("custody/", env!("CARGO_PKG_VERSION")));
        builder = match parsed.scheme() {
            "https" => builder.https_only(true),
            // Without TLS no authority is needed, and a machine may have none.
            _ => builder.tls_certs_only([]),
        };
        let client = builder.build().map_err(|error| FetchError::Client {
            url: parsed.to_string(),
            reason: reason(&error),
        })?;
        Ok(PublishedLog {
            client,
            prefix: parsed.as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// The file at `path` below the log's prefix: `checkpoint`, `tile/0/000` …; `None` if the
    /// server says that there is none. A server that is busy is asked again, a few times.
    ///
    /// # Errors
    /// No answer, an answer that says neither, or more bytes than such a file can have.
    pub fn fetch(&self, path: &str) -> Result<Option<Vec<u8>>, FetchError> {
        let url = format!("{}/{path}", self.prefix);
        let mut attempt = 1;
        loop {
            let answer = self.client.get(&url).send();
            let last = attempt >= ATTEMPTS_MAX;
            let wait = match answer {
                Ok(answer) if answer.status().is_success() => {
                    return body(answer, &url, bound(path)).map(Some);
                }
                Ok(answer) if answer.status() == StatusCode::NOT_FOUND => return Ok(None),
                Ok(answer) if last || !is_busy(answer.status()) => {
                    return Err(FetchError::Status {
                        url,
                        status: answer.status().as_u16(),
                    });
                }
                Ok(answer) => asked_wait(&answer).unwrap_or_else(|| own_wait(attempt)),
                Err(error) if last || !(error.is_connect() || error.is_timeout()) => {
                    return Err(FetchError::Unreachable {
                        url,
                        reason: reason(&error),
                    });
                }
                Err(_) => own_wait(attempt),
            };
            thread::sleep(wait.min(WAIT_MAX));
            attempt += 1;
        }
    }
}

fn bound(path: &str) -> u64 {
    if path.starts_with("tile/entries/") {
        BUNDLE_BYTES_MAX
    } else if path.starts_with("tile/") {
        HASH_TILE_BYTES_MAX
    } else {
        CHECKPOINT_BYTES_MAX
    }
}

fn body(answer: Response, url: &str, bound: u64) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    let read = answer.take(bound.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| FetchError::Unreachable {
        url: url.to_owned(),
        reason: reason(&error),
    })?;
    if bytes.len() as u64 > bound {
        return Err(FetchError::TooLong {
            url: url.to_owned(),
            bound,
        });
    }
    Ok(bytes)
}

fn is_busy(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    )
}

fn asked_wait(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

fn own_wait(attempt: u32) -> Duration {
    Duration::from_millis(100).saturating_mul(1 << attempt.min(8))
}

/// An error with what it comes from, in one line.
pub(crate) fn reason(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn texts_that_are_no_url_of_a_log_are_refused_and_the_twins_taken() {
        for url in [
            "",
            "log",
            "/log/main/2026",
            "file:///log",
            "ftp://127.0.0.1/log",
            "http://",
            "http://user:word@127.0.0.1/log",
            "http://127.0.0.1/log?x=1",
            "http://127.0.0.1/log#x",
        ] {
            let error = PublishedLog::new(url).unwrap_err();
            assert!(matches!(error, FetchError::Url { .. }), "{url}: {error}");
        }
        let log = PublishedLog::new("http://127.0.0.1/log/main/2026/").unwrap();
        assert_eq!(log.prefix, "http://127.0.0.1/log/main/2026");
    }

    /// Answers each connection with the next of `answers`, and gives the URL.
    fn server(answers: Vec<Vec<u8>>) -> (String, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/log", listener.local_addr().unwrap());
        let thread = thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0u8; 1024];
                assert!(stream.read(&mut head).unwrap() > 0);
                // The client may hang up on a body that is too long.
                let _ = stream.write_all(&answer);
            }
        });
        (url, thread)
    }

    fn answer(status: &str, more: &str, body: &[u8]) -> Vec<u8> {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n"
        );
        [head.as_bytes(), body].concat()
    }

    fn fetch(path: &str, answers: Vec<Vec<u8>>) -> Result<Option<Vec<u8>>, FetchError> {
        let (url, thread) = server(answers);
        let fetched = PublishedLog::new(&url).unwrap().fetch(path);
        thread.join().unwrap();
        fetched
    }

    #[test]
    fn answers_that_are_no_file_are_refused_and_the_twins_read() {
        let long = vec![0; 8193];
        let error = fetch("tile/0/000", vec![answer("200 OK", "", &long)]).unwrap_err();
        assert!(
            matches!(error, FetchError::TooLong { bound: 8192, .. }),
            "{error}"
        );
        let error = fetch("checkpoint", vec![answer("500 X", "", b"")]).unwrap_err();
        assert!(
            matches!(error, FetchError::Status { status: 500, .. }),
            "{error}"
        );
        let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort".to_vec();
        let error = fetch("checkpoint", vec![cut]).unwrap_err();
        assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");

        let tile = fetch("tile/0/000", vec![answer("200 OK", "", &long[..8192])]);
        assert_eq!(tile.unwrap().map(|bytes| bytes.len()), Some(8192));
        let bundle = fetch("tile/entries/000", vec![answer("200 OK", "", &long)]);
        assert_eq!(bundle.unwrap().map(|bytes| bytes.len()), Some(8193));
        let missing = fetch("tile/0/000.p/3", vec![answer("404 Not Found", "", b"no")]);
        assert_eq!(missing.unwrap(), None);
        let busy = answer("503 Busy", "Retry-After: 0\r\n", b"");
        let again = fetch("checkpoint", vec![busy, answer("200 OK", "", b"note")]);
        assert_eq!(again.unwrap().as_deref(), Some(b"note".as_slice()));
    }

    #[test]
    fn a_server_that_stays_busy_is_asked_only_so_often() {
        let busy = answer("429 Slow", "Retry-After: 0\r\n", b"");
        let error = fetch("checkpoint", vec![busy; ATTEMPTS_MAX as usize]).unwrap_err();
        assert!(
            matches!(error, FetchError::Status { status: 429, .. }),
            "{error}"
        );
    }
}

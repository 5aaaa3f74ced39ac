//! Answers that are as long as they want to be: one JSON object a line, sent as they are found, in
//! bounded memory.
//!
//! A blank line says that nothing came for a moment; the last line, `{"end":…}`, says how the
//! stream ended, so that one that was cut is never taken for whole. A client that stops reading is
//! let go.
//!
//! Not here: what the lines say.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::CACHE_CONTROL;
use actix_web::rt::task::spawn_blocking;
use actix_web::web::Bytes;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::problem::Problem;
use crate::site::Site;
use crate::wire::{End, EndLine};

/// The media type of a stream.
const NDJSON: &str = "application/x-ndjson";
/// Lines are sent together up to this size, in bytes.
const CHUNK_BYTES: usize = 32 << 10;
/// Chunks that wait for a client to read them.
const CHUNKS_MAX: usize = 4;
/// A client that takes nothing for this long is let go.
const CLIENT_WAIT: Duration = Duration::from_secs(30);

/// The sending end of a stream, for a thread that may block.
pub(crate) struct Feed {
    site: Arc<Site>,
    chunks: Sender<Bytes>,
    runtime: Handle,
    buffer: Vec<u8>,
    path: String,
    client_wait: Duration,
}

impl Feed {
    /// Adds a line, and sends what has gathered if it is much.
    pub(crate) fn line(&mut self, line: &str) -> ControlFlow<()> {
        self.buffer.extend_from_slice(line.as_bytes());
        self.buffer.push(b'\n');
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Sends what has gathered. Breaks when nobody reads any more, or the server stops.
    pub(crate) fn flush(&mut self) -> ControlFlow<()> {
        if self.site.is_stopping() {
            return ControlFlow::Break(());
        }
        self.send()
    }

    fn send(&mut self) -> ControlFlow<()> {
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        let sent = self
            .runtime
            .block_on(self.chunks.send_timeout(chunk, self.client_wait));
        if sent.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    fn end(mut self, result: Result<u64, Problem>) {
        let end = match result {
            _ if self.site.is_stopping() => {
                End::Problem(Box::new(Problem::stopping().body(&self.path)))
            }
            Ok(count) => End::Done(count),
            Err(problem) => End::Problem(Box::new(problem.body(&self.path))),
        };
        // Numbers and strings always have a JSON form, so this never falls back.
        let line = serde_json::to_string(&EndLine { end }).unwrap_or_default();
        self.buffer.extend_from_slice(line.as_bytes());
        self.buffer.push(b'\n');
        // Nobody is left to tell if this fails.
        let _ = self.send();
    }
}

/// Answers with what `fill` sends; it gives how many entries it sent.
pub(crate) fn stream(
    site: Arc<Site>,
    permit: OwnedSemaphorePermit,
    path: &str,
    fill: impl FnOnce(&mut Feed) -> Result<u64, Problem> + Send + 'static,
) -> HttpResponse {
    let (sender, receiver) = channel(CHUNKS_MAX);
    let mut feed = Feed {
        site,
        chunks: sender,
        runtime: Handle::current(),
        buffer: Vec::new(),
        path: path.to_owned(),
        client_wait: CLIENT_WAIT,
    };
    // Not awaited: the body ends when the feed is dropped, and the feed when nobody reads the body.
    let _detached = spawn_blocking(move || {
        let result = fill(&mut feed);
        feed.end(result);
        drop(permit);
    });
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store"));
    response.content_type(NDJSON).body(Chunks { receiver })
}

/// The receiving end, as the body of a response.
struct Chunks {
    receiver: Receiver<Bytes>,
}

impl MessageBody for Chunks {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.receiver.poll_recv(context).map(|chunk| chunk.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture_tests::Fixture;

    #[test]
    fn a_client_that_reads_nothing_is_let_go_and_one_that_reads_is_served() {
        let fixture = Fixture::new(|_| ());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let (sender, mut receiver) = channel(CHUNKS_MAX);
        let mut feed = Feed {
            site: fixture.server().site(),
            chunks: sender,
            runtime: runtime.handle().clone(),
            buffer: Vec::new(),
            path: String::new(),
            client_wait: Duration::from_millis(1),
        };
        assert!(feed.line("short").is_continue());
        assert!(receiver.is_empty(), "less than a chunk waits for more");
        let chunk = "x".repeat(CHUNK_BYTES);
        for _ in 0..CHUNKS_MAX {
            assert!(feed.line(&chunk).is_continue());
        }
        assert!(feed.line(&chunk).is_break(), "nobody reads");
        let first = receiver.try_recv().unwrap();
        assert!(first.starts_with(b"short\nxxx"));
        assert!(feed.line(&chunk).is_continue(), "there is room again");
        drop(receiver);
        assert!(feed.line(&chunk).is_break(), "nobody is there any more");
    }
}

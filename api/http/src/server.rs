//! The server: up to three listeners on a runtime of their own, one worker thread each, and a stop
//! that lets requests end.
//!
//! Not here: signals and the log's life (api/cli), and what the routes answer.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix_web::dev::{Server as Listening, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, FromRequest, Handler, HttpServer, Resource, Responder};
use ledger_log::{InProcessDoor, LogPaths, Reader};
use rustls::ServerConfig;

use crate::agents::{self, AgentsError};
use crate::config::HttpOptions;
use crate::gate::gate;
use crate::problem::{Problem, ProblemType};
use crate::site::{BusWatch, Front, Listener, Site};
use crate::socket::{BoundSocket, SocketError};
use crate::{health, local, tiles};

/// Connections that the socket takes at once.
const SOCKET_CONNECTIONS_MAX: usize = 256;
/// A connection that asks nothing for this long is closed.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// An agent sends once a minute at least.
const AGENT_KEEP_ALIVE: Duration = Duration::from_secs(120);
/// A client that has been told the end has this long to hang up.
const HANG_UP: Duration = Duration::from_secs(1);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else listens there.
    #[error("{address} is in use: stop who listens there, or set {key} to another port")]
    PortInUse {
        /// The address.
        address: SocketAddr,
        /// The setting.
        key: &'static str,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}; set {key} to an address of this machine")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The setting.
        key: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// No socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// No certificates for agents.
    #[error(transparent)]
    Agents(#[from] AgentsError),
    /// The system gives no thread or runtime.
    #[error("cannot start the server's threads: {error}")]
    Threads {
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    site: Arc<Site>,
    address: Option<SocketAddr>,
    agents_address: Option<SocketAddr>,
    socket: BoundSocket,
    handles: Vec<ServerHandle>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Serves the log on its socket and, if the options name one, on an address. Returns when both are
/// listened on. What `bus` says is a part of the log's status.
///
/// # Errors
/// An address or socket that cannot be had; nothing was started then.
pub fn serve(
    options: &HttpOptions,
    paths: &LogPaths,
    (door, reader): (InProcessDoor, Reader),
    bus: Option<BusWatch>,
) -> Result<Server, ServeError> {
    let tcp = options
        .listen
        .map(|address| listen(address, "http.listen"))
        .transpose()?;
    let agents = options.agents.as_ref().map(|agents| {
        let tls = agents::tls(paths, &agents.names)?;
        let tcp = listen(agents.listen, "http.agents.listen")?;
        Ok::<_, ServeError>((tcp, tls))
    });
    let agents = agents.transpose()?;
    let (unix, socket) = BoundSocket::bind(&paths.socket())?;
    let address = tcp.as_ref().and_then(|tcp| tcp.local_addr().ok());
    let agents_address = agents.as_ref().and_then(|(tcp, _)| tcp.local_addr().ok());
    let listeners = Listeners { tcp, unix, agents };
    let site = Arc::new(Site::new(paths, options, (door, reader), bus));
    let (started, start) = sync_channel(1);
    let on_thread = site.clone();
    let thread = thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || run(&on_thread, listeners, &started))
        .map_err(|error| ServeError::Threads { error })?;
    let no_thread = |_| io::Error::other("the server's thread ended before it began");
    let handles = start.recv().map_err(no_thread).and_then(|handles| handles);
    Ok(Server {
        site,
        address,
        agents_address,
        socket,
        handles: handles.map_err(|error| ServeError::Threads { error })?,
        thread: Some(thread),
    })
}

impl Server {
    /// The address that is listened on, with the port that the system gave if 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The address that agents connect to, with the port that the system gave.
    pub fn agents_address(&self) -> Option<SocketAddr> {
        self.agents_address
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        self.socket.path()
    }

    /// Takes no more requests, lets those that are being worked on end, ends streams, and removes
    /// the socket. The log must still be open: who waits for a checkpoint is waiting for it.
    pub fn stop(mut self) {
        self.end();
    }

    #[cfg(test)]
    pub(crate) fn site(&self) -> Arc<Site> {
        self.site.clone()
    }

    fn end(&mut self) {
        self.site.stop();
        for handle in self.handles.drain(..) {
            // The command is sent by the call; the thread's end says that it was carried out.
            drop(handle.stop(true));
        }
        if let Some(thread) = self.thread.take() {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "server ended with an error"),
                Err(_) => tracing::error!("server thread panicked"),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// What is listened on.
struct Listeners {
    tcp: Option<TcpListener>,
    unix: UnixListener,
    agents: Option<(TcpListener, ServerConfig)>,
}

fn listen(address: SocketAddr, key: &'static str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ServeError::PortInUse { address, key },
        _ => ServeError::Address {
            address,
            key,
            error,
        },
    })
}

/// The body of the server's thread. Tells `started` once both listen, and returns when both ended.
fn run(
    site: &Arc<Site>,
    listeners: Listeners,
    started: &SyncSender<io::Result<Vec<ServerHandle>>>,
) -> io::Result<()> {
    actix_web::rt::System::new().block_on(async move {
        let listening = begin(site, listeners);
        let (servers, answer) = match listening {
            Ok(servers) => {
                let handles = servers.iter().map(Listening::handle).collect();
                (servers, Ok(handles))
            }
            Err(error) => (Vec::new(), Err(error)),
        };
        // Both run from here; each is joined in turn.
        let tasks: Vec<_> = servers.into_iter().map(actix_web::rt::spawn).collect();
        // If nobody waits any more, the handles are gone and the servers stop by themselves.
        let _ = started.send(answer);
        for task in tasks {
            task.await.map_err(io::Error::other)??;
        }
        Ok(())
    })
}

fn begin(site: &Arc<Site>, listeners: Listeners) -> io::Result<Vec<Listening>> {
    let Listeners { tcp, unix, agents } = listeners;
    let mut servers = Vec::new();
    let bounds = &site.options;
    let app = |listener| {
        let front = Data::new(Front {
            site: site.clone(),
            listener,
        });
        move || {
            let routes = front.clone();
            App::new()
                .app_data(front.clone())
                .wrap(from_fn(gate))
                .configure(move |config| all_routes(config, &routes))
                .default_service(web::to(nothing))
        }
    };
    let streams = bounds.streams_max;
    servers.push(
        HttpServer::new(app(Listener::Socket))
            .workers(1)
            .worker_max_blocking_threads(bounds.requests_max.saturating_add(streams))
            .max_connections(SOCKET_CONNECTIONS_MAX)
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(bounds.head)
            .client_disconnect_timeout(HANG_UP)
            .shutdown_timeout(bounds.stop_s)
            .disable_signals()
            .listen_uds(unix)?
            .run(),
    );
    if let Some(tcp) = tcp {
        servers.push(
            HttpServer::new(app(Listener::Address))
                .workers(1)
                .worker_max_blocking_threads(bounds.requests_max)
                .max_connections(bounds.connections_max)
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(bounds.head)
                .client_disconnect_timeout(HANG_UP)
                .shutdown_timeout(bounds.stop_s)
                .disable_signals()
                .listen(tcp)?
                .run(),
        );
    }
    if let Some((tcp, tls)) = agents {
        servers.push(
            HttpServer::new(app(Listener::Agents))
                .workers(1)
                .worker_max_blocking_threads(bounds.requests_max)
                .max_connections(bounds.connections_max)
                .keep_alive(AGENT_KEEP_ALIVE)
                .tls_handshake_timeout(bounds.head)
                .client_request_timeout(bounds.head)
                .client_disconnect_timeout(HANG_UP)
                .shutdown_timeout(bounds.stop_s)
                .disable_signals()
                .on_connect(agents::remember_peer)
                .listen_rustls_0_23(tcp, tls)?
                .run(),
        );
    }
    Ok(servers)
}

fn all_routes(config: &mut ServiceConfig, front: &Front) {
    match front.listener {
        Listener::Agents => return agents::routes(config),
        Listener::Socket => local::routes(config),
        Listener::Address => {}
    }
    tiles::routes(config, &front.site.prefix);
    health::routes(config);
}

/// A resource that is read: GET and HEAD, and a problem for every other method.
pub(crate) fn reading<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args> + Clone,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(web::to(|| refuse_method("GET, HEAD")))
}

/// A resource that takes a body: POST, and a problem for every other method.
pub(crate) fn posting<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::post().to(handler))
        .default_service(web::to(|| refuse_method("POST")))
}

async fn refuse_method(allowed: &'static str) -> Result<String, Problem> {
    let problem = Problem::new(ProblemType::Method, format!("the route has {allowed}"));
    Err(Problem {
        allow: Some(allowed),
        ..problem
    })
}

async fn nothing() -> Result<String, Problem> {
    Err(Problem::new(
        ProblemType::NotFound,
        "there is no such route here",
    ))
}

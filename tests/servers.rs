//! Real servers for tests, started by `scripts/servers.sh` on loopback in a folder of their own, and
//! stopped when dropped: PostgreSQL, MariaDB, Kafka.
//!
//! Tests that use one are marked `#[ignore = "needs servers"]`; `make test` runs them. Not here:
//! installing the servers (`make servers`), and what clients say to them.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::house::root;

/// One running server, or one that is dead and can be started again on its data and its port.
pub(crate) struct Server {
    name: &'static str,
    /// What the script said of it: `pid`, `port`, and where its files lie.
    facts: BTreeMap<String, String>,
    folder: tempfile::TempDir,
    /// Where a proxy listens that some of its clients come through.
    proxy_port: Option<u16>,
}

impl Server {
    pub(crate) fn postgresql() -> Server {
        Server::start("postgresql")
    }

    pub(crate) fn mariadb() -> Server {
        Server::start("mariadb")
    }

    pub(crate) fn kafka() -> Server {
        Server::start("kafka")
    }

    /// A broker with a second listener at the fact `behind_port`, whose clients it sends to a proxy
    /// on `port`.
    pub(crate) fn kafka_behind(port: u16) -> Server {
        Server::begin("kafka", Some(port))
    }

    /// A broker with a second listener: SASL_SSL with SCRAM-SHA-512, see the facts `secure_port`,
    /// `ca`, `user` and `password_file`.
    pub(crate) fn kafka_secure() -> Server {
        Server::start("kafka-secure")
    }

    fn start(name: &'static str) -> Server {
        Server::begin(name, None)
    }

    fn begin(name: &'static str, proxy_port: Option<u16>) -> Server {
        // The servers of databases run as users of their own, who must reach the folder.
        let everybody = std::fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(everybody).tempdir();
        let mut server = Server {
            name,
            facts: BTreeMap::new(),
            folder: folder.expect("a folder"),
            proxy_port,
        };
        server.restart();
        server
    }

    /// Starts it again, on what it left; it is ready when this returns.
    pub(crate) fn restart(&mut self) {
        let said = self.script(&["start", self.name]);
        self.facts = said
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
    }

    /// Ends its process as a power cut would; it is gone when this returns.
    pub(crate) fn kill(&self) {
        let pid = self.fact("pid");
        let sent = Command::new("kill").args(["-s", "KILL", pid]).status();
        assert!(sent.expect("kill").success(), "{} {pid}", self.name);
        let until = Instant::now() + Duration::from_secs(60);
        while is_alive(pid) {
            assert!(Instant::now() < until, "{} {pid} does not end", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it as an operator would; it is gone when this returns.
    pub(crate) fn stop(&self) {
        self.script(&["stop"]);
    }

    /// Where it keeps everything.
    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    pub(crate) fn port(&self) -> u16 {
        self.fact("port").parse().expect("a port")
    }

    /// `127.0.0.1:PORT`, as clients of Kafka want it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// One of the facts that `scripts/servers.sh start` prints.
    pub(crate) fn fact(&self, key: &str) -> &str {
        self.facts
            .get(key)
            .unwrap_or_else(|| panic!("nothing is known of {key}: {:?}", self.facts))
    }

    /// `kafka-acls` for a `kafka-secure`, as its administrator.
    pub(crate) fn acls(&self, args: &[&str]) {
        let output = Command::new("bash")
            .arg(root().join("scripts/servers.sh"))
            .arg("acls")
            .arg(self.dir())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("bash");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
    }

    fn script(&self, args: &[&str]) -> String {
        let output = self.tell(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {args:?}: {said}", self.name);
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn tell(&self, args: &[&str]) -> Output {
        Command::new("bash")
            .arg(root().join("scripts/servers.sh"))
            .args(args)
            .arg(self.dir())
            .envs(
                self.proxy_port
                    .map(|port| ("KAFKA_PROXY_PORT", port.to_string())),
            )
            .stdin(Stdio::null())
            .output()
            .expect("bash")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A panic within a panic would hide the first one.
        if self.dir().join("pid").exists() && !std::thread::panicking() {
            self.stop();
        } else if let Some(pid) = self.facts.get("pid").filter(|pid| is_alive(pid)) {
            let _ = Command::new("kill").args(["-s", "KILL", pid]).status();
        }
    }
}

/// Whether a process runs: one whose threads have all ended, and that was not waited for, does not.
fn is_alive(pid: &str) -> bool {
    let process = Path::new("/proc").join(pid);
    let threads = std::fs::read_dir(process.join("task")).map_or(0, Iterator::count);
    threads > 1
        || std::fs::read_to_string(process.join("stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A server is told to start, is killed, and starts again with its data and its port.
#[track_caller]
fn lives_again(mut server: Server, answers: impl Fn(&Server)) {
    answers(&server);
    let (port, pid) = (server.port(), server.fact("pid").to_owned());
    server.kill();
    assert!(
        std::net::TcpStream::connect(server.address()).is_err(),
        "{} is dead",
        server.name
    );
    server.restart();
    answers(&server);
    assert_eq!(server.port(), port);
    assert_ne!(server.fact("pid"), pid);
    server.stop();
    let again = server.tell(&["stop"]);
    assert!(!again.status.success(), "nothing is left to stop");
}

#[test]
#[ignore = "needs servers"]
fn postgresql_audits_and_lives_again() {
    lives_again(Server::postgresql(), |server| {
        let port = server.port().to_string();
        let args = ["-X", "-h", "127.0.0.1", "-p", &port, "-U", "dba_root"];
        let sql = "CREATE TABLE IF NOT EXISTS audited()";
        let psql = Command::new("psql")
            .args(args)
            .args(["-d", "postgres", "-c", sql])
            .output();
        assert!(psql.expect("psql").status.success());
        let logs = std::fs::read_dir(server.fact("log")).expect("logs");
        let found = logs
            .map(|item| item.expect("an item").path())
            .filter(|path| {
                path.extension().is_some_and(|ending| ending == "csv")
                    && std::fs::read_to_string(path)
                        .expect("a log")
                        .contains("AUDIT: SESSION")
            });
        assert!(found.count() > 0);
    });
}

#[test]
#[ignore = "needs servers"]
fn mariadb_audits_and_lives_again() {
    lives_again(Server::mariadb(), |server| {
        let port = server.port().to_string();
        let args = ["--no-defaults", "-h127.0.0.1", "-P", &port, "-uroot", "-e"];
        let mut client = Command::new("mariadb");
        let ran = client.args(args).arg("SELECT 'audited'").output();
        assert!(ran.expect("mariadb").status.success());
        let log = std::fs::read_to_string(server.fact("audit")).expect("the log");
        assert!(log.contains(r"SELECT \'audited\'"), "{log}");
    });
}

#[test]
#[ignore = "needs servers"]
fn kafka_lives_again() {
    lives_again(Server::kafka(), |server| {
        std::net::TcpStream::connect(server.address()).expect("a listener");
    });
}

#[test]
#[ignore = "needs servers"]
fn kafka_has_a_second_listener_that_shows_a_certificate() {
    let server = Server::kafka_secure();
    for key in ["port", "secure_port"] {
        let port = server.fact(key).parse().expect("a port");
        let address: (&str, u16) = ("127.0.0.1", port);
        std::net::TcpStream::connect(address).expect("a listener");
    }
    let checked = |port: &str| {
        let address = format!("127.0.0.1:{port}");
        let args = ["s_client", "-connect", &address, "-verify_return_error"];
        let mut client = Command::new("openssl");
        client.args(args).args(["-CAfile", server.fact("ca")]);
        client.stdin(Stdio::null()).output().expect("openssl")
    };
    assert!(!checked(server.fact("port")).status.success(), "no TLS");
    assert!(checked(server.fact("secure_port")).status.success());
}

//! A bad network on demand: a TCP proxy on loopback that passes bytes on, and at a word cuts
//! connections (also in the middle of a message), delays either direction, lets it stall, or
//! refuses everybody for a while.
//!
//! A client of Kafka goes where `advertised.listeners` sends it, so the broker has a listener that
//! advertises this proxy's port. Not here: when a fault comes (its caller draws that from a seed).

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a thread that waits looks whether something changed.
const LOOK: Duration = Duration::from_millis(10);

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// From the client to the broker.
    In,
    /// From the broker to the client.
    Out,
}

#[derive(Default)]
struct Faults {
    ended: AtomicBool,
    refusing: AtomicBool,
    /// Counted up by each cut: a connection of an older count ends.
    cuts: AtomicU64,
    /// Bytes that still pass, both ways together, before every connection is cut; negative: all.
    left: AtomicI64,
    /// Milliseconds that each piece waits, and `u64::MAX` for a stall, by way.
    delay_ms: [AtomicU64; 2],
    passed: AtomicU64,
}

impl Faults {
    fn delay(&self, way: Way) -> &AtomicU64 {
        match way {
            Way::In => &self.delay_ms[0],
            Way::Out => &self.delay_ms[1],
        }
    }

    fn over(&self, count: u64) -> bool {
        self.ended.load(Ordering::Acquire)
            || self.refusing.load(Ordering::Acquire)
            || self.cuts.load(Ordering::Acquire) != count
    }

    /// Waits as long as the way is slow; false if the connection was cut meanwhile.
    fn wait(&self, way: Way, count: u64) -> bool {
        let mut waited = 0;
        while waited < self.delay(way).load(Ordering::Acquire) {
            if self.over(count) {
                return false;
            }
            thread::sleep(LOOK);
            waited += u64::try_from(LOOK.as_millis()).unwrap();
        }
        !self.over(count)
    }

    /// How many of `len` bytes may pass before the cut that was announced.
    fn allowed(&self, len: usize) -> usize {
        let left = self.left.load(Ordering::Acquire);
        if left < 0 {
            return len;
        }
        let some = len.min(usize::try_from(left).unwrap());
        let after = self
            .left
            .fetch_sub(i64::try_from(some).unwrap(), Ordering::AcqRel);
        if after <= i64::try_from(some).unwrap() {
            self.left.store(-1, Ordering::Release);
            self.cuts.fetch_add(1, Ordering::AcqRel);
        }
        some
    }
}

/// A proxy that runs until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    faults: Arc<Faults>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a port that the system gives, and passes everything on to `target`, which may be
    /// told later.
    pub(crate) fn start(target: Arc<Mutex<Option<SocketAddr>>>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let faults = Arc::new(Faults {
            left: AtomicI64::new(-1),
            ..Faults::default()
        });
        let shared = faults.clone();
        let accepting = thread::spawn(move || accept(&listener, &target, &shared));
        Proxy {
            address,
            faults,
            accepting: Some(accepting),
        }
    }

    pub(crate) fn to(target: SocketAddr) -> Proxy {
        Proxy::start(Arc::new(Mutex::new(Some(target))))
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every connection ends now, between or within messages.
    pub(crate) fn cut(&self) {
        self.faults.cuts.fetch_add(1, Ordering::AcqRel);
    }

    /// Every connection ends after so many more bytes.
    pub(crate) fn cut_after(&self, bytes: u32) {
        self.faults.left.store(i64::from(bytes), Ordering::Release);
    }

    /// While it refuses, connections end and none is taken.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.faults.refusing.store(refusing, Ordering::Release);
    }

    /// Each piece that goes this way waits so long.
    pub(crate) fn delay(&self, way: Way, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap();
        self.faults.delay(way).store(millis, Ordering::Release);
    }

    /// Nothing goes this way until a delay is set: the connection stays and says nothing.
    pub(crate) fn stall(&self, way: Way) {
        self.faults.delay(way).store(u64::MAX, Ordering::Release);
    }

    /// No fault any more.
    pub(crate) fn heal(&self) {
        self.refuse(false);
        self.faults.left.store(-1, Ordering::Release);
        for way in [Way::In, Way::Out] {
            self.delay(way, Duration::ZERO);
        }
    }

    /// Bytes that passed so far, both ways.
    pub(crate) fn passed(&self) -> u64 {
        self.faults.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.faults.ended.store(true, Ordering::Release);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
    }
}

fn accept(listener: &TcpListener, target: &Mutex<Option<SocketAddr>>, faults: &Arc<Faults>) {
    let mut passing: Vec<JoinHandle<()>> = Vec::new();
    while !faults.ended.load(Ordering::Acquire) {
        let Ok((client, _)) = listener.accept() else {
            thread::sleep(LOOK);
            continue;
        };
        let to = *target.lock().unwrap();
        // Whoever is refused sees a connection that ends at once.
        if faults.refusing.load(Ordering::Acquire) {
            continue;
        }
        let Some(Ok(broker)) = to.map(TcpStream::connect) else {
            continue;
        };
        let count = faults.cuts.load(Ordering::Acquire);
        for (from, to, way) in [
            (client.try_clone(), broker.try_clone(), Way::In),
            (Ok(broker), Ok(client), Way::Out),
        ] {
            let (from, to, faults) = (from.unwrap(), to.unwrap(), faults.clone());
            passing.push(thread::spawn(move || pass(from, to, way, count, &faults)));
        }
        passing.retain(|one| !one.is_finished());
    }
    for one in passing {
        one.join().unwrap();
    }
}

/// Passes bytes one way until an end, an error or a cut; then both ends are closed.
fn pass(mut from: TcpStream, mut to: TcpStream, way: Way, count: u64, faults: &Faults) {
    from.set_nonblocking(false).unwrap();
    from.set_read_timeout(Some(LOOK)).unwrap();
    let mut buffer = vec![0; 64 << 10];
    while !faults.over(count) {
        let len = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        if !faults.wait(way, count) {
            break;
        }
        let allowed = faults.allowed(len);
        if to.write_all(&buffer[..allowed]).is_err() {
            break;
        }
        faults
            .passed
            .fetch_add(u64::try_from(allowed).unwrap(), Ordering::Relaxed);
    }
    // Both may be closed already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// A peer that sends back what it gets, until its listener is dropped.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 256];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..len]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Sends bytes through and gives what came back before the end or `len` bytes.
fn answer(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    // A connection that was cut may take the bytes or not.
    let _ = stream.write_all(bytes);
    let mut got = Vec::new();
    let mut buffer = [0; 256];
    while got.len() < bytes.len() {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(len) => got.extend(&buffer[..len]),
        }
    }
    got
}

#[test]
fn the_proxy_cuts_stalls_and_refuses_and_heals() {
    let proxy = Proxy::to(echo());
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        let patience = Duration::from_secs(10);
        stream.set_read_timeout(Some(patience)).unwrap();
        stream
    };
    let mut first = connect();
    assert_eq!(answer(&mut first, b"hello"), b"hello", "the twin");
    // Counted behind the writing: the answer may be here first.
    let until = Instant::now() + Duration::from_secs(10);
    while proxy.passed() < 10 && Instant::now() < until {
        thread::yield_now();
    }
    assert_eq!(proxy.passed(), 10);
    proxy.cut();
    assert_eq!(answer(&mut first, b"hello"), b"", "cut");

    let mut second = connect();
    proxy.cut_after(3);
    assert_eq!(answer(&mut second, b"hello"), b"", "cut within a message");
    let mut third = connect();
    proxy.stall(Way::Out);
    third
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert_eq!(
        answer(&mut third, b"x"),
        b"",
        "nothing comes while it stalls"
    );
    proxy.refuse(true);
    assert_eq!(answer(&mut connect(), b"x"), b"", "refused");
    proxy.heal();
    assert_eq!(answer(&mut connect(), b"again"), b"again");
}

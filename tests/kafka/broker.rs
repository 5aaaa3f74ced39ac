//! One broker with two ways to it: straight, and through the proxy.
//!
//! Not here: starting and ending its process (`servers`).

use std::sync::{Arc, Mutex};

use super::proxy::Proxy;
use crate::servers::Server;

/// A broker of its own.
pub(crate) struct Broker {
    server: Server,
    proxy: Proxy,
}

impl Broker {
    pub(crate) fn with_proxy() -> Broker {
        // The broker must know the proxy's port before anybody knows the broker's.
        let target = Arc::new(Mutex::new(None));
        let proxy = Proxy::start(target.clone());
        let server = Server::kafka_behind(proxy.port());
        let port: u16 = server.fact("behind_port").parse().unwrap();
        *target.lock().unwrap() = Some(([127, 0, 0, 1], port).into());
        Broker { server, proxy }
    }

    /// For clients that must not be disturbed.
    pub(crate) fn direct(&self) -> String {
        self.server.address()
    }

    /// For clients that must bear it.
    pub(crate) fn proxied(&self) -> String {
        format!("127.0.0.1:{}", self.proxy.port())
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        self.server.kill();
    }

    /// Starts it again on what it left.
    pub(crate) fn restart(&mut self) {
        self.server.restart();
    }
}

#[test]
#[ignore = "needs servers"]
fn clients_that_come_through_the_proxy_are_sent_through_it() {
    use collectors_bus::kafka::raw::{RawCluster, RawRecord};
    let broker = Broker::with_proxy();
    let cluster = RawCluster::plain(&broker.proxied());
    cluster.create("through", 1, &[]).unwrap();
    let before = broker.proxy().passed();
    let record = RawRecord {
        value: vec![b'v'; 100_000],
        headers: vec![("name".to_owned(), b"value".to_vec())],
        ..RawRecord::default()
    };
    let writer = cluster.writer(None).unwrap();
    writer
        .send("through", &[record.clone(), record.clone()])
        .unwrap();
    writer.flush().unwrap();
    let mut read = Vec::new();
    let take = &mut |record| read.push(record);
    cluster.read("through", 0, 0, take).unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!(
        (&read[0].value, &read[0].headers),
        (&record.value, &record.headers)
    );
    assert!(broker.proxy().passed() > before, "not past it");
    broker.proxy().refuse(true);
    let away = cluster.partitions("through");
    assert!(away.is_err(), "{away:?}");
    broker.proxy().heal();
    assert_eq!(cluster.partitions("through").unwrap(), Some(1));
}

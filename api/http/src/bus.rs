//! How the bus is doing that agents' messages come by, asked for on the log's socket.
//!
//! Not here: what brings it there (collectors/bus) and the route, which is that of the log's status
//! (`local`).

use collectors_bus::kafka::BusStatus;
use serde::Deserialize;

use crate::client::{Failure, SocketReads};
use crate::reads::ReadsError;

/// What a log's status says of its bus.
#[derive(Deserialize)]
struct WithBus {
    bus: Option<BusStatus>,
}

impl SocketReads {
    /// How the bus is doing; `None` if messages come by none.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn bus(&self) -> Result<Option<BusStatus>, ReadsError> {
        let answer: Result<WithBus, Failure> = self.socket.get_json("/v1/status");
        answer.map(|status| status.bus).map_err(Failure::into_reads)
    }
}

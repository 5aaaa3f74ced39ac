//! `bus`: which way agents' messages come in, `"embedded"` or a table `[bus.kafka]`.
//!
//! Not here: what the keys of Kafka mean and what is legal (collectors/bus).

use collectors_bus::kafka::{
    ForeignConfig, KafkaConfigError, LedgerConfig, LedgerSettings, SaslConfig, TlsConfig,
};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::Value;

/// The name of the bus that needs no broker.
pub(crate) const EMBEDDED: &str = "embedded";

/// Where agents' messages come from. The door for agents over TLS is open in either case, if
/// `http.agents.listen` is set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum BusSettings {
    /// `bus = "embedded"`: agents send to this server.
    #[default]
    Embedded,
    /// `[bus.kafka]`: the server reads a topic as well.
    Kafka(Box<LedgerConfig>),
}

impl BusSettings {
    /// A table with every key that it may have.
    pub(super) fn every_key() -> BusSettings {
        let path = Some(PathBuf::new());
        BusSettings::Kafka(Box::new(LedgerConfig {
            tls: Some(TlsConfig {
                certificate: path.clone(),
                key: path,
                ..TlsConfig::default()
            }),
            sasl: Some(SaslConfig::default()),
            foreign: vec![ForeignConfig {
                field: Some(String::new()),
                settings: [(String::new(), String::new())].into(),
                ..ForeignConfig::default()
            }],
            ..LedgerConfig::default()
        }))
    }

    /// The checked form; paths are meant from `folder`.
    pub(super) fn check(self, folder: &Path) -> Result<Option<LedgerSettings>, KafkaConfigError> {
        match self {
            BusSettings::Embedded => Ok(None),
            BusSettings::Kafka(mut kafka) => {
                kafka.based_on(folder);
                kafka.check().map(Some)
            }
        }
    }

    /// A table that names nothing, with what is in force then.
    pub(super) fn least() -> BusSettings {
        BusSettings::Kafka(Box::default())
    }
}

/// The table: the one way beside the embedded one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    kafka: Box<LedgerConfig>,
}

impl Serialize for BusSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            BusSettings::Embedded => EMBEDDED.serialize(serializer),
            BusSettings::Kafka(kafka) => Wire {
                kafka: kafka.clone(),
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for BusSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BusSettings, D::Error> {
        use serde::de::Error as _;
        match Value::deserialize(deserializer)? {
            Value::String(name) if name == EMBEDDED => Ok(BusSettings::Embedded),
            Value::Table(table) => {
                let wire: Wire = table.try_into().map_err(D::Error::custom)?;
                Ok(BusSettings::Kafka(wire.kafka))
            }
            _ => Err(D::Error::custom(
                "must be \"embedded\", or a table [bus.kafka]",
            )),
        }
    }
}

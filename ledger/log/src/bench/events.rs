//! Events to measure with: about 600 bytes of JSON, all different, shaped like those of PostgreSQL.
//!
//! Made from a counter, so that two runs measure the same bytes. Not real: every name is made up.

use ledger_core::Nanos;
use ledger_event::Event;

/// How many different events there are: far more than a block holds.
const POOL: u64 = 16_384;

const USERS: [&str; 6] = [
    "dba_root",
    "app_dba",
    "reporting",
    "batch",
    "payments",
    "support_ro",
];
const TABLES: [&str; 5] = [
    "public.payment",
    "public.holder",
    "public.refund",
    "audit.note",
    "public.rate",
];

/// The pool of serialised events.
pub fn pool() -> Vec<Vec<u8>> {
    (0..POOL).map(|n| event(n).to_json()).collect()
}

/// A cheap mix of bits (the finaliser of MurmurHash3).
fn mixed(n: u64) -> u64 {
    let n = (n ^ (n >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let n = (n ^ (n >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    n ^ (n >> 33)
}

fn event(n: u64) -> Event<'static> {
    let noise = mixed(n + 1);
    let pick = |of: &[&'static str], by: u64| {
        let at = usize::try_from(by % of.len() as u64).unwrap_or(0);
        of.get(at).copied().unwrap_or_default()
    };
    let user = pick(&USERS, noise >> 7);
    let table = pick(&TABLES, noise >> 17);
    let session = format!(
        "{:08x}.{:04x}",
        0x6b04_0000 + (n / 40),
        (noise >> 23) & 0xffff
    );
    let statement = match noise % 3 {
        0 => format!(
            "SELECT holder, note FROM {table} WHERE id = {} LIMIT 50",
            noise >> 40
        ),
        1 => format!(
            "UPDATE {table} SET note = 'checked {n}' WHERE id = {}",
            noise >> 44
        ),
        _ => format!(
            "INSERT INTO {table}(holder, note) VALUES ('H. {n}', 'ref {:x}')",
            noise >> 36
        ),
    };
    let mut event = Event::default();
    event.classify(
        6005,
        [1, 2, 5]
            .get(usize::try_from(noise % 3).unwrap_or(0))
            .copied()
            .unwrap_or(1),
    );
    event.set_time(Nanos(
        1_790_000_000_000_000_000 + i64::try_from(n * 731_000).unwrap_or(0),
    ));
    event.severity_id = Some(1);
    event.status_id = Some(1);
    event.metadata.version = Some("1.8.0".into());
    event.metadata.product.name = Some("PostgreSQL".into());
    event.metadata.uid = Some(format!("{:016x}", mixed(n + 77)).into());
    event.metadata.correlation_uid = Some(session.clone().into());
    event.actor.user.name = Some(user.into());
    event.actor.app_name = Some("psql".into());
    event.actor.session.uid = Some(session.into());
    event.src_endpoint.ip = Some(format!("10.0.{}.{}", (noise >> 50) % 4, noise % 200).into());
    event.database.name = Some("cards".into());
    event.database.type_id = Some(1);
    event.table.name = Some(table.into());
    // Too short for a card number: these events have no native record that would show whose it is.
    event.query_info.uid = Some(format!("{}", noise >> 26).into());
    event.query_info.query_string = Some(statement.into());
    event
}

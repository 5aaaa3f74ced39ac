//! Whether the server lives, whether the log is ready, and numbers for monitoring.
//!
//! Not here: mending anything. A log that stopped is opened again by restarting its process.

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, ServiceConfig};
use ledger_log::{Door as _, LogStatus};
use serde::Serialize;

use crate::gate::block;
use crate::metrics;
use crate::problem::{Check, Problem, ProblemType};
use crate::server::reading;
use crate::site::{Front, Site};

/// Adds the routes.
pub(crate) fn routes(config: &mut ServiceConfig) {
    config
        .service(reading("/livez", live))
        .service(reading("/readyz", ready))
        .service(reading("/metrics", numbers));
}

/// The answer when all is well.
#[derive(Debug, Serialize)]
struct Ready {
    ready: bool,
    checks: Vec<Check>,
}

/// What a look at the log found.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) status: LogStatus,
    /// Free and all bytes of the disk; `None` if the system does not say.
    pub(crate) disk: Option<(u64, u64)>,
}

impl Look {
    fn at(site: &Site) -> Result<Look, Problem> {
        let status = site.door.clone().status().map_err(Problem::of_door)?;
        let disk = rustix::fs::statvfs(&site.folder).ok().map(|found| {
            let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
            (bytes(found.f_bavail), bytes(found.f_blocks))
        });
        Ok(Look { status, disk })
    }
}

async fn live() -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store"));
    response
        .content_type("text/plain; charset=utf-8")
        .body("alive\n")
}

async fn ready(front: Data<Front>) -> Result<HttpResponse, Problem> {
    let site = front.site.clone();
    let look = block(move || Look::at(&site)).await??;
    let checks = checks(&look, &front.site);
    let failed = checks.iter().filter(|check| !check.ok);
    let details: Vec<_> = failed.map(|check| check.detail.as_str()).collect();
    if !details.is_empty() {
        let problem = Problem::new(ProblemType::NotReady, details.join("; "));
        return Err(Problem { checks, ..problem });
    }
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store"));
    // Strings and booleans always have a JSON form, so this never falls back.
    let body = serde_json::to_vec(&Ready {
        ready: true,
        checks,
    })
    .unwrap_or_default();
    Ok(response.content_type("application/json").body(body))
}

fn checks(look: &Look, site: &Site) -> Vec<Check> {
    let status = &look.status;
    let writer = match &status.stopped {
        Some(reason) => Err(format!("the log stopped: {reason}; mend it and restart")),
        None if site.is_stopping() => Err("the server is stopping".to_owned()),
        None => Ok(format!("{} entries are durable", status.size)),
    };
    let age_ms = u128::from(status.checkpoint_age_ms);
    let behind = status.size.saturating_sub(status.published_size);
    let late = behind > 0 && age_ms > site.options.ready_checkpoint_age.as_millis();
    let publication = if late {
        Err(format!(
            "{behind} entries wait for a checkpoint, the last one is {age_ms} ms old"
        ))
    } else {
        Ok(format!("{} entries are published", status.published_size))
    };
    let least = site.options.ready_disk_free_bytes;
    let disk = match look.disk {
        None => Err("the system does not say how much of the disk is free".to_owned()),
        Some((free, _)) if free < least => Err(format!(
            "{} MiB of the disk are free, {} are needed",
            free >> 20,
            least >> 20
        )),
        Some((free, _)) => Ok(format!("{} MiB of the disk are free", free >> 20)),
    };
    let named = [
        ("writer", writer),
        ("publication", publication),
        ("disk", disk),
    ];
    let check = |(name, result): (&str, Result<String, String>)| Check {
        name: name.to_owned(),
        ok: result.is_ok(),
        detail: result.unwrap_or_else(|detail| detail),
    };
    named.into_iter().map(check).collect()
}

async fn numbers(front: Data<Front>) -> Result<HttpResponse, Problem> {
    let site = front.site.clone();
    let look = block(move || Look::at(&site)).await??;
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store"));
    Ok(response
        .content_type(metrics::TEXT_TYPE)
        .body(metrics::text(&look, &front.site)))
}

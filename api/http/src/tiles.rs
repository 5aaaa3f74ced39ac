//! The log as everybody can read it: checkpoint and tiles (C2SP tlog-tiles).
//!
//! Nothing beyond the published checkpoint is served, and a tile that does not exist yet is never
//! cached as missing. Not here: payloads, which are not public.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::middleware::Compress;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use ledger_core::tile::{Tile, TileKind};

use crate::gate::block;
use crate::problem::{Problem, ProblemType};
use crate::server::reading;
use crate::site::{Front, Listener, Site};

/// A full tile never changes. The words are directives of RFC 9111 and RFC 8246.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// A partial tile does not change either, but gives way to the full one.
const A_MINUTE: &str = "public, max-age=60";
/// A checkpoint is replaced each second.
const A_SECOND: &str = "public, max-age=1";

/// Adds the routes below `prefix`, which is `/log/<tenant>/<label>`.
pub(crate) fn routes(config: &mut ServiceConfig, prefix: &str) {
    let below = |path: &str| format!("{prefix}/{path}");
    config
        .service(reading(&below("checkpoint"), checkpoint))
        // Hashes do not compress; entries do.
        .service(reading(&below("tile/entries/{rest:.*}"), tile).wrap(Compress::default()))
        .service(reading(&below("tile/{rest:.*}"), tile));
}

async fn checkpoint(front: Data<Front>) -> Result<HttpResponse, Problem> {
    refuse_unless_published(&front)?;
    let site = front.site.clone();
    let note = block(move || site.reader.published())
        .await?
        .map_err(Problem::of_read)?
        .1;
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, A_SECOND));
    Ok(response
        .content_type("text/plain; charset=utf-8")
        .body(note))
}

async fn tile(front: Data<Front>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    refuse_unless_published(&front)?;
    let site = front.site.clone();
    // Read from the raw path: a tile has one spelling, without escapes.
    let path = request
        .path()
        .strip_prefix(site.prefix.as_str())
        .unwrap_or_default();
    let tile = Tile::parse(path.trim_start_matches('/'))
        .map_err(|error| Problem::new(ProblemType::NotFound, error.to_string()))?;
    let hidden = tile.kind == TileKind::Entries && !site.options.entries_public;
    if hidden && front.listener == Listener::Address {
        let detail = "entry bundles are not public here: set http.entries_public, or ask on the \
                      log's socket";
        return Err(Problem::new(ProblemType::NotServed, detail));
    }
    let bytes = block(move || published_tile(&site, &tile)).await??;
    let caching = if tile.width == 256 {
        FOR_EVER
    } else {
        A_MINUTE
    };
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, caching));
    Ok(response
        .content_type("application/octet-stream")
        .body(bytes))
}

fn published_tile(site: &Site, tile: &Tile) -> Result<Vec<u8>, Problem> {
    let (checkpoint, _) = site.reader.published().map_err(Problem::of_read)?;
    let missing = || {
        let detail = format!(
            "there is no {tile} at the published size {}",
            checkpoint.size
        );
        Problem::new(ProblemType::NotFound, detail)
    };
    if !tile.exists_at(checkpoint.size) {
        return Err(missing());
    }
    site.reader
        .tile(tile)
        .map_err(Problem::of_read)?
        .ok_or_else(missing)
}

fn refuse_unless_published(front: &Front) -> Result<(), Problem> {
    if front.site.options.publish || front.listener == Listener::Socket {
        return Ok(());
    }
    let detail = "the log is not published here: set http.publish, or ask on the log's socket";
    Err(Problem::new(ProblemType::NotServed, detail))
}

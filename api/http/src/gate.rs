//! What happens to every request before its route and after it: a bound on how many are worked on,
//! a bound on the time, problems with their instance, counts. And how a route leaves the async
//! threads for work that blocks.
//!
//! Not here: who may ask.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::Next;
use actix_web::web::{self, Data};
use actix_web::{Error, HttpResponse, ResponseError as _};
use ledger_log::door::{ACKNOWLEDGED_WAIT, PUBLISHED_WAIT};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task_local;
use tokio::time::timeout;

use crate::local::PUBLISHED_PATH;
use crate::problem::{Problem, ProblemType};
use crate::site::{Front, Site};

task_local! {
    /// The room that the request takes on its listener.
    static ROOM: Arc<OwnedSemaphorePermit>;
}

/// Runs `work`, which blocks, away from the async threads. The request keeps its room until the
/// work has ended, also if nobody waits for its answer any more: threads are bounded too.
pub(crate) async fn block<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let ended = |_| Problem::new(ProblemType::Stopped, "the server is stopping");
    let room = ROOM.try_with(Arc::clone).ok();
    let work = move || {
        let done = work();
        drop(room);
        done
    };
    web::block(work).await.map_err(ended)
}

/// The middleware around every route.
pub(crate) async fn gate(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(front) = request.app_data::<Data<Front>>().cloned() else {
        let problem = Problem::new(ProblemType::Stopped, "the server has no log");
        return Ok(refused(request, &problem));
    };
    let site = &front.site;
    let traffic = site.traffic(front.listener);
    let path = request.path().to_owned();
    let bound = time_bound(site, &path);
    let mut answer = match traffic.admit() {
        Err(problem) => refused(request, &problem),
        // No copy of the request is kept, as actix-web needs it for itself alone. So after a
        // timeout there is none left to answer with, only the problem.
        Ok(room) => match timeout(bound, ROOM.scope(Arc::new(room), next.call(request))).await {
            Ok(answer) => answer?.map_into_boxed_body(),
            Err(_) => {
                let problem = Problem::new(
                    ProblemType::Timeout,
                    "the log took longer than http.request_ms allows: ask again",
                );
                traffic.count(problem.status_code().as_u16());
                return Err(problem.at(&path).into());
            }
        },
    };
    let problem = answer
        .response()
        .error()
        .and_then(|error| error.as_error::<Problem>());
    if let Some(response) = problem.map(|problem| problem.response(&path)) {
        answer = answer.into_response(response);
    }
    let headers = answer.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    traffic.count(answer.status().as_u16());
    Ok(answer)
}

fn refused(request: ServiceRequest, problem: &Problem) -> ServiceResponse<BoxBody> {
    let response: HttpResponse = problem.response(request.path());
    request.into_response(response)
}

/// Who waits for a checkpoint is told by the door when the wait is over.
fn time_bound(site: &Site, path: &str) -> Duration {
    if path == PUBLISHED_PATH {
        PUBLISHED_WAIT.saturating_add(site.options.request)
    } else if path.ends_with("/acknowledged") {
        ACKNOWLEDGED_WAIT.saturating_add(site.options.request)
    } else {
        site.options.request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;
    use std::time::Instant;

    use tokio::sync::Semaphore;

    #[actix_web::test]
    async fn work_that_nobody_waits_for_keeps_its_room_until_it_ends() {
        let rooms = Arc::new(Semaphore::new(1));
        let room = rooms.clone().try_acquire_owned().unwrap();
        let (go, gone) = sync_channel::<()>(0);
        let work = block(move || gone.recv().is_err());
        let short = Duration::from_millis(50);
        let late = timeout(short, ROOM.scope(Arc::new(room), work)).await;
        assert!(late.is_err());
        assert!(rooms.clone().try_acquire_owned().is_err());
        drop(go);
        let until = Instant::now() + Duration::from_secs(20);
        while rooms.available_permits() == 0 {
            assert!(Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // A panic gives it back as well.
        let room = rooms.clone().try_acquire_owned().unwrap();
        let failed = ROOM
            .scope(Arc::new(room), block(|| panic!("for the test")))
            .await;
        assert!(failed.is_err());
        assert_eq!(rooms.available_permits(), 1);
    }
}

//! What is served over HTTP: the dashboard, the documents of monitoring, and the figures for
//! Prometheus.

use super::{Figures, HttpAddr};
use crate::monitor::dashboard::Page;
use crate::monitor::http::{HTML, Handler, Request, Response};
use crate::monitor::{Answer, PATHS, answer, metrics};
use crate::options::Options;
use std::sync::Arc;

/// The path of the figures for Prometheus.
const METRICS: &str = "/metrics";

/// The site.
pub(super) struct Site {
    figures: Arc<Figures>,
    dashboard: Page,
}

impl Site {
    /// The site of a server that listens there for monitoring, if it does.
    pub(super) fn new(figures: Arc<Figures>, options: &Options, at: Option<HttpAddr>) -> Site {
        let base_path = &options.http_base_path;
        figures.note_http(|http| {
            options.monitor_host().clone_into(&mut http.host);
            http.base_path.clone_from(base_path);
            match at {
                Some(at) if at.scheme == "https" => http.https_port = at.addr.port(),
                Some(at) => http.port = at.addr.port(),
                None => {}
            }
            let paths = PATHS.iter().copied().chain(["/", METRICS]);
            http.requests = paths.map(|path| (path.to_owned(), 0)).collect();
        });
        Site {
            figures,
            dashboard: Page::new(base_path),
        }
    }

    fn dashboard(&self) -> Response {
        let headers = self.dashboard.headers().into_iter();
        let own = headers.filter(|(name, _)| *name != "Content-Type");
        Response {
            status: 200,
            content_type: HTML,
            headers: own.map(|(name, value)| (name, value.to_owned())).collect(),
            body: self.dashboard.body().as_bytes().to_vec(),
        }
    }
}

impl Handler for Site {
    fn handle(&self, request: &Request) -> Response {
        self.figures.count_request(&request.path);
        let open = request.accept.contains("application/openmetrics-text");
        let found = match &*request.path {
            "/" => return self.dashboard(),
            METRICS => Some(metrics::answer(&*self.figures, open)),
            path => answer(&*self.figures, path, &request.query),
        };
        let Some(Answer {
            status,
            content_type,
            body,
        }) = found
        else {
            return Response::not_found();
        };
        Response {
            status,
            content_type,
            headers: vec![("Access-Control-Allow-Origin", "*".into())],
            body,
        }
    }
}

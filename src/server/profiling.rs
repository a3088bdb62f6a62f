//! The pages for profiling: where time and memory go, for `go tool pprof` and whatever reads its
//! format.

use crate::base::text::quoted;
use crate::monitor::Source;
use crate::monitor::figures::{Figures, memory_by_purpose};
use crate::monitor::http::{HTML, Handler, Request, Response, TEXT};
use crate::monitor::pprof::{MemoryUse, memory_profile};
use crate::os::profile::{capture_cpu, memory_uses, nanos_now};
use crate::os::sampler::SampleError;
use std::time::Duration;

/// How long is watched unless told, as in Go; and at most.
const SECONDS: u64 = 30;
const SECONDS_MAX: u64 = 60;

/// Asks the parts of the server what memory they hold, and what for.
pub(super) type MemorySource = Box<dyn Fn() -> Vec<MemoryUse> + Send + Sync>;

/// What the loops hold, by purpose.
pub(super) fn memory(source: &dyn Source) -> Vec<MemoryUse> {
    let figures = Figures::of(source);
    let objects = |purpose| match purpose {
        "connections" => figures.connections,
        "subscriptions" => figures.accounts.values().map(|a| a.subscriptions).sum(),
        "routes" => figures.cache.entries,
        // Those are not counted.
        _ => 0,
    };
    let uses = memory_by_purpose(&figures.memory).into_iter();
    uses.map(|(purpose, bytes)| MemoryUse {
        purpose: vec!["loops".into(), purpose.into()],
        objects: objects(purpose) as u64,
        bytes: bytes as u64,
    })
    .collect()
}

/// A profile by its name: of CPU time while it is watched, or of memory.
///
/// # Errors
/// Why there is none.
pub(super) fn profile(
    source: &dyn Source,
    name: &str,
    duration: Duration,
) -> Result<Vec<u8>, String> {
    match name {
        "cpu" => capture_cpu(duration).map_err(|e| e.to_string()),
        "heap" | "allocs" => Ok(memory_profile(&memory_uses(memory(source)), nanos_now())),
        _ => Err(format!("Profile {} not found", quoted(name.as_bytes()))),
    }
}

/// Answers requests on the port for profiling.
pub(super) struct Profiles {
    pub(super) memory: MemorySource,
}

impl Handler for Profiles {
    fn handle(&self, request: &Request) -> Response {
        match &*request.path {
            "/debug/pprof" => Response::redirect("/debug/pprof/".into()),
            "/debug/pprof/" => page(HTML, INDEX.into()),
            "/debug/pprof/profile" => cpu(request),
            "/debug/pprof/heap" => self.memory("heap"),
            "/debug/pprof/allocs" => self.memory("allocs"),
            "/debug/pprof/cmdline" => page(TEXT, program()),
            // Profiles have names in them already.
            "/debug/pprof/symbol" => page(TEXT, "num_symbols: 0\n".into()),
            path if path.starts_with("/debug/pprof/") => plain(404, "Unknown profile\n"),
            _ => Response::not_found(),
        }
    }
}

impl Profiles {
    fn memory(&self, name: &str) -> Response {
        let uses = memory_uses((self.memory)());
        file(name, memory_profile(&uses, nanos_now()))
    }
}

fn cpu(request: &Request) -> Response {
    let asked = request.parameter("seconds");
    let asked = asked.and_then(|text| text.parse::<u64>().ok());
    let seconds = asked.filter(|n| *n > 0).unwrap_or(SECONDS).min(SECONDS_MAX);
    match capture_cpu(Duration::from_secs(seconds)) {
        Ok(profile) => file("profile", profile),
        Err(e @ SampleError::Unsupported) => plain(501, &format!("CPU profiling is {e}\n")),
        Err(e) => plain(500, &format!("Could not enable CPU profiling: {e}\n")),
    }
}

/// The program without its arguments, which may hold secrets.
fn program() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    program.to_string_lossy().into_owned()
}

fn nosniff() -> (&'static str, String) {
    ("X-Content-Type-Options", "nosniff".into())
}

fn plain(status: u16, text: &str) -> Response {
    Response {
        headers: vec![nosniff()],
        ..Response::text(status, text)
    }
}

fn page(content_type: &'static str, text: String) -> Response {
    Response {
        content_type,
        ..plain(200, &text)
    }
}

fn file(name: &str, body: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    Response {
        status: 200,
        content_type: "application/octet-stream",
        headers: vec![nosniff(), ("Content-Disposition", disposition)],
        body,
    }
}

const INDEX: &str = "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<title>/debug/pprof/</title>
</head>
<body>
<h1>/debug/pprof/</h1>
<dl>
<dt><a href=\"profile?seconds=30\">profile</a></dt>
<dd>where CPU time goes, watched for so many seconds, 60 at most</dd>
<dt><a href=\"heap\">heap</a>, <a href=\"allocs\">allocs</a></dt>
<dd>memory in use, by what it is in use for</dd>
<dt><a href=\"cmdline\">cmdline</a></dt>
<dd>the program that runs</dd>
</dl>
<p>Open what you get with <code>go tool pprof FILE</code>.</p>
</body>
</html>
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::http::Accepted;

    fn got(target: &str) -> Response {
        let profiles = Profiles {
            memory: Box::new(Vec::new),
        };
        profiles.handle(&Request::from_target(target, &Accepted::default()).unwrap())
    }

    #[test]
    fn what_is_there_is_served_and_what_is_not_is_told() {
        for (target, status) in [
            ("/", 404),
            ("/debug/pprof", 307),
            ("/debug/pprof/", 200),
            ("/debug/pprof/heap?debug=1", 200),
            ("/debug/pprof/allocs", 200),
            ("/debug/pprof/cmdline", 200),
            ("/debug/pprof/symbol", 200),
            ("/debug/pprof/goroutine", 404),
            ("/debug/vars", 404),
        ] {
            assert_eq!(got(target).status, status, "{target}");
        }
        assert_eq!(got("/debug/pprof/mutex").body, b"Unknown profile\n");
        assert!(got("/debug/pprof/heap").body.starts_with(&[0x1f, 0x8b]));
    }

    #[test]
    fn the_program_is_shown_without_its_arguments() {
        let shown = String::from_utf8(got("/debug/pprof/cmdline").body).unwrap();
        assert_eq!(shown, std::env::args().next().unwrap());
    }
}

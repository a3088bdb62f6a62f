//! The page at the root of the monitoring port: a dashboard for a person with nothing but a browser,
//! and the links of the reference's home page.
//!
//! The page is one document. Its style and its script are part of it, so it needs nothing else but
//! the JSON endpoints beside it, to which all its references are relative. Its policy lets a browser
//! run and apply exactly what was built into the program, and lets the script talk to this server
//! only: should a name of a client ever get into the page as markup, it could do nothing there.
//!
//! ```no_run
//! use nats_server::monitor::dashboard::Page;
//!
//! let page = Page::new("/monitor");
//! for (name, value) in page.headers() {
//!     println!("{name}: {value}");
//! }
//! println!("{}", page.body());
//! ```

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

const DOCUMENT: &str = include_str!("index.html");
const STYLE: &str = include_str!("dashboard.css");
/// In the order in which they run: each may use at once what those before it declare.
const SCRIPTS: &[&str] = &[
    include_str!("script/base.js"),
    include_str!("script/server.js"),
    include_str!("script/plots.js"),
    include_str!("script/tables.js"),
    include_str!("script/view.js"),
    include_str!("script/overview.js"),
    include_str!("script/connections.js"),
    include_str!("script/accounts.js"),
    include_str!("script/cluster.js"),
    include_str!("script/jetstream.js"),
    include_str!("script/details.js"),
    include_str!("script/page.js"),
];

/// The dashboard as a server with a certain base path serves it: in answer to a GET of that path,
/// or of `/` if there is none. It is made once and lasts as long as the base path does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    body: String,
    policy: String,
}

impl Page {
    /// `base_path` is that of the endpoints, `http_base_path` in a configuration file; empty and `/`
    /// mean that there is none.
    ///
    /// A base path is served without a slash at its end, so that relative references start one
    /// level above it: they get its last part in front. Under a path with a slash the script does
    /// without.
    pub fn new(base_path: &str) -> Page {
        let style = lean(STYLE);
        let script: String = SCRIPTS.iter().copied().map(lean).collect();
        let last = base_path.trim_end_matches('/').rsplit('/').next();
        let root = match last.filter(|part| !part.is_empty()) {
            Some(part) => format!("href=\"./{}/", escaped(part)),
            None => "href=\"./".to_owned(),
        };
        let body = DOCUMENT
            .replace("href=\"./", &root)
            .replace("<style></style>", &format!("<style>{style}</style>"))
            .replace("<script></script>", &format!("<script>{script}</script>"));
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            source(&script),
            source(&style)
        );
        Page { body, policy }
    }

    /// The document, in UTF-8.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The header fields that belong to the page, without those that every answer has.
    pub fn headers(&self) -> [(&'static str, &str); 5] {
        [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Security-Policy", &self.policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-cache"),
        ]
    }
}

/// Leaves out indentation, empty lines and lines of comments, a quarter of the text. No literal in
/// the sources spans lines. All line ends become line feeds, which is how browsers parse the text
/// before they hash it, whatever a checkout of the sources has.
fn lean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_comment = false;
    for line in text.lines().map(str::trim) {
        if in_comment || line.starts_with("/*") {
            in_comment = !line.ends_with("*/");
        } else if !line.is_empty() && !line.starts_with("//") {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// How a policy names a script or a style that stands in the document.
fn source(text: &str) -> String {
    format!("'sha256-{}'", BASE64.encode(&Sha256::digest(text)))
}

/// A part of a path as it may stand in a reference in an attribute.
fn escaped(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The links of the reference's home page (HandleRoot in its server/server.go, 2.15), apart from
    /// the one to its sources.
    const REFERENCE: &[(&str, &str)] = &[
        ("General", "varz"),
        ("JetStream", "jsz"),
        ("Connections", "connz"),
        ("Accounts", "accountz"),
        ("Account Stats", "accstatz"),
        ("Subscriptions", "subsz"),
        ("Routes", "routez"),
        ("LeafNodes", "leafz"),
        ("Gateways", "gatewayz"),
        ("Raft Groups", "raftz"),
        ("Health Probe", "healthz"),
        ("Expvar", "debug/vars"),
    ];
    const HELP: &str = "https://docs.nats.io/running-a-nats-service/nats_admin/monitoring";
    /// Names an XML namespace; nothing is loaded from there.
    const NAMESPACE: &str = "http://www.w3.org/2000/svg";

    fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
        let (_, rest) = text.split_once(start).expect("it starts");
        rest.split_once(end).expect("it ends").0
    }

    fn header(page: &Page, name: &str) -> String {
        let headers = page.headers();
        let found = headers.iter().find(|(n, _)| *n == name);
        found.expect("a header").1.to_owned()
    }

    #[test]
    fn has_the_links_of_the_references_home_page() {
        let page = Page::new("");
        for (name, path) in REFERENCE {
            let link = format!("<a href=\"./{path}\">{name}<span");
            assert!(page.body().contains(&link), "no link {link}");
        }
        assert!(page.body().contains(&format!("<a href=\"{HELP}\"")));
    }

    #[test]
    fn links_lead_below_the_base_path() {
        for (base, path) in [
            ("", "./varz"),
            ("/", "./varz"),
            ("/mon", "./mon/varz"),
            ("/mon/", "./mon/varz"),
            ("/a/b", "./b/varz"),
            ("/\"><script>", "./%22%3E%3Cscript%3E/varz"),
        ] {
            let page = Page::new(base);
            let link = format!("<a href=\"{path}\">General");
            assert!(page.body().contains(&link), "{base}: no link {link}");
        }
        let local = |page: &Page| page.body().matches("href=\"./").count();
        assert_eq!(
            Page::new("/mon").body().matches("href=\"./mon/").count(),
            local(&Page::new(""))
        );
    }

    #[test]
    fn refers_to_nothing_outside() {
        let page = Page::new("/mon");
        let body = page.body().replace(NAMESPACE, "").replace(HELP, "");
        assert_eq!(body.matches("://").count(), 0);
        for reference in [
            "src=\"",
            "@import",
            "url(",
            "srcset",
            "href=\"//",
            "href=\"/",
        ] {
            assert!(!body.contains(reference), "{reference}");
        }
        assert_eq!(page.body().matches(HELP).count(), 1);
    }

    #[test]
    fn the_policy_allows_what_is_in_the_document_and_nothing_else() {
        let page = Page::new("");
        let script = between(page.body(), "<script>", "</script>");
        let style = between(page.body(), "<style>", "</style>");
        assert!(script.len() > 10_000 && style.len() > 5_000);
        let policy = header(&page, "Content-Security-Policy");
        let rules: Vec<&str> = policy.split("; ").collect();
        assert_eq!(
            rules,
            [
                "default-src 'none'",
                &format!("script-src {}", source(script)),
                &format!("style-src {}", source(style)),
                "connect-src 'self'",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            ]
        );
        assert_eq!(page.body().matches("<script").count(), 1);
    }

    #[test]
    fn a_source_is_named_by_the_hash_of_its_text() {
        // From section 8.4 of the W3C's Content Security Policy, level 2.
        assert_eq!(
            source("alert('Hello, world.');"),
            "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"
        );
    }

    #[test]
    fn nothing_in_the_document_needs_what_the_policy_forbids() {
        let markup = DOCUMENT.to_lowercase();
        for forbidden in [
            " style=",
            " onclick=",
            " onload=",
            " onerror=",
            "javascript:",
        ] {
            assert!(!markup.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn lean_text_has_no_comments_and_one_kind_of_line_end() {
        let text =
            "/** Adds.\r\n * Well. */\r\n  a = b / c; // so\r\n\r\n// No.\n/* It. */\n\tb();";
        assert_eq!(lean(text), "a = b / c; // so\nb();\n");
        assert_eq!(lean(""), "");
    }

    #[test]
    fn no_literal_in_the_scripts_spans_lines() {
        for line in SCRIPTS.iter().flat_map(|script| script.lines()) {
            assert_eq!(line.matches('`').count() % 2, 0, "{line}");
        }
    }

    #[test]
    fn the_script_never_makes_markup_of_text() {
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "DOMParser",
            "createContextualFragment",
            "setHTMLUnsafe",
            "srcdoc",
            "eval(",
            "Function(",
        ] {
            assert!(SCRIPTS.iter().all(|script| !script.contains(way)), "{way}");
        }
    }

    #[test]
    fn is_small() {
        assert!(Page::new("").body().len() < 80 * 1024);
    }
}

//! CONNECT options, several in a row: bad ones change nothing, and no secret reaches a trace.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nats_server::proto::connect::Connect;
use nats_server::proto::trace::redact;
use serde_json::{Map, Value};

const SECRET: &str = "kept-from-the-logs-0123456789";
const NAMES: [&str; 8] = [
    "pass",
    "password",
    "auth_token",
    "nkey",
    "sig",
    "proxy_sig",
    "jwt",
    "PASS",
];

fuzz_target!(|data: &[u8]| {
    let mut connect = Connect::default();
    for line in data.split(|b| *b == b'\n') {
        let before = connect.clone();
        if connect.merge(line).is_err() {
            assert_eq!(connect, before);
        }
        connect.label();
        redact(line);
        if let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(line) {
            secrets_stay_secret(fields, line.len());
        }
    }
});

fn secrets_stay_secret(mut fields: Map<String, Value>, choice: usize) {
    fields.insert(NAMES[choice % NAMES.len()].into(), SECRET.into());
    let value = Value::Object(fields);
    for json in [format!("{value}"), format!("{value:#}")] {
        let redacted = redact(json.as_bytes());
        let leaks = redacted
            .windows(SECRET.len())
            .any(|w| w == SECRET.as_bytes());
        assert!(!leaks, "{}", String::from_utf8_lossy(&redacted));
    }
}

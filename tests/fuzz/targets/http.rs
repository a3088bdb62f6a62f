//! Requests for monitoring: a head means the same however it is cut, a body ends in the same place,
//! and what is asked for survives the way to those who answer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nats_server::monitor::body::Body;
use nats_server::monitor::head::parse;
use nats_server::monitor::http::{Accepted, Request};
use nats_server::monitor::path::{Route, base, clean, route};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first() else {
        return;
    };
    let cut = usize::from(cut).min(bytes.len());
    let whole = parse(bytes);
    match parse(&bytes[..cut]) {
        Ok(Some(found)) => assert_eq!(whole, Ok(Some(found))),
        Ok(None) => {}
        Err(_) => assert!(whole.is_err(), "{whole:?}"),
    }
    skip(Body::chunked(), bytes, cut);
    let Ok(Some((head, len))) = whole else {
        return;
    };
    skip(head.body.clone(), &bytes[len..], cut);
    for base_path in [String::new(), base("/nats"), base(&head.query)] {
        match route(&base_path, &head.path, &head.query, &head.accepted) {
            Route::Request(request) => arrives(&request),
            Route::Answer(answer) => {
                answer.encode(head.head_only, "", None);
                for (name, value) in &answer.headers {
                    let sent = value.bytes().all(|b| b.is_ascii_graphic());
                    assert!(sent || *name != "Location", "{value}");
                }
            }
        }
    }
    let cleaned = clean(&head.path);
    assert_eq!(clean(&cleaned), cleaned);
});

/// The body is as long whether it comes at once or in two pieces.
fn skip(body: Body, bytes: &[u8], cut: usize) {
    let cut = cut.min(bytes.len());
    let (mut once, mut twice) = (body.clone(), body);
    let at_once = once.skip(bytes);
    let Ok(first) = twice.skip(&bytes[..cut]) else {
        assert!(at_once.is_err());
        return;
    };
    let second = twice.skip(&bytes[first..]);
    assert_eq!(second.map(|n| first + n), at_once);
    assert!(at_once.is_err() || once == twice);
}

fn arrives(request: &Request) {
    let target = request.target();
    assert!(target.bytes().all(|b| b.is_ascii_graphic()), "{target}");
    let accepted = Accepted {
        encoding: request.accept_encoding.clone(),
        types: request.accept.clone(),
    };
    let read = Request::from_target(&target, &accepted);
    assert_eq!(read.as_ref(), Some(request));
}

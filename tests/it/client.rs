//! What an official client does with the server.

use crate::support::{Process, start};
use async_nats::{Client, ConnectOptions, HeaderMap, RequestErrorKind};
use futures_util::{FutureExt, StreamExt};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

async fn connect(addr: SocketAddr) -> Client {
    async_nats::connect(addr.to_string())
        .await
        .expect("the server takes clients")
}

/// Waits until the server has seen all that the client did so far. Flushing only writes.
async fn settle(client: &Client) {
    let answer = soon(client.request("nobody", "".into())).await;
    assert_eq!(answer.unwrap_err().kind(), RequestErrorKind::NoResponders);
}

/// What the future gives, within reason.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(crate::support::PATIENCE, future)
        .await
        .expect("it happens in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_and_subscribes_with_wildcards() {
    let server = Process::start(&[]);
    let (one, two) = (connect(server.addr).await, connect(server.addr).await);
    let mut all = two.subscribe("a.>").await.unwrap();
    let mut some = two.subscribe("a.*.c").await.unwrap();
    settle(&two).await;
    one.publish("a.b.c", "hello".into()).await.unwrap();
    one.publish("a.b", "world".into()).await.unwrap();
    for (subject, payload) in [("a.b.c", "hello"), ("a.b", "world")] {
        let message = soon(all.next()).await.unwrap();
        assert_eq!(
            (&*message.subject, &message.payload[..]),
            (subject, payload.as_bytes())
        );
    }
    assert_eq!(soon(some.next()).await.unwrap().subject.as_str(), "a.b.c");
}

#[tokio::test(flavor = "multi_thread")]
async fn knows_the_server() {
    let server = start(|o| o.server_name = Some("north".into()));
    let client = connect(server.addr()).await;
    let info = client.server_info();
    assert_eq!((&*info.server_name, info.max_payload), ("north", 1 << 20));
    assert!(client.is_server_compatible(2, 14, 0), "{}", info.version);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_replied_to() {
    let server = start(|o| o.loops = Some(2));
    let (asker, responder) = (connect(server.addr()).await, connect(server.addr()).await);
    let mut requests = responder.subscribe("svc").await.unwrap();
    settle(&responder).await;
    let serving = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            responder
                .publish(request.reply.unwrap(), request.payload)
                .await
                .unwrap();
        }
    });
    for i in 0..200 {
        let answer = soon(asker.request("svc", i.to_string().into()))
            .await
            .unwrap();
        assert_eq!(&answer.payload[..], i.to_string().as_bytes());
    }
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_responders_fail_at_once() {
    let server = start(|_| {});
    let client = connect(server.addr()).await;
    let error = soon(client.request("nobody", "".into())).await.unwrap_err();
    assert_eq!(error.kind(), RequestErrorKind::NoResponders);
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_groups_share_the_work() {
    let server = start(|o| o.loops = Some(2));
    let mut members = Vec::new();
    for _ in 0..3 {
        let client = connect(server.addr()).await;
        let jobs = client
            .queue_subscribe("jobs", "workers".into())
            .await
            .unwrap();
        let end = client.subscribe("end").await.unwrap();
        settle(&client).await;
        members.push((client, jobs, end));
    }
    let publisher = connect(server.addr()).await;
    for i in 0..300 {
        publisher
            .publish("jobs", i.to_string().into())
            .await
            .unwrap();
    }
    publisher.publish("end", "".into()).await.unwrap();
    let (mut seen, mut counts) = (vec![false; 300], Vec::new());
    for (_client, mut jobs, mut end) in members {
        // What came before this message is there once it is.
        soon(end.next()).await.unwrap();
        let mut count = 0;
        while let Some(Some(job)) = tokio::task::unconstrained(jobs.next()).now_or_never() {
            let i: usize = std::str::from_utf8(&job.payload).unwrap().parse().unwrap();
            assert!(!std::mem::replace(&mut seen[i], true), "job {i} came twice");
            count += 1;
        }
        counts.push(count);
    }
    assert!(counts.iter().sum::<usize>() == 300, "{counts:?}");
    assert!(seen.iter().all(|s| *s), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_arrive() {
    let server = start(|_| {});
    let client = connect(server.addr()).await;
    let mut sub = client.subscribe("h").await.unwrap();
    let mut headers = HeaderMap::new();
    headers.append("Colour", "blue");
    headers.append("Colour", "red");
    headers.insert("Empty", "");
    client
        .publish_with_headers("h", headers.clone(), "body".into())
        .await
        .unwrap();
    let message = soon(sub.next()).await.unwrap();
    assert_eq!(message.headers, Some(headers));
    assert_eq!(&message.payload[..], b"body");
}

#[tokio::test(flavor = "multi_thread")]
async fn unsubscribes_after_a_number_of_messages() {
    let server = start(|_| {});
    let client = connect(server.addr()).await;
    let mut sub = client.subscribe("a").await.unwrap();
    sub.unsubscribe_after(3).await.unwrap();
    for _ in 0..5 {
        client.publish("a", ".".into()).await.unwrap();
    }
    settle(&client).await;
    let mut count = 0;
    while soon(sub.next()).await.is_some() {
        count += 1;
    }
    assert_eq!(count, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn drains() {
    let server = start(|_| {});
    let (client, publisher) = (connect(server.addr()).await, connect(server.addr()).await);
    let mut sub = client.subscribe("d").await.unwrap();
    settle(&client).await;
    for _ in 0..1000 {
        publisher.publish("d", ".".into()).await.unwrap();
    }
    settle(&publisher).await;
    client.drain().await.unwrap();
    let mut count = 0;
    while soon(sub.next()).await.is_some() {
        count += 1;
    }
    assert_eq!(count, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnects_to_a_server_that_came_back() {
    let server = start(|_| {});
    let addr = server.addr();
    let options = ConnectOptions::new().reconnect_delay_callback(|_| Duration::from_millis(20));
    let client = options.connect(addr.to_string()).await.unwrap();
    let mut sub = client.subscribe("a").await.unwrap();
    settle(&client).await;
    tokio::task::spawn_blocking(move || server.shutdown())
        .await
        .unwrap();
    let server = start(|o| o.port = addr.port().into());
    soon(async {
        loop {
            client.publish("a", "again".into()).await.unwrap();
            if let Ok(message) = timeout(Duration::from_millis(50), sub.next()).await {
                assert_eq!(&message.unwrap().payload[..], b"again");
                return;
            }
        }
    })
    .await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_of_a_megabyte_arrive() {
    let server = start(|o| o.loops = Some(2));
    let (one, two) = (connect(server.addr()).await, connect(server.addr()).await);
    let mut near = one.subscribe("big").await.unwrap();
    let mut far = two.subscribe("big").await.unwrap();
    settle(&one).await;
    settle(&two).await;
    let payload: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 253) as u8).collect();
    for _ in 0..5 {
        one.publish("big", payload.clone().into()).await.unwrap();
    }
    for _ in 0..5 {
        assert!(soon(near.next()).await.unwrap().payload == payload);
        assert!(soon(far.next()).await.unwrap().payload == payload);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_keep_their_order() {
    let server = start(|o| o.loops = Some(2));
    let (publisher, client) = (connect(server.addr()).await, connect(server.addr()).await);
    let mut sub = client.subscribe("n").await.unwrap();
    settle(&client).await;
    tokio::spawn(async move {
        for i in 0..10_000 {
            publisher.publish("n", i.to_string().into()).await.unwrap();
        }
        settle(&publisher).await;
    });
    for i in 0..10_000 {
        let message = soon(sub.next()).await.unwrap();
        assert_eq!(&message.payload[..], i.to_string().as_bytes());
    }
}

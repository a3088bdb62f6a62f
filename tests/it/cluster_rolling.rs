//! All servers of a cluster are replaced, one after the other, while clients work.

use crate::support::mesh::{reaches_at, reference};
use crate::support::{Dir, Process, eventually, places, server_binary};
use async_nats::{Client, ConnectOptions, Event};
use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Three servers, each of which is where it was before when it is started anew.
struct Nodes {
    dir: Dir,
    clients: [SocketAddr; 3],
    routes: [SocketAddr; 3],
}

impl Nodes {
    fn new(name: &str) -> Nodes {
        Nodes {
            dir: Dir::new(name),
            clients: places(),
            routes: places(),
        }
    }

    fn start(&self, i: usize, program: &Path) -> Process {
        let urls = self.routes.iter().map(|at| format!("\"nats://{at}\""));
        let config = format!(
            "server_name: n{i}\nlisten: \"{}\"\nlame_duck_grace_period: \"1s\"\n\
             lame_duck_duration: \"30s\"\n\
             cluster {{name: rolling, listen: \"{}\", routes: [{}]}}\n",
            self.clients[i],
            self.routes[i],
            urls.collect::<Vec<_>>().join(", ")
        );
        let mut command = Command::new(program);
        command.args(["-c", &self.dir.write(&format!("n{i}.conf"), &config)]);
        Process::spawn(command)
    }

    fn meshed(&self) {
        for from in &self.clients {
            for to in self.clients.iter().filter(|to| *to != from) {
                assert!(reaches_at(*from, *to));
            }
        }
    }
}

/// A client that knows one server and goes elsewhere when that is about to end.
async fn client(at: SocketAddr) -> Client {
    let own: Arc<Mutex<Option<Client>>> = Arc::default();
    let shared = own.clone();
    let options = ConnectOptions::new()
        .request_timeout(Some(Duration::from_secs(2)))
        .event_callback(move |event| {
            let client = shared.lock().unwrap().clone();
            async move {
                if let (Event::LameDuckMode, Some(client)) = (event, client) {
                    let _ = client.force_reconnect().await;
                }
            }
        });
    let client = options.connect(at.to_string()).await.unwrap();
    *own.lock().unwrap() = Some(client.clone());
    client
}

/// What the clients do, and how it went.
#[derive(Default)]
struct Work {
    ending: AtomicBool,
    /// The next request, and how many had to be sent again.
    next: AtomicUsize,
    again: AtomicUsize,
    answered: Mutex<BTreeSet<usize>>,
    handled: Mutex<BTreeSet<usize>>,
}

/// Takes requests of the group.
async fn respond(work: Arc<Work>, at: SocketAddr) {
    let client = client(at).await;
    let mut requests = client
        .queue_subscribe("work", "workers".into())
        .await
        .unwrap();
    while let Some(request) = requests.next().await {
        let number = std::str::from_utf8(&request.payload)
            .unwrap()
            .parse()
            .unwrap();
        work.handled.lock().unwrap().insert(number);
        let reply = request.reply.unwrap();
        // Who asked asks again if this is lost.
        let _ = client.publish(reply, request.payload).await;
    }
}

/// Sends requests one after the other, each until it is answered.
async fn ask(work: Arc<Work>, at: SocketAddr) {
    let client = client(at).await;
    while !work.ending.load(Ordering::Relaxed) {
        let number = work.next.fetch_add(1, Ordering::Relaxed);
        let mut tries = 0;
        loop {
            let request = client.request("work", number.to_string().into());
            if let Ok(answer) = request.await {
                assert_eq!(answer.payload, number.to_string());
                break;
            }
            tries += 1;
            assert!(tries < 20, "{number} is never answered");
            work.again.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        work.answered.lock().unwrap().insert(number);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Replaces every server of a cluster, each by one that runs `after`.
fn roll(name: &str, before: &Path, after: &Path) {
    let nodes = Nodes::new(name);
    let mut servers: Vec<Process> = (0..3).map(|i| nodes.start(i, before)).collect();
    nodes.meshed();
    let runtime = Runtime::new().unwrap();
    let work = Arc::new(Work::default());
    for i in 0..3 {
        // All but one know the first server only.
        let at = nodes.clients[usize::from(i == 2)];
        runtime.spawn(respond(work.clone(), at));
    }
    let at = |i: usize| nodes.clients[i % 3];
    let askers: Vec<_> = (0..4)
        .map(|i| runtime.spawn(ask(work.clone(), at(i))))
        .collect();
    let answered = || work.answered.lock().unwrap().len();
    let goes_on = |what: &str| {
        let before = answered();
        eventually(what, || answered() > before + 50);
    };
    goes_on("requests are answered");
    for (i, server) in servers.iter_mut().enumerate() {
        server.signal(libc::SIGUSR2);
        server.wait(Duration::from_secs(30));
        goes_on("others answer");
        *server = nodes.start(i, after);
        nodes.meshed();
        goes_on("requests are answered by all");
    }
    work.ending.store(true, Ordering::Relaxed);
    for asker in askers {
        runtime.block_on(asker).expect("every request is answered");
    }
    let asked = work.next.load(Ordering::Relaxed);
    let again = work.again.load(Ordering::Relaxed);
    eprintln!("{name}: {asked} requests, {again} sent again");
    assert_eq!(answered(), asked);
    let handled = work.handled.lock().unwrap();
    assert!((0..asked).all(|number| handled.contains(&number)));
    // Those that were on their way when their server ended, of seven clients that move.
    assert!(again <= 60, "{again} of {asked}");
    runtime.shutdown_background();
}

#[test]
fn every_server_is_replaced_under_load() {
    let ours = Path::new(server_binary());
    roll("rolling-ours", ours, ours);
}

#[test]
fn every_server_of_the_reference_is_replaced_under_load() {
    let Some(theirs) = reference() else { return };
    let ours = Path::new(server_binary());
    roll("rolling-theirs", &theirs, ours);
    roll("rolling-back", ours, &theirs);
}

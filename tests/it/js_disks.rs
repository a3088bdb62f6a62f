//! Disks that fail, are full, or lose what was not synced. These need root, for file systems of their
//! own, and say so where they cannot run.

use crate::support::disks::{Injection, Mount, files_named, run, start, stop};
use crate::support::wire::Wire;
use crate::support::{Dir, Noise, Process, eventually};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// The status and the body of healthz.
fn healthz(server: &Process) -> (u16, String) {
    server.get("/healthz")
}

fn create(wire: &mut Wire, stream: &str) {
    let asked =
        format!("{{\"name\":\"{stream}\",\"subjects\":[\"{stream}\"],\"allow_direct\":true}}");
    wire.api(&format!("STREAM.CREATE.{stream}"), &asked);
}

/// Publishes many at a time; gives the sequences and payloads of those that were stored, and how many
/// were refused.
fn publish(wire: &mut Wire, stream: &str, many: usize, size: usize) -> (Vec<(u64, String)>, usize) {
    let payloads: Vec<String> = (0..many)
        .map(|n| format!("{n:06} {}", "x".repeat(size)))
        .collect();
    let (mut stored, mut refused) = (Vec::new(), 0);
    for (part, chunk) in payloads.chunks(100).enumerate() {
        for (n, payload) in chunk.iter().enumerate() {
            wire.publish(stream, &format!("in.{}", part * 100 + n), payload);
        }
        for _ in chunk {
            // Each has an answer, and has it soon.
            let message = wire.next().expect("there is an answer");
            let n: usize = message.subject[3..].parse().unwrap();
            let answer = message.json();
            match answer["error"].is_null() {
                true => stored.push((answer["seq"].as_u64().unwrap(), payloads[n].clone())),
                false => refused += 1,
            }
        }
    }
    (stored, refused)
}

fn check(wire: &mut Wire, stream: &str, stored: &[(u64, String)]) {
    for (sequence, payload) in stored {
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let got = wire.ask(&subject, &format!("{{\"seq\":{sequence}}}"));
        assert_eq!(
            String::from_utf8_lossy(&got.payload),
            *payload,
            "{stream} {sequence}"
        );
    }
}

/// B21: publishers are told at once, everything else goes on, and so do they when there is room.
#[test]
fn a_full_disk_is_told_and_gone_when_there_is_room() {
    let dir = Dir::new("js-full");
    let at = dir.path("mount");
    let Some(_mount) = Mount::in_memory("40m", &at) else {
        return;
    };
    // The limit of the options is not to be the one that is met.
    let config = format!(
        "listen: \"127.0.0.1:-1\"\njetstream {{store_dir: \"{at}/store\", max_file_store: 1GB}}\n"
    );
    let file = dir.write("server.conf", &config);
    let server = Process::start(&["-c", &file]);
    let mut wire = Wire::connect(server.addr);
    create(&mut wire, "S");
    create(&mut wire, "T");
    let (other, _) = publish(&mut wire, "T", 10, 10);
    let (mut stored, refused) = publish(&mut wire, "S", 50_000, 1000);
    assert!(
        refused > 5000 && stored.len() > 5000,
        "{refused} {}",
        stored.len()
    );
    // Another stream may have room left in its segment, or is told so.
    check(&mut wire, "T", &other);
    check(&mut wire, "S", &stored[..200]);
    let info = wire.api("STREAM.INFO.S", "");
    assert!(info["state"]["messages"].as_u64().unwrap() >= stored.len() as u64);
    // What is asked of the stream's consumers is refused as well, unless it is being opened again.
    let mut consumers = 0..;
    eventually("a consumer is refused", || {
        publish(&mut wire, "S", 20, 1000);
        let name = format!("C{}", consumers.next().unwrap());
        let asked = format!(r#"{{"stream_name":"S","config":{{"durable_name":"{name}"}}}}"#);
        let answer = wire.ask(&format!("$JS.API.CONSUMER.CREATE.S.{name}"), &asked);
        answer.json()["error"]["err_code"] == 10104
    });
    // Room comes back: first by more of it.
    assert!(run("mount", &["-o", "remount,size=80m", &at]));
    eventually("messages are taken again", || {
        wire.ask("S", "more").json()["error"].is_null()
    });
    let (more, refused) = publish(&mut wire, "S", 1000, 100);
    assert_eq!(refused, 0);
    stored.extend(more);
    check(&mut wire, "S", &stored);
    stop(server, libc::SIGKILL);
    let server = Process::start(&["-c", &file]);
    let mut wire = Wire::connect(server.addr);
    check(&mut wire, "S", &stored);
    check(&mut wire, "T", &other);
    let (_, refused) = publish(&mut wire, "S", 60_000, 1000);
    assert!(refused > 0);
    eventually("a purge is taken", || {
        wire.ask("$JS.API.STREAM.PURGE.S", "").json()["error"].is_null()
    });
    // There is no room yet for the checkpoint that lets the files go.
    assert!(run("mount", &["-o", "remount,size=160m", &at]));
    eventually("messages are taken again", || {
        let (_, refused) = publish(&mut wire, "S", 100, 100);
        refused == 0
    });
    check(&mut wire, "T", &other);
    stop(server, libc::SIGTERM);
}

/// B11: what could not be synced is refused at once, the stream says so, is opened again when the disk
/// is well, and what was refused does not come back.
#[test]
fn a_sync_that_fails_is_told_and_does_not_end_the_stream() {
    let dir = Dir::new("js-eio");
    let store = dir.path("store");
    let server = start(&store);
    let mut wire = Wire::connect(server.addr);
    create(&mut wire, "S");
    create(&mut wire, "T");
    let asked = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}"#;
    wire.api("CONSUMER.DURABLE.CREATE.S.C", asked);
    let (mut stored, refused) = publish(&mut wire, "S", 500, 20);
    assert_eq!(refused, 0);
    let Some(injection) = Injection::new(&server, "fdatasync,fsync:error=EIO") else {
        return;
    };
    let begun = Instant::now();
    let answer = wire.ask("S", "refused").json();
    assert_eq!(answer["error"]["err_code"], 10077, "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(2));
    let (none, _) = publish(&mut wire, "S", 50, 20);
    assert!(none.is_empty());
    let (status, body) = healthz(&server);
    assert_eq!(status, 503, "{body}");
    assert!(
        body.contains("JetStream stream '$G \\u003e S' write error"),
        "{body}"
    );
    drop(injection);
    eventually("messages are taken again", || {
        wire.ask("S", "taken").json()["error"].is_null()
    });
    eventually("the server is well", || healthz(&server).0 == 200);
    let (more, refused) = publish(&mut wire, "S", 100, 20);
    assert_eq!(refused, 0);
    stored.extend(more);
    check(&mut wire, "S", &stored);
    wire.api("CONSUMER.INFO.S.C", "");
    let (other, refused) = publish(&mut wire, "T", 100, 20);
    assert_eq!(refused, 0);
    stop(server, libc::SIGKILL);
    let server = start(&store);
    let mut wire = Wire::connect(server.addr);
    check(&mut wire, "S", &stored);
    check(&mut wire, "T", &other);
    let info = wire.api("STREAM.INFO.S", "");
    let last = info["state"]["last_seq"].as_u64().unwrap();
    for sequence in 1..=last {
        let got = wire.ask("$JS.API.DIRECT.GET.S", &format!("{{\"seq\":{sequence}}}"));
        assert_ne!(&*got.payload, b"refused");
    }
}

/// A commit journal that fails is told of by healthz and metrics, while streams go on and take what is
/// published; when it is well again, that is told, too.
#[test]
fn a_journal_that_fails_is_told_while_streams_go_on() {
    let dir = Dir::new("js-journal-eio");
    let store = dir.path("store");
    let server = start(&store);
    let mut wire = Wire::connect(server.addr);
    let streams: Vec<String> = (0..8).map(|n| format!("S{n}")).collect();
    for stream in &streams {
        create(&mut wire, stream);
    }
    let mut stored: Vec<Vec<(u64, String)>> = vec![vec![]; streams.len()];
    // One message for each, so that the journal takes them.
    let mut round = |wire: &mut Wire, n: usize| {
        let payload = format!("round {n}");
        for (at, stream) in streams.iter().enumerate() {
            wire.publish(stream, &format!("in.{at}"), &payload);
        }
        for _ in &streams {
            let message = wire.next().expect("there is an answer");
            let at: usize = message.subject[3..].parse().unwrap();
            let answer = message.json();
            assert!(answer["error"].is_null(), "{answer}");
            stored[at].push((answer["seq"].as_u64().unwrap(), payload.clone()));
        }
    };
    for n in 0..20 {
        round(&mut wire, n);
    }
    let journals = files_named(Path::new(&store), "journal.");
    assert!(!journals.is_empty(), "there is no journal");
    let paths: Vec<&str> = journals.iter().map(String::as_str).collect();
    let Some(injection) = Injection::on(&server, "fdatasync,fsync:error=EIO", &paths) else {
        return;
    };
    let mut n = 20;
    eventually("the server is unwell", || {
        round(&mut wire, n);
        n += 1;
        healthz(&server).0 == 503
    });
    let (_, body) = healthz(&server);
    assert!(
        body.contains("JetStream commit journal: write error") && body.contains("os error 5"),
        "{body}"
    );
    let metric = |value| format!("nats_server_jetstream_journal_failed {value}\n");
    let (_, metrics) = server.get("/metrics");
    assert!(metrics.contains(&metric(1)), "{metrics}");
    round(&mut wire, n);
    drop(injection);
    eventually("the server is well", || healthz(&server).0 == 200);
    let (_, metrics) = server.get("/metrics");
    assert!(metrics.contains(&metric(0)), "{metrics}");
    round(&mut wire, n + 1);
    stop(server, libc::SIGKILL);
    let server = start(&store);
    let mut wire = Wire::connect(server.addr);
    for (stream, stored) in streams.iter().zip(&stored) {
        check(&mut wire, stream, stored);
    }
}

/// Stops a server in the middle of everything, and gives what the disk has at that moment.
fn cut(server: Process, image: &str, copy: &str) {
    server.signal(libc::SIGSTOP);
    assert!(run("cp", &["--sparse=always", image, copy]));
    stop(server, libc::SIGKILL);
}

fn image(dir: &Dir) -> Option<String> {
    let image = dir.path("image");
    let file = fs::File::create(&image).unwrap();
    file.set_len(256 << 20).unwrap();
    drop(file);
    if !run("mkfs.ext4", &["-q", "-F", &image]) {
        println!("SKIPPED: there is no mkfs.ext4");
        return None;
    }
    Some(image)
}

/// B4, B5: the power fails right behind an answer, or as many seconds later as `NATS_POWER_WAIT` says.
/// Everything that was answered is there: messages, acknowledgements, and what was made, changed, purged
/// and removed.
#[test]
fn what_was_answered_is_there_when_the_power_has_failed() {
    let wait = std::env::var("NATS_POWER_WAIT").ok();
    let wait = wait.and_then(|text| text.parse().ok()).unwrap_or(0);
    let wait = Duration::from_secs(wait);
    let dir = Dir::new("js-power");
    let Some(image) = image(&dir) else { return };
    let (at, copy) = (dir.path("mount"), dir.path("copy"));
    for round in 0..6u64 {
        let Some(mount) = Mount::new(&["-o", "loop", &image], &at) else {
            return;
        };
        let server = start(&format!("{at}/store"));
        let mut wire = Wire::connect(server.addr);
        let (kept, gone) = (format!("K{round}"), format!("G{round}"));
        create(&mut wire, &gone);
        create(&mut wire, &kept);
        let asked = r#"{"config":{"durable_name":"C","ack_policy":"explicit"},"stream_name":"#;
        let asked = format!("{asked}\"{kept}\"}}");
        let (stored, refused) = publish(&mut wire, &kept, 300 + 100 * round as usize, 100);
        assert_eq!(refused, 0);
        let mut acked = 0;
        match round {
            0 => drop(wire.api(&format!("STREAM.DELETE.{gone}"), "")),
            1 => drop(wire.api(&format!("CONSUMER.DURABLE.CREATE.{kept}.C"), &asked)),
            2 => drop(wire.api(&format!("STREAM.PURGE.{kept}"), "{\"keep\":10}")),
            3 => {
                let update = format!(
                    "{{\"name\":\"{kept}\",\"subjects\":[\"{kept}\"],\"allow_direct\":true,\
                     \"description\":\"changed\"}}"
                );
                wire.api(&format!("STREAM.UPDATE.{kept}"), &update);
            }
            4 => {
                wire.api(&format!("CONSUMER.DURABLE.CREATE.{kept}.C"), &asked);
                for _ in 0..20 {
                    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{kept}.C");
                    wire.publish(&subject, "in.m", "1");
                    let message = wire.next().unwrap();
                    wire.ask(&message.reply, "+ACK");
                    acked += 1;
                }
            }
            _ => drop(wire.api(
                &format!("STREAM.CREATE.N{round}"),
                &format!("{{\"name\":\"N{round}\"}}"),
            )),
        }
        std::thread::sleep(wait);
        cut(server, &image, &copy);
        drop(mount);
        let Some(mount) = Mount::new(&["-o", "loop", &copy], &at) else {
            return;
        };
        let server = start(&format!("{at}/store"));
        let mut wire = Wire::connect(server.addr);
        let from = if round == 2 { stored.len() - 10 } else { 0 };
        check(&mut wire, &kept, &stored[from..]);
        let info = wire.api(&format!("STREAM.INFO.{kept}"), "");
        let gone = wire.ask(&format!("$JS.API.STREAM.INFO.{gone}"), "").json();
        match round {
            0 => assert_eq!(gone["error"]["err_code"], 10059, "{gone}"),
            2 => assert_eq!(info["state"]["messages"], 10, "{info}"),
            3 => assert_eq!(info["config"]["description"], "changed", "{info}"),
            1 | 4 => {
                let consumer = wire.api(&format!("CONSUMER.INFO.{kept}.C"), "");
                assert_eq!(consumer["ack_floor"]["stream_seq"], acked, "{consumer}");
                assert_eq!(consumer["num_pending"], stored.len() - acked, "{consumer}");
            }
            _ => drop(wire.api(&format!("STREAM.INFO.N{round}"), "")),
        }
        stop(server, libc::SIGTERM);
        drop(mount);
        fs::rename(&copy, &image).unwrap();
    }
}

/// Publishes one message after the other until some time, and makes a stream now and then. Gives what was
/// stored, with the time of the answer, and the streams.
fn publish_until(wire: &mut Wire, end: Instant, round: u64) -> (Vec<Stored>, Vec<String>) {
    let (mut stored, mut streams) = (Vec::new(), Vec::new());
    while Instant::now() < end {
        let (more, refused) = publish(wire, "S", 20, 100);
        assert_eq!(refused, 0);
        let at = Instant::now();
        let more = more.into_iter();
        stored.extend(more.map(|(sequence, payload)| (sequence, payload, at)));
        if stored.len() % 400 == 0 {
            let name = format!("N{round}-{}", stored.len());
            create(wire, &name);
            streams.push(name);
        }
    }
    (stored, streams)
}

/// A sequence, a payload, and when it was told that it is stored.
type Stored = (u64, String, Instant);

/// B6: where a sync is done every so often, what is older than that is there, and what was made is
/// there at once. `NATS_KILLS` says how often the power fails, instead of the usual number.
#[test]
fn an_interval_is_the_longest_time_that_is_lost_with_the_power() {
    /// How long a sync may take, beside others that use the disk.
    const SYNC: Duration = Duration::from_millis(1500);
    let asked = std::env::var("NATS_KILLS").ok();
    let rounds: u64 = asked.and_then(|text| text.parse().ok()).unwrap_or(2);
    let dir = Dir::new("js-interval");
    let Some(image) = image(&dir) else { return };
    let (at, copy) = (dir.path("mount"), dir.path("copy"));
    let mut noise = Noise(0x1a2e);
    let mut mount = Mount::new(&["-o", "loop", &image], &at);
    for round in 0..rounds {
        let Some(there) = mount.take() else { return };
        let interval_ms = [200, 1000, 4000][(round % 3) as usize];
        let config = format!(
            "listen: \"127.0.0.1:-1\"\njetstream {{store_dir: \"{at}/store\", \
             sync_interval: \"{interval_ms}ms\"}}\n"
        );
        let file = dir.write("server.conf", &config);
        let server = Process::start(&["-c", &file]);
        let mut wire = Wire::connect(server.addr);
        match round {
            0 => create(&mut wire, "S"),
            _ => drop(wire.api("STREAM.PURGE.S", "")),
        }
        let interval = Duration::from_millis(interval_ms);
        let time = interval + SYNC + Duration::from_millis(200 + noise.next() % (2 * interval_ms));
        let (stored, streams) = publish_until(&mut wire, Instant::now() + time, round);
        let end = Instant::now();
        cut(server, &image, &copy);
        drop(there);
        mount = Mount::new(&["-o", "loop", &copy], &at);
        let server = Process::start(&["-c", &file]);
        let mut wire = Wire::connect(server.addr);
        let (mut lost, mut oldest, mut old) = (0, Duration::ZERO, 0);
        for (sequence, payload, told) in &stored {
            let subject = "$JS.API.DIRECT.GET.S";
            let got = wire.ask(subject, &format!("{{\"seq\":{sequence}}}"));
            let age = end - *told;
            old += usize::from(age > interval + SYNC);
            if got.headers.starts_with("NATS/1.0 404") {
                lost += 1;
                oldest = oldest.max(age);
                assert!(age <= interval + SYNC, "{sequence} was {age:?} old");
            } else {
                assert_eq!(
                    String::from_utf8_lossy(&got.payload),
                    *payload,
                    "{sequence}"
                );
            }
        }
        for name in &streams {
            wire.api(&format!("STREAM.INFO.{name}"), "");
        }
        println!(
            "{interval_ms} ms: {lost} of {} are lost, the oldest was {oldest:?} old; {} streams",
            stored.len(),
            streams.len()
        );
        assert!(old > 0, "none was old enough");
        stop(server, libc::SIGTERM);
        fs::rename(&copy, &image).unwrap();
    }
}

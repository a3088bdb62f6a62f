//! Conversations of clients who may not do everything, and of those whose subjects are mapped.

use super::login_tests::{account, user};
use super::tests::{Bench, Peer};
use super::*;
use crate::options::security::{Destination, Mapping, Permissions, Responses, Rules};
use crate::subject::pattern;
use proptest::prelude::*;

fn rules(allow: Option<&[&str]>, deny: &[&str]) -> Rules {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Rules {
        allow: allow.map(owned),
        deny: owned(deny),
    }
}

/// Users of account A: `p`, who may do this, and `free`, who may do everything.
fn permitted(permissions: Permissions) -> impl Fn(&mut Options) {
    move |options| {
        let mut p = user("p", "p");
        p.permissions = Some(Arc::new(permissions.clone()));
        options.accounts = vec![account("A", vec![p, user("free", "free")])];
    }
}

impl Bench {
    /// What a client is told when it says this.
    fn ask(&mut self, peer: Peer, text: &str) -> String {
        self.say(peer, text);
        self.read(peer)
    }
}

#[test]
fn publishing_is_allowed_and_denied() {
    let publish = rules(Some(&["a.*", "b.>"]), &["a.secret", "b.*.x"]);
    let permissions = Permissions {
        publish,
        ..Permissions::default()
    };
    let mut bench = Bench::new(1, permitted(permissions));
    let (p, free) = (bench.log_in("p"), bench.log_in("free"));
    bench.say(free, "SUB > 1\r\n");
    // Twice, since the second time the decision is remembered.
    for _ in 0..2 {
        for (subject, allowed) in [
            ("a.1", true),
            ("a.secret", false),
            ("a", false),
            ("a.1.2", false),
            ("b.1.y", true),
            ("b.1.x", false),
            ("c", false),
            // No wildcard in a subject that is published, but a token like any other.
            ("a.*", true),
            (">", false),
        ] {
            let told = bench.ask(p, &format!("PUB {subject} 1\r\n.\r\n"));
            let (error, message) = if allowed {
                (String::new(), format!("MSG {subject} 1 1\r\n.\r\n"))
            } else {
                let text = "Permissions Violation for Publish to";
                (format!("-ERR '{text} \"{subject}\"'\r\n"), String::new())
            };
            assert_eq!(told, error);
            assert_eq!(bench.read(free), message);
        }
    }
}

#[test]
fn subscribing_is_allowed_and_denied_and_denials_hold_at_delivery() {
    let subscribe = rules(Some(&["a.>", "jobs *.dev"]), &["a.secret.>", "a.q w*"]);
    let permissions = Permissions {
        subscribe,
        ..Permissions::default()
    };
    let mut bench = Bench::new(1, permitted(permissions));
    let (p, free) = (bench.log_in("p"), bench.log_in("free"));
    let text = "Permissions Violation for Subscription to";
    for (sub, refusal) in [
        ("SUB b 9", format!("{text} \"b\"")),
        ("SUB > 9", format!("{text} \">\"")),
        ("SUB a.secret.x 9", format!("{text} \"a.secret.x\"")),
        (
            "SUB a.secret.> q 9",
            format!("{text} \"a.secret.>\" using queue \"q\""),
        ),
        ("SUB jobs 9", format!("{text} \"jobs\"")),
        (
            "SUB jobs x.prod 9",
            format!("{text} \"jobs\" using queue \"x.prod\""),
        ),
    ] {
        assert_eq!(
            bench.ask(p, &format!("{sub}\r\n")),
            format!("-ERR '{refusal}'\r\n")
        );
    }
    assert_eq!(
        bench.ask(p, "SUB a.> 1\r\nSUB jobs x.dev 2\r\nSUB a.*.* g 3\r\n"),
        ""
    );
    for (subject, want) in [
        ("a.1", "MSG a.1 1 0\r\n\r\n"),
        ("a.secret.x", ""),
        ("a.x.y", "MSG a.x.y 1 0\r\n\r\nMSG a.x.y 3 0\r\n\r\n"),
        ("jobs", "MSG jobs 2 0\r\n\r\n"),
    ] {
        bench.say(free, &format!("PUB {subject} 0\r\n\r\n"));
        assert_eq!(bench.read(p), want, "{subject}");
    }
}

#[test]
fn a_member_of_a_queue_group_who_may_not_have_a_message_leaves_it_to_others() {
    let permissions = Permissions {
        subscribe: rules(None, &["jobs.secret"]),
        ..Permissions::default()
    };
    let mut bench = Bench::new(1, permitted(permissions));
    let (p, free) = (bench.log_in("p"), bench.log_in("free"));
    for peer in [p, free] {
        bench.say(peer, "SUB jobs.* w 1\r\n");
    }
    for _ in 0..50 {
        bench.say(free, "PUB jobs.secret 0\r\n\r\n");
    }
    assert_eq!(bench.read(p), "");
    assert_eq!(bench.read(free).matches("MSG jobs.secret").count(), 50);
}

#[test]
fn requests_that_came_may_be_answered() {
    let responses = Responses {
        max: Some(2),
        expires: Some(Duration::from_secs(10)),
    };
    let permissions = Permissions {
        subscribe: rules(Some(&["svc"]), &[]),
        responses: Some(responses),
        ..Permissions::default()
    };
    let mut bench = Bench::new(1, permitted(permissions));
    let (p, free) = (bench.log_in("p"), bench.log_in("free"));
    bench.say(p, "SUB svc 1\r\n");
    bench.say(free, "SUB inbox.* 2\r\n");
    let answer = "PUB inbox.1 2\r\nhi\r\n";
    let denied = "-ERR 'Permissions Violation for Publish to \"inbox.1\"'\r\n";
    assert_eq!(bench.ask(p, answer), denied, "nobody asked");
    bench.say(free, "PUB svc inbox.1 0\r\n\r\n");
    assert!(bench.read(p).starts_with("MSG svc 1 inbox.1 0"));
    assert_eq!(
        bench.ask(p, &format!("{answer}{answer}{answer}")),
        denied,
        "two are allowed"
    );
    assert_eq!(bench.read(free).matches("MSG inbox.1").count(), 2);
    bench.say(free, "PUB svc inbox.1 0\r\n\r\n");
    bench.read(p);
    bench.now = bench.now + Duration::from_secs(11);
    assert_eq!(bench.ask(p, answer), denied, "too late");
}

#[test]
fn a_reload_takes_subscriptions_away_and_gives_leave() {
    let allow = |list: &[&str]| Permissions {
        publish: rules(Some(list), &[]),
        subscribe: rules(Some(list), &[]),
        ..Permissions::default()
    };
    let mut bench = Bench::new(1, permitted(allow(&["a", "b"])));
    let (p, free) = (bench.log_in("p"), bench.log_in("free"));
    bench.say(p, "SUB a 1\r\nSUB b q 2\r\nPUB a 0\r\n\r\n");
    bench.read(p);
    bench.renew(permitted(allow(&["b", "c"])));
    let text = "Permissions Violation for Subscription to \"a\" (sid \"1\")";
    assert_eq!(bench.read(p), format!("-ERR '{text}'\r\n"));
    assert!(bench.ask(p, "PUB a 0\r\n\r\n").starts_with("-ERR"));
    bench.say(free, "PUB a 0\r\n\r\nPUB b 0\r\n\r\n");
    assert_eq!(
        bench.ask(p, "PUB c 0\r\n\r\nSUB c 3\r\n"),
        "MSG b 2 0\r\n\r\n"
    );
    bench.renew(permitted(allow(&[])));
    let told = bench.read(p);
    assert!(
        told.contains("\"b\" using queue \"q\" (sid \"2\")"),
        "{told}"
    );
    bench.renew(permitted(Permissions::default()));
    assert_eq!(
        bench.ask(p, "SUB > 4\r\nPUB x 0\r\n\r\n"),
        "MSG x 4 0\r\n\r\n"
    );
    // A denial that comes later holds for subscriptions that were there.
    bench.renew(permitted(Permissions {
        subscribe: rules(None, &["y"]),
        ..Permissions::default()
    }));
    assert_eq!(
        bench.ask(p, "PUB x 0\r\n\r\nPUB y 0\r\n\r\n"),
        "MSG x 4 0\r\n\r\n"
    );
}

#[test]
fn subjects_are_mapped_before_anything_else_looks_at_them() {
    let mapping = |source: &str, to: &str, weight| Mapping {
        source: source.into(),
        destinations: vec![Destination {
            subject: to.into(),
            weight,
            cluster: None,
        }],
    };
    let mut bench = Bench::new(1, move |options| {
        options.mappings = vec![
            mapping("old", "new", 100),
            mapping("in.*.*", "out.$2.{{wildcard(1)}}", 100),
            mapping("half", "other", 50),
        ];
    });
    let client = bench.connect(0);
    bench.say(client, "SUB > 1\r\n");
    assert_eq!(
        bench.ask(client, "PUB old r 2\r\nhi\r\n"),
        "MSG new 1 r 2\r\nhi\r\n"
    );
    assert_eq!(
        bench.ask(
            client,
            "HPUB in.a.b 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPUB in.c.d 0\r\n\r\n"
        ),
        "HMSG out.b.a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\nMSG out.d.c 1 0\r\n\r\n"
    );
    let halves = bench.ask(client, &"PUB half 0\r\n\r\n".repeat(400));
    let (stay, go) = (
        halves.matches("MSG half").count(),
        halves.matches("MSG other").count(),
    );
    assert_eq!(stay + go, 400);
    assert!((120..280).contains(&go), "{go}");
    bench.renew(|options| options.mappings.clear());
    assert_eq!(
        bench.ask(client, "PUB old 0\r\n\r\n"),
        "MSG old 1 0\r\n\r\n"
    );
}

/// What permissions mean, said once more and simply.
fn may(rules: &Rules, subject: &str, queue: Option<&str>, delivered: bool) -> bool {
    // As in the reference, a wildcard in a subscription is also a token that a denial may cover.
    let token = |pattern: &str| pattern::matches(pattern.as_bytes(), subject.as_bytes());
    let covers = |pattern: &str| match delivered {
        true => pattern::matches(pattern.as_bytes(), subject.as_bytes()),
        false => pattern::is_subset(subject.as_bytes(), pattern.as_bytes()),
    };
    let denies = |text: &str| {
        let (pattern, group) = text
            .split_once(' ')
            .map_or((text, None), |(p, q)| (p, Some(q.to_owned())));
        (covers(pattern) || token(pattern), group)
    };
    let in_group =
        |group: &str| queue.is_some_and(|q| pattern::matches(group.as_bytes(), q.as_bytes()));
    if rules
        .deny
        .iter()
        .map(|text| denies(text))
        .any(|(covered, group)| covered && group.is_none_or(|g| in_group(&g)))
    {
        return false;
    }
    let Some(allow) = rules.allow.as_ref().filter(|_| !delivered) else {
        return true;
    };
    let (mut plain, mut groups) = (false, Vec::new());
    for text in allow {
        match text.split_once(' ') {
            None => plain |= covers(text),
            Some((pattern, group)) if queue.is_some() && token(pattern) => {
                groups.push(covers(pattern) && in_group(group));
            }
            Some(_) => {}
        }
    }
    // An entry that names groups says which ones there may be.
    if groups.is_empty() {
        plain
    } else {
        groups.contains(&true)
    }
}

fn subject() -> impl Strategy<Value = String> {
    proptest::collection::vec("[ab]", 1..4).prop_map(|tokens| tokens.join("."))
}

fn a_pattern() -> impl Strategy<Value = String> {
    let tokens = proptest::collection::vec("[ab*]", 1..4);
    (tokens, any::<bool>()).prop_map(|(mut tokens, rest)| {
        if rest {
            *tokens.last_mut().unwrap() = ">".into();
        }
        tokens.join(".")
    })
}

fn an_entry() -> impl Strategy<Value = String> {
    (a_pattern(), proptest::option::weighted(0.3, "[pq*]")).prop_map(|(pattern, queue)| match queue
    {
        Some(queue) => format!("{pattern} {queue}"),
        None => pattern,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Every message that comes, comes to a subscription that may have it, and the other way
    /// round: one client publishes, one subscribes, both bound by rules.
    #[test]
    fn deliveries_are_those_that_the_rules_allow(
        publish_allow in proptest::option::of(proptest::collection::vec(a_pattern(), 0..3)),
        publish_deny in proptest::collection::vec(a_pattern(), 0..3),
        allow in proptest::option::of(proptest::collection::vec(an_entry(), 0..3)),
        deny in proptest::collection::vec(an_entry(), 0..3),
        subs in proptest::collection::vec((a_pattern(), proptest::option::of("[pq]")), 1..4),
        subjects in proptest::collection::vec(subject(), 1..6),
        two_loops in any::<bool>(),
    ) {
        let publish = Rules { allow: publish_allow, deny: publish_deny };
        let subscribe = Rules { allow, deny };
        let permissions = Permissions { publish: publish.clone(), subscribe: subscribe.clone(), responses: None };
        let mut bench = Bench::new(1 + usize::from(two_loops), permitted(permissions));
        let publisher = bench.log_in("p");
        let subscriber = bench.log_in_at(usize::from(two_loops), "p");
        let mut held = Vec::new();
        for (sid, (pattern, queue)) in subs.iter().enumerate() {
            let line = format!("SUB {pattern} {} {sid}\r\n", queue.as_deref().unwrap_or(""));
            let accepted = !bench.ask(subscriber, &line).contains("-ERR");
            prop_assert_eq!(accepted, may(&subscribe, pattern, queue.as_deref(), false), "{}", line);
            if accepted {
                held.push((sid, pattern, queue));
            }
        }
        for subject in subjects {
            let published = !bench.ask(publisher, &format!("PUB {subject} 0\r\n\r\n")).contains("-ERR");
            prop_assert_eq!(published, may(&publish, &subject, None, true) && publish.allow.as_ref().is_none_or(|allow| {
                allow.iter().any(|a| pattern::matches(a.as_bytes(), subject.as_bytes()))
            }));
            let told = bench.read(subscriber);
            let mut groups: std::collections::HashMap<&str, Vec<usize>> = Default::default();
            for (sid, pattern, queue) in &held {
                let wanted = published
                    && pattern::matches(pattern.as_bytes(), subject.as_bytes())
                    && may(&subscribe, &subject, queue.as_deref(), true);
                let got = told.contains(&format!("MSG {subject} {sid} 0\r\n"));
                match queue {
                    None => prop_assert_eq!(got, wanted, "{} {}", subject, sid),
                    Some(queue) => {
                        prop_assert!(!got || wanted, "{} {}", subject, sid);
                        let group = groups.entry(queue).or_default();
                        group.extend(wanted.then_some(usize::from(got)));
                    }
                }
            }
            for (queue, members) in groups {
                let want = usize::from(!members.is_empty());
                prop_assert_eq!(members.iter().sum::<usize>(), want, "{} {}", subject, queue);
            }
        }
    }
}

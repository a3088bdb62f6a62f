use crate::config::{Nothing, parse};
use crate::options::jetstream::{AccountJetStream, BatchLimits, Cipher, JetStreamOptions, Sync};
use crate::options::security::*;
use crate::options::tls::*;
use crate::options::{Findings, Options, Secret};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const USER: &str = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK";
const ACCOUNT: &str = "AAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3QPZV";

fn applied(text: &str) -> (Options, Findings) {
    let document = parse("t.conf", text, &Nothing).unwrap();
    let mut options = Options::default();
    let found = options.apply("t.conf", &document);
    (options, found)
}

/// The options, of a text that has nothing wrong or odd.
fn options(text: &str) -> Options {
    let (options, found) = applied(text);
    let told = [found.errors, found.warnings].concat();
    assert_eq!(told, [""; 0], "{text}");
    options
}

/// The first lines of all errors, without their snippets.
fn errors(text: &str) -> Vec<String> {
    heads(applied(text).1.errors)
}

fn warnings(text: &str) -> Vec<String> {
    let (_, found) = applied(text);
    assert_eq!(found.errors, [""; 0]);
    heads(found.warnings)
}

fn heads(told: Vec<String>) -> Vec<String> {
    let head = |text: &String| text.lines().next().unwrap().to_owned();
    told.iter().map(head).collect()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn named(name: &str, password: &str) -> User {
    User {
        login: Login::Name(name.into()),
        password: password.into(),
        permissions: None,
        connection_types: None,
        proxy_required: false,
    }
}

#[test]
fn one_user_or_a_token() {
    let own = |text: &str| options(&format!("authorization {{{text}}}")).authorization;
    assert_eq!(own(""), Authorization::default());
    assert_eq!(
        own("user: derek, password: s3cret, timeout: 0.5, proxy_required: true"),
        Authorization {
            user: Some("derek".into()),
            password: Some("s3cret".into()),
            timeout: Some(Duration::from_millis(500)),
            proxy_required: true,
            ..Authorization::default()
        }
    );
    let hash = "$2a$11$W2zko751KUvVy59mUTWmpOdWjpEm5qhcCZRd05GjI/sSOT.xtiHyG";
    let token = own(&format!("token: {hash}, timeout: '1m'"));
    assert!(token.token.as_ref().is_some_and(Secret::is_bcrypt));
    assert_eq!(token.timeout, Some(Duration::from_secs(60)));
    assert_eq!(own("timeout: 0").timeout, None);
    assert_eq!(own("timeout: 3").timeout, Some(Duration::from_secs(3)));
    assert_eq!(own("user: '', token: ''"), Authorization::default());
}

#[test]
fn users_are_read_with_what_they_may_do() {
    let text = format!(
        "authorization {{
            users: [
                {{user: a, password: b}}
                {{username: c, permission: {{publish: x}}, clients: [standard, Mqtt_WS]}}
                {{nkey: {USER}, proxy_required: true, connection_types: leafnode}}
                {{user: d, allowed_connection_types: []}}
            ]
            default_permissions: {{subscribe: [y, 'z   q.*']}}
        }}"
    );
    let own = options(&text).authorization;
    let default = Arc::new(Permissions {
        subscribe: Rules {
            allow: Some(strings(&["y", "z q.*"])),
            deny: Vec::new(),
        },
        ..Permissions::default()
    });
    let x = Permissions {
        publish: Rules {
            allow: Some(strings(&["x"])),
            deny: Vec::new(),
        },
        ..Permissions::default()
    };
    let expected = [
        User {
            permissions: Some(default.clone()),
            ..named("a", "b")
        },
        User {
            permissions: Some(Arc::new(x)),
            connection_types: Some(
                [ConnectionType::Standard, ConnectionType::MqttWebsocket].into(),
            ),
            ..named("c", "")
        },
        User {
            login: Login::Nkey(USER.into()),
            permissions: Some(default.clone()),
            connection_types: Some([ConnectionType::Leafnode].into()),
            proxy_required: true,
            ..named("", "")
        },
        User {
            permissions: Some(default.clone()),
            ..named("d", "")
        },
    ];
    assert_eq!(own.users, expected);
    assert_eq!(own.default_permissions, Some(default));
}

#[test]
fn each_wrong_user_is_told_with_its_place() {
    let text = format!(
        "authorization {{
            users: [
                {{password: b}}
                {{user: a}}, {{user: a}}
                {{nkey: {USER}}}, {{nkey: {USER}}}
                {{nkey: {ACCOUNT}}}
                {{nkey: SUAAAA, user: a}}
                {{nkey: {USER}, user: c}}
                {{nkey: {USER}, pass: c}}
                {{user: b, clients: [STANDARD, carrier, Pigeon]}}
            ]
        }}
        accounts {{ A {{ users: [{{user: '{USER}'}}, {{user: a}}, {{user: new}}] }} }}"
    );
    assert_eq!(
        errors(&text),
        [
            "t.conf:3:17: User entry requires a user".to_owned(),
            "t.conf:4:28: Duplicate user \"a\" detected".into(),
            format!("t.conf:5:84: Duplicate nkey \"{USER}\" detected"),
            "t.conf:6:18: Not a valid public nkey for a user".into(),
            "t.conf:7:18: Not a valid public nkey for a user".into(),
            "t.conf:8:17: Nkey users do not take usernames or passwords".into(),
            "t.conf:9:17: Nkey users do not take usernames or passwords".into(),
            "t.conf:10:36: invalid connection types [\"CARRIER\" \"PIGEON\"]".into(),
            format!("t.conf:13:32: Duplicate user \"{USER}\" detected"),
            "t.conf:13:100: Duplicate user \"a\" detected".into(),
        ]
    );
}

#[test]
fn secrets_are_text_and_never_shown() {
    let text = "authorization {\n user: 7\n password:\n4711\n token: yes\n}";
    let (_, found) = applied(text);
    let all = found.errors.join("\n");
    assert_eq!(
        heads(found.errors),
        [
            "t.conf:2:2: user: expected text in quotes",
            "t.conf:3:2: password: expected text in quotes",
            "t.conf:5:2: token: expected text in quotes",
        ]
    );
    assert!(!all.contains("4711") && !all.contains("yes"), "{all}");
    let seed = "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y";
    for text in [
        format!("accounts {{A {{nkey:\n{seed}}}}}"),
        format!("proxies {{trusted: [{{key:\n{seed}}}]}}"),
        format!("authorization {{users: [{{nkey: {seed}}}]}}"),
    ] {
        let errors = applied(&text).1.errors;
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(!errors[0].contains("SUAA"), "{errors:?}");
    }
    let found = applied("accounts {A {users: [{password: s3cret}]}}").1;
    assert!(!found.errors.join("\n").contains("s3cret"), "{found:?}");
}

#[test]
fn ways_to_log_in_that_exclude_each_other_are_told() {
    for (text, wrong) in [
        ("user: a, token: b", "Cannot have a user/pass and token"),
        ("pass: a, token: b", "Cannot have a user/pass and token"),
        (
            "user: a, users: [{user: b}]",
            "Can not have a single user/pass and a users array",
        ),
        (
            "token: a, users: [{user: b}]",
            "Can not have a token and a users array",
        ),
        (
            "user: a}, accounts {A {users: [{user: b}]}",
            "Can not have a single user/pass and accounts",
        ),
        (
            "token: a}, accounts {A {users: [{user: b}]}",
            "Can not have a token and accounts",
        ),
    ] {
        let found = errors(&format!(" authorization {{{text}}}"));
        assert_eq!(found, [format!("t.conf:1:2: {wrong}")]);
    }
    let text = "accounts {A {users: [{user: b}]}}\nauthorization {token: a}";
    assert_eq!(
        errors(text),
        ["t.conf:2:1: Can not have a token and accounts"]
    );
    let empty = "authorization {users: [], user: a, token: b}";
    assert_eq!(
        errors(empty),
        [
            "t.conf:1:23: Can not have a single user/pass and a users array",
            "t.conf:1:23: Can not have a token and a users array",
            "t.conf:1:1: Cannot have a user/pass and token",
        ]
    );
    options("authorization {user: a}, accounts {A {}, B {users: []}}");
}

#[test]
fn odd_authorization_is_a_warning() {
    assert_eq!(
        warnings("authorization {timeout: 1m}"),
        [
            "t.conf:1:25: invalid use of field \"timeout\": timeout of 277h46m40s \
             (1000000.000000 seconds) is high, consider keeping it under 60 seconds. possibly \
             caused by unquoted duration; use '1m' instead of 1m, for example"
        ]
    );
    assert_eq!(
        warnings("authorization {password: a}"),
        ["t.conf:1:15: authorization: a password without a user has no effect"]
    );
    assert_eq!(
        warnings("authorization {permissions {publish: [], subscribe {allow: []}}}"),
        [
            "t.conf:1:38: publish: an empty list allows every subject; to allow none, deny \">\"",
            "t.conf:1:60: allow: an empty list allows every subject; to allow none, deny \">\"",
        ]
    );
    for (timeout, wrong) in [
        ("-1", "timeout: -1 cannot be negative"),
        (
            "-0.5",
            "timeout: -0.5: cannot convert float seconds to Duration: value is negative",
        ),
        ("soon", "error parsing timeout: invalid duration \"soon\""),
    ] {
        let found = errors(&format!("authorization {{timeout: {timeout}}}"));
        assert_eq!(found, [format!("t.conf:1:25: {wrong}")]);
    }
}

#[test]
fn permissions_have_many_forms() {
    let read = |text: &str| {
        let own = options(&format!("authorization {{permissions {{{text}}}}}")).authorization;
        Permissions::clone(&own.default_permissions.unwrap())
    };
    let allow = |subjects: &[&str]| Rules {
        allow: Some(strings(subjects)),
        deny: Vec::new(),
    };
    assert_eq!(read(""), Permissions::default());
    assert_eq!(read("pub: a").publish, allow(&["a"]));
    assert_eq!(read("import: [a, 'b.>']").publish, allow(&["a", "b.>"]));
    assert_eq!(read("sub: 'a q'").subscribe, allow(&["a q"]));
    assert_eq!(read("export {}").subscribe, Rules::default());
    assert_eq!(
        read("publish {allow: a, deny: [b, c]}").publish,
        Rules {
            allow: Some(strings(&["a"])),
            deny: strings(&["b", "c"]),
        }
    );
    assert_eq!(
        read("subscribe {deny: ['a q*', '>']}").subscribe,
        Rules {
            allow: None,
            deny: strings(&["a q*", ">"]),
        }
    );
}

#[test]
fn who_may_answer_may_not_publish_otherwise() {
    let read = |text: &str| {
        let own = options(&format!("authorization {{permissions {{{text}}}}}")).authorization;
        Permissions::clone(&own.default_permissions.unwrap())
    };
    let answers = |max, seconds: Option<u64>| {
        Some(Responses {
            max,
            expires: seconds.map(Duration::from_secs),
        })
    };
    let all = read("allow_responses: true");
    assert_eq!(all.responses, Some(RESPONSES));
    assert_eq!(all.publish.allow, Some(Vec::new()));
    assert_eq!(read("allow_responses: false"), Permissions::default());
    let both = read("publish_allow_responses: true, publish: a");
    assert_eq!(both.publish.allow, Some(strings(&["a"])));
    let denied = read("publish {deny: a}, allow_responses {}");
    assert_eq!(denied.publish.allow, Some(Vec::new()));
    for (text, expected) in [
        ("", answers(Some(1), Some(120))),
        ("max: 5, expires: '1m'", answers(Some(5), Some(60))),
        ("max_msgs: 0, expiration: '0s'", answers(Some(1), Some(120))),
        ("max_messages: -1, ttl: '-1s'", answers(None, None)),
        ("max_responses: 1e", answers(Some(u32::MAX), Some(120))),
    ] {
        let read = read(&format!("allow_responses {{{text}}}"));
        assert_eq!(read.responses, expected, "{text}");
    }
    assert_eq!(
        errors("authorization {permissions {allow_responses {ttl: 5}}}"),
        ["t.conf:1:51: ttl: expected text, but got the number 5"]
    );
    assert_eq!(
        errors("authorization {permissions {allow_responses {ttl: soon}}}"),
        ["t.conf:1:51: error parsing expires: invalid duration \"soon\""]
    );
}

#[test]
fn accounts_have_names_or_more() {
    let names = |options: Options| {
        let names = options.accounts.into_iter().map(|account| account.name);
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(options("accounts: [B, A]")), ["B", "A"]);
    assert_eq!(
        errors("accounts: [A, '$G', A]"),
        [
            "t.conf:1:15: \"$G\" is a Reserved Account",
            "t.conf:1:21: Duplicate Account Entry: A",
        ]
    );
    // The case of names counts, and what is there for others to mean is no account.
    let text = "accounts {\n P = {publish: a}\n N = 5\n a {default_permissions: $P, limits: \
        {max_conn: $N}}\n A {}\n}";
    let read = options(text);
    assert_eq!(names(read.clone()), ["a", "A"]);
    assert_eq!(read.accounts[0].limits.max_connections, Some(5));
    assert_eq!(
        errors("accounts {$G {}, A: x, B {usrs: []}}"),
        [
            "t.conf:1:21: A: expected a map, but got text",
            "t.conf:1:27: unknown field \"usrs\", did you mean \"users\"?",
        ]
    );
    assert_eq!(
        errors("accounts {$G {}, A {nkey: 'x'}}"),
        [
            "t.conf:1:14: \"$G\" is a Reserved Account",
            "t.conf:1:21: Not a valid public nkey for an account: \"x\"",
        ]
    );
}

#[test]
fn an_account_holds_all_of_its_parts() {
    let text = format!(
        "accounts {{ A {{
            nkey: {ACCOUNT}
            users: [{{user: a, pass: b}}, {{user: c, permissions {{}}}}]
            default_permissions {{publish: x}}
            limits {{max_connections: 0, max_subs: 7, max_pay: 1KB, max_leafs: -1}}
            mappings {{foo: bar}}
            trace_dest {{dest: 'a.b', sampling: '5%'}}
            jetstream {{max_mem: 1KB, max_store: -1, streams: 3, max_bytes: true}}
        }} }}"
    );
    let default = Arc::new(Permissions {
        publish: Rules {
            allow: Some(strings(&["x"])),
            deny: Vec::new(),
        },
        ..Permissions::default()
    });
    let expected = AccountOptions {
        name: "A".into(),
        nkey: Some(ACCOUNT.into()),
        users: vec![
            User {
                permissions: Some(default),
                ..named("a", "b")
            },
            User {
                permissions: Some(Arc::default()),
                ..named("c", "")
            },
        ],
        exports: Vec::new(),
        imports: Vec::new(),
        mappings: vec![Mapping {
            source: "foo".into(),
            destinations: vec![Destination {
                subject: "bar".into(),
                weight: 100,
                cluster: None,
            }],
        }],
        limits: AccountLimits {
            max_connections: Some(0),
            max_subscriptions: Some(7),
            max_payload: Some(1024),
            max_leafnodes: None,
        },
        trace: Some(TraceDestination {
            subject: "a.b".into(),
            sampling: 5,
        }),
        jetstream: Some(AccountJetStream {
            max_memory: Some(1024),
            max_streams: Some(3),
            max_bytes_required: true,
            ..AccountJetStream::default()
        }),
    };
    assert_eq!(options(&text).accounts, [expected]);
    let of = |text: &str| options(text).accounts.remove(0).jetstream;
    let unlimited = Some(AccountJetStream::default());
    assert_eq!(of("accounts {A {jetstream: enabled}}"), unlimited);
    assert_eq!(of("accounts {A {jetstream: true}}"), unlimited);
    assert_eq!(of("accounts {A {jetstream: disabled}}"), None);
    assert_eq!(of("accounts {A {}}"), None);
}

#[test]
fn an_empty_key_is_told_of() {
    let text = "t.conf:1:17: an empty key: what is stored is not encrypted";
    assert_eq!(warnings("jetstream {key: \"\"}"), [text]);
    assert_eq!(warnings("jetstream {key: \"x\"}"), [""; 0]);
}

#[test]
fn the_block_of_jetstream_is_read() {
    let read = |text: &str| options(text).jetstream;
    let on = JetStreamOptions {
        enabled: true,
        ..JetStreamOptions::default()
    };
    for text in ["jetstream: true", "jetstream: enabled", "jetstream {}"] {
        assert_eq!(read(text), on, "{text}");
    }
    for text in [
        "jetstream: false",
        "jetstream: disabled",
        "jetstream {enabled: false}",
    ] {
        assert!(!read(text).enabled, "{text}");
    }
    let all = "jetstream {store: '/s', sync: '5s', max_mem: 1KB, max_file: '2GB', domain: hub
        strict: false, max_buffered_size: 1MB, max_buffered_msgs: 7, request_queue_limit: 8
        limits {max_ack_pending: 9, max_request_batch: 10, default_max_consumers: -1, duplicate_window: '11s',
            batch {max_inflight_per_stream: 3, max_inflight_total: 4, max_msgs: 5, timeout: '6s'}}
        ek: 's3cret', prev_key: 'old', cipher: AES}
        feature_flags {js_ack_fc_v2: true, js_snapshot_sources: false}";
    let expected = JetStreamOptions {
        enabled: true,
        store_dir: Some("/s".into()),
        max_memory: Some(1024),
        max_file: Some(2 << 30),
        domain: Some("hub".into()),
        sync: Sync::Interval(Duration::from_secs(5)),
        strict: false,
        long_acks: true,
        max_buffered_bytes: 1 << 20,
        max_buffered_messages: 7,
        request_queue_limit: 8,
        max_ack_pending: Some(9),
        max_request_batch: Some(10),
        default_max_consumers: None,
        duplicate_window_max: Some(Duration::from_secs(11)),
        batches: BatchLimits {
            per_stream: Some(3),
            total: Some(4),
            messages: 5,
            timeout: Duration::from_secs(6),
        },
        key: Some("s3cret".into()),
        previous_key: Some("old".into()),
        cipher: Cipher::Aes256Gcm,
    };
    assert_eq!(read(all), expected);
    assert_eq!(read("jetstream {sync_interval: always}"), on);
    assert_eq!(
        errors(
            "jetstream: {\n domain: 'a.b', max_mem: '5 apples'\n}\naccounts {A {jetstream: on_}}"
        ),
        [
            "t.conf:2:10: invalid domain name: may not contain \".\", \"*\" or \">\", got \"a.b\"",
            "t.conf:2:26: max_memory_store: \"5 apples\" is no size such as 10G",
            "t.conf:4:25: Expected 'enabled' or 'disabled' for string value, got \"on_\"",
        ]
    );
}

#[test]
fn exports_of_streams_and_services() {
    let read = |text: &str| {
        let text = format!("accounts {{A {{exports: [{{{text}}}]}}}}");
        options(&text).accounts.remove(0).exports.remove(0)
    };
    assert_eq!(
        read("stream: 'a.*.b', accounts: [B, C], account_token_position: 2"),
        Export {
            subject: "a.*.b".into(),
            accounts: Some(strings(&["B", "C"])),
            account_token_position: Some(2),
            kind: ExportKind::Stream,
        }
    );
    let service = |response_type, response_threshold, latency| Export {
        subject: "a".into(),
        accounts: None,
        account_token_position: None,
        kind: ExportKind::Service {
            response_type,
            response_threshold,
            latency,
            allow_trace: false,
        },
    };
    use ResponseType::{Chunked, Singleton, Streamed};
    for (text, response_type) in [
        ("", Singleton),
        ("response: single", Singleton),
        ("response_type: Singleton", Singleton),
        ("response: stream", Streamed),
        ("response: Chunk", Chunked),
        ("response: chunked", Chunked),
    ] {
        let expected = service(response_type, None, None);
        assert_eq!(read(&format!("service: a, {text}")), expected, "{text}");
    }
    for key in [
        "response_threshold",
        "threshold",
        "response_max_time",
        "response_time",
    ] {
        let expected = service(Singleton, Some(Duration::from_millis(1500)), None);
        assert_eq!(read(&format!("service: a, {key}: '1.5s'")), expected);
    }
    for (text, sampling) in [
        ("l", Sampling::Percent(100)),
        ("{subject: l}", Sampling::Percent(100)),
        ("{sampling: 50, subject: l}", Sampling::Percent(50)),
        ("{sampling: '1%', subject: l}", Sampling::Percent(1)),
        ("{sampling: ' Headers ', subject: l}", Sampling::Headers),
    ] {
        let subject = "l".into();
        let expected = service(Singleton, None, Some(Latency { subject, sampling }));
        assert_eq!(read(&format!("service: a, latency: {text}")), expected);
    }
    assert_eq!(
        read("service: a, accounts: B").accounts,
        Some(strings(&["B"]))
    );
    assert_eq!(read("service: a, accounts: []").accounts, None);
    let traced = |allow| read(&format!("service: a, allow_trace: {allow}")).kind;
    for allow in [true, false] {
        let ExportKind::Service { allow_trace, .. } = traced(allow) else {
            panic!("it is a service");
        };
        assert_eq!(allow_trace, allow);
    }
}

#[test]
fn each_wrong_export_is_told() {
    for (text, wrong) in [
        (
            "accounts: [B]",
            "1:24: Expected an export to have a stream or a service",
        ),
        (
            "stream: a, service: b",
            "1:45: Detected service \"b\" but already saw a stream",
        ),
        (
            "service: a, stream: b",
            "1:45: Detected stream \"b\" but already saw a service",
        ),
        (
            "stream: a, response: single",
            "1:46: Detected response directive on non-service",
        ),
        (
            "threshold: '5s', stream: a",
            "1:36: Detected response directive on non-service",
        ),
        (
            "stream: a, latency: x",
            "1:45: Detected latency directive on non-service",
        ),
        (
            "allow_trace: false, stream: a",
            "1:38: Detected allow_trace directive on non-service",
        ),
        (
            "service: a, response: 'x'",
            "1:47: Unknown response type: \"x\"",
        ),
        (
            "service: a, threshold: 'x'",
            "1:48: Expected response threshold to be a parseable time duration, got \"x\"",
        ),
        (
            "service: a, latency: {}",
            "1:46: Latency subject required, but missing",
        ),
        (
            "service: a, latency: {subject: x, sampling: 'x%'}",
            "1:69: Failed to parse latency sample: strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "service: a, latency: {subject: x, sampling: 0}",
            "1:69: bad sampling percentage, should be 1-100",
        ),
        (
            "service: a, latency: {subject: x, sampling: '300%'}",
            "1:69: bad sampling percentage, should be 1-100",
        ),
        (
            "service: a, account_token_position: -1",
            "1:61: account_token_position: -1 cannot be negative",
        ),
    ] {
        let found = errors(&format!("accounts {{A {{exports: [{{{text}}}]}}}}"));
        assert_eq!(found, [format!("t.conf:{wrong}")], "{text}");
    }
}

#[test]
fn imports_of_streams_and_services() {
    let read = |text: &str| {
        let text = format!("accounts {{A {{imports: [{{{text}}}]}}}}");
        options(&text).accounts.remove(0).imports.remove(0)
    };
    let import = |kind| Import {
        account: "B".into(),
        subject: "s".into(),
        kind,
    };
    let stream = |prefix: Option<&str>, to: Option<&str>| {
        import(ImportKind::Stream {
            prefix: prefix.map(str::to_owned),
            to: to.map(str::to_owned),
            allow_trace: false,
        })
    };
    let service = |to: Option<&str>, share| {
        let to = to.map(str::to_owned);
        import(ImportKind::Service { to, share })
    };
    let traced = import(ImportKind::Stream {
        prefix: None,
        to: None,
        allow_trace: true,
    });
    for (text, expected) in [
        ("stream: {account: B, subject: s}", stream(None, None)),
        (
            "stream: {account: B, subject: s}, allow_trace: true",
            traced,
        ),
        (
            "prefix: p, stream: {subject: s, account: B}",
            stream(Some("p"), None),
        ),
        (
            "stream: {account: B, subject: s}, to: t",
            stream(None, Some("t")),
        ),
        (
            "stream: {account: B, subject: s}, to: ''",
            stream(None, None),
        ),
        ("service: {account: B, subject: s}", service(None, false)),
        (
            "to: t, share: true, service {account: B, subject: s}",
            service(Some("t"), true),
        ),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
}

#[test]
fn each_wrong_import_is_told() {
    for (text, wrong) in [
        (
            "to: x",
            "1:24: Expected an import to have a stream or a service",
        ),
        (
            "stream {account: B}",
            "1:32: Expect an account name and a subject",
        ),
        (
            "service {subject: B, account: ''}",
            "1:33: Expect an account name and a subject",
        ),
        (
            "stream {account: B, subject: s}, service {account: B, subject: s}",
            "1:66: Detected service but already saw a stream",
        ),
        (
            "service {account: B, subject: s}, stream {account: B, subject: s}",
            "1:66: Detected stream but already saw a service",
        ),
        (
            "allow_trace: false, service {account: B, subject: s}",
            "1:38: Detected allow_trace directive on a non-stream",
        ),
        (
            "stream {account: B, subject: s}, to: a, prefix: b",
            "1:62: Stream import can not have a 'prefix' and a 'to' property",
        ),
        (
            "service {account: B, subject: s}}, {service {account: B, subject: t}, to: s",
            "1:60: Duplicate service import subject \"s\", previously used in import for account \
             \"B\", subject \"s\"",
        ),
    ] {
        let found = errors(&format!("accounts {{A {{imports: [{{{text}}}]}}}}"));
        assert_eq!(found, [format!("t.conf:{wrong}")], "{text}");
    }
    assert_eq!(
        warnings("accounts {A {imports: [{stream {account: B, subject: s}, share: true}]}}"),
        ["t.conf:1:65: share has no effect on the import of a stream"]
    );
    assert_eq!(
        warnings("accounts {A {imports: [{service {account: B, subject: s}, prefix: p}]}}"),
        ["t.conf:1:67: prefix has no effect on the import of a service"]
    );
    // The same subject of two accounts is two services.
    options(
        "accounts {A {imports: [{service {account: B, subject: s}}, {service {account: C, \
         subject: s}}]}}",
    );
}

#[test]
fn where_traces_are_told() {
    for (text, subject, sampling) in [
        ("msg_trace: a.b", "a.b", 100),
        ("msg_trace: {dest: a}", "a", 100),
        ("msg_trace: {dest: a, sampling: 1}", "a", 1),
        ("trace_dest: {sampling: '100%', dest: a}", "a", 100),
        ("trace_dest: {sampling: '7', dest: a}", "a", 7),
    ] {
        let read = options(&format!("accounts {{A {{{text}}}}}"))
            .accounts
            .remove(0);
        let subject = subject.into();
        assert_eq!(
            read.trace,
            Some(TraceDestination { subject, sampling }),
            "{text}"
        );
    }
    assert_eq!(
        options("accounts {A {msg_trace: {}}}").accounts[0].trace,
        None
    );
    assert_eq!(
        warnings("accounts {A {msg_trace: {sampling: 10}}}"),
        ["t.conf:1:14: Trace destination sampling ignored since no destination was set"]
    );
    let sampled = |value| format!("msg_trace: {{dest: a, sampling: {value}}}");
    let invalid = |value| format!("1:35: Invalid trace destination sampling value {value}");
    let range =
        |n| format!("1:35: Ttrace destination sampling value {n} is invalid, needs to be [1..100]");
    let dest = |at, dest| format!("1:{at}: Trace destination \"{dest}\" is not valid");
    for (text, wrong) in [
        ("msg_trace: ''".to_owned(), dest(14, "")),
        ("msg_trace: 'a.*'".to_owned(), dest(14, "a.*")),
        ("msg_trace: 'a..b'".to_owned(), dest(14, "a..b")),
        ("msg_trace: {dest: 'a.>'}".to_owned(), dest(26, "a.>")),
        (
            "msg_trace: {dest: '', sampling: 20}".to_owned(),
            dest(26, ""),
        ),
        (sampled("0"), range("0")),
        (sampled("101"), range("101")),
        (sampled("-1"), range("-1")),
        (sampled("'0%'"), range("0")),
        (sampled("'abc%'"), invalid("\"abc%\"")),
        (sampled("''"), invalid("\"\"")),
        (sampled("'5 %'"), invalid("\"5 %\"")),
    ] {
        let found = errors(&format!("accounts {{A {{{text}}}}}"));
        assert_eq!(found, [format!("t.conf:{wrong}")], "{text}");
    }
}

#[test]
fn mappings_have_many_forms() {
    let destination = |subject: &str, weight, cluster: Option<&str>| Destination {
        subject: subject.into(),
        weight,
        cluster: cluster.map(str::to_owned),
    };
    let read = options(
        "mappings {
            a: b
            'c.*': {destination: 'd.$1', weight: 50}
            e: [{dest: f, weight: '30%', cluster: x}, {dest: g, weight: 0}, {dest: h, weight: '7'}]
            i: []
        }",
    );
    let expected = [
        ("a", vec![destination("b", 100, None)]),
        ("c.*", vec![destination("d.$1", 50, None)]),
        (
            "e",
            vec![
                destination("f", 30, Some("x")),
                destination("g", 0, None),
                destination("h", 7, None),
            ],
        ),
        ("i", vec![]),
    ];
    let expected = expected.map(|(source, destinations)| Mapping {
        source: source.into(),
        destinations,
    });
    assert_eq!(read.mappings, expected);
    assert_eq!(
        errors(
            "mappings {\n a {dest: b}\n a2: [{dest: b, weight: 101}]\n a3: {dest: b, weight: '-1'}\n \
             a4: {dest: b, weight: 'x%'}\n a5: {weight: 5}\n}"
        ),
        [
            "t.conf:2:4: Missing weight for mapping destination \"b\"",
            "t.conf:3:25: Invalid weight 101 for mapping destination",
            "t.conf:4:24: Invalid weight -1 for mapping destination",
            "t.conf:5:24: Invalid weight \"x\" for mapping destination",
            "t.conf:6:6: Missing destination for mapping",
        ]
    );
    assert_eq!(
        errors("mappings {a: 5, b: [c]}"),
        [
            "t.conf:1:14: a: expected text, or a map, or a list of maps, but got the number 5",
            "t.conf:1:21: b: expected a map in the list, but got text",
        ]
    );
}

#[test]
fn proxies_are_keys_of_any_kind() {
    let text = format!("proxies {{trusted: [{{key: {USER}}}, {{public_key: {ACCOUNT}}}]}}");
    assert_eq!(options(&text).trusted_proxies, [USER, ACCOUNT]);
    assert!(options("proxies {}").trusted_proxies.is_empty());
    assert_eq!(
        errors("proxies {trusted: [{key: x}, {}]}"),
        [
            "t.conf:1:21: invalid proxy key \"x\"",
            "t.conf:1:30: proxy trusted key \"\" is invalid",
        ]
    );
}

#[test]
fn tls_is_read_with_all_its_keys() {
    let read = |text: &str| options(&format!("tls {{{text}}}")).tls.unwrap();
    assert_eq!(read(""), TlsOptions::default());
    let files = |cert_file: &str, key_file: &str| CertificateFiles {
        cert_file: cert_file.into(),
        key_file: key_file.into(),
    };
    let pin = "AB".repeat(32);
    let text = format!(
        "cert_file: c, key_file: k, ca_file: a, verify: true, insecure: true, timeout: 1.5
         cipher_suites: [TLS_CHACHA20_POLY1305_SHA256, TLS_AES_128_GCM_SHA256]
         curve_preferences: [CurveP384, X25519], min_version: '1.3', pinned_certs: ['{pin}']
         connection_rate_limit: 7, handshake_first: auto, allow_insecure_cipher_suites: true"
    );
    let expected = TlsOptions {
        certs: vec![files("c", "k")],
        ca_file: Some("a".into()),
        verify: true,
        insecure: true,
        timeout: Duration::from_millis(1500),
        cipher_suites: vec!["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"],
        curve_preferences: vec!["CurveP384", "X25519"],
        min_version: TlsVersion::V13,
        pinned_certs: [pin.to_lowercase()].into(),
        connection_rate_limit: 7,
        handshake_first: HandshakeFirst::Auto(Duration::from_millis(50)),
        ..TlsOptions::default()
    };
    assert_eq!(read(&text), expected);
    let mapped = read("verify_and_map: true, verify: false");
    assert!(mapped.verify && mapped.verify_and_map);
    let pairs = read("certs: [{cert_file: c, key_file: k}, {key_file: l, cert_file: d}]");
    assert_eq!(pairs.certs, [files("c", "k"), files("d", "l")]);
    assert_eq!(
        read("timeout: 0, connection_rate_limit: -1"),
        TlsOptions::default()
    );
    assert_eq!(read("timeout: '3s'").timeout, Duration::from_secs(3));
    for (text, first) in [
        ("true", HandshakeFirst::Yes),
        ("'ON'", HandshakeFirst::Yes),
        ("false", HandshakeFirst::No),
        ("'off'", HandshakeFirst::No),
        ("Auto_Fallback", HandshakeFirst::Auto(HANDSHAKE_FIRST_AUTO)),
        ("'300ms'", HandshakeFirst::Auto(Duration::from_millis(300))),
        ("'0s'", HandshakeFirst::Yes),
    ] {
        for key in ["handshake_first", "first", "immediate"] {
            assert_eq!(
                read(&format!("{key}: {text}")).handshake_first,
                first,
                "{text}"
            );
        }
    }
}

#[test]
fn each_wrong_key_of_tls_is_told() {
    let suites = CIPHER_SUITES.join(", ");
    let curves = CURVES.join(", ");
    for (text, wrong) in [
        (
            "cert_file: c",
            "5: missing 'key_file' in TLS configuration".to_owned(),
        ),
        (
            "key_file: c",
            "5: missing 'cert_file' in TLS configuration".into(),
        ),
        (
            "certs: [{cert_file: c}]",
            "14: error parsing certificates config: both 'cert_file' and 'key_file' options are \
             required"
                .into(),
        ),
        (
            "cert_file: c, key_file: k, certs: [{cert_file: c, key_file: k}]",
            "40: error parsing tls config, cannot combine 'cert_file' option with 'certs' option"
                .into(),
        ),
        (
            "cipher_suites: []",
            "21: error parsing tls config, 'cipher_suites' cannot be empty".into(),
        ),
        (
            "cipher_suites: [TLS_NONE]",
            format!("22: unrecognized cipher TLS_NONE, supported are: {suites}"),
        ),
        (
            "cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]",
            format!(
                "22: cipher TLS_RSA_WITH_RC4_128_SHA is not supported, supported are: {suites}"
            ),
        ),
        (
            "curve_preferences: [CurveP521]",
            format!("26: curve preference CurveP521 is not supported, supported are: {curves}"),
        ),
        (
            "curve_preferences: x",
            format!("25: unrecognized curve preference x, supported are: {curves}"),
        ),
        (
            "min_version: '1.1'",
            "19: error parsing tls config: unsupported TLS version: TLS 1.1".into(),
        ),
        (
            "min_version: 'x'",
            "19: error parsing tls config: unknown version: x".into(),
        ),
        (
            "pinned_certs: [ABC]",
            "21: error parsing tls config, 'pinned_certs' key abc does not look like hex-encoded \
             sha256 of DER encoded SubjectPublicKeyInfo"
                .into(),
        ),
        (
            "immediate: sometimes",
            "17: field \"immediate\"'s value \"sometimes\" is invalid".into(),
        ),
        (
            "verify_cert_and_check_known_urls: true",
            "40: verify_cert_and_check_known_urls not supported in this context".into(),
        ),
    ] {
        let found = errors(&format!("tls {{{text}}}"));
        assert_eq!(found, [format!("t.conf:1:{wrong}")], "{text}");
    }
    assert_eq!(
        errors("tls {ocsp_peer: true, cert_store: WindowsCurrentUser, min_version: 'x'}"),
        [
            "not supported yet: ocsp_peer at t.conf:1:6",
            "not supported yet: cert_store at t.conf:1:23",
            "t.conf:1:68: error parsing tls config: unknown version: x",
        ]
    );
}

#[test]
fn very_many_users_take_no_time() {
    let users = (0..200_000).map(|i| format!("{{user: u{i}}}\n"));
    let text = format!("authorization {{users: [{}]}}", users.collect::<String>());
    assert_eq!(options(&text).authorization.users.len(), 200_000);
}

/// Text of keys, values and braces that often means something.
fn soup() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "authorization",
        "accounts",
        "mappings",
        "tls",
        "proxies",
        "users",
        "user",
        "nkey",
        "password",
        "token",
        "timeout",
        "permissions",
        "publish",
        "subscribe",
        "allow",
        "deny",
        "allow_responses",
        "max",
        "expires",
        "imports",
        "exports",
        "stream",
        "service",
        "account",
        "subject",
        "prefix",
        "to",
        "latency",
        "sampling",
        "weight",
        "destination",
        "limits",
        "max_conn",
        "trusted",
        "key",
        "certs",
        "cert_file",
        "key_file",
        "min_version",
        "pinned_certs",
        "handshake_first",
        "cipher_suites",
        "clients",
        "response_type",
        "threshold",
        "account_token_position",
        "A",
        "$A",
        "\"$G\"",
        "-1",
        "7",
        "0.5",
        "true",
        "'50%'",
        "'-1s'",
        "'1h'",
        "\"\"",
        "2016-05-04T18:53:41Z",
        ":",
        "=",
        ",",
        "\n",
        "{",
        "}",
        "[",
        "]",
        "{",
        "}",
        "[",
        "]",
        "[{",
        "}]",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|words| words.join(" "))
}

/// A tree of the keys of blocks, whose values are of any kind.
fn tree() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "a",
        "'a b'",
        "''",
        "-1",
        "0",
        "7",
        "0.5",
        "-0.5",
        "true",
        "false",
        "'50%'",
        "'1h'",
        "'-1h'",
        "headers",
        "auto",
        "1.2",
        "'1.3'",
        "\"$G\"",
        "99999999999999999.5",
        "[]",
        "{}",
    ]);
    let leaf = leaf.prop_map(str::to_owned);
    let key = prop::sample::select(vec![
        "users",
        "user",
        "nkey",
        "pass",
        "token",
        "timeout",
        "permissions",
        "publish",
        "allow",
        "deny",
        "allow_responses",
        "max",
        "expires",
        "imports",
        "exports",
        "stream",
        "service",
        "account",
        "subject",
        "prefix",
        "to",
        "share",
        "latency",
        "sampling",
        "weight",
        "dest",
        "limits",
        "max_conn",
        "trusted",
        "key",
        "certs",
        "cert_file",
        "key_file",
        "min_version",
        "pinned_certs",
        "first",
        "cipher_suites",
        "clients",
        "response",
        "threshold",
        "mappings",
        "account_token_position",
        "A",
        "B",
        "curve_preferences",
        "connection_rate_limit",
    ]);
    leaf.prop_recursive(6, 48, 6, move |inner| {
        let map = prop::collection::vec((key.clone(), inner.clone()), 0..6).prop_map(|entries| {
            let entries = entries
                .iter()
                .map(|(key, value)| format!("{key}: {value}\n"));
            format!("{{{}}}", entries.collect::<String>())
        });
        let list = prop::collection::vec(inner, 0..4)
            .prop_map(|values| format!("[{}]", values.join(", ")));
        prop_oneof![3 => map, 1 => list]
    })
}

proptest! {
    #[test]
    fn no_text_makes_applying_panic(text in soup()) {
        if let Ok(document) = parse("t.conf", &text, &Nothing) {
            let mut options = Options::default();
            options.apply("t.conf", &document);
            let _ = options.check();
        }
    }

    #[test]
    fn no_value_makes_applying_panic(
        key in prop::sample::select(vec!["authorization", "accounts", "mappings", "tls", "proxies"]),
        value in tree(),
    ) {
        let text = format!("{key}: {value}");
        let document = parse("t.conf", &text, &Nothing).unwrap();
        let mut options = Options::default();
        options.apply("t.conf", &document);
        let _ = options.check();
        prop_assert_eq!(options.changes(&options.clone()), Ok(Vec::new()));
    }
}

use super::*;
use crate::options::security::{RESPONSES, Rules};
use proptest::prelude::*;

fn rules(allow: Option<&[&str]>, deny: &[&str]) -> Rules {
    let owned = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect();
    Rules {
        allow: allow.map(owned),
        deny: owned(deny),
    }
}

fn publish(allow: Option<&[&str]>, deny: &[&str]) -> Permissions {
    compiled(rules(allow, deny), Rules::default()).unwrap()
}

fn subscribe(allow: Option<&[&str]>, deny: &[&str]) -> Permissions {
    compiled(Rules::default(), rules(allow, deny)).unwrap()
}

fn compiled(publish: Rules, subscribe: Rules) -> Result<Permissions, String> {
    Permissions::new(&Configured {
        publish,
        subscribe,
        responses: None,
    })
}

#[test]
fn publishing_needs_an_allow_and_no_deny() {
    let permissions = publish(Some(&["a.*", "b.>"]), &["a.x", "b.*.c"]);
    for (subject, expected) in [
        ("a.b", true),
        ("a.x", false),
        ("a", false),
        ("b.c", true),
        ("b.b.c", false),
        ("b.b.c.d", true),
        ("b..c", false),
        ("b.*.c", false),
        ("c", false),
    ] {
        assert_eq!(
            permissions.may_publish(subject.as_bytes()),
            expected,
            "{subject}"
        );
    }
    assert!(publish(None, &["a"]).may_publish(b"b"));
    assert!(!publish(None, &["a"]).may_publish(b"a"));
    assert!(!publish(Some(&[]), &[]).may_publish(b"a"));
    assert!(publish(None, &[]).may_publish_all() && !publish(None, &["a"]).may_publish_all());
}

#[test]
fn where_answers_are_allowed_nothing_else_is() {
    let mut configured = Configured {
        responses: Some(RESPONSES),
        ..Configured::default()
    };
    let permissions = Permissions::new(&configured).unwrap();
    assert!(!permissions.may_publish(b"a") && !permissions.may_publish_all());
    assert_eq!(permissions.responses(), Some(RESPONSES));
    configured.publish.allow = Some(vec!["a".to_owned()]);
    assert!(Permissions::new(&configured).unwrap().may_publish(b"a"));
}

#[test]
fn a_subscription_lies_wholly_inside_what_is_allowed() {
    let permissions = subscribe(Some(&["a.*", "b.>"]), &[]);
    for (subject, expected) in [
        ("a.*", true),
        ("a.b", true),
        ("a.>", false),
        (">", false),
        ("*.a", false),
        ("b.*.c", true),
        ("b.>", true),
        ("b", false),
    ] {
        assert_eq!(
            permissions.may_subscribe(subject.as_bytes(), None),
            expected,
            "{subject}"
        );
        assert!(!permissions.filters(subject.as_bytes(), None));
    }
}

#[test]
fn a_subscription_wider_than_a_deny_is_filtered() {
    let permissions = subscribe(None, &["a.b", "c.*"]);
    for (subject, accepted, filtered) in [
        ("a.b", false, true),
        ("a.*", true, true),
        (">", true, true),
        ("c.*", false, true),
        ("c.>", false, true),
        ("c.*.d", true, false),
        ("a.c", true, false),
    ] {
        assert_eq!(
            permissions.may_subscribe(subject.as_bytes(), None),
            accepted,
            "{subject}"
        );
        assert_eq!(
            permissions.filters(subject.as_bytes(), None),
            filtered,
            "{subject}"
        );
    }
    assert!(!permissions.may_receive(b"a.b", None) && permissions.may_receive(b"a.c", None));
    assert!(!permissions.may_receive(b"c.*", None) && !permissions.may_receive(b"a.b", Some(b"q")));
}

#[test]
fn an_allowed_group_keeps_others_out() {
    let (v1, v2): (Option<&[u8]>, Option<&[u8]>) = (Some(b"v1"), Some(b"v2"));
    let only = subscribe(Some(&["foo v1"]), &[]);
    assert!(only.may_subscribe(b"foo", v1));
    assert!(!only.may_subscribe(b"foo", v2) && !only.may_subscribe(b"foo", None));
    let both = subscribe(Some(&["foo", "foo v1"]), &[]);
    assert!(both.may_subscribe(b"foo", None) && both.may_subscribe(b"foo", v1));
    assert!(!both.may_subscribe(b"foo", v2));
    let any = subscribe(Some(&["foo"]), &[]);
    assert!(any.may_subscribe(b"foo", v2) && any.may_subscribe(b"foo", None));
    let wild = subscribe(Some(&["foo *.dev", "foo  stg.>"]), &[]);
    assert!(wild.may_subscribe(b"foo", Some(b"v1.dev")));
    assert!(
        wild.may_subscribe(b"foo", Some(b"stg.a.b")) && wild.may_subscribe(b"foo", Some(b"*.dev"))
    );
    assert!(
        !wild.may_subscribe(b"foo", Some(b"v1.prd")) && !wild.may_subscribe(b"foo", Some(b"stg"))
    );
}

#[test]
fn a_denied_group_is_denied_alone_and_lifts_no_other_deny() {
    let (v1, v2): (Option<&[u8]>, Option<&[u8]>) = (Some(b"v1"), Some(b"v2"));
    let one = subscribe(None, &["foo v1"]);
    assert!(!one.may_subscribe(b"foo", v1));
    assert!(one.may_subscribe(b"foo", v2) && one.may_subscribe(b"foo", None));
    assert!(one.may_subscribe(b"*", v1) && one.filters(b"*", v1) && !one.may_receive(b"foo", v1));
    assert!(!one.filters(b"*", v2) && one.may_receive(b"foo", v2) && !one.filters(b">", None));
    for denied in [["foo", "foo v1"], ["foo v1", "foo"]] {
        let both = subscribe(None, &denied);
        for queue in [None, v1, v2] {
            assert!(!both.may_subscribe(b"foo", queue) && !both.may_receive(b"foo", queue));
        }
    }
}

#[test]
fn names_of_groups_do_not_slip_past_a_deny() {
    let permissions = subscribe(None, &["foo *", "bar >", "baz *.*"]);
    for (subject, queue) in [
        ("foo", "*"),
        ("foo", ">"),
        ("bar", "a..b"),
        ("bar", "."),
        ("baz", "a."),
        ("baz", ">.>"),
    ] {
        let queue = Some(queue.as_bytes());
        assert!(
            !permissions.may_subscribe(subject.as_bytes(), queue),
            "{subject} {queue:?}"
        );
    }
    assert!(permissions.may_subscribe(b"foo", Some(b"a.b")));
    assert!(
        permissions.may_subscribe(b"bar", Some(b"")),
        "no name is no group"
    );
}

#[test]
fn errors_read_as_in_the_go_server() {
    for (entry, text) in [
        ("a..b", r#"subject "a..b" is not a valid subject"#),
        ("a b c", r#"subject "a b c" is not a valid subject"#),
        (" a", r#"subject " a" is not a valid subject"#),
        ("", r#"subject "" is not a valid subject"#),
        ("a. q", r#"subject "a." is not a valid subject"#),
        ("a q.", r#"queue "q." is not a valid queue"#),
    ] {
        for rules in [rules(Some(&[entry]), &[]), rules(None, &["ok", entry])] {
            assert_eq!(compiled(Rules::default(), rules).unwrap_err(), text);
        }
    }
    for rules in [rules(Some(&["a q"]), &[]), rules(None, &["a q"])] {
        let error = compiled(rules, Rules::default()).unwrap_err();
        assert_eq!(error, r#"subject "a q" is not a valid subject"#);
    }
}

/// The same decisions, told as plainly as can be: nothing is compiled, nothing skipped.
mod plainly {
    use super::{Configured, Rules};

    type Tokens<'a> = &'a [&'a str];

    /// Whether a pattern matches these tokens, `*` and `>` among them being names.
    fn hits(pattern: Tokens<'_>, tokens: Tokens<'_>) -> bool {
        match (pattern, tokens) {
            ([], []) | ([">"], [_, ..]) => true,
            ([p, ps @ ..], [t, ts @ ..]) => (*p == "*" || p == t) && hits(ps, ts),
            _ => false,
        }
    }

    /// Whether a pattern matches whatever these tokens, read as another pattern, match.
    fn holds(pattern: Tokens<'_>, tokens: Tokens<'_>) -> bool {
        match (pattern, tokens) {
            ([], []) | ([">"], [_, ..]) => true,
            ([_, ..], [">"]) => false,
            ([p, ps @ ..], [t, ts @ ..]) => (*p == "*" || p == t) && holds(ps, ts),
            _ => false,
        }
    }

    fn by(judge: fn(Tokens<'_>, Tokens<'_>) -> bool, pattern: &str, subject: &str) -> bool {
        let [pattern, subject] = [pattern, subject].map(|s| s.split('.').collect::<Vec<_>>());
        judge(&pattern, &subject)
    }

    fn parted(entry: &str) -> (&str, Option<&str>) {
        entry
            .split_once(' ')
            .map_or((entry, None), |(s, q)| (s, Some(q)))
    }

    fn denied(rules: &Rules, subject: &str, queue: Option<&str>) -> bool {
        rules
            .deny
            .iter()
            .map(|entry| parted(entry))
            .any(|(pattern, group)| {
                let concerned = group.is_none_or(|g| queue.is_some_and(|q| by(hits, g, q)));
                concerned && by(hits, pattern, subject)
            })
    }

    pub(super) fn publish(to: &Configured, subject: &str) -> bool {
        let listed = |list: &Vec<String>| list.iter().any(|p| by(hits, p, subject));
        to.publish.allow.as_ref().is_none_or(listed) && !listed(&to.publish.deny)
    }

    pub(super) fn subscribe(to: &Configured, subject: &str, queue: Option<&str>) -> bool {
        let allowed = to.subscribe.allow.as_ref().is_none_or(|list| {
            let entries = || list.iter().map(|entry| parted(entry));
            let named = queue.is_some()
                && entries().any(|(p, group)| group.is_some() && by(hits, p, subject));
            entries().any(|(pattern, group)| {
                let fits = match (group, queue) {
                    (None, _) => !named,
                    (Some(group), Some(queue)) => by(holds, group, queue),
                    (Some(_), None) => false,
                };
                fits && by(holds, pattern, subject)
            })
        });
        allowed && !denied(&to.subscribe, subject, queue)
    }

    pub(super) fn receive(to: &Configured, subject: &str, queue: Option<&str>) -> bool {
        !denied(&to.subscribe, subject, queue)
    }

    pub(super) fn reaches(subscription: &str, subject: &str) -> bool {
        by(hits, subscription, subject)
    }
}

/// Published subjects over so few tokens that all of them can be tried; no rule names `z`.
fn universe() -> Vec<String> {
    let tokens = ["a", "b", "z"];
    let mut all: Vec<String> = tokens.map(str::to_owned).to_vec();
    for last in 0..3 {
        let longest: Vec<String> = all
            .iter()
            .filter(|s| s.len() == 2 * last + 1)
            .cloned()
            .collect();
        let longer = longest
            .iter()
            .flat_map(|s| tokens.map(|token| format!("{s}.{token}")));
        all.extend(longer);
    }
    all
}

const PATTERN: &str = "((a|b|\\*)\\.){0,2}(a|b|\\*|>)";

fn list(entry: &'static str) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(entry, 0..5)
}

fn configured() -> impl Strategy<Value = Configured> {
    const QUEUED: &str = "((a|b|\\*)\\.){0,2}(a|b|\\*|>)( (q|r|\\*|q\\.\\*|>))?";
    let publish = (prop::option::of(list(PATTERN)), list(PATTERN));
    let subscribe = (prop::option::of(list(QUEUED)), list(QUEUED));
    (publish, subscribe).prop_map(|(publish, subscribe)| Configured {
        publish: Rules {
            allow: publish.0,
            deny: publish.1,
        },
        subscribe: Rules {
            allow: subscribe.0,
            deny: subscribe.1,
        },
        responses: None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn all_decisions_are_those_that_are_told_plainly(
        configured in configured(),
        subscription in PATTERN,
        queue in prop::option::of("q|r|x|\\*|>|q\\.x|q\\.>"),
    ) {
        let permissions = Permissions::new(&configured).unwrap();
        let name = queue.as_deref();
        let queue = name.map(str::as_bytes);
        let accepted = permissions.may_subscribe(subscription.as_bytes(), queue);
        prop_assert_eq!(accepted, plainly::subscribe(&configured, &subscription, name));
        let filtered = permissions.filters(subscription.as_bytes(), queue);
        let mut needs_filter = false;
        for subject in universe() {
            let bytes = subject.as_bytes();
            prop_assert_eq!(permissions.may_publish(bytes), plainly::publish(&configured, &subject));
            let received = permissions.may_receive(bytes, queue);
            prop_assert_eq!(received, plainly::receive(&configured, &subject, name));
            if plainly::reaches(&subscription, &subject) {
                needs_filter |= !received;
                // What reaches somebody without a group could have been subscribed to by itself.
                if accepted && received && queue.is_none() {
                    prop_assert!(permissions.may_subscribe(bytes, None), "{}", subject);
                }
            }
        }
        prop_assert_eq!(filtered, needs_filter);
    }
}

use super::*;
use crate::accounts::Accounts;
use crate::nkey::tests_support::UserKey;
use crate::options::Options;
use crate::options::security::{AccountOptions, User};

fn user(name: &str, password: &str) -> User {
    User {
        login: Login::Name(name.into()),
        password: password.into(),
        permissions: None,
        connection_types: None,
        proxy_required: false,
    }
}

fn nkey(key: &UserKey) -> User {
    User {
        login: Login::Nkey(key.public()),
        ..user("", "")
    }
}

const NONCE: &[u8] = b"abcdefghijklmno";

/// What becomes of a CONNECT with these fields: the account and who it is, or why not.
fn judge(options: &Options, connect: &str) -> String {
    let accounts = Accounts::new(options, None, 1).unwrap();
    let directory = Directory::new(options, &accounts).unwrap();
    let mut parsed = Connect::default();
    parsed.merge(connect.as_bytes()).unwrap();
    let attempt = Attempt {
        connect: &parsed,
        nonce: NONCE,
        certificate: None,
        kind: ConnectionType::Standard,
    };
    let show = |grant: &Grant| match &grant.login {
        Some(Login::Name(name) | Login::Nkey(name)) => format!("{}/{name}", grant.account.name),
        None => format!("{}/", grant.account.name),
    };
    match directory.authenticate(&attempt) {
        Verdict::Accepted(grant) => show(&grant),
        Verdict::Refused(refusal) => format!("{refusal:?}"),
        Verdict::Asks(check) => {
            format!(
                "asks {} for {}",
                check.password.reveal(),
                show(&check.grant)
            )
        }
    }
}

#[test]
fn nobody_chooses_an_account() {
    let open = Options::default();
    assert_eq!(judge(&open, "{}"), "$G/");
    assert_eq!(judge(&open, r#"{"user":"x","pass":"y","jwt":"z"}"#), "$G/");
    assert_eq!(judge(&open, r#"{"account":"A"}"#), "Credentials");
    assert_eq!(judge(&open, r#"{"new_account":true}"#), "Credentials");
}

#[test]
fn a_token_and_a_single_user() {
    let mut options = Options::default();
    options.authorization.token = Some("s3cret".into());
    assert_eq!(judge(&options, r#"{"auth_token":"s3cret"}"#), "$G/");
    for bad in ["{}", r#"{"auth_token":"s3cre"}"#, r#"{"user":"s3cret"}"#] {
        assert_eq!(judge(&options, bad), "Credentials", "{bad}");
    }
    let mut options = Options::default();
    options.authorization.user = Some("u".into());
    options.authorization.password = Some("p".into());
    assert_eq!(judge(&options, r#"{"user":"u","pass":"p"}"#), "$G/u");
    for bad in [
        "{}",
        r#"{"user":"u"}"#,
        r#"{"user":"u","pass":"P"}"#,
        r#"{"user":"U","pass":"p"}"#,
        r#"{"pass":"p"}"#,
        r#"{"auth_token":"p"}"#,
    ] {
        assert_eq!(judge(&options, bad), "Credentials", "{bad}");
    }
    options.authorization.password = Some("$2a$04$abc".into());
    assert_eq!(
        judge(&options, r#"{"user":"u","pass":"p"}"#),
        "asks p for $G/u"
    );
    assert_eq!(judge(&options, r#"{"user":"v","pass":"p"}"#), "Credentials");
}

fn tenants() -> Options {
    let mut options = Options::default();
    options.authorization.users = vec![user("g", "gp")];
    let account = |name: &str, users| AccountOptions {
        name: name.into(),
        users,
        ..AccountOptions::default()
    };
    let key = UserKey::new(3);
    options.accounts = vec![
        account("A", vec![user("a", "ap"), nkey(&key)]),
        account("B", vec![user("b", "$2a$11$x")]),
    ];
    options
}

#[test]
fn users_come_to_their_accounts() {
    let options = tenants();
    assert_eq!(judge(&options, r#"{"user":"g","pass":"gp"}"#), "$G/g");
    assert_eq!(judge(&options, r#"{"user":"a","pass":"ap"}"#), "A/a");
    assert_eq!(
        judge(&options, r#"{"user":"b","pass":"x"}"#),
        "asks x for B/b"
    );
    for bad in [
        "{}",
        r#"{"user":"a","pass":"gp"}"#,
        r#"{"user":"A","pass":"ap"}"#,
        r#"{"nkey":"a","pass":"ap"}"#,
    ] {
        assert_eq!(judge(&options, bad), "Credentials", "{bad}");
    }
}

#[test]
fn keys_sign_the_nonce() {
    let options = tenants();
    let (key, other) = (UserKey::new(3), UserKey::new(4));
    let connect = |key: &UserKey, signature: &str| {
        format!(r#"{{"nkey":"{}","sig":"{signature}"}}"#, key.public())
    };
    let who = format!("A/{}", key.public());
    assert_eq!(judge(&options, &connect(&key, &key.sign(NONCE))), who);
    assert_eq!(
        judge(&options, &connect(&key, &key.sign_standard(NONCE))),
        who
    );
    for (key, signature) in [
        (&key, String::new()),
        (&key, "%%%".into()),
        (&key, key.sign(b"another nonce..")),
        (&key, other.sign(NONCE)),
        (&other, other.sign(NONCE)),
    ] {
        assert_eq!(judge(&options, &connect(key, &signature)), "Credentials");
    }
    // A name beside a key does not help.
    let both = format!(r#"{{"nkey":"{}","user":"a","pass":"ap"}}"#, key.public());
    assert_eq!(judge(&options, &both), "Credentials");
}

#[test]
fn who_says_nothing_is_the_user_for_those() {
    let mut options = tenants();
    options.no_auth_user = Some("b".into());
    assert_eq!(judge(&options, "{}"), "B/b");
    assert_eq!(judge(&options, r#"{"user":"a","pass":"ap"}"#), "A/a");
    for bad in [
        r#"{"user":"x"}"#,
        r#"{"pass":"x"}"#,
        r#"{"auth_token":"x"}"#,
        r#"{"nkey":"x"}"#,
    ] {
        assert_eq!(judge(&options, bad), "Credentials", "{bad}");
    }
    let key = UserKey::new(3);
    options.no_auth_user = Some(key.public());
    assert_eq!(judge(&options, "{}"), format!("A/{}", key.public()));
    // The limits of a user hold for those who are it without saying so.
    options.no_auth_user = Some("a".into());
    options.accounts[0].users[0].connection_types = Some([ConnectionType::Mqtt].into());
    assert_eq!(judge(&options, "{}"), "Credentials");
    options.accounts[0].users[0].connection_types = None;
    options.accounts[0].users[0].proxy_required = true;
    assert_eq!(judge(&options, "{}"), "ProxyRequired");
}

#[test]
fn ways_to_connect_are_limited() {
    let mut options = tenants();
    let a = r#"{"user":"a","pass":"ap"}"#;
    for (types, want) in [
        (vec![ConnectionType::Websocket], "Credentials"),
        (
            vec![ConnectionType::Websocket, ConnectionType::Standard],
            "A/a",
        ),
        (vec![], "Credentials"),
    ] {
        options.accounts[0].users[0].connection_types = Some(types.into_iter().collect());
        assert_eq!(judge(&options, a), want);
    }
}

#[test]
fn proxies_vouch_for_clients() {
    let mut options = tenants();
    let (proxy, other) = (UserKey::new(8), UserKey::new(9));
    options.accounts[0].users[0].proxy_required = true;
    let a = |signature: &str| format!(r#"{{"user":"a","pass":"ap","proxy_sig":"{signature}"}}"#);
    // Where no proxy is trusted, nobody can come through one.
    assert_eq!(judge(&options, &a(&proxy.sign(NONCE))), "ProxyRequired");
    options.trusted_proxies = vec![proxy.public()];
    assert_eq!(judge(&options, &a(&proxy.sign(NONCE))), "A/a");
    assert_eq!(judge(&options, &a("")), "ProxyRequired");
    assert_eq!(judge(&options, &a(&other.sign(NONCE))), "ProxyNotTrusted");
    assert_eq!(judge(&options, &a("%")), "ProxyNotTrusted");
    // One who need not come through a proxy is turned away for a wrong signature as well.
    let g = format!(
        r#"{{"user":"g","pass":"gp","proxy_sig":"{}"}}"#,
        other.sign(NONCE)
    );
    assert_eq!(judge(&options, &g), "ProxyNotTrusted");
}

#[test]
fn after_a_reload_secrets_that_stand_are_not_asked_for_again() {
    let options = tenants();
    let accounts = Accounts::new(&options, None, 1).unwrap();
    let directory = Directory::new(&options, &accounts).unwrap();
    let connect = |text: &str| {
        let mut connect = Connect::default();
        connect.merge(text.as_bytes()).unwrap();
        connect
    };
    let again = |options: &Options, text: &str, before: &Grant| {
        let accounts = Accounts::new(options, Some(&accounts), 1).unwrap();
        let directory = Directory::new(options, &accounts).unwrap();
        let attempt = Attempt {
            connect: &connect(text),
            nonce: NONCE,
            certificate: None,
            kind: ConnectionType::Standard,
        };
        let still = directory.still_grants(before);
        match directory.reauthenticate(&attempt, before) {
            Verdict::Accepted(grant) => (grant.account.name.to_string(), still),
            _ => ("refused".into(), still),
        }
    };
    let hashed = r#"{"user":"b","pass":"x"}"#;
    let attempt = Attempt {
        connect: &connect(hashed),
        nonce: NONCE,
        certificate: None,
        kind: ConnectionType::Standard,
    };
    let Verdict::Asks(check) = directory.authenticate(&attempt) else {
        panic!("it has a hash");
    };
    let before = check.grant;
    assert_eq!(again(&options, hashed, &before), ("B".into(), true));
    let mut other = options.clone();
    other.accounts[1].users[0].password = "$2a$11$y".into();
    assert_eq!(again(&other, hashed, &before), ("refused".into(), false));
    let mut moved = options.clone();
    let b = moved.accounts[1].users.remove(0);
    moved.accounts[0].users.push(b);
    assert_eq!(again(&moved, hashed, &before), ("A".into(), false));
    moved.accounts[0].users.pop();
    assert_eq!(again(&moved, hashed, &before), ("refused".into(), false));
    assert_eq!(
        again(&Options::default(), hashed, &before),
        ("$G".into(), false)
    );
}

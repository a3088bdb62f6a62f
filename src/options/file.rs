//! From a configuration file to options: every key is looked up, checked and applied, and
//! everything that is wrong is told, not just the first of it.

use super::Options;
use super::keys::{Key, Set, Takes, What, top};
use crate::base::address;
use crate::base::text::{GoDuration, quoted};
use crate::config::{Document, Entry, Fault, Kind, Map, Position, Sources, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many errors are told one by one, and how many warnings.
const FAULTS_MAX: usize = 100;

/// The longest key for which a similar one is looked for.
const SIMILAR_LEN_MAX: usize = 64;

/// What a file brought, beside options.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is wrong, each with its place and line, as lines to be shown. If there is any, the
    /// options are not to be used.
    pub errors: Vec<String>,
    /// What is odd, in the same form.
    pub warnings: Vec<String>,
}

impl Options {
    /// Applies the keys of a configuration file, in the order of the file. `name` is the file's.
    pub fn apply(&mut self, name: &str, document: &Document) -> Findings {
        let mut check = Check {
            document,
            found: Findings::default(),
            more: 0,
            wrong: 0,
            logins: BTreeSet::new(),
            authorization_at: Position::default(),
        };
        if document.root.is_empty() {
            let text = format!("{name}: config has no values or is empty");
            check.found.warnings.push(text);
        }
        for entry in document.root.iter() {
            check.top(self, entry);
        }
        for text in self.login_conflicts() {
            check.error(check.authorization_at, text.into());
        }
        if check.more > 0 {
            let text = format!("{} more errors are not shown", check.more);
            check.found.errors.push(text);
        }
        check.found
    }
}

/// The state of applying a file.
pub(super) struct Check<'d> {
    document: &'d Document,
    found: Findings,
    /// Errors that are not shown, being too many.
    more: usize,
    /// Errors but those of features to come.
    wrong: usize,
    /// Names and keys of all users so far.
    logins: BTreeSet<String>,
    /// Where the key `authorization` stands.
    authorization_at: Position,
}

/// A value of the wrong kind, with what is wrong in words.
type Wrong = String;

impl Check<'_> {
    fn top(&mut self, options: &mut Options, entry: &Entry) {
        match Key::find(top(), &entry.key) {
            None if entry.used => {}
            None => self.unknown(entry, top()),
            Some(Key {
                what: What::Later(takes),
                ..
            }) => {
                if !turns_off(&entry.value, takes) {
                    self.not_yet(entry);
                }
                self.value(&entry.key, &entry.value, takes, false);
            }
            Some(Key {
                what: What::Never(why),
                ..
            }) => match entry.value.kind {
                Kind::Int(0) => {}
                Kind::Int(_) => {
                    let text = format!("{}: not supported: {why}", entry.key);
                    self.error(entry.key_at, text);
                }
                _ => {
                    let text = wants(&entry.key, &Takes::Int.wants(), &entry.value);
                    self.error(entry.key_at, text);
                }
            },
            Some(Key {
                what:
                    What::Ready {
                        set: Set::Block(takes, read),
                        ..
                    },
                ..
            }) => {
                let before = self.wrong;
                if entry.key.eq_ignore_ascii_case("authorization") {
                    self.authorization_at = entry.key_at;
                }
                self.value(&entry.key, &entry.value, takes, true);
                // What is read has the form that the table says.
                if self.wrong == before {
                    read(options, &entry.value, self);
                }
            }
            Some(Key {
                what: What::Ready { set, .. },
                ..
            }) => {
                if let Err(wrong) = self.set(options, entry, set) {
                    self.error(entry.key_at, wrong);
                }
            }
            // Such a key stands in blocks only.
            Some(Key {
                what: What::Part(_),
                ..
            }) => {}
        }
    }

    /// Sets the option that a key stands for.
    fn set(&mut self, options: &mut Options, entry: &Entry, set: &Set) -> Result<(), Wrong> {
        let key = &*entry.key;
        let wrong = || Err(wants(key, &set.wants(), &entry.value));
        match (set, &entry.value.kind) {
            (Set::Bool(set), Kind::Bool(value)) => set(options, *value),
            (Set::Int(min, max, set), Kind::Int(value)) => {
                if !(*min..=*max).contains(value) {
                    let range = match (*min, *max) {
                        (min, i64::MAX) => format!("at least {min}"),
                        (min, max) => format!("between {min} and {max}"),
                    };
                    return Err(format!(
                        "{key}: {value} is out of range, it must be {range}"
                    ));
                }
                set(options, *value);
            }
            (Set::Time(set), Kind::Text(text)) => set(options, duration(key, text)?),
            (Set::Time(set), Kind::Int(seconds)) => {
                let Ok(seconds) = u64::try_from(*seconds) else {
                    return Err(format!("{key}: {seconds} cannot be negative"));
                };
                let text = format!(
                    "invalid use of field {}: {key} should be converted to a duration",
                    quoted(key.as_bytes())
                );
                self.warning(entry.key_at, text);
                set(options, Duration::from_secs(seconds));
            }
            (Set::LongTime(min, set), Kind::Text(text)) => {
                let value = duration(key, text)?;
                if value < *min {
                    let (value, min) = (GoDuration(value), min.as_secs());
                    return Err(format!(
                        "invalid {key} of {value}, minimum is {min} seconds"
                    ));
                }
                set(options, value);
            }
            (Set::Text(set), Kind::Text(text)) => set(options, text.clone()),
            (Set::Name(set), Kind::Text(text)) => {
                if text.contains(char::is_whitespace) {
                    return Err(format!("{} cannot contain spaces", key.replace('_', " ")));
                }
                set(options, text.clone());
            }
            (Set::Word(words, set), Kind::Text(text)) => {
                if !words.contains(&&**text) {
                    let mut words = words.iter().map(|word| format!("'{word}'"));
                    let last = words.next_back().unwrap_or_default();
                    let first = words.collect::<Vec<_>>().join(", ");
                    return Err(format!("{key} must be {first} or {last}"));
                }
                set(options, text);
            }
            (Set::Texts(set), Kind::Text(text)) => set(options, vec![text.clone()]),
            (Set::Texts(set), Kind::Array(values)) => {
                let mut texts = Vec::new();
                for value in values {
                    let Kind::Text(text) = &value.kind else {
                        return Err(wants(key, "text in the list", value));
                    };
                    texts.push(text.clone());
                }
                set(options, texts);
            }
            (Set::Pairs(set), Kind::Map(map)) => {
                let mut pairs = BTreeMap::new();
                for entry in map.iter() {
                    let Kind::Text(text) = &entry.value.kind else {
                        return Err(wants(&entry.key, "text", &entry.value));
                    };
                    pairs.insert(entry.key.clone(), text.clone());
                }
                set(options, pairs);
            }
            (Set::Listen(set), Kind::Int(port)) => {
                let valid = i32::try_from(*port)
                    .ok()
                    .filter(|p| (-1..=65535).contains(p));
                let Some(port) = valid else {
                    return Err(format!("{key}: {port} is not a port between -1 and 65535"));
                };
                set(options, String::new(), port);
            }
            (Set::Listen(set), Kind::Text(text)) => {
                let (host, port) = listen(text)?;
                set(options, host.into(), port);
            }
            _ => return wrong(),
        }
        Ok(())
    }

    /// Checks that a value and all in it have their form. Keys of features to come are refused in
    /// what is applied; otherwise all around them is refused already.
    fn value(&mut self, key: &str, value: &Value, takes: &Takes, applied: bool) {
        match (takes, &value.kind) {
            (Takes::Bool, Kind::Bool(_))
            | (Takes::Int | Takes::Listen, Kind::Int(_))
            | (Takes::Text | Takes::Texts | Takes::Subjects(_), Kind::Text(_))
            | (Takes::Credential, Kind::Text(_))
            | (Takes::Free, Kind::Map(_)) => {}
            (Takes::TimeOrAlways, Kind::Text(text)) if text == "always" => {}
            (Takes::Time | Takes::TimeOrAlways, Kind::Text(_) | Kind::Int(_) | Kind::Float(_)) => {
                if let Err(wrong) = time(key, value) {
                    self.error(value.at, wrong);
                }
            }
            (Takes::Listen, Kind::Text(text)) => {
                if let Err(wrong) = listen(text) {
                    self.error(value.at, wrong);
                }
            }
            (Takes::Texts | Takes::Subjects(_), Kind::Array(values)) => {
                for value in values.iter().filter(|v| !matches!(v.kind, Kind::Text(_))) {
                    self.error(value.at, wants(key, "text in the list", value));
                }
            }
            (Takes::Block(keys) | Takes::Subjects(keys), Kind::Map(map)) => {
                self.block(map, keys, applied);
            }
            (Takes::Blocks(keys), Kind::Array(values)) => {
                for value in values {
                    match &value.kind {
                        Kind::Map(map) => self.block(map, keys, applied),
                        _ => self.error(value.at, wants(key, "a map in the list", value)),
                    }
                }
            }
            (Takes::Each(takes), Kind::Map(map)) => {
                for entry in map.iter().filter(|entry| !is_variable(entry, takes)) {
                    self.value(&entry.key, &entry.value, takes, applied);
                }
            }
            (Takes::Either(all), _) => match all.iter().find(|takes| fits(value, takes)) {
                Some(takes) => self.value(key, value, takes, applied),
                None => self.error(value.at, wants(key, &takes.wants(), value)),
            },
            _ => self.error(value.at, wants(key, &takes.wants(), value)),
        }
    }

    fn block(&mut self, map: &Map, keys: &'static [Key], applied: bool) {
        for entry in map.iter() {
            let is_text = matches!(entry.value.kind, Kind::Text(_));
            match Key::find(keys, &entry.key).map(|key| &key.what) {
                // At the key, as the line of the value is shown, and it may be the next one.
                Some(What::Part(Takes::Credential) | What::Later(Takes::Credential))
                    if !is_text =>
                {
                    let text = format!("{}: expected {}", entry.key, Takes::Credential.wants());
                    self.error(entry.key_at, text);
                }
                Some(What::Part(takes)) => self.value(&entry.key, &entry.value, takes, applied),
                Some(What::Later(takes)) => {
                    if applied && !turns_off(&entry.value, takes) {
                        self.not_yet(entry);
                    }
                    self.value(&entry.key, &entry.value, takes, false);
                }
                Some(What::Ready { .. } | What::Never(_)) => {}
                None if entry.used => {}
                None => self.unknown(entry, keys),
            }
        }
    }

    /// Notes the name or the key of a user, which nobody else may have. `kind` is what it is.
    pub(super) fn login(&mut self, kind: &str, login: &str, at: Position) {
        if !self.logins.insert(login.into()) {
            let login = quoted(login.as_bytes());
            self.error(at, format!("Duplicate {kind} {login} detected"));
        }
    }

    fn unknown(&mut self, entry: &Entry, keys: impl IntoIterator<Item = &'static Key>) {
        self.wrong += 1;
        self.error_with(|sources| {
            let mut text = format!("unknown field {}", quoted(entry.key.as_bytes()));
            if let Some(near) = nearest(&entry.key, keys.into_iter().flat_map(|key| key.names)) {
                text.push_str(&format!(", did you mean {}?", quoted(near.as_bytes())));
            }
            sources.show(&Fault::new(entry.key_at, text))
        });
    }

    fn not_yet(&mut self, entry: &Entry) {
        self.error_with(|sources| {
            let (place, snippet) = (sources.place(entry.key_at), sources.snippet(entry.key_at));
            format!("not supported yet: {} at {place}\n{snippet}", entry.key)
        });
    }

    pub(super) fn error(&mut self, at: Position, text: String) {
        self.wrong += 1;
        self.error_with(|sources| sources.show(&Fault::new(at, text)));
    }

    /// Notes an error. To find its place and what may have been meant takes time, which is spent
    /// on those only that are shown.
    fn error_with(&mut self, show: impl FnOnce(&Sources) -> String) {
        if self.found.errors.len() < FAULTS_MAX {
            self.found.errors.push(show(&self.document.sources));
        } else {
            self.more += 1;
        }
    }

    pub(super) fn warning(&mut self, at: Position, text: String) {
        if self.found.warnings.len() < FAULTS_MAX {
            let text = self.document.sources.show(&Fault::new(at, text));
            self.found.warnings.push(text);
        }
    }
}

/// Whether a value asks for a feature not to be there, which is no feature to have.
fn turns_off(value: &Value, takes: &Takes) -> bool {
    let is_off =
        |text: &str| text.eq_ignore_ascii_case("disabled") || text.eq_ignore_ascii_case("disable");
    match (&value.kind, takes) {
        (Kind::Bool(on), _) => !on,
        (Kind::Int(0), Takes::Int) => true,
        (Kind::Text(text), Takes::Either([Takes::Bool, ..])) => is_off(text),
        _ => false,
    }
}

/// Whether a value is of the kind that is wanted, whatever is inside of it.
fn fits(value: &Value, takes: &Takes) -> bool {
    match takes {
        Takes::Bool => matches!(value.kind, Kind::Bool(_)),
        Takes::Int => matches!(value.kind, Kind::Int(_)),
        Takes::Text | Takes::Credential => matches!(value.kind, Kind::Text(_)),
        Takes::Time | Takes::TimeOrAlways => {
            matches!(value.kind, Kind::Text(_) | Kind::Int(_) | Kind::Float(_))
        }
        Takes::Listen => matches!(value.kind, Kind::Text(_) | Kind::Int(_)),
        Takes::Texts => matches!(value.kind, Kind::Text(_) | Kind::Array(_)),
        Takes::Block(_) | Takes::Each(_) | Takes::Free => matches!(value.kind, Kind::Map(_)),
        Takes::Blocks(_) => matches!(value.kind, Kind::Array(_)),
        Takes::Subjects(_) => {
            matches!(value.kind, Kind::Text(_) | Kind::Array(_) | Kind::Map(_))
        }
        Takes::Either(all) => all.iter().any(|takes| fits(value, takes)),
    }
}

/// Whether an entry among names that are chosen freely is there to be meant by a `$variable`. As in
/// the reference, a block is then not anything else.
pub(super) fn is_variable(entry: &Entry, takes: &Takes) -> bool {
    entry.used && (matches!(takes, Takes::Block(_)) || !fits(&entry.value, takes))
}

fn wants(key: &str, wants: &str, value: &Value) -> Wrong {
    let got = match &value.kind {
        Kind::Bool(value) => value.to_string(),
        Kind::Int(value) => format!("the number {value}"),
        Kind::Float(value) => format!("the number {value}"),
        Kind::Date(value) => format!("the date {value}"),
        // What it says may be a secret in the wrong place.
        Kind::Text(_) => "text".into(),
        Kind::Array(_) => "a list".into(),
        Kind::Map(_) => "a map".into(),
    };
    format!("{key}: expected {wants}, but got {got}")
}

fn listen(text: &str) -> Result<(&str, i32), Wrong> {
    address::split(text).map_err(|error| {
        let text = quoted(text.as_bytes());
        format!("could not parse address string {text}: {error}")
    })
}

fn duration(key: &str, text: &str) -> Result<Duration, Wrong> {
    crate::base::duration::parse(text).map_err(|error| format!("error parsing {key}: {error}"))
}

/// A duration, or a number of seconds.
pub(super) fn time(key: &str, value: &Value) -> Result<Duration, Wrong> {
    let seconds = match &value.kind {
        Kind::Text(text) => return duration(key, text),
        Kind::Int(seconds) => {
            let found = u64::try_from(*seconds).ok().map(Duration::from_secs);
            return found.ok_or_else(|| format!("{key}: {seconds} cannot be negative"));
        }
        Kind::Float(seconds) => *seconds,
        _ => return Err(wants(key, &Takes::Time.wants(), value)),
    };
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("{key}: {seconds}: {error}"))
}

/// The name that is most like `key`, if one is so much like it that it may be meant.
fn nearest(
    key: &str,
    names: impl IntoIterator<Item = &'static &'static str>,
) -> Option<&'static str> {
    if key.len() > SIMILAR_LEN_MAX {
        return None;
    }
    let key = key.to_lowercase();
    let far = (key.len() / 3).clamp(1, 3);
    let rated = names.into_iter().map(|name| (distance(&key, name), *name));
    rated.filter(|(d, _)| *d <= far).min().map(|(_, name)| name)
}

/// How many letters are to be added, removed, changed or swapped with their neighbour to come from
/// `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = [
        vec![0; b.len() + 1],
        (0..=b.len()).collect(),
        vec![0; b.len() + 1],
    ];
    for i in 0..a.len() {
        let [before, last, row] = &mut rows;
        row[0] = i + 1;
        for j in 0..b.len() {
            let change = last[j] + usize::from(a[i] != b[j]);
            row[j + 1] = change.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        rows.rotate_left(1);
    }
    rows[1][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Nothing, parse};

    fn applied(text: &str) -> (Options, Findings) {
        let document = parse("t.conf", text, &Nothing).unwrap();
        let mut options = Options::default();
        let found = options.apply("t.conf", &document);
        (options, found)
    }

    /// The first lines of all errors.
    fn errors(text: &str) -> Vec<String> {
        let heads = applied(text).1.errors;
        let heads = heads
            .iter()
            .map(|error| error.lines().next().unwrap().to_owned());
        heads.collect()
    }

    /// A value for each key that is applied, other than the default, and another spelling of the
    /// same key where there is one.
    const APPLIED: &[(&str, &str)] = &[
        ("listen", "'[::1]:5'"),
        ("host net", "h"),
        ("port", "5"),
        ("server_name", "n"),
        ("client_advertise", "'a:1'"),
        ("server_tags", "[a, b]"),
        ("server_metadata", "{a: b}"),
        ("loops", "3"),
        ("pid_file pidfile", "/p"),
        ("ports_file_dir", "/d"),
        ("http", "'h:1'"),
        ("http_port monitor_port", "1"),
        ("https", "1"),
        ("https_port", "1"),
        ("http_base_path", "/b"),
        ("prof_port", "1"),
        ("authorization", "{token: x}"),
        ("accounts", "[A]"),
        ("mappings maps", "{a: b}"),
        ("no_auth_user", "u"),
        ("system_account system", "S"),
        ("no_system_account no_system no_sys_acc", "true"),
        (
            "proxies",
            "{trusted: [{key: UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK}]}",
        ),
        ("tls", "{verify: true}"),
        ("allow_non_tls", "true"),
        ("jetstream", "enabled"),
        ("feature_flags", "{js_ack_fc_v2: true}"),
        ("cluster", "{port: 6222}"),
        ("store_dir storedir", "/s"),
        ("debug", "yes"),
        ("trace", "on"),
        ("trace_verbose", "true"),
        ("trace_headers", "true"),
        ("max_traced_msg_len", "10"),
        ("logtime", "false"),
        ("logtime_utc", "true"),
        ("log_format", "json"),
        ("log_file logfile", "/l"),
        ("log_size_limit logfile_size_limit", "10mb"),
        ("log_max_num logfile_max_num", "4"),
        ("syslog", "true"),
        ("remote_syslog", "'udp://h:1'"),
        ("max_payload", "2MB"),
        ("max_control_line", "1k"),
        ("max_connections max_conn", "7"),
        ("max_subscriptions max_subs", "7"),
        ("max_sub_tokens max_subscription_tokens", "7"),
        ("max_pending", "7gb"),
        ("max_pending_total", "7gb"),
        ("max_closed_clients", "7"),
        ("write_deadline", "'3s'"),
        ("write_timeout", "close"),
        ("no_fast_producer_stall", "true"),
        ("ping_interval", "'20s'"),
        ("ping_max", "7"),
        ("connect_deadline", "'3s'"),
        ("no_header_support", "true"),
        ("disable_sublist_cache no_sublist_cache", "true"),
        ("lame_duck_duration", "'1m'"),
        ("lame_duck_grace_period", "'1s'"),
    ];

    #[test]
    fn every_key_that_is_applied_changes_options_under_each_name() {
        let all = super::super::documented().map(|key| key.names.join(" "));
        let listed = APPLIED.iter().map(|(names, _)| (*names).to_owned());
        assert_eq!(all.collect::<Vec<_>>(), listed.collect::<Vec<_>>());
        for (names, value) in APPLIED {
            let mut results = Vec::new();
            for name in names.split(' ') {
                for name in [name.to_owned(), name.to_uppercase()] {
                    let (options, found) = applied(&format!("{name}: {value}"));
                    assert!(
                        found.errors.is_empty() && found.warnings.is_empty(),
                        "{found:?}"
                    );
                    assert_ne!(options, Options::default(), "{name}");
                    results.push(options);
                }
            }
            assert!(results.windows(2).all(|two| two[0] == two[1]), "{names}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_for_every_key() {
        for key in top() {
            // No key takes a date, and none that takes a map takes any map of these.
            let name = key.name();
            let text = errors(&format!("{name}: 2016-05-04T18:53:41Z"));
            assert!(
                text.iter()
                    .any(|line| line.contains(&format!("{name}: expected "))),
                "{name}: {text:?}"
            );
        }
    }

    /// Every key at the top of the reference's files whose feature is missing here.
    const LATER: &str = "default_sentinel=x \
        operator=x operators=x root=x roots=x root_operator=x root_operators=x trusted_keys=x \
        trusted=x resolver=MEMORY account_resolver=MEM accounts_resolver=MEM resolver_tls={} \
        resolver_preload={} resolver_pinned_accounts=x proxy_protocol=true ocsp=true \
        ocsp_cache=true gateway={} leafnodes={} leaf={} connect_error_reports=1 \
        reconnect_error_reports=1 websocket={} ws={} mqtt={} default_js_domain={}";

    #[test]
    fn keys_of_features_to_come_are_refused_by_name_and_place() {
        for pair in LATER.split_whitespace() {
            let (name, value) = pair.split_once('=').unwrap();
            assert_eq!(
                errors(&format!("\n {name} = {value}")),
                [format!("not supported yet: {name} at t.conf:2:2")]
            );
        }
        let listed = LATER
            .split_whitespace()
            .map(|pair| pair.split('=').next().unwrap());
        let all = super::super::keys::later_names();
        assert_eq!(all, listed.collect::<Vec<_>>());
        assert_eq!(
            errors("\n prof_block_rate: 1"),
            [
                "t.conf:2:2: prof_block_rate: not supported: no thread here waits for another, \
                 which is what it measures"
            ]
        );
        assert!(errors("prof_block_rate: 0").is_empty());
        // What asks for a feature not to be there has it so.
        assert!(errors("jetstream: false, max_closed_clients: 0, proxy_protocol: no").is_empty());
    }

    #[test]
    fn what_is_inside_of_a_refused_block_is_checked() {
        let text = "gateway {\n listen: 'x'\n gateways: [5]\n autorization {}\n}\n\
            websocket {\n TLS = {cert_file: a}\n tls: $TLS\n authorization: {usr: c}\n \
            handshake_timeout: never\n}\nleafnodes { tls { ocsp_peer: true } }\n\
            jetstream: {max_mem: 1G, sync: always, store: 5}";
        assert_eq!(
            errors(text),
            [
                "not supported yet: gateway at t.conf:1:1",
                "t.conf:2:10: could not parse address string \"x\": missing port",
                "t.conf:3:13: gateways: expected a map in the list, but got the number 5",
                "t.conf:4:2: unknown field \"autorization\", did you mean \"authorization\"?",
                "not supported yet: websocket at t.conf:6:1",
                "t.conf:9:18: unknown field \"usr\", did you mean \"user\"?",
                "t.conf:10:21: error parsing handshake_timeout: invalid duration \"never\"",
                "not supported yet: leafnodes at t.conf:12:1",
                "t.conf:13:47: store: expected text, but got the number 5",
            ]
        );
    }

    #[test]
    fn zeros_and_empty_texts_ask_for_defaults_as_in_the_reference() {
        let (options, found) = applied(
            "port: 0, host: '', max_payload: 0, max_pending: 0, max_control_line: 0, ping_max: 0\n\
             ping_interval: '0s', write_deadline: '0s', server_name: '', pid_file: '', loops: 0\n\
             max_subscriptions: -1, log_size_limit: -5, max_traced_msg_len: -1",
        );
        assert!(found.errors.is_empty(), "{found:?}");
        assert_eq!(options, Options::default());
        assert_eq!(applied("max_connections: 0").0.max_connections, 0);
        assert_eq!(applied("max_connections: -1").0.max_connections, 0);
        assert_eq!(applied("listen: 5").0.host, Options::default().host);
        let (last, _) = applied("trace_verbose: true, trace: false");
        assert!(!last.log.trace && last.log.trace_verbose);
    }

    #[test]
    fn a_name_has_no_spaces() {
        let text = "t.conf:1:1: server name cannot contain spaces";
        assert_eq!(errors("server_name: 'a b'"), [text]);
    }

    #[test]
    fn seconds_without_a_unit_are_a_warning() {
        let (options, found) = applied("write_deadline: 3");
        assert_eq!(options.write_deadline, Duration::from_secs(3));
        assert!(found.warnings[0].starts_with(
            "t.conf:1:1: invalid use of field \"write_deadline\": write_deadline should be \
             converted to a duration\n"
        ));
        assert_eq!(
            errors("lame_duck_duration: 30"),
            [
                "t.conf:1:1: lame_duck_duration: expected a duration such as \"2m\", but got the \
              number 30"
            ]
        );
    }

    #[test]
    fn a_similar_key_is_suggested_if_there_is_one() {
        let suggested = |key: &str| nearest(key, top().flat_map(|key| key.names));
        for (key, like) in [
            ("max_payloda", Some("max_payload")),
            ("Max_Conections", Some("max_connections")),
            ("prot", Some("port")),
            ("htp", Some("http")),
            ("tsl", Some("tls")),
            ("xyzzy", None),
            ("", None),
        ] {
            assert_eq!(suggested(key), like, "{key}");
        }
        assert_eq!(suggested(&"x".repeat(1 << 20)), None);
        assert_eq!(
            [
                distance("", "abc"),
                distance("abc", "acb"),
                distance("kitten", "sitting")
            ],
            [3, 1, 3]
        );
    }

    #[test]
    fn not_all_of_very_many_faults_are_told() {
        let text = (0..1000).map(|i| format!("zz{i}: 1\n")).collect::<String>();
        let errors = errors(&text);
        assert_eq!(errors.len(), FAULTS_MAX + 1);
        assert_eq!(errors[FAULTS_MAX], "900 more errors are not shown");
    }
}

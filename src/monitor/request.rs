//! The same documents for requests of the system account, whose options are JSON.

use super::go_decode::{Field, Slot, decode};
use super::go_json::compact;
use super::source::Source;
use super::{
    Refused, accountz, accstatz, connz, expvarz, gatewayz, healthz, ipqueuesz, jsz, leafz, routez,
    statsz, subsz, varz,
};
use crate::broker::Facts;
use serde::Serialize;
use std::collections::BTreeMap;

/// A document that a server is asked for: the last token of `$SYS.REQ.SERVER.<id>.<X>` and
/// `$SYS.REQ.SERVER.PING.<X>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Statsz,
    Varz,
    Subsz,
    Connz,
    Routez,
    Gatewayz,
    Leafz,
    Accountz,
    Accstatz,
    Jsz,
    Healthz,
    Expvarz,
    Ipqueuesz,
    Raftz,
}

impl Endpoint {
    /// The endpoint of that token. Accstatz has no token: it is asked for as
    /// `$SYS.REQ.ACCOUNT.PING.STATZ`.
    pub fn named(token: &[u8]) -> Option<Endpoint> {
        use Endpoint::*;
        Some(match token {
            b"STATSZ" => Statsz,
            b"VARZ" => Varz,
            b"SUBSZ" => Subsz,
            b"CONNZ" => Connz,
            b"ROUTEZ" => Routez,
            b"GATEWAYZ" => Gatewayz,
            b"LEAFZ" => Leafz,
            b"ACCOUNTZ" => Accountz,
            b"JSZ" => Jsz,
            b"HEALTHZ" => Healthz,
            b"EXPVARZ" => Expvarz,
            b"IPQUEUESZ" => Ipqueuesz,
            b"RAFTZ" => Raftz,
            _ => return None,
        })
    }

    /// Whether the document stands under `statsz` in the answer, not under `data`.
    pub fn is_statsz(self) -> bool {
        self == Endpoint::Statsz
    }
}

/// A document about one account: the last token of `$SYS.REQ.ACCOUNT.<account>.<Y>`, and of
/// `$SYS.REQ.ACCOUNT.PING.<Y>` where a client asks about its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountEndpoint {
    Subsz,
    Connz,
    Leafz,
    Jsz,
    Info,
    Statz,
    /// Its answer is not wrapped like the others: see [`connections`].
    Conns,
}

impl AccountEndpoint {
    /// The endpoint of that token.
    pub fn named(token: &[u8]) -> Option<AccountEndpoint> {
        use AccountEndpoint::*;
        Some(match token {
            b"SUBSZ" => Subsz,
            b"CONNZ" => Connz,
            b"LEAFZ" => Leafz,
            b"JSZ" => Jsz,
            b"INFO" => Info,
            b"STATZ" => Statz,
            b"CONNS" => Conns,
            _ => return None,
        })
    }
}

/// Why a request gets no document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestError {
    /// 400: the options cannot be read. 500: they make no sense; then the answer also has
    /// `"data":null` in front of the error.
    pub code: u16,
    pub description: String,
}

impl From<Refused> for RequestError {
    fn from(Refused(description): Refused) -> RequestError {
        RequestError {
            code: 500,
            description,
        }
    }
}

/// Which servers are to answer; empty fields count for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    pub server_name: String,
    pub cluster: String,
    pub host: String,
    /// Whether names must be the same, not just have the text in them.
    pub exact_match: bool,
    /// All of them must be the server's.
    pub tags: Vec<String>,
    pub domain: String,
}

/// The Go type of the filter, as errors name it.
const GROUP: &str = "EventFilterOptions";

impl Filter {
    fn fields(&mut self, group: &'static str) -> Vec<Field<'_>> {
        vec![
            Field::new(group, "server_name", Slot::Text(&mut self.server_name)),
            Field::new(group, "cluster", Slot::Text(&mut self.cluster)),
            Field::new(group, "host", Slot::Text(&mut self.host)),
            Field::new(group, "exact_match", Slot::Bool(&mut self.exact_match)),
            Field::new(group, "tags", Slot::Texts(&mut self.tags)),
            Field::new(group, "domain", Slot::Text(&mut self.domain)),
        ]
    }
}

/// Whether this server is to answer.
pub fn applies(filter: &Filter, facts: &Facts) -> bool {
    let named = |wanted: &str, own: &str| match filter.exact_match {
        _ if wanted.is_empty() => true,
        true => own == wanted,
        false => own.contains(wanted),
    };
    let tagged = |tag: &String| {
        let mut own = facts.options.tags.iter();
        own.any(|own| own.eq_ignore_ascii_case(tag))
    };
    // The server has no domain.
    named(&filter.server_name, &facts.name)
        && named(&filter.host, &facts.host)
        && named(&filter.cluster, &facts.cluster.get())
        && filter.domain.is_empty()
        && filter.tags.iter().all(tagged)
}

/// The options of a request that is no endpoint and has no others than the filter, such as
/// `RELOAD`.
///
/// # Errors
/// They cannot be read: code 400.
pub fn filter(options: &[u8]) -> Result<Filter, RequestError> {
    let mut filter = Filter::default();
    read(GROUP, options, filter.fields(""))?;
    Ok(filter)
}

fn read(of: &str, options: &[u8], mut fields: Vec<Field<'_>>) -> Result<(), RequestError> {
    decode(of, options, &mut fields).map_err(|description| RequestError {
        code: 400,
        description,
    })
}

/// Options of a document, and how they are called.
trait Decoded: Default {
    /// The Go type that holds them and the filter, as errors name it.
    const OUTER: &'static str;
    fn fields(&mut self) -> Vec<Field<'_>>;
}

/// The options of a request; `None` if the filter among them leaves this server out.
fn decoded<O: Decoded>(facts: &Facts, options: &[u8]) -> Result<Option<O>, RequestError> {
    let (mut own, mut filter) = (O::default(), Filter::default());
    let mut fields = own.fields();
    fields.extend(filter.fields(GROUP));
    read(O::OUTER, options, fields)?;
    Ok(applies(&filter, facts).then_some(own))
}

/// The document that a server is asked for, in one line: what stands under `data`, or `statsz`, in
/// the answer. `options` are JSON, or nothing. `None`: the server stays silent, as others are asked.
///
/// # Errors
/// The options are not as they have to be.
pub fn answer_request(
    source: &dyn Source,
    endpoint: Endpoint,
    options: &[u8],
) -> Result<Option<Vec<u8>>, RequestError> {
    let facts = source.facts();
    let facts = facts.as_ref();
    Ok(match endpoint {
        Endpoint::Statsz => decoded::<StatszEventOptions>(facts, options)?
            .map(|_| compact(&statsz::document(source, 1))),
        Endpoint::Varz => {
            decoded::<VarzEventOptions>(facts, options)?.map(|_| compact(&varz::document(source)))
        }
        Endpoint::Expvarz => decoded::<ExpvarzEventOptions>(facts, options)?
            .map(|_| compact(&expvarz::document(source))),
        Endpoint::Subsz => match decoded::<subsz::Options>(facts, options)? {
            Some(options) => Some(compact(&subsz::document(source, &options)?)),
            None => None,
        },
        Endpoint::Connz => match decoded::<connz::Options>(facts, options)? {
            Some(options) => Some(compact(&connz::document(source, &options)?)),
            None => None,
        },
        Endpoint::Routez => decoded::<routez::Options>(facts, options)?
            .map(|options| compact(&routez::document(source, &options))),
        Endpoint::Gatewayz => decoded::<gatewayz::Options>(facts, options)?
            .map(|options| compact(&gatewayz::document(source, &options))),
        Endpoint::Leafz => decoded::<leafz::Options>(facts, options)?
            .map(|options| compact(&leafz::document(source, &options))),
        Endpoint::Accountz => match decoded::<AccountzOptions>(facts, options)? {
            Some(options) => Some(compact(&accountz::document(source, &options.account)?)),
            None => None,
        },
        Endpoint::Accstatz => decoded::<AccstatzOptions>(facts, options)?.map(|options| {
            let names = Some(options.accounts.as_slice()).filter(|names| !names.is_empty());
            compact(&accstatz::document(source, names, options.include_unused))
        }),
        // Who is not the leader stays silent where only the leader is asked.
        Endpoint::Jsz => decoded::<jsz::Options>(facts, options)?
            .and_then(|options| jsz::document(source, &options).ok())
            .map(|jsz| compact(&jsz)),
        Endpoint::Healthz => decoded::<healthz::Options>(facts, options)?
            .map(|options| compact(&healthz::document(source, &options))),
        Endpoint::Ipqueuesz => decoded::<IpqueueszOptions>(facts, options)?
            .map(|options| compact(&ipqueuesz::document(source, options.all, &options.filter))),
        // By account, then by group; there are none.
        Endpoint::Raftz => decoded::<RaftzOptions>(facts, options)?
            .map(|_| compact(&BTreeMap::<String, BTreeMap<String, String>>::new())),
    })
}

/// The document about an account, in one line. Whatever account the options name, it is about this
/// one. `None`: the server stays silent.
///
/// # Errors
/// The options are not as they have to be, or the account does not exist.
pub fn answer_account(
    source: &dyn Source,
    endpoint: AccountEndpoint,
    account: &str,
    options: &[u8],
) -> Result<Option<Vec<u8>>, RequestError> {
    let facts = source.facts();
    let facts = facts.as_ref();
    Ok(match endpoint {
        AccountEndpoint::Subsz => match decoded::<subsz::Options>(facts, options)? {
            Some(mut options) => {
                options.account = account.into();
                options.subscriptions = true;
                Some(compact(&subsz::document(source, &options)?))
            }
            None => None,
        },
        AccountEndpoint::Connz => match decoded::<connz::Options>(facts, options)? {
            Some(mut options) => {
                options.account = account.into();
                Some(compact(&connz::document(source, &options)?))
            }
            None => None,
        },
        AccountEndpoint::Leafz => decoded::<leafz::Options>(facts, options)?.map(|mut options| {
            options.account = account.into();
            compact(&leafz::document(source, &options))
        }),
        AccountEndpoint::Jsz => match decoded::<jsz::Options>(facts, options)? {
            Some(mut options) => {
                options.account = account.into();
                Some(compact(&jsz::detail(source, &options)?))
            }
            None => None,
        },
        AccountEndpoint::Info => match decoded::<AccInfoEventOptions>(facts, options)? {
            Some(_) => Some(compact(&accountz::detail(source, account)?)),
            None => None,
        },
        AccountEndpoint::Statz => {
            let exists = facts.accounts.named(account).is_some();
            decoded::<AccstatzOptions>(facts, options)?
                .filter(|_| exists)
                .map(|_| {
                    let names = [account.to_owned()];
                    compact(&accstatz::document(source, Some(&names), true))
                })
        }
        // Options that cannot be read are met with silence here, as in the reference.
        AccountEndpoint::Conns => decode("", options, &mut [])
            .ok()
            .and_then(|()| connections(source, account))
            .map(|stat| compact(&stat)),
    })
}

/// The figures of an account, which the events about its connections hold behind their head;
/// `None` if it does not exist.
pub fn connections(source: &dyn Source, account: &str) -> Option<accstatz::AccountStat> {
    accstatz::of_account(source, account)
}

/// The answer to `IDZ`, which is not wrapped.
pub fn idz(facts: &Facts) -> Vec<u8> {
    #[derive(Serialize)]
    struct Idz<'a> {
        name: &'a str,
        host: &'a str,
        id: &'a str,
    }
    compact(&Idz {
        name: &facts.name,
        host: &facts.host,
        id: &facts.id,
    })
}

/// Options that are the filter alone, by the name that they have in errors.
macro_rules! no_options {
    ($($name:ident)*) => {$(
        #[derive(Default)]
        struct $name;

        impl Decoded for $name {
            const OUTER: &'static str = stringify!($name);

            fn fields(&mut self) -> Vec<Field<'_>> {
                Vec::new()
            }
        }
    )*};
}

no_options!(StatszEventOptions VarzEventOptions ExpvarzEventOptions AccInfoEventOptions);

impl Decoded for connz::Options {
    const OUTER: &'static str = "ConnzEventOptions";

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field::new("ConnzOptions", name, slot);
        vec![
            field("sort", Slot::Text(&mut self.sort)).of_type("server.SortOpt"),
            field("auth", Slot::Bool(&mut self.auth)),
            field("subscriptions", Slot::Bool(&mut self.subscriptions)),
            field("subscriptions_detail", Slot::Bool(&mut self.detail)),
            field("offset", Slot::Int(&mut self.offset)),
            field("limit", Slot::Int(&mut self.limit)),
            field("cid", Slot::Unsigned(&mut self.cid)),
            field("mqtt_client", Slot::Text(&mut self.mqtt_client)),
            field("state", Slot::Int(&mut self.state)).of_type("server.ConnState"),
            field("user", Slot::Text(&mut self.user)),
            field("acc", Slot::Text(&mut self.account)),
            field("filter_subject", Slot::Text(&mut self.filter_subject)),
        ]
    }
}

impl Decoded for subsz::Options {
    const OUTER: &'static str = "SubszEventOptions";

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field::new("SubszOptions", name, slot);
        vec![
            field("offset", Slot::Int(&mut self.offset)),
            field("limit", Slot::Int(&mut self.limit)),
            field("subscriptions", Slot::Bool(&mut self.subscriptions)),
            field("account", Slot::Text(&mut self.account)),
            field("test", Slot::Text(&mut self.test)),
        ]
    }
}

impl Decoded for routez::Options {
    const OUTER: &'static str = "RoutezEventOptions";

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field::new("RoutezOptions", name, slot);
        vec![
            field("subscriptions", Slot::Bool(&mut self.subscriptions)),
            field("subscriptions_detail", Slot::Bool(&mut self.detail)),
        ]
    }
}

impl Decoded for gatewayz::Options {
    const OUTER: &'static str = "GatewayzEventOptions";

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field::new("GatewayzOptions", name, slot);
        vec![
            field("name", Slot::Text(&mut self.name)),
            field("accounts", Slot::Bool(&mut self.accounts)),
            field("account_name", Slot::Text(&mut self.account)),
            field("subscriptions", Slot::Bool(&mut self.subscriptions)),
            field("subscriptions_detail", Slot::Bool(&mut self.detail)),
        ]
    }
}

impl Decoded for leafz::Options {
    const OUTER: &'static str = "LeafzEventOptions";

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field::new("LeafzOptions", name, slot);
        vec![
            field("subscriptions", Slot::Bool(&mut self.subscriptions)),
            field("account", Slot::Text(&mut self.account)),
        ]
    }
}

impl Decoded for jsz::Options {
    const OUTER: &'static str = "JszEventOptions";

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field::new("JSzOptions", name, slot);
        vec![
            field("account", Slot::Text(&mut self.account)),
            field("accounts", Slot::Bool(&mut self.accounts)),
            field("streams", Slot::Bool(&mut self.streams)),
            field("consumer", Slot::Bool(&mut self.consumers)),
            field("direct_consumer", Slot::Bool(&mut self.direct_consumers)),
            field("config", Slot::Bool(&mut self.config)),
            field("leader_only", Slot::Bool(&mut self.leader_only)),
            field("offset", Slot::Int(&mut self.offset)),
            field("limit", Slot::Int(&mut self.limit)),
            field("raft", Slot::Bool(&mut self.raft)),
            field(
                "stream_leader_only",
                Slot::Bool(&mut self.stream_leader_only),
            ),
        ]
    }
}

impl Decoded for healthz::Options {
    const OUTER: &'static str = "HealthzEventOptions";

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field::new("HealthzOptions", name, slot);
        vec![
            field("js-enabled", Slot::Bool(&mut self.js_enabled)),
            field("js-enabled-only", Slot::Bool(&mut self.js_enabled_only)),
            field("js-server-only", Slot::Bool(&mut self.js_server_only)),
            field("js-meta-only", Slot::Bool(&mut self.js_meta_only)),
            field("account", Slot::Text(&mut self.account)),
            field("stream", Slot::Text(&mut self.stream)),
            field("consumer", Slot::Text(&mut self.consumer)),
            field("details", Slot::Bool(&mut self.details)),
        ]
    }
}

#[derive(Default)]
struct AccountzOptions {
    account: String,
}

impl Decoded for AccountzOptions {
    const OUTER: &'static str = "AccountzEventOptions";

    fn fields(&mut self) -> Vec<Field<'_>> {
        let account = Slot::Text(&mut self.account);
        vec![Field::new("AccountzOptions", "account", account)]
    }
}

#[derive(Default)]
struct AccstatzOptions {
    accounts: Vec<String>,
    include_unused: bool,
}

impl Decoded for AccstatzOptions {
    const OUTER: &'static str = "AccountStatzEventOptions";

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field::new("AccountStatzOptions", name, slot);
        vec![
            field("accounts", Slot::Texts(&mut self.accounts)),
            field("include_unused", Slot::Bool(&mut self.include_unused)),
        ]
    }
}

#[derive(Default)]
struct IpqueueszOptions {
    all: bool,
    filter: String,
}

impl Decoded for IpqueueszOptions {
    const OUTER: &'static str = "IpqueueszEventOptions";

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field::new("IpqueueszOptions", name, slot);
        vec![
            field("all", Slot::Bool(&mut self.all)),
            field("filter", Slot::Text(&mut self.filter)),
        ]
    }
}

#[derive(Default)]
struct RaftzOptions {
    account: String,
    group: String,
}

impl Decoded for RaftzOptions {
    const OUTER: &'static str = "RaftzEventOptions";

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field::new("RaftzOptions", name, slot);
        vec![
            field("account", Slot::Text(&mut self.account)),
            field("group", Slot::Text(&mut self.group)),
        ]
    }
}

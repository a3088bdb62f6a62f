//! accountz: the accounts, or one of them in detail.

use super::figures::Figures;
use super::go_json::{Stamp, is_none};
use super::source::Source;
use super::subsz::SublistStats;
use super::{Refused, varz};
use crate::accounts::Tenant;
use crate::accounts::exchange::system;
use crate::broker::Facts;
use crate::broker::survey::CacheTotals;
use crate::options::security::{
    AccountOptions, Destination, Export, ExportKind, GLOBAL_ACCOUNT, Import, ImportKind, Latency,
    Mapping, ResponseType, Sampling,
};
use crate::subject::pattern::is_subset;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// The document.
#[derive(Debug, Serialize)]
pub struct Accountz {
    server_id: String,
    now: Stamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_account: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_detail: Option<Detail>,
}

/// An account.
#[derive(Debug, Serialize)]
pub struct Detail {
    account_name: String,
    update_time: Stamp,
    #[serde(skip_serializing_if = "is_none")]
    is_system: bool,
    expired: bool,
    complete: bool,
    jetstream_enabled: bool,
    leafnode_connections: usize,
    client_connections: usize,
    subscriptions: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    mappings: BTreeMap<String, Vec<MappedTo>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exports: Vec<Exported>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    imports: Vec<Imported>,
    name_tag: String,
    sublist_stats: SublistStats,
}

#[derive(Debug, Serialize)]
struct MappedTo {
    subject: String,
    weight: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    cluster: String,
}

#[derive(Debug, Default, Serialize)]
struct Exported {
    subject: String,
    r#type: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    response_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_latency: Option<Told>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    approved_accounts: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Imported {
    subject: String,
    account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    to: String,
    local_subject: String,
    r#type: &'static str,
    invalid: bool,
    share: bool,
    tracking: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Told>,
}

/// Where latencies are told, and which.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(serialize_with = "sampling")]
    sampling: Sampling,
    results: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn sampling<S: Serializer>(sampling: &Sampling, to: S) -> Result<S::Ok, S::Error> {
    match sampling {
        Sampling::Percent(percent) => to.serialize_u8(*percent),
        Sampling::Headers => to.serialize_str("headers"),
    }
}

const STREAM: &str = "stream";
const SERVICE: &str = "service";

/// The document: all accounts, or the one of that name.
///
/// # Errors
/// It does not exist.
pub fn document(source: &dyn Source, account: &str) -> Result<Accountz, Refused> {
    let (facts, vitals) = (source.facts(), source.vitals());
    let mut accountz = Accountz {
        server_id: facts.id.clone(),
        now: Stamp(vitals.now),
        system_account: varz::system_account(&facts),
        accounts: Vec::new(),
        account_detail: None,
    };
    if account.is_empty() {
        let names = facts.accounts.iter();
        accountz.accounts = names.map(|t| t.account.name.to_string()).collect();
    } else {
        accountz.account_detail = Some(detail(source, account)?);
    }
    Ok(accountz)
}

/// An account in detail.
///
/// # Errors
/// It does not exist.
pub fn detail(source: &dyn Source, account: &str) -> Result<Detail, Refused> {
    let facts = source.facts();
    let Some(tenant) = facts.accounts.named(account) else {
        return Err(Refused(format!("Account {account} does not exist")));
    };
    let links = source.links(false);
    let leafs = links.leafs.iter().filter(|leaf| leaf.account == account);
    let figures = Figures::of(source).account(tenant.account.number);
    let subscriptions = tenant.account.interest.len();
    let configured = options_of(&facts, account);
    let nothing = AccountOptions::default();
    let options = configured.unwrap_or(&nothing);
    let mappings = match account {
        GLOBAL_ACCOUNT => &facts.options.mappings,
        _ => &options.mappings,
    };
    Ok(Detail {
        account_name: account.into(),
        update_time: Stamp(source.vitals().config.loaded),
        is_system: tenant.is_system,
        expired: false,
        complete: true,
        jetstream_enabled: tenant.jetstream.is_some(),
        leafnode_connections: leafs.count(),
        client_connections: figures.connections,
        subscriptions,
        mappings: mappings.iter().map(mapped).collect(),
        exports: exports(tenant, options),
        imports: imports(&facts, tenant, options),
        name_tag: account.into(),
        sublist_stats: SublistStats::new([tenant], &CacheTotals::default()),
    })
}

fn options_of<'a>(facts: &'a Facts, account: &str) -> Option<&'a AccountOptions> {
    let mut accounts = facts.options.accounts.iter();
    accounts.find(|options| options.name == account)
}

/// A mapping as the reference shows it: by weight upwards, each weight with those before it added,
/// and what they leave to a hundred as a destination of its own.
fn mapped(mapping: &Mapping) -> (String, Vec<MappedTo>) {
    let mut destinations = mapping.destinations.clone();
    let listed = destinations.iter().any(|to| to.subject == mapping.source);
    let weights = destinations.iter().map(|to| u32::from(to.weight));
    let rest = 100u32.saturating_sub(weights.sum());
    if rest > 0 && !listed {
        destinations.push(Destination {
            subject: mapping.source.clone(),
            weight: u8::try_from(rest).unwrap_or(100),
            cluster: None,
        });
    }
    destinations.sort_by_key(|to| to.weight);
    let mut sum = 0;
    let shown = destinations.into_iter().map(|to| {
        sum += u32::from(to.weight);
        MappedTo {
            subject: to.subject,
            weight: sum,
            cluster: to.cluster.unwrap_or_default(),
        }
    });
    (mapping.source.clone(), shown.collect())
}

fn exports(tenant: &Tenant, options: &AccountOptions) -> Vec<Exported> {
    let mut shown: Vec<_> = options.exports.iter().map(exported).collect();
    let builtin = system::EXPORTS.iter().filter(|_| tenant.is_system);
    for (subject, response_type, _) in builtin {
        if !shown.iter().any(|own| own.subject == *subject) {
            shown.push(Exported {
                subject: (*subject).into(),
                r#type: SERVICE,
                response_type: type_name(*response_type),
                ..Exported::default()
            });
        }
    }
    shown
}

fn exported(export: &Export) -> Exported {
    let shown = Exported {
        subject: export.subject.clone(),
        r#type: STREAM,
        approved_accounts: export.accounts.clone().unwrap_or_default(),
        ..Exported::default()
    };
    match &export.kind {
        ExportKind::Stream => shown,
        ExportKind::Service {
            response_type,
            latency,
            ..
        } => Exported {
            r#type: SERVICE,
            response_type: type_name(*response_type),
            service_latency: latency.as_ref().map(told),
            ..shown
        },
    }
}

fn type_name(response_type: ResponseType) -> &'static str {
    match response_type {
        ResponseType::Singleton => "Singleton",
        ResponseType::Streamed => "Streamed",
        ResponseType::Chunked => "Chunked",
    }
}

fn told(latency: &Latency) -> Told {
    Told {
        sampling: latency.sampling,
        results: latency.subject.clone(),
    }
}

fn imports(facts: &Facts, tenant: &Tenant, options: &AccountOptions) -> Vec<Imported> {
    let own = options.imports.iter().map(|import| imported(facts, import));
    let mut shown: Vec<_> = own.collect();
    let Some(system) = varz::system_account(facts) else {
        return shown;
    };
    for (to, export, share) in system::IMPORTS {
        let own = |own: &Imported| own.account == system && own.local_subject == *to;
        if (tenant.is_system && *to != system::DIRECT) || shown.iter().any(own) {
            continue;
        }
        let (subject, ..) = system::EXPORTS[*export];
        shown.push(Imported {
            subject: subject.replacen('*', &tenant.account.name, 1),
            account: system.clone(),
            to: (*to).into(),
            local_subject: (*to).into(),
            r#type: SERVICE,
            share: *share,
            ..Imported::default()
        });
    }
    shown
}

fn imported(facts: &Facts, import: &Import) -> Imported {
    let shown = Imported {
        subject: import.subject.clone(),
        account: import.account.clone(),
        ..Imported::default()
    };
    match &import.kind {
        ImportKind::Stream { prefix, to, .. } => {
            let here = match (prefix.as_deref(), to.as_deref()) {
                (_, Some(to)) if !to.is_empty() => to.to_owned(),
                (Some(prefix), _) if !prefix.is_empty() => {
                    format!("{}.{}", prefix.trim_end_matches('.'), import.subject)
                }
                _ => import.subject.clone(),
            };
            Imported {
                local_subject: here,
                r#type: STREAM,
                ..shown
            }
        }
        ImportKind::Service { to, share } => {
            let to = to.clone().filter(|to| !to.is_empty());
            let here = to.unwrap_or_else(|| import.subject.clone());
            Imported {
                to: here.clone(),
                local_subject: here,
                r#type: SERVICE,
                share: *share,
                latency: latency_of(facts, import),
                ..shown
            }
        }
    }
}

/// What the exporting account tells of the latency of a service.
fn latency_of(facts: &Facts, import: &Import) -> Option<Told> {
    let exporter = options_of(facts, &import.account)?;
    exporter
        .exports
        .iter()
        .find_map(|export| match &export.kind {
            ExportKind::Service {
                latency: Some(latency),
                ..
            } if is_subset(import.subject.as_bytes(), export.subject.as_bytes()) => {
                Some(told(latency))
            }
            _ => None,
        })
}

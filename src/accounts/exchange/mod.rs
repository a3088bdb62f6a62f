//! What accounts have of each other: streams, whose messages appear in the accounts that import
//! them, and services, whose requests go to the account that exports them.
//!
//! [`build`] checks what is configured, and says what messages of an account go to others under
//! which subjects. How they get there, and how answers come back, is left to the broker.

mod cycles;
mod pattern;
pub mod system;
#[cfg(test)]
pub(crate) mod tests;

use super::{Account, SYSTEM};
use crate::base::text::quoted;
use crate::options::Options;
use crate::options::security::{
    AccountOptions, Export, ExportKind, Import, ImportKind, Latency, ResponseType,
};
use crate::subject::{self, Matches, Sublist};
use cycles::Edge;
pub use pattern::Mapper;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How long after a request, or between two answers, there may be an answer, if nothing is said.
const THRESHOLD: Duration = Duration::from_secs(120);

/// What other accounts have of one account, and what it has of them, in the direction that its
/// messages take.
#[derive(Default)]
pub struct Exchange {
    streams: Directory<Arc<StreamShare>>,
    services: Directory<Arc<ServiceImport>>,
}

/// An account that imports messages.
pub struct StreamShare {
    pub importer: Arc<Account>,
    /// From their subjects to those in the importing account.
    pub mapper: Mapper,
    /// Whether the exporting account is told who gets the messages that it traces.
    pub allow_trace: bool,
    /// The subjects in the importing account, and the way back from them.
    local: Box<str>,
    back: Mapper,
}

impl StreamShare {
    /// What a subscription of the importing account looks like in the exporting account: the
    /// pattern of those subjects there that it gets by this import.
    pub fn there(&self, subscribed: &str) -> Option<String> {
        let here = pattern::intersection(subscribed, &self.local)?;
        Some(self.back.map(&here))
    }
}

/// A service of another account.
pub struct ServiceImport {
    pub exporter: Arc<Account>,
    /// From the subjects of requests to those in the exporting account.
    pub mapper: Mapper,
    pub export: Arc<ServiceExport>,
    /// Whether the exporting account is told who asks.
    pub share: bool,
}

/// A service that others may use.
#[derive(Debug)]
pub struct ServiceExport {
    /// The number of the account.
    pub account: u32,
    pub subject: Box<str>,
    pub response_type: ResponseType,
    /// How long after the request, or between two answers, there may be one.
    pub threshold: Duration,
    pub latency: Option<Latency>,
    /// Whether who traces a request is told who gets it.
    pub allow_trace: bool,
}

impl ServiceExport {
    /// Whether this is the same service, be it of another generation of the configuration.
    pub fn is(&self, other: &ServiceExport) -> bool {
        self.account == other.account && self.subject == other.subject
    }
}

/// Values by the patterns of the subjects that they are for.
struct Directory<T> {
    values: Vec<T>,
    patterns: Option<Sublist<u32>>,
    /// The bytes that subjects begin with for which there may be something, a bit each, as most
    /// subjects are for nobody else.
    firsts: [u64; 4],
}

impl<T> Default for Directory<T> {
    fn default() -> Self {
        Directory {
            values: Vec::new(),
            patterns: None,
            firsts: [0; 4],
        }
    }
}

impl<T> Directory<T> {
    fn insert(&mut self, pattern: &str, value: T, seed: u64) {
        let at = u32::try_from(self.values.len()).expect("imports are fewer");
        let first = subject::first_token(pattern.as_bytes());
        match first.first() {
            Some(byte) if !subject::is_wildcard_token(first) => {
                self.firsts[usize::from(*byte >> 6)] |= 1 << (*byte & 63);
            }
            _ => self.firsts = [u64::MAX; 4],
        }
        let patterns = self.patterns.get_or_insert_with(|| Sublist::new(seed));
        let inserted = patterns.insert(pattern.as_bytes(), None, at);
        debug_assert!(inserted.is_ok(), "{pattern} was checked");
        self.values.push(value);
    }

    /// How many of a subject's first tokens decide, with the number of all, whether there is something.
    fn decisive(&self, subject: &[u8]) -> usize {
        let mut matches = Matches::default();
        if let Some(patterns) = &self.patterns {
            patterns.matches(subject, &mut matches);
        }
        matches.decisive()
    }

    /// What is there for a subject, in the order in which it was inserted.
    fn matches(&self, subject: &[u8]) -> impl Iterator<Item = &T> {
        let mut matches = Matches::default();
        if let Some(patterns) = &self.patterns {
            patterns.matches(subject, &mut matches);
            matches.plain.sort_unstable();
        }
        let found = matches.plain.into_iter();
        found.map(|at| &self.values[at as usize])
    }
}

impl Exchange {
    /// Whether no message of the account goes to another.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.streams.patterns.is_none() && self.services.patterns.is_none()
    }

    /// Whether messages on this subject may go to another. Most subjects are settled by their first
    /// byte.
    #[inline]
    pub fn may_concern(&self, subject: &[u8]) -> bool {
        let first = subject.first().copied().unwrap_or_default();
        let of = |firsts: &[u64; 4]| firsts[usize::from(first >> 6)] >> (first & 63) & 1 == 1;
        of(&self.streams.firsts) || of(&self.services.firsts)
    }

    /// How many of a subject's first tokens decide, with the number of all, whether messages on it go to
    /// another account.
    pub fn decisive(&self, subject: &[u8]) -> usize {
        let (streams, services) = (&self.streams, &self.services);
        streams.decisive(subject).max(services.decisive(subject))
    }

    /// Who imports messages on this subject.
    pub fn streams(&self, subject: &[u8]) -> impl Iterator<Item = &Arc<StreamShare>> {
        self.streams.matches(subject)
    }

    /// All accounts that import messages of this one, each as often as it does.
    pub fn all_streams(&self) -> impl Iterator<Item = &Arc<StreamShare>> {
        self.streams.values.iter()
    }

    /// All services of other accounts that this one uses.
    pub fn all_services(&self) -> impl Iterator<Item = &Arc<ServiceImport>> {
        self.services.values.iter()
    }

    /// The services of other accounts that are asked on this subject.
    pub fn services(&self, subject: &[u8]) -> impl Iterator<Item = &Arc<ServiceImport>> {
        self.services.matches(subject)
    }
}

/// An export, and who may import it.
struct Rule {
    subject: String,
    /// `None`: everybody.
    accounts: Option<HashSet<String>>,
    /// The token that must be the name of the importing account, from 1.
    position: Option<usize>,
    service: Option<Arc<ServiceExport>>,
}

impl Rule {
    fn allows(&self, importer: &str, subject: &str) -> bool {
        if let Some(position) = self.position {
            let token = subject.split('.').nth(position - 1);
            return subject != self.subject && token == Some(importer);
        }
        let accounts = self.accounts.as_ref();
        accounts.is_none_or(|accounts| accounts.contains(importer))
    }
}

/// The exports of an account of one kind.
#[derive(Default)]
struct Rules {
    list: Vec<Rule>,
    by_subject: HashMap<String, usize>,
}

impl Rules {
    /// The export that lets an account import a subject: that of the very subject, or else the
    /// first that covers it.
    fn find(&self, importer: &str, subject: &str) -> Option<&Rule> {
        if let Some(exact) = self.by_subject.get(subject) {
            let rule = &self.list[*exact];
            return rule.allows(importer, subject).then_some(rule);
        }
        let covers = |rule: &&Rule| pattern::is_subset(subject, &rule.subject);
        let mut covering = self.list.iter().filter(covers);
        covering.find(|rule| rule.allows(importer, subject))
    }

    /// Whether the subject is exported, to whomever.
    fn covers(&self, subject: &str) -> bool {
        let mut rules = self.list.iter();
        rules.any(|rule| pattern::is_subset(subject, &rule.subject))
    }

    /// Adds an export; one of a subject that is there takes its place, but nobody is allowed
    /// anything that one of them keeps to others.
    fn insert(&mut self, mut rule: Rule) {
        match self.by_subject.get(&rule.subject) {
            Some(at) => {
                let old = &mut self.list[*at];
                rule.accounts = match (rule.accounts, old.accounts.take()) {
                    (Some(new), Some(old)) => Some(new.union(&old).cloned().collect()),
                    (new, old) => new.or(old),
                };
                rule.position = rule.position.or(old.position);
                *old = rule;
            }
            None => {
                let subject = rule.subject.clone();
                self.by_subject.insert(subject, self.list.len());
                self.list.push(rule);
            }
        }
    }
}

/// An account, while what it exports and imports is looked at.
struct Party<'a> {
    options: &'a AccountOptions,
    account: Arc<Account>,
    streams: Rules,
    services: Rules,
    exchange: Exchange,
    imported: HashSet<(usize, &'a str)>,
    asked: HashMap<(usize, &'a str), &'a str>,
}

/// The work on all accounts together.
struct Builder<'a> {
    parties: Vec<Party<'a>>,
    by_name: HashMap<&'a str, usize>,
    faults: Vec<String>,
    /// The ways of streams and services, each with what it is called in an error.
    stream_edges: (Vec<Edge>, Vec<String>),
    service_edges: (Vec<Edge>, Vec<String>),
    has_system: bool,
    /// The account that the server itself uses, if it is among these.
    system: Option<usize>,
    seed: u64,
}

/// The [`Exchange`] of each account that has one, by number. `account` finds the accounts that are
/// configured by their names; `seed` is for hash tables.
///
/// # Errors
/// All that is wrong, a text each.
pub(super) fn build(
    options: &Options,
    account: impl Fn(&str) -> Option<Arc<Account>>,
    seed: u64,
) -> Result<HashMap<u32, Exchange>, Vec<String>> {
    let mut builder = Builder {
        parties: Vec::new(),
        by_name: HashMap::new(),
        faults: Vec::new(),
        stream_edges: Default::default(),
        service_edges: Default::default(),
        has_system: !options.no_system_account,
        system: None,
        seed,
    };
    for options in &options.accounts {
        if let Some(account) = account(&options.name) {
            let at = builder.parties.len();
            builder.by_name.entry(&options.name).or_insert(at);
            builder.parties.push(Party {
                options,
                account,
                streams: Rules::default(),
                services: Rules::default(),
                exchange: Exchange::default(),
                imported: HashSet::new(),
                asked: HashMap::new(),
            });
        }
    }
    let system = options.system_account.as_deref().unwrap_or(SYSTEM);
    builder.system = builder.by_name.get(system).copied();
    builder.system = builder.system.filter(|_| builder.has_system);
    builder.run();
    if !builder.faults.is_empty() {
        return Err(builder.faults);
    }
    let parties = builder.parties.into_iter();
    let some = parties.filter(|party| !party.exchange.is_empty());
    Ok(some
        .map(|party| (party.account.number, party.exchange))
        .collect())
}

impl<'a> Builder<'a> {
    fn run(&mut self) {
        for at in 0..self.parties.len() {
            let options = self.parties[at].options;
            for export in &options.exports {
                self.export(at, export);
            }
        }
        if let Some(party) = self.system.and_then(|at| self.parties.get_mut(at)) {
            system::export_services(&mut party.services, &party.account);
        }
        for at in 0..self.parties.len() {
            self.check_latencies(at);
        }
        for at in 0..self.parties.len() {
            let options = self.parties[at].options;
            for import in &options.imports {
                match self.by_name.get(import.account.as_str()) {
                    Some(from) => self.import(at, *from, import),
                    None => {
                        let name = quoted(import.account.as_bytes());
                        let kind = import.kind_name();
                        let fault = format!("{name} account not defined for {kind} import");
                        self.faults.push(fault);
                    }
                }
            }
        }
        for (edges, names) in [&self.stream_edges, &self.service_edges] {
            for (at, fault) in cycles::faults(edges, self.parties.len()) {
                self.faults.push(format!("{}: {}", names[at], fault.text()));
            }
        }
    }

    fn export(&mut self, at: usize, export: &Export) {
        let (kind, service) = match &export.kind {
            ExportKind::Stream => ("stream", None),
            ExportKind::Service {
                response_type,
                response_threshold,
                latency,
                allow_trace,
            } => {
                let service = ServiceExport {
                    account: self.parties[at].account.number,
                    subject: export.subject.as_str().into(),
                    response_type: *response_type,
                    threshold: response_threshold.unwrap_or(THRESHOLD),
                    latency: latency.clone(),
                    allow_trace: *allow_trace,
                };
                ("service", Some(Arc::new(service)))
            }
        };
        for name in export.accounts.iter().flatten() {
            if !self.by_name.contains_key(name.as_str()) {
                let name = quoted(name.as_bytes());
                let fault = format!("{name} account not defined for {kind} export");
                self.faults.push(fault);
            }
        }
        let mut tokens = export.subject.split('.');
        let wildcard = match export.account_token_position {
            None | Some(0) => true,
            Some(position) => tokens.nth(position - 1) == Some("*"),
        };
        if !wildcard || !is_valid(&export.subject) {
            let subject = quoted(export.subject.as_bytes());
            let fault = format!("Error adding {kind} export {subject}: {INVALID}");
            return self.faults.push(fault);
        }
        let accounts = export.accounts.as_ref().filter(|list| !list.is_empty());
        let is_service = service.is_some();
        let rule = Rule {
            subject: export.subject.clone(),
            accounts: accounts.map(|list| list.iter().cloned().collect()),
            position: export.account_token_position.filter(|at| *at > 0),
            service,
        };
        let party = &mut self.parties[at];
        if is_service {
            party.services.insert(rule);
        } else {
            party.streams.insert(rule);
        }
    }

    /// Where latencies of services are told must be possible, and no service itself.
    fn check_latencies(&mut self, at: usize) {
        let rules = &self.parties[at].services;
        for service in rules.list.iter().filter_map(|rule| rule.service.as_ref()) {
            let Some(latency) = &service.latency else {
                continue;
            };
            let subject = latency.subject.as_str();
            let of = quoted(service.subject.as_bytes());
            let head = format!("Error adding service latency sampling for {of}");
            let fault = if !self.has_system {
                self.faults
                    .push(format!("{head}: system account not setup"));
                continue;
            } else if !subject::is_literal(subject.as_bytes()) || rules.covers(subject) {
                "invalid publish subject"
            } else if service.response_type != ResponseType::Singleton {
                "bad service response type"
            } else {
                continue;
            };
            let to = quoted(subject.as_bytes());
            self.faults.push(format!("{head} on subject {to}: {fault}"));
        }
    }

    fn import(&mut self, at: usize, from: usize, import: &'a Import) {
        let done = match &import.kind {
            ImportKind::Stream {
                prefix,
                to,
                allow_trace,
            } => {
                let local = (prefix.as_deref(), to.as_deref());
                self.import_stream(at, from, &import.subject, local, *allow_trace)
            }
            ImportKind::Service { to, share } => {
                let to = to.as_deref().filter(|to| !to.is_empty());
                self.import_service(at, from, &import.subject, to, *share)
            }
        };
        if let Err(fault) = done {
            self.faults.push(match fault {
                Fault::Whole(text) => text,
                Fault::Reason(text) => format!("{}: {text}", import.head()),
            });
        }
    }

    fn import_stream(
        &mut self,
        at: usize,
        from: usize,
        subject: &'a str,
        (prefix, to): (Option<&str>, Option<&str>),
        allow_trace: bool,
    ) -> Result<(), Fault> {
        let prefix = prefix.filter(|prefix| !prefix.is_empty());
        let to = to.filter(|to| !to.is_empty());
        let importer = &self.parties[at].options.name;
        let rules = &self.parties[from].streams;
        if prefix.is_some() && to.is_some() {
            let text = "Stream import can not have a 'prefix' and a 'to' property";
            return Err(Fault::Whole(text.into()));
        }
        if !is_valid(subject) || rules.find(importer, subject).is_none() {
            return Err(Fault::reason("stream import not authorized"));
        }
        let local = match (prefix, to) {
            (Some(prefix), _) => {
                let prefix = prefix.strip_suffix('.').unwrap_or(prefix);
                if prefix.split('.').any(|token| matches!(token, "*" | ">")) {
                    let text = "stream import prefix can not contain wildcard tokens";
                    return Err(Fault::reason(text));
                }
                format!("{prefix}.{subject}")
            }
            (_, to) => to.unwrap_or(subject).to_owned(),
        };
        if !is_valid(&local) {
            return Err(Fault::reason(INVALID));
        }
        let untransformable = |e| {
            let (from, to) = (quoted(subject.as_bytes()), quoted(local.as_bytes()));
            Fault::Reason(format!(
                "failed to create mapping transform for stream import subject from {from} to \
                 {to}: {e}"
            ))
        };
        let mapper = Mapper::forwards(subject, &local).map_err(untransformable)?;
        let back = Mapper::backwards(&local, subject).map_err(untransformable)?;
        if !self.parties[at].imported.insert((from, subject)) {
            return Err(Fault::reason("stream import already exists"));
        }
        self.stream_edges.1.push(head("stream", subject));
        self.stream_edges.0.push(Edge {
            from,
            pattern: subject.to_owned(),
            to: at,
            mapper: mapper.clone(),
        });
        let share = StreamShare {
            importer: self.parties[at].account.clone(),
            mapper,
            allow_trace,
            local: pattern::plain(&local).into(),
            back,
        };
        let streams = &mut self.parties[from].exchange.streams;
        streams.insert(subject, Arc::new(share), self.seed);
        Ok(())
    }

    fn import_service(
        &mut self,
        at: usize,
        from: usize,
        subject: &'a str,
        to: Option<&'a str>,
        share: bool,
    ) -> Result<(), Fault> {
        let local = to.unwrap_or(subject);
        let importer = self.parties[at].options.name.as_str();
        let exporter = &self.parties[from];
        if let Some(other) = self.parties[at].asked.get(&(from, local)) {
            return Err(Fault::Whole(format!(
                "Duplicate service import subject {}, previously used in import for account {}, \
                 subject {}",
                quoted(local.as_bytes()),
                quoted(exporter.options.name.as_bytes()),
                quoted(other.as_bytes())
            )));
        }
        if !is_valid(local) || !is_valid(subject) {
            return Err(Fault::reason(INVALID));
        }
        let rule = exporter.services.find(importer, subject);
        let Some(export) = rule.and_then(|rule| rule.service.clone()) else {
            return Err(Fault::reason("service import not authorized"));
        };
        let mapper = Mapper::backwards(local, subject).map_err(|e| {
            let (from, to) = (quoted(local.as_bytes()), quoted(subject.as_bytes()));
            Fault::Reason(format!(
                "failed to create mapping transform for service import subject from {from} to \
                 {to}: {e}"
            ))
        })?;
        let pattern = pattern::plain(local);
        self.service_edges.1.push(head("service", subject));
        self.service_edges.0.push(Edge {
            from: at,
            pattern: pattern.clone(),
            to: from,
            mapper: mapper.clone(),
        });
        let import = ServiceImport {
            exporter: exporter.account.clone(),
            mapper,
            export,
            share,
        };
        let seed = self.seed;
        let party = &mut self.parties[at];
        party.asked.insert((from, local), subject);
        party
            .exchange
            .services
            .insert(&pattern, Arc::new(import), seed);
        Ok(())
    }
}

/// What is wrong with an import.
enum Fault {
    /// All of the text.
    Whole(String),
    /// What follows the import's name.
    Reason(String),
}

impl Fault {
    fn reason(text: &str) -> Fault {
        Fault::Reason(text.to_owned())
    }
}

const INVALID: &str = "sublist: invalid subject";

fn is_valid(subject: &str) -> bool {
    subject::is_valid(subject.as_bytes())
}

fn head(kind: &str, subject: &str) -> String {
    format!("Error adding {kind} import {}", quoted(subject.as_bytes()))
}

impl Import {
    fn kind_name(&self) -> &'static str {
        match self.kind {
            ImportKind::Stream { .. } => "stream",
            ImportKind::Service { .. } => "service",
        }
    }

    fn head(&self) -> String {
        head(self.kind_name(), &self.subject)
    }
}

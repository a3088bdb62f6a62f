//! What is told of streams and accounts.

use super::requests::{Reaction, Request};
use super::tenants::told;
use super::{Node, decode};
use crate::accounts::Account;
use crate::jetstream::api::info::{
    AccountStats, AccountTier, ApiStats, ClusterInfo, StreamInfo, StreamState,
};
use crate::jetstream::api::request::{StreamInfoRequest, StreamListRequest, StreamNamesRequest};
use crate::jetstream::api::response::{
    AccountInfoBody, Paging, StreamInfoBody, StreamListBody, StreamNamesBody,
};
use crate::jetstream::api::{ApiError, LEVEL, StorageType};
use crate::jetstream::stream::Stream;
use crate::json::Time;
use crate::json::decode::Decode;
use crate::store::index::{Cursor, Filters};
use crate::store::types::Timestamp;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Entries of a page: names, streams, and subjects of one stream.
const NAMES: usize = 1024;
const LIST: usize = 256;
const SUBJECTS: usize = 100_000;

impl Node {
    pub(super) fn account_info(&mut self, account: &Account) -> Reaction {
        let mut total = AccountTier::default();
        for (_, at) in self.streams_of(account.number) {
            let Some(stream) = self.streams[at].stream() else {
                continue;
            };
            total.streams += 1;
            total.consumers += stream.consumer_count() as u64;
            let state = stream.state();
            let reserved = u64::try_from(stream.config.max_bytes).unwrap_or(0);
            match stream.config.storage {
                StorageType::File => {
                    total.storage += state.bytes;
                    total.reserved_storage += reserved;
                }
                StorageType::Memory => {
                    total.memory += state.bytes;
                    total.reserved_memory += reserved;
                }
            }
        }
        let tenant = self.tenants.get(account.number);
        let figures = tenant.map(|tenant| tenant.requests).unwrap_or_default();
        if let Some(tenant) = tenant {
            total.limits = told(&tenant.limits);
        }
        let stats = AccountStats {
            total,
            domain: self.identity.options.domain.clone().unwrap_or_default(),
            api: ApiStats {
                level: LEVEL,
                total: figures.total,
                errors: figures.errors,
                ..ApiStats::default()
            },
            ..AccountStats::default()
        };
        self.reply(Ok(AccountInfoBody { stats: Some(stats) }))
    }

    /// The streams of an account by name, those that are made or removed included.
    pub(super) fn streams_of(&self, account: u32) -> impl Iterator<Item = (&str, usize)> {
        self.names.of(account)
    }

    /// The open streams of an account with subjects that overlap with one, by name.
    fn matching(&self, account: u32, subject: &str) -> Vec<usize> {
        let all = self.streams_of(account);
        all.filter(|(_, at)| {
            self.streams[*at].stream().is_some_and(|stream| {
                let overlaps = |own: &String| {
                    crate::subject::pattern::overlaps(own.as_bytes(), subject.as_bytes())
                };
                subject.is_empty() || stream.config.subjects.iter().any(overlaps)
            })
        })
        .map(|(_, at)| at)
        .collect()
    }

    pub(super) fn stream_names(&mut self, account: &Account, request: &Request) -> Reaction {
        let asked = self.listed(request, |asked: StreamNamesRequest| {
            (asked.offset, asked.subject)
        });
        let page = asked.map(|asked| self.page(account, &asked, NAMES));
        let result = page.map(|(paging, page)| {
            let names = page.iter().map(|at| self.streams[*at].name.clone());
            let streams = (!page.is_empty()).then(|| names.collect());
            StreamNamesBody { paging, streams }
        });
        self.reply(result)
    }

    pub(super) fn stream_list(
        &mut self,
        account: &Account,
        request: &Request,
        now: Timestamp,
    ) -> Reaction {
        let asked = self.listed(request, |asked: StreamListRequest| {
            (asked.offset, asked.subject)
        });
        let page = asked.map(|asked| self.page(account, &asked, LIST));
        let result = page.map(|(paging, page)| {
            let (domain, _) = self.told_with_streams();
            let infos = page.iter().filter_map(|at| {
                let stream = self.open_stream(*at)?;
                Some(stream_info(stream, now, &domain))
            });
            StreamListBody {
                paging,
                streams: infos.collect(),
                ..StreamListBody::default()
            }
        });
        self.reply(result)
    }

    /// What a request for a list asks for: where to begin, and with which subject.
    fn listed<T: Decode>(
        &self,
        request: &Request,
        parts: impl Fn(T) -> (i64, String),
    ) -> Result<(i64, String), ApiError> {
        let asked = match request.json() {
            Some(json) => decode::read(json, self.identity.options.strict)?,
            None => T::default(),
        };
        Ok(parts(asked))
    }

    fn page(
        &self,
        account: &Account,
        (offset, subject): &(i64, String),
        limit: usize,
    ) -> (Paging, Vec<usize>) {
        let all = self.matching(account.number, subject);
        let offset = usize::try_from(*offset).unwrap_or(0).min(all.len());
        let paging = Paging {
            total: all.len() as u64,
            offset: offset as u64,
            limit: limit as u64,
        };
        let page = all.into_iter().skip(offset).take(limit).collect();
        (paging, page)
    }

    fn told_with_streams(&self) -> (String, Option<ClusterInfo>) {
        let domain = self.identity.options.domain.clone().unwrap_or_default();
        let leader = ClusterInfo {
            leader: self.identity.server.clone(),
            ..ClusterInfo::default()
        };
        (domain, Some(leader))
    }

    pub(super) fn stream_info(
        &mut self,
        account: &Arc<Account>,
        name: &str,
        request: &Request,
        now: Timestamp,
    ) -> Reaction {
        let result = self.info(account, name, request, now);
        self.reply(result)
    }

    fn info(
        &mut self,
        account: &Account,
        name: &str,
        request: &Request,
        now: Timestamp,
    ) -> Result<StreamInfoBody, ApiError> {
        let asked: StreamInfoRequest = match request.json() {
            Some(json) => decode::read(json, self.identity.options.strict)?,
            None => Default::default(),
        };
        let (domain, leader) = self.told_with_streams();
        let (_, stream) = self.named(account, name)?;
        let mut info = stream_info(stream, now, &domain);
        info.config = super::create::with_level(&info.config);
        info.cluster = leader;
        if asked.deleted_details {
            let runs = stream.store().deleted();
            let all = runs.flat_map(|(first, last)| first.0..=last.0);
            info.state.deleted = all.take(SUBJECTS).collect();
        }
        let mut paging = Paging::default();
        if !asked.subjects_filter.is_empty() {
            let offset = usize::try_from(asked.offset).unwrap_or(0);
            let (total, subjects) = subjects(stream, &asked.subjects_filter, offset)?;
            info.state.subjects = subjects;
            paging = Paging {
                total,
                offset: offset as u64,
                limit: SUBJECTS as u64,
            };
        }
        Ok(StreamInfoBody {
            paging,
            info: Some(info),
        })
    }
}

/// A page of the subjects that match, with the numbers of their messages, and how many there are.
fn subjects(
    stream: &Stream,
    filter: &str,
    offset: usize,
) -> Result<(u64, BTreeMap<String, u64>), ApiError> {
    let filters = Filters::new([filter.as_bytes()]).map_err(|_| ApiError::BadRequest)?;
    let (mut total, mut page) = (0usize, BTreeMap::new());
    let mut cursor = Cursor::start();
    let store = stream.store();
    store.subjects(&filters, &mut cursor, usize::MAX, |subject, count| {
        if total >= offset && page.len() < SUBJECTS {
            page.insert(String::from_utf8_lossy(subject).into_owned(), count);
        }
        total += 1;
        ControlFlow::Continue(())
    });
    Ok((total as u64, page))
}

/// What is told of a stream.
pub(super) fn stream_info(stream: &mut Stream, now: Timestamp, domain: &str) -> StreamInfo {
    let state = stream.state();
    let first_ts = match state.messages {
        0 => Time::ZERO,
        _ => stream
            .first_time()
            .map_or(Time::ZERO, |at| Time::from_unix_nanos(at.0)),
    };
    let last_ts = match state.last_time {
        Timestamp(0) => Time::ZERO,
        Timestamp(nanos) => Time::from_unix_nanos(nanos),
    };
    let (mirror, sources) = stream.origin_infos(now);
    StreamInfo {
        mirror,
        sources,
        config: stream.config.clone(),
        created: stream.created,
        state: StreamState {
            messages: state.messages,
            bytes: state.bytes,
            // That of a stream that never had a message is none, as in the reference.
            first_seq: if state.last.0 == 0 { 0 } else { state.first.0 },
            first_ts,
            last_seq: state.last.0,
            last_ts,
            num_subjects: state.subjects,
            num_deleted: state.deleted,
            consumer_count: stream.consumer_count() as u64,
            lost: stream.lost(),
            ..StreamState::default()
        },
        domain: domain.to_owned(),
        ts: Time::from_unix_nanos(now.0),
        ..StreamInfo::default()
    }
}

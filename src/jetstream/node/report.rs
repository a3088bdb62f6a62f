//! What monitoring is told.

use super::Node;
use super::info::stream_info;
use crate::jetstream::api::StorageType;
use crate::jetstream::api::info::ClusterInfo;
use crate::jetstream::out::Out;
use crate::jetstream::report::{AccountReport, Question, Report, StreamReport, Sums};
use crate::store::types::Timestamp;

impl Node {
    /// Answers a question of monitoring.
    pub fn report<O: Out>(&mut self, asked: &Question, now: Timestamp, out: &mut O) -> Report {
        let mut report = Report {
            max_memory: self.identity.max_memory,
            max_storage: self.identity.max_storage,
            store_dir: self.identity.options.directory().display().to_string(),
            unwell: self.unwell().collect(),
            ..Report::default()
        };
        let accounts = self.tenants.sorted();
        report.accounts_total = accounts.len();
        let mut at = 0;
        for (number, name) in accounts {
            let streams: Vec<usize> = self.streams_of(number).map(|(_, at)| at).collect();
            let mut account = AccountReport {
                name,
                ..AccountReport::default()
            };
            let named = asked.account.is_empty() || asked.account == account.name;
            let on_page = named && at >= asked.offset && at - asked.offset < asked.limit;
            at += usize::from(named);
            let told = asked.accounts && on_page;
            for stream in streams {
                self.sum_up(stream, &mut account.sums);
                if told && asked.streams {
                    account
                        .streams
                        .extend(self.stream_report(stream, asked.consumers, now, out));
                }
            }
            report.sums.add(&account.sums);
            let figures = self.tenants.get(number).map(|tenant| tenant.requests);
            let figures = figures.unwrap_or_default();
            account.sums.requests = figures.total;
            account.sums.refusals = figures.errors;
            if told {
                report.accounts.push(account);
            }
        }
        report.sums.requests = self.figures.total;
        report.sums.refusals = self.figures.errors;
        report
    }

    fn sum_up(&self, at: usize, sums: &mut Sums) {
        let Some(stream) = self.streams[at].stream() else {
            return;
        };
        let state = stream.state();
        let reserved = u64::try_from(stream.config.max_bytes).unwrap_or(0);
        match stream.config.storage {
            StorageType::File => {
                sums.storage += state.bytes;
                sums.reserved_storage += reserved;
            }
            StorageType::Memory => {
                sums.memory += state.bytes;
                sums.reserved_memory += reserved;
            }
        }
        sums.streams += 1;
        sums.messages += state.messages;
        sums.consumers += stream.consumer_count() as u64;
    }

    fn stream_report<O: Out>(
        &mut self,
        at: usize,
        consumers: bool,
        now: Timestamp,
        out: &mut O,
    ) -> Option<StreamReport> {
        let domain = self.identity.options.domain.clone().unwrap_or_default();
        let cluster = ClusterInfo {
            leader: self.identity.server.clone(),
            ..ClusterInfo::default()
        };
        let stream = self.open_stream(at)?;
        let mut report = StreamReport {
            info: stream_info(stream, now, &domain),
            cluster,
            consumers: Vec::new(),
        };
        if consumers {
            // Those that are there for mirrors and sources are not shown.
            let places: Vec<_> = stream
                .consumer_names()
                .map(|(_, place)| place)
                .filter(|at| stream.consumer_config(*at).is_some_and(|c| !c.direct))
                .collect();
            for place in places {
                report.consumers.extend(stream.told(place, now, out));
            }
        }
        Some(report)
    }
}

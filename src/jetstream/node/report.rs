//! What monitoring is told.

use super::Node;
use super::info::stream_info;
use crate::jetstream::api::StorageType;
use crate::jetstream::api::info::ClusterInfo;
use crate::jetstream::out::Out;
use crate::jetstream::report::{
    AccountReport, DAMAGED_MAX, Damaged, Question, Report, StreamReport, Sums,
};
use crate::store::types::Timestamp;

impl Node {
    /// Answers a question of monitoring.
    pub fn report<O: Out>(&mut self, asked: &Question, now: Timestamp, out: &mut O) -> Report {
        let mut report = Report {
            max_memory: self.identity.max_memory,
            max_storage: self.identity.max_storage,
            store_dir: self.identity.options.directory().display().to_string(),
            journal_error: self.journal.failure(),
            unwell: self.unwell().collect(),
            ..Report::default()
        };
        let accounts = self.tenants.sorted();
        report.accounts_total = accounts.len();
        let mut at = 0;
        let mut left = asked.at_most.unwrap_or((usize::MAX, usize::MAX));
        for (number, name) in accounts {
            let streams: Vec<usize> = self.streams_of(number).map(|(_, at)| at).collect();
            let limits = self.tenants.get(number).map(|tenant| tenant.limits);
            let mut account = AccountReport {
                name,
                max_memory: limits.and_then(|limits| limits.max_memory),
                max_storage: limits.and_then(|limits| limits.max_storage),
                ..AccountReport::default()
            };
            let named = asked.account.is_empty() || asked.account == account.name;
            let on_page = named && at >= asked.offset && at - asked.offset < asked.limit;
            at += usize::from(named);
            let told = asked.accounts && on_page;
            for stream in streams {
                let lost = self.sum_up(stream, &mut account.sums);
                if lost > 0 && report.damaged.len() < DAMAGED_MAX {
                    report.damaged.push(Damaged {
                        account: account.name.clone(),
                        stream: self.streams[stream].name.clone(),
                        messages: lost,
                    });
                }
                let named = asked.stream.is_empty() || asked.stream == self.streams[stream].name;
                if told && asked.streams && named && left.0 > 0 {
                    left.0 -= 1;
                    let consumers = if asked.consumers { left.1 } else { 0 };
                    let told = self.stream_report(stream, (asked, consumers), now, out);
                    left.1 -= told.as_ref().map_or(0, |told| told.consumers.len());
                    account.streams.extend(told);
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

    /// Adds a stream's figures; gives the number of messages that it has lost.
    fn sum_up(&self, at: usize, sums: &mut Sums) -> u64 {
        let Some(stream) = self.streams[at].stream() else {
            return 0;
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
        sums.lost += state.lost;
        state.lost
    }

    fn stream_report<O: Out>(
        &mut self,
        at: usize,
        (asked, consumers): (&Question, usize),
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
            lost: stream.state().lost,
            info: stream_info(stream, now, &domain),
            cluster,
            consumers: Vec::new(),
            direct: Vec::new(),
        };
        // Those that are there for mirrors and sources are not shown with the others.
        let is_direct = |at| {
            stream
                .consumer_config(at)
                .is_none_or(|config| config.direct)
        };
        let named = |name: &str| asked.consumer.is_empty() || asked.consumer == name;
        let names = stream.consumer_names().filter(|(name, _)| named(name));
        let (direct, shown): (Vec<_>, Vec<_>) =
            names.map(|(_, at)| at).partition(|at| is_direct(*at));
        for place in shown.into_iter().take(consumers) {
            report.consumers.extend(stream.told(place, now, out));
        }
        for place in direct.into_iter().filter(|_| asked.direct) {
            report.direct.extend(stream.told(place, now, out));
        }
        Some(report)
    }
}

//! The engine's settings, made of a consumer's configuration.

use super::settings::{
    AckPolicy, DeliverPolicy, Mode, Priority, PullSettings, PushSettings, Rate, Retention, Settings,
};
use crate::jetstream::api::ack::AckSubject;
use crate::jetstream::api::{self, ConsumerConfig, PriorityPolicy, ReplayPolicy, RetentionPolicy};
use crate::json::{Nanos, Time};
use crate::store::index::{InvalidFilter, StreamSeq, Timestamp};

/// What has to be known of the stream.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The stream's name.
    pub stream: &'a str,
    pub retention: RetentionPolicy,
    /// Bytes of the largest message that the stream takes.
    pub message_bytes_max: u64,
    /// The domain, which may be empty, and the account's hash, if subjects of acknowledgements
    /// begin with them.
    pub domain: Option<(&'a str, &'a str)>,
}

impl Settings {
    /// The settings of a consumer with this name and a configuration that was checked and
    /// completed.
    ///
    /// # Errors
    /// If a filter is not a valid subject.
    pub fn of(
        name: &str,
        config: &ConsumerConfig,
        site: &Site<'_>,
    ) -> Result<Settings, InvalidFilter> {
        let mut settings = Settings::new(site.stream, name);
        if let Some((domain, account)) = site.domain {
            settings.ack_subject = AckSubject::with_domain(domain, account, site.stream, name);
            let domain = if domain.is_empty() { "_" } else { domain };
            let flow_prefix = format!("$JS.FC.{domain}.{account}.{}.{name}.", site.stream);
            settings.flow_prefix = flow_prefix.into_bytes();
        }
        settings.mode = match config.is_push() {
            true => Mode::Push(push(config, site)),
            false => Mode::Pull(pull(config)),
        };
        settings.ack = match config.ack_policy {
            api::AckPolicy::None => AckPolicy::None,
            api::AckPolicy::All => AckPolicy::All,
            api::AckPolicy::Explicit => AckPolicy::Explicit,
            api::AckPolicy::FlowControl => AckPolicy::FlowControl,
        };
        settings.ack_wait = config.ack_wait.duration();
        settings.backoff = config.backoff.iter().map(|wait| wait.duration()).collect();
        settings.max_deliver = u32::try_from(config.max_deliver).ok().filter(|n| *n > 0);
        settings.max_ack_pending = match config.ack_policy {
            api::AckPolicy::None => None,
            _ => usize::try_from(config.max_ack_pending)
                .ok()
                .filter(|max| *max > 0),
        };
        settings.set_filters(config.filters())?;
        settings.deliver = deliver(config);
        settings.replay_original = config.replay_policy == ReplayPolicy::Original;
        settings.headers_only = config.headers_only;
        settings.sample_percent = sample_percent(&config.sample_freq);
        settings.inactive_threshold = config.inactive_threshold.duration();
        settings.pause_until = config.pause_until.and_then(timestamp);
        settings.retention = match site.retention {
            RetentionPolicy::Limits => Retention::Limits,
            RetentionPolicy::Interest => Retention::Interest,
            RetentionPolicy::WorkQueue => Retention::WorkQueue,
        };
        Ok(settings)
    }
}

fn pull(config: &ConsumerConfig) -> PullSettings {
    let limit = |n: i64| u64::try_from(n).unwrap_or(0);
    PullSettings {
        max_waiting: usize::try_from(config.max_waiting).unwrap_or(0),
        max_batch: limit(config.max_batch),
        max_expires: config.max_expires.duration(),
        max_bytes: limit(config.max_bytes),
        priority: match config.priority_policy {
            PriorityPolicy::None => Priority::None,
            PriorityPolicy::Overflow => Priority::Overflow,
            PriorityPolicy::PinnedClient => Priority::Pinned,
            PriorityPolicy::Prioritized => Priority::Prioritized,
        },
        groups: config.priority_groups.clone(),
        pin_ttl: config.priority_timeout.duration(),
    }
}

fn push(config: &ConsumerConfig, site: &Site<'_>) -> PushSettings {
    let every = |heartbeat: Nanos| Some(heartbeat.duration()).filter(|every| !every.is_zero());
    PushSettings {
        subject: config.deliver_subject.clone(),
        flow_control: config.flow_control,
        heartbeat: every(config.idle_heartbeat),
        // Whole bytes a second, and one at least: less would be nothing for ever.
        rate: (config.rate_limit_bps > 0).then(|| Rate {
            bytes_per_s: (config.rate_limit_bps / 8).max(1),
            burst_bytes: site.message_bytes_max,
        }),
    }
}

fn deliver(config: &ConsumerConfig) -> DeliverPolicy {
    match config.deliver_policy {
        api::DeliverPolicy::All => DeliverPolicy::All,
        api::DeliverPolicy::Last => DeliverPolicy::Last,
        api::DeliverPolicy::New => DeliverPolicy::New,
        api::DeliverPolicy::ByStartSequence => {
            DeliverPolicy::BySequence(StreamSeq(config.opt_start_seq))
        }
        api::DeliverPolicy::ByStartTime => {
            let time = config.opt_start_time.unwrap_or(Time::ZERO);
            DeliverPolicy::ByTime(Timestamp(time.unix_nanos()))
        }
        api::DeliverPolicy::LastPerSubject => DeliverPolicy::LastPerSubject,
    }
}

/// A time that is not the one which stands for none.
fn timestamp(time: Time) -> Option<Timestamp> {
    (!time.is_zero()).then(|| Timestamp(time.unix_nanos()))
}

/// `30` or `30%`, of which the check has seen to that it is a number.
fn sample_percent(text: &str) -> u8 {
    let number = text.strip_suffix('%').unwrap_or(text);
    let percent = number.parse().unwrap_or(0u64).min(100);
    u8::try_from(percent).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SITE: Site<'static> = Site {
        stream: "S",
        retention: RetentionPolicy::Interest,
        message_bytes_max: 1 << 20,
        domain: None,
    };

    #[test]
    fn everything_that_is_configured_is_set() {
        let config = ConsumerConfig {
            deliver_policy: api::DeliverPolicy::ByStartSequence,
            opt_start_seq: 7,
            ack_policy: api::AckPolicy::Explicit,
            ack_wait: Nanos::from_secs(3),
            backoff: vec![Nanos::from_secs(1)],
            max_deliver: 5,
            filter_subjects: vec!["a".into(), "b.*".into()],
            replay_policy: ReplayPolicy::Original,
            sample_freq: "30%".into(),
            max_waiting: 9,
            max_ack_pending: 10,
            headers_only: true,
            max_batch: 11,
            max_expires: Nanos::from_secs(12),
            max_bytes: 13,
            inactive_threshold: Nanos::from_secs(14),
            pause_until: Some(Time::from_unix_nanos(15)),
            priority_groups: vec!["g".into()],
            priority_policy: PriorityPolicy::PinnedClient,
            priority_timeout: Nanos::from_secs(16),
            ..ConsumerConfig::default()
        };
        let settings = Settings::of("C", &config, &SITE).unwrap();
        let pull = PullSettings {
            max_waiting: 9,
            max_batch: 11,
            max_expires: Duration::from_secs(12),
            max_bytes: 13,
            priority: Priority::Pinned,
            groups: vec!["g".into()],
            pin_ttl: Duration::from_secs(16),
        };
        assert_eq!(settings.mode, Mode::Pull(pull));
        assert_eq!(settings.ack, AckPolicy::Explicit);
        assert_eq!(settings.ack_wait, Duration::from_secs(3));
        assert_eq!(settings.backoff, [Duration::from_secs(1)]);
        assert_eq!(settings.max_deliver, Some(5));
        assert_eq!(settings.max_ack_pending, Some(10));
        assert!(settings.filters.matches(b"b.x") && !settings.filters.matches(b"c"));
        assert_eq!(settings.deliver, DeliverPolicy::BySequence(StreamSeq(7)));
        assert!(settings.replay_original && settings.headers_only);
        assert_eq!(settings.sample_percent, 30);
        assert_eq!(settings.inactive_threshold, Duration::from_secs(14));
        assert_eq!(settings.pause_until, Some(Timestamp(15)));
        assert_eq!(settings.retention, Retention::Interest);
        assert_eq!(settings.ack_subject, AckSubject::new("S", "C"));
    }

    #[test]
    fn messages_are_sent_where_it_says() {
        let config = ConsumerConfig {
            deliver_subject: "out".into(),
            flow_control: true,
            idle_heartbeat: Nanos::from_secs(5),
            rate_limit_bps: 8_000,
            max_deliver: -1,
            max_ack_pending: 1000,
            opt_start_time: Some(Time::from_unix_nanos(99)),
            deliver_policy: api::DeliverPolicy::ByStartTime,
            ..ConsumerConfig::default()
        };
        let site = Site {
            domain: Some(("", "HASH")),
            ..SITE
        };
        let settings = Settings::of("C", &config, &site).unwrap();
        let push = PushSettings {
            subject: "out".into(),
            flow_control: true,
            heartbeat: Some(Duration::from_secs(5)),
            rate: Some(Rate {
                bytes_per_s: 1_000,
                burst_bytes: 1 << 20,
            }),
        };
        assert_eq!(settings.mode, Mode::Push(push));
        assert_eq!(
            (settings.max_deliver, settings.max_ack_pending),
            (None, None)
        );
        assert!(settings.wants_all());
        assert_eq!(settings.deliver, DeliverPolicy::ByTime(Timestamp(99)));
        let ack_subject = AckSubject::with_domain("", "HASH", "S", "C");
        assert_eq!(settings.ack_subject, ack_subject);
        assert_eq!(settings.flow_prefix, b"$JS.FC._.HASH.S.C.");
    }
}

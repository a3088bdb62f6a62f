//! Whether a stream may be configured so, and what stands where nothing was said.
//!
//! Rules are applied in the order of the reference (`checkStreamCfg` in `stream.go`, 2.15), as
//! clients are told of the first one that is broken. What is adjusted is refused if the request is
//! pedantic.

use super::errors::ApiError;
use super::info::AccountLimits;
use super::limits::{Ledger, ServerStorage};
use super::policy::{DiscardPolicy, PersistMode, RetentionPolicy, StorageType};
use super::stream_config::{Placement, StreamConfig, StreamSource, SubjectTransform};
use super::{metadata, names};
use crate::base::text::quoted;
use crate::json::Nanos;
use crate::subject::pattern::{is_subset, overlaps};
use crate::subject::transform::Transform;
use crate::subject::{is_literal, is_valid};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, VecDeque};

/// Replicas of a stream.
const REPLICAS_MAX: i64 = 5;
/// How long message ids are remembered where nothing is said.
const DUPLICATE_WINDOW: Nanos = Nanos::from_secs(120);
/// The least that an age or window may be.
const SHORTEST: Nanos = Nanos::from_millis(100);

/// The other streams of the account.
pub trait Streams {
    /// The stream by this name.
    fn stream(&self, name: &str) -> Option<&StreamConfig>;

    /// Whether a stream by another name than `except` has a subject that overlaps with this one.
    fn is_taken(&self, subject: &str, except: &str) -> bool;
}

/// What a configuration is checked against.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    pub streams: &'a dyn Streams,
    pub ledger: &'a Ledger,
    pub server: &'a ServerStorage,
    /// How long message ids may be remembered; 0 for as long as a stream wants.
    pub duplicate_window_max: Nanos,
}

impl<'a> Surroundings<'a> {
    /// The limits for a stream, if there are any.
    fn limits(&self, config: &StreamConfig) -> Option<&'a AccountLimits> {
        self.ledger
            .tiers
            .select(config.num_replicas)
            .map(|selected| selected.limits)
    }
}

fn bad<T>(what: impl Into<String>) -> Result<T, ApiError> {
    Err(ApiError::invalid_config(what))
}

fn pedantic<T>(what: &str) -> Result<T, ApiError> {
    Err(ApiError::pedantic(what))
}

/// Refuses with a text if a condition holds.
fn refuse_if(condition: bool, what: &str) -> Result<(), ApiError> {
    if condition { bad(what) } else { Ok(()) }
}

/// Checks a configuration and completes it.
///
/// # Errors
/// The first rule that is broken.
pub fn complete(
    config: &StreamConfig,
    pedantic: bool,
    around: &Surroundings<'_>,
) -> Result<StreamConfig, ApiError> {
    check_texts(config)?;
    let mut config = config.clone();
    complete_limits(&mut config, pedantic)?;
    complete_window(&mut config, pedantic, around.duplicate_window_max)?;
    complete_features(&mut config, pedantic)?;
    let mut origins = Origins::default();
    check_mirror(&mut config, pedantic, around.streams, &mut origins)?;
    check_sources(&config, around.streams, &mut origins)?;
    origins.check()?;
    check_cycles(&config, around.streams)?;
    complete_subjects(&mut config)?;
    check_max_bytes(&config, around.limits(&config))?;
    check_transform(config.subject_transform.as_ref())?;
    complete_republish(&mut config, pedantic)?;
    if config.placement == Some(Placement::default()) {
        config.placement = None;
    }
    let preferred = config
        .placement
        .as_ref()
        .is_some_and(|p| !p.preferred.is_empty());
    refuse_if(preferred, "preferred server not permitted in placement")?;
    Ok(config)
}

fn check_texts(config: &StreamConfig) -> Result<(), ApiError> {
    if !names::is_valid(&config.name) {
        return bad("stream name is required and can not contain '.', '*', '>', '\\', '/'");
    }
    if config.name.len() > names::NAME_MAX {
        let max = names::NAME_MAX;
        return bad(format!("stream name is too long, maximum allowed is {max}"));
    }
    if config.description.len() > names::DESCRIPTION_MAX {
        let max = names::DESCRIPTION_MAX;
        return bad(format!(
            "stream description is too long, maximum allowed is {max}"
        ));
    }
    if metadata::len(&config.metadata) > names::METADATA_MAX {
        let max = names::METADATA_MAX;
        return bad(format!(
            "stream metadata exceeds maximum size of {max} bytes"
        ));
    }
    Ok(())
}

fn complete_limits(config: &mut StreamConfig, strict: bool) -> Result<(), ApiError> {
    if config.num_replicas == 0 {
        config.num_replicas = 1;
    }
    if config.num_replicas > REPLICAS_MAX {
        return bad(format!("maximum replicas is {REPLICAS_MAX}"));
    }
    if config.num_replicas < 0 {
        return Err(ApiError::ReplicasCountCannotBeNegative);
    }
    let mut max_msg_size = i64::from(config.max_msg_size);
    for (limit, name) in [
        (&mut config.max_msgs, "max_msgs"),
        (&mut config.max_msgs_per_subject, "max_msgs_per_subject"),
        (&mut config.max_bytes, "max_bytes"),
        (&mut max_msg_size, "max_msg_size"),
        (&mut config.max_consumers, "max_consumers"),
    ] {
        if *limit < -1 && strict {
            return pedantic(&format!("{name} must be set to -1"));
        }
        if *limit == 0 || *limit < -1 {
            *limit = -1;
        }
    }
    // It was in range, and so is -1.
    config.max_msg_size = i32::try_from(max_msg_size).unwrap_or(-1);
    let age = config.max_age;
    refuse_if(age.0 < 0, "max age can not be negative")?;
    refuse_if(
        !age.is_zero() && age < SHORTEST,
        "max age needs to be >= 100ms",
    )
}

fn complete_window(config: &mut StreamConfig, strict: bool, max: Nanos) -> Result<(), ApiError> {
    let age = config.max_age;
    let copies = config.mirror.is_some() || !config.sources.is_empty();
    if config.duplicate_window.is_zero() && !copies {
        let mut window = DUPLICATE_WINDOW;
        if max.0 > 0 && window > max {
            if strict {
                return pedantic("duplicate window limits are higher than current limits");
            }
            window = max;
        }
        if !age.is_zero() && age < window {
            if strict {
                return pedantic("duplicate window cannot be bigger than max age");
            }
            window = age;
        }
        config.duplicate_window = window;
    }
    let window = config.duplicate_window;
    refuse_if(window.0 < 0, "duplicates window can not be negative")?;
    let beyond_age = !age.is_zero() && window > age;
    refuse_if(
        beyond_age,
        "duplicates window can not be larger then max age",
    )?;
    if max.0 > 0 && window > max {
        return bad(format!(
            "duplicates window can not be larger then server limit of {max}"
        ));
    }
    let short = window.0 > 0 && window < SHORTEST;
    refuse_if(short, "duplicates window needs to be >= 100ms")
}

fn complete_features(config: &mut StreamConfig, strict: bool) -> Result<(), ApiError> {
    let discards_new = config.discard == DiscardPolicy::New;
    let rollup_needs_purge = config.deny_purge && config.allow_rollup_hdrs;
    refuse_if(rollup_needs_purge, "roll-ups require the purge permission")?;
    if config.allow_msg_counter {
        refuse_if(discards_new, "counter stream cannot use discard new")?;
        refuse_if(
            config.allow_msg_ttl,
            "counter stream cannot use message TTLs",
        )?;
        let schedules = config.allow_msg_schedules;
        refuse_if(schedules, "counter stream cannot use message schedules")?;
        let limits = config.retention == RetentionPolicy::Limits;
        refuse_if(!limits, "counter stream can only use limits retention")?;
    }
    check_discard_per_subject(config)?;
    complete_markers(config, strict)?;
    if config.allow_msg_schedules {
        refuse_if(discards_new, "message scheduling cannot use discard new")?;
        let refused = "message scheduling cannot be set if roll-ups are disabled";
        allow_rollup(config, strict, refused)?;
    }
    if config.persist_mode == PersistMode::Async {
        let on_file = config.storage == StorageType::File;
        refuse_if(
            !on_file,
            "async persist mode is only supported on file storage",
        )?;
        let replicated = config.num_replicas > 1;
        refuse_if(
            replicated,
            "async persist mode is not supported on replicated streams",
        )?;
        let atomic = config.allow_atomic;
        refuse_if(
            atomic,
            "async persist mode is not supported with atomic batch publish",
        )?;
    }
    Ok(())
}

fn check_discard_per_subject(config: &StreamConfig) -> Result<(), ApiError> {
    if !config.discard_new_per_subject {
        return Ok(());
    }
    let discards_new = config.discard == DiscardPolicy::New;
    let needs_new = "discard new per subject requires discard new policy to be set";
    refuse_if(!discards_new, needs_new)?;
    let needs_max = "discard new per subject requires max msgs per subject > 0";
    refuse_if(config.max_msgs_per_subject <= 0, needs_max)
}

fn complete_markers(config: &mut StreamConfig, strict: bool) -> Result<(), ApiError> {
    let ttl = config.subject_delete_marker_ttl;
    refuse_if(ttl.0 < 0, "subject delete marker TTL must not be negative")?;
    if ttl.is_zero() {
        return Ok(());
    }
    let short = ttl < Nanos::from_secs(1);
    refuse_if(short, "subject delete marker TTL must be at least 1 second")?;
    if !config.allow_msg_ttl {
        let refused = "subject delete marker cannot be set if message TTLs are disabled";
        refuse_if(strict, refused)?;
        config.allow_msg_ttl = true;
    }
    let refused = "subject delete marker cannot be set if roll-ups are disabled";
    allow_rollup(config, strict, refused)
}

/// Allows roll-ups where something else needs them.
fn allow_rollup(config: &mut StreamConfig, strict: bool, refused: &str) -> Result<(), ApiError> {
    if !config.allow_rollup_hdrs {
        refuse_if(strict, refused)?;
        config.allow_rollup_hdrs = true;
        config.deny_purge = false;
    }
    Ok(())
}

/// What is said of the streams that messages come from.
#[derive(Default)]
struct Origins<'a> {
    /// Subjects of those of the same account.
    subjects: Vec<&'a str>,
    /// Prefixes of subjects that those of others deliver on.
    deliver_prefixes: Vec<String>,
    api_prefixes: Vec<String>,
}

impl<'a> Origins<'a> {
    fn add_stream(&mut self, origin: &'a StreamConfig) {
        self.subjects
            .extend(origin.subjects.iter().map(String::as_str));
    }

    fn add_external(&mut self, source: &StreamSource) {
        let Some(external) = &source.external else {
            return;
        };
        for (prefix, to) in [
            (&external.deliver_prefix, &mut self.deliver_prefixes),
            (&external.api_prefix, &mut self.api_prefixes),
        ] {
            if !prefix.is_empty() {
                to.push(prefix.clone());
            }
        }
    }

    fn check(self) -> Result<(), ApiError> {
        for prefix in self.deliver_prefixes {
            if !is_literal(prefix.as_bytes()) {
                return Err(ApiError::StreamInvalidExternalDeliverySubj { prefix });
            }
            for subject in &self.subjects {
                if overlaps(subject.as_bytes(), format!("{prefix}.{subject}").as_bytes()) {
                    let subject = (*subject).to_owned();
                    return Err(ApiError::StreamExternalDelPrefixOverlaps { prefix, subject });
                }
            }
        }
        for prefix in self.api_prefixes {
            if !is_literal(prefix.as_bytes()) {
                let shown = quoted(prefix.as_bytes());
                return bad(format!(
                    "stream external api prefix {shown} must be a valid subject without wildcards"
                ));
            }
            let subject = super::subjects::PREFIX.to_owned();
            if overlaps(prefix.as_bytes(), subject.as_bytes()) {
                return Err(ApiError::StreamExternalApiOverlap { prefix, subject });
            }
        }
        Ok(())
    }
}

fn check_mirror<'a>(
    config: &mut StreamConfig,
    strict: bool,
    streams: &'a dyn Streams,
    origins: &mut Origins<'a>,
) -> Result<(), ApiError> {
    let Some(mirror) = &config.mirror else {
        return Ok(());
    };
    if config.first_seq > 0 {
        return Err(ApiError::MirrorWithFirstSeq);
    }
    if !config.subjects.is_empty() {
        return Err(ApiError::MirrorWithSubjects);
    }
    if !config.sources.is_empty() {
        return Err(ApiError::MirrorWithSources);
    }
    if config.allow_msg_counter {
        return Err(ApiError::MirrorWithCounters);
    }
    if config.allow_atomic {
        return Err(ApiError::MirrorWithAtomicPublish);
    }
    if config.allow_batched {
        return Err(ApiError::MirrorWithBatchPublish);
    }
    if config.allow_msg_schedules {
        return Err(ApiError::MirrorWithMsgSchedules);
    }
    if !has_valid_consumer(mirror) {
        return Err(ApiError::MirrorDurableConsumerCfgInvalid);
    }
    if !mirror.filter_subject.is_empty() && !mirror.subject_transforms.is_empty() {
        return Err(ApiError::MirrorMultipleFiltersNotAllowed);
    }
    let markers = config.subject_delete_marker_ttl.0 > 0;
    refuse_if(markers, "subject delete markers forbidden on mirrors")?;
    for (at, transform) in mirror.subject_transforms.iter().enumerate() {
        if let Some(err) = bad_source(&transform.source) {
            return Err(ApiError::MirrorInvalidSubjectFilter { err });
        }
        if let Some(err) = bad_destination(transform) {
            return Err(ApiError::MirrorInvalidTransformDestination { err });
        }
        if others(&mirror.subject_transforms, at)
            .any(|other| overlaps(transform.source.as_bytes(), other.source.as_bytes()))
        {
            return Err(ApiError::MirrorOverlappingSubjectFilters);
        }
    }
    if mirror.external.is_some() {
        origins.add_external(mirror);
        return Ok(());
    }
    if !names::is_valid(&mirror.name) {
        return Err(ApiError::MirrorInvalidStreamName);
    }
    if let Some(origin) = streams.stream(&mirror.name) {
        origins.add_stream(origin);
        if is_too_small(config, origin) {
            return Err(ApiError::MirrorMaxMessageSizeTooBig);
        }
        if strict && config.mirror_direct != origin.allow_direct {
            return pedantic("origin stream has direct get set, mirror has it disabled");
        }
        config.mirror_direct = origin.allow_direct;
    }
    Ok(())
}

fn check_sources<'a>(
    config: &StreamConfig,
    streams: &'a dyn Streams,
    origins: &mut Origins<'a>,
) -> Result<(), ApiError> {
    if !config.sources.is_empty() && config.allow_msg_schedules {
        return Err(ApiError::SourceWithMsgSchedules);
    }
    let (mut seen, mut consumers) = (BTreeSet::new(), BTreeSet::new());
    for source in &config.sources {
        if !names::is_valid(&source.name) {
            return Err(ApiError::SourceInvalidStreamName);
        }
        if !seen.insert(index_name(source)) {
            return Err(ApiError::SourceDuplicateDetected);
        }
        check_source_filters(source)?;
        if !has_valid_consumer(source) {
            return Err(ApiError::SourceDurableConsumerCfgInvalid);
        }
        if source.consumer.is_some() && !consumers.insert(consumer_index_name(source)) {
            return Err(ApiError::SourceDurableConsumerDuplicateDetected);
        }
        origins.add_external(source);
        if source.external.is_some() {
            continue;
        }
        if let Some(origin) = streams.stream(&source.name) {
            origins.add_stream(origin);
            if is_too_small(config, origin) {
                return Err(ApiError::SourceMaxMessageSizeTooBig);
            }
        }
    }
    Ok(())
}

fn check_source_filters(source: &StreamSource) -> Result<(), ApiError> {
    let transforms = &source.subject_transforms;
    if !source.filter_subject.is_empty() && !transforms.is_empty() {
        return Err(ApiError::SourceMultipleFiltersNotAllowed);
    }
    for transform in transforms {
        if let Some(err) = bad_source(&transform.source) {
            return Err(ApiError::SourceInvalidSubjectFilter { err });
        }
        if let Some(err) = bad_destination(transform) {
            return Err(ApiError::SourceInvalidTransformDestination { err });
        }
    }
    for (at, transform) in transforms.iter().enumerate() {
        if others(transforms, at)
            .any(|other| is_subset(transform.source.as_bytes(), other.source.as_bytes()))
        {
            return Err(ApiError::SourceOverlappingSubjectFilters);
        }
    }
    Ok(())
}

/// All but the one at a place.
fn others<T>(all: &[T], at: usize) -> impl Iterator<Item = &T> {
    all.iter()
        .enumerate()
        .filter(move |(other, _)| *other != at)
        .map(|(_, other)| other)
}

/// Whether the consumer that a source names, if it does, can be used.
fn has_valid_consumer(source: &StreamSource) -> bool {
    source.consumer.as_ref().is_none_or(|consumer| {
        names::is_valid(&consumer.name)
            && is_literal(consumer.deliver_subject.as_bytes())
            && source.opt_start_seq == 0
            && source.opt_start_time.is_none()
            && source.filter_subject.is_empty()
    })
}

/// Whether messages of another stream can be too large for this one.
fn is_too_small(config: &StreamConfig, origin: &StreamConfig) -> bool {
    let (own, theirs) = (config.max_msg_size, origin.max_msg_size);
    own > 0 && theirs > 0 && own < theirs
}

/// What is wrong with the source of a transform; none is fine.
fn bad_source(source: &str) -> Option<String> {
    let fine = source.is_empty() || is_valid(source.as_bytes());
    (!fine).then(|| format!("invalid subject {source}"))
}

/// What is wrong with the destination of a transform; none is fine.
fn bad_destination(transform: &SubjectTransform) -> Option<String> {
    if transform.destination.is_empty() {
        return None;
    }
    let made = Transform::for_mapping(&transform.source, &transform.destination);
    made.err().map(|error| error.to_string())
}

fn check_transform(transform: Option<&SubjectTransform>) -> Result<(), ApiError> {
    let Some(transform) = transform else {
        return Ok(());
    };
    if let Some(err) = bad_source(&transform.source) {
        return Err(ApiError::StreamTransformInvalidSource { err });
    }
    match bad_destination(transform) {
        Some(err) => Err(ApiError::StreamTransformInvalidDestination { err }),
        None => Ok(()),
    }
}

/// What tells a source from the others of a stream: the origin, the filters and what becomes of
/// subjects, as the headers of messages have it.
pub fn index_name(source: &StreamSource) -> String {
    let mut name = origin_name(source);
    if let Some(consumer) = &source.consumer {
        name = format!("{name}:C={}", short_hash(&consumer.name));
    }
    let or_all = |subject: &str| match subject {
        "" => ">".to_owned(),
        subject => subject.to_owned(),
    };
    if source.subject_transforms.is_empty() {
        return format!("{name} {} >", or_all(&source.filter_subject));
    }
    let transforms = source.subject_transforms.iter();
    let sources: Vec<_> = transforms.clone().map(|t| or_all(&t.source)).collect();
    let destinations: Vec<_> = transforms.map(|t| or_all(&t.destination)).collect();
    format!(
        "{name} {} {}",
        sources.join("\x0c"),
        destinations.join("\x0c")
    )
}

/// The stream, and where its API is.
fn origin_name(source: &StreamSource) -> String {
    match &source.external {
        Some(external) => format!("{}:{}", source.name, short_hash(&external.api_prefix)),
        None => source.name.clone(),
    }
}

/// What tells the consumer that a source names from those of others.
fn consumer_index_name(source: &StreamSource) -> String {
    let consumer = source
        .consumer
        .as_ref()
        .map_or("", |consumer| consumer.name.as_str());
    format!("{} {consumer}", origin_name(source))
}

/// Eight letters and digits that stand for a text, as accounts, servers and streams are known by.
pub fn short_hash(text: &str) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let hash = Sha256::digest(text.as_bytes());
    hash.iter()
        .take(8)
        .map(|byte| char::from(LETTERS[usize::from(byte % 62)]))
        .collect()
}

/// Follows streams of the account to where their messages come from, and refuses those that come
/// back.
fn check_cycles(config: &StreamConfig, streams: &dyn Streams) -> Result<(), ApiError> {
    let mut to_visit = VecDeque::from([config]);
    let mut visited = BTreeSet::new();
    // Each stream is looked at once, or this would not end where the streams there are go round.
    while let Some(stream) = to_visit.pop_front() {
        if !visited.insert(stream.name.as_str()) {
            continue;
        }
        for source in stream
            .sources
            .iter()
            .filter(|source| source.external.is_none())
        {
            if visited.contains(source.name.as_str()) {
                let filter = source.filter_subject.as_bytes();
                let meets = |subject: &String| overlaps(subject.as_bytes(), filter);
                let cycle = filter.is_empty() || stream.subjects.iter().any(meets);
                refuse_if(cycle, "detected cycle")?;
            } else {
                to_visit.extend(streams.stream(&source.name));
            }
        }
        let mirror = stream
            .mirror
            .as_ref()
            .filter(|mirror| mirror.external.is_none());
        if let Some(mirror) = mirror {
            refuse_if(visited.contains(mirror.name.as_str()), "detected cycle")?;
            to_visit.extend(streams.stream(&mirror.name));
        }
    }
    Ok(())
}

fn complete_subjects(config: &mut StreamConfig) -> Result<(), ApiError> {
    if config.subjects.is_empty() {
        if config.mirror.is_none() && config.sources.is_empty() {
            config.subjects.push(config.name.clone());
        }
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    for (at, subject) in config.subjects.iter().enumerate() {
        refuse_if(!is_valid(subject.as_bytes()), "invalid subject")?;
        refuse_if(!seen.insert(subject), "duplicate subjects detected")?;
        if subject == ">" {
            refuse_if(
                !config.no_ack,
                "capturing all subjects requires no-ack to be true",
            )?;
            let replicated = config.num_replicas != 1;
            refuse_if(replicated, "capturing all subjects requires replicas of 1")?;
        }
        if !config.no_ack {
            check_reserved(subject)?;
        }
        for other in &config.subjects[at + 1..] {
            if overlaps(other.as_bytes(), subject.as_bytes()) {
                let (one, other) = (quoted(subject.as_bytes()), quoted(other.as_bytes()));
                return bad(format!("subject {one} overlaps with {other}"));
            }
        }
    }
    Ok(())
}

/// Acknowledgements of what the server itself publishes would go round in circles.
fn check_reserved(subject: &str) -> Result<(), ApiError> {
    let subject = subject.as_bytes();
    let meets = |reserved: &&str| overlaps(subject, reserved.as_bytes());
    if ["$JS.>", "$JSC.>", "$NRG.>"].iter().any(meets) && !is_subset(subject, b"$JS.EVENT.>") {
        return bad("subjects that overlap with jetstream api require no-ack to be true");
    }
    if meets(&"$SYS.>") && !is_subset(subject, b"$SYS.ACCOUNT.>") {
        return bad("subjects that overlap with system api require no-ack to be true");
    }
    Ok(())
}

fn check_max_bytes(config: &StreamConfig, limits: Option<&AccountLimits>) -> Result<(), ApiError> {
    let Some(limits) = limits else {
        return Ok(());
    };
    if limits.max_bytes_required && config.max_bytes <= 0 {
        return Err(ApiError::StreamMaxBytesRequired);
    }
    let max = match config.storage {
        StorageType::Memory => limits.memory_max_stream_bytes,
        StorageType::File => limits.storage_max_stream_bytes,
    };
    match max > 0 && config.max_bytes > max {
        true => Err(ApiError::StreamMaxStreamBytesExceeded),
        false => Ok(()),
    }
}

fn complete_republish(config: &mut StreamConfig, strict: bool) -> Result<(), ApiError> {
    let Some(republish) = &mut config.republish else {
        return Ok(());
    };
    if republish.source.is_empty() {
        if strict {
            return pedantic("republish source can not be empty");
        }
        republish.source = ">".into();
    }
    // What is transformed on its way in is published again under what it became.
    let transformed = config.subject_transform.as_ref().filter(|transform| {
        republish.source == ">"
            && republish.destination == ">"
            && config.subjects.len() == 1
            && transform.source == config.subjects[0]
    });
    if let Some(transform) = transformed {
        if strict {
            return pedantic("implicit republish based on subject transform");
        }
        republish.source.clone_from(&transform.destination);
        republish.destination.clone_from(&transform.destination);
    }
    let (source, destination) = (&republish.source, &republish.destination);
    let meets = |subject: &String| overlaps(destination.as_bytes(), subject.as_bytes());
    let cycle = config.subjects.iter().any(meets);
    refuse_if(
        cycle,
        "stream configuration for republish destination forms a cycle",
    )?;
    if !destination.is_empty() && Transform::new(source, destination, false).is_err() {
        return bad(format!(
            "stream configuration for republish with transform from '{source}' to '{destination}' not valid"
        ));
    }
    Ok(())
}

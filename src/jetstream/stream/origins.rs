//! A stream's links to those that it takes messages from, and how far it has got with each.
//!
//! A mirror has got as far as its last message. With sources, that is in the headers of messages, as
//! long as these are there; so it is also kept in cells of their own: records of consumers that have no
//! engine, one for each source and one that says up to which message of the stream the others are
//! right. They are written whenever messages may go, and now and then, so that only what came since has
//! to be looked through after a start.

use super::Stream;
use super::waiting::Answer;
use crate::base::rng::Rng;
use crate::jetstream::api::info::SourceInfo;
use crate::jetstream::api::stream_check::index_name;
use crate::jetstream::api::stream_config::StreamSource;
use crate::jetstream::api::{RetentionPolicy, StreamConfig};
use crate::jetstream::origin::header;
use crate::jetstream::origin::link::{Answered, Ear, Heard, Link, Step, Target, Verdict};
use crate::jetstream::origin::request::{Kind, Owner};
use crate::store::consumer::AckPolicy;
use crate::store::error::LogError;
use crate::store::index::Filters;
use crate::store::stream::{CELL, ConsumerId, Found, StreamStore};
use crate::store::types::{StreamSeq, Timestamp};
use crate::subject::transform::Transform;
use std::collections::{BTreeMap, BTreeSet};

/// Messages after which positions are written in any case: as many as are looked through after a
/// start.
const KEEP_EVERY: u64 = 32 << 10;

/// Messages that are looked through in a turn.
const LOOKS: usize = 2048;

/// All links of a stream.
pub(super) struct Origins {
    kind: Kind,
    domain: Option<String>,
    links: BTreeMap<u32, Entry>,
    next: u32,
    /// What the node listens on for links, by its slots.
    ears: BTreeMap<(u32, Ear), u32>,
    search: Option<Search>,
    /// The cell that says up to which message all others are right, and that message.
    floor: Option<(ConsumerId, StreamSeq)>,
    /// Whether a position has changed that is not in its cell.
    changed: bool,
    /// Whether one has that no message of the stream tells.
    hidden: bool,
    /// Whether a mirror was once as far as its origin.
    caught_up: bool,
    rng: Rng,
}

struct Entry {
    link: Link,
    /// What becomes of subjects.
    transforms: Vec<Transform>,
    cell: Option<Cell>,
    /// The last message of the origin that was stored.
    stored: StreamSeq,
}

/// What is kept of a link.
struct Cell {
    id: ConsumerId,
    position: StreamSeq,
    identity: String,
}

/// A look through messages for where they come from.
struct Search {
    from: StreamSeq,
    upto: StreamSeq,
    /// What was found of the links that it is for.
    found: BTreeMap<u32, Finding>,
}

/// How far a link has got, by messages behind `start` and what was known at that one.
struct Finding {
    start: StreamSeq,
    position: StreamSeq,
    identity: String,
}

fn cell_name(index_name: &str) -> String {
    format!("{CELL}source {index_name}")
}

fn floor_name() -> String {
    format!("{CELL}sources")
}

/// Reads what a cell has: a sequence, and the incarnation of the origin.
fn read_cell(bytes: &[u8]) -> Option<(StreamSeq, &str)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (sequence, identity) = text.split_once(' ')?;
    Some((StreamSeq(sequence.parse().ok()?), identity))
}

fn cell_bytes(sequence: StreamSeq, identity: &str) -> Vec<u8> {
    format!("{} {identity}", sequence.0).into_bytes()
}

fn write_cell(
    store: &mut StreamStore,
    id: Option<ConsumerId>,
    name: &str,
    bytes: &[u8],
) -> Result<ConsumerId, LogError> {
    if let Some(id) = id
        && store.update_consumer(id, bytes)?.is_some()
    {
        return Ok(id);
    }
    let (id, _) = store.create_consumer(name, bytes, AckPolicy::None, StreamSeq(0))?;
    Ok(id)
}

/// Whether messages of a stream go by themselves, or by those who read them.
fn loses_messages(config: &StreamConfig) -> bool {
    let limited = [
        config.max_msgs,
        config.max_bytes,
        config.max_msgs_per_subject,
        config.max_age.0,
    ];
    config.retention != RetentionPolicy::Limits
        || config.allow_rollup_hdrs
        || config.allow_msg_ttl
        || limited.iter().any(|limit| *limit > 0)
}

impl Origins {
    fn new(kind: Kind, domain: Option<String>, seed: u64) -> Origins {
        Origins {
            kind,
            domain,
            links: BTreeMap::new(),
            next: 0,
            ears: BTreeMap::new(),
            search: None,
            floor: None,
            changed: false,
            hidden: false,
            caught_up: false,
            rng: Rng::new(seed),
        }
    }

    fn add(&mut self, source: &StreamSource) -> u32 {
        let transforms = source.subject_transforms.iter();
        // They were checked.
        let made = transforms
            .filter(|t| !t.destination.is_empty())
            .filter_map(|t| {
                let from = super::source(&t.source);
                Transform::new(from, &t.destination, false).ok()
            });
        let id = self.next;
        self.next += 1;
        let entry = Entry {
            link: Link::new(source, self.kind, false),
            transforms: made.collect(),
            cell: None,
            stored: StreamSeq(0),
        };
        self.links.insert(id, entry);
        id
    }

    /// Tells links whether others of the stream have the same name.
    fn note_names(&mut self, sources: &[StreamSource]) {
        for entry in self.links.values_mut() {
            let name = entry.link.source().name.clone();
            let same = sources.iter().filter(|source| source.name == name);
            entry.link.set_shared_name(same.count() > 1);
        }
    }

    fn owner<'o>(
        domain: Option<&'o String>,
        config: &'o StreamConfig,
        account: &'o str,
    ) -> Owner<'o> {
        Owner {
            stream: &config.name,
            account,
            domain: domain.map(String::as_str),
        }
    }
}

impl Stream {
    /// Makes the links that the configuration asks for, when the stream is opened.
    pub(super) fn open_origins(&mut self, domain: Option<String>, now: Timestamp) {
        let (kind, sources) = match &self.config.mirror {
            Some(mirror) => (Kind::Mirror, vec![mirror.clone()]),
            None => (Kind::Source, self.config.sources.clone()),
        };
        if sources.is_empty() {
            return;
        }
        let mut origins = Box::new(Origins::new(kind, domain, self.rng.next_u64()));
        for source in &sources {
            origins.add(source);
        }
        origins.note_names(&self.config.sources);
        self.origins = Some(origins);
        self.read_cells();
        self.begin_search(now);
    }

    /// Changes links to what the configuration asks for now. Those that there are no more end.
    pub fn renew_origins(
        &mut self,
        domain: Option<&str>,
        now: Timestamp,
        steps: &mut Vec<(u32, Step)>,
    ) {
        if self.origins.is_none() {
            return self.open_origins(domain.map(str::to_owned), now);
        }
        self.keep_positions(true);
        let Some(origins) = &mut self.origins else {
            return;
        };
        let config = &self.config;
        let (kind, sources) = match &config.mirror {
            Some(mirror) => (Kind::Mirror, std::slice::from_ref(mirror)),
            None => (Kind::Source, &config.sources[..]),
        };
        let owner = Origins::owner(origins.domain.as_ref(), config, &self.account.name);
        let wanted: BTreeSet<String> = sources.iter().map(index_name).collect();
        let ending: Vec<u32> = origins
            .links
            .iter()
            .filter(|(_, entry)| {
                let changed = sources.iter().all(|s| s != entry.link.source());
                kind != origins.kind || !wanted.contains(entry.link.index_name()) || changed
            })
            .map(|(id, _)| *id)
            .collect();
        let mut kept = BTreeMap::new();
        for id in ending {
            let Some(mut entry) = origins.links.remove(&id) else {
                continue;
            };
            let mut own = Vec::new();
            entry.link.end(&owner, &mut own);
            steps.extend(own.into_iter().map(|step| (id, step)));
            if let Some(cell) = entry.cell {
                // What is only configured otherwise goes on where it is.
                match wanted.contains(entry.link.index_name()) {
                    true => drop(kept.insert(entry.link.index_name().to_owned(), cell)),
                    false => drop(self.store.delete_consumer(cell.id)),
                }
                self.dirty = true;
            }
        }
        origins.kind = kind;
        for source in sources {
            let name = index_name(source);
            let there = origins.links.values().any(|e| e.link.index_name() == name);
            if !there {
                let id = origins.add(source);
                if let Some(entry) = origins.links.get_mut(&id) {
                    entry.cell = kept.remove(&name);
                }
            }
        }
        origins.note_names(sources);
        self.begin_search(now);
    }

    /// Ends all links, as the stream ends.
    pub fn end_origins(&mut self, steps: &mut Vec<(u32, Step)>) {
        let Some(origins) = &mut self.origins else {
            return;
        };
        let owner = Origins::owner(origins.domain.as_ref(), &self.config, &self.account.name);
        for (id, entry) in &mut origins.links {
            let mut own = Vec::new();
            entry.link.end(&owner, &mut own);
            steps.extend(own.into_iter().map(|step| (*id, step)));
        }
        origins.links.clear();
        origins.search = None;
    }

    /// Finds the cells of links.
    fn read_cells(&mut self) {
        let Some(origins) = &mut self.origins else {
            return;
        };
        let mut cells = BTreeMap::new();
        for (id, consumer) in self.store.consumers() {
            if consumer.is_cell()
                && let Some((sequence, identity)) = read_cell(consumer.config())
            {
                let cell = (id, sequence, identity.to_owned());
                cells.insert(consumer.name().to_owned(), cell);
            }
        }
        origins.floor = cells.get(&floor_name()).map(|(id, at, _)| (*id, *at));
        for entry in origins.links.values_mut() {
            let found = cells.remove(&cell_name(entry.link.index_name()));
            entry.cell = found.map(|(id, position, identity)| Cell {
                id,
                position,
                identity,
            });
        }
    }

    /// Begins to find out how far those links have got that do not know.
    fn begin_search(&mut self, now: Timestamp) {
        let last = self.store.last();
        let Some(origins) = &mut self.origins else {
            return;
        };
        let finding = origins.links.iter().filter(|(_, e)| e.link.is_finding());
        let mut found = BTreeMap::new();
        let mut from = last.next();
        let floor = origins.floor.map_or(StreamSeq(0), |(_, floor)| floor);
        for (id, entry) in finding {
            let known = match &entry.cell {
                Some(cell) => Finding {
                    start: floor,
                    position: cell.position,
                    identity: cell.identity.clone(),
                },
                None => Finding {
                    start: StreamSeq(0),
                    position: StreamSeq(0),
                    identity: String::new(),
                },
            };
            from = from.min(known.start.next());
            found.insert(*id, known);
        }
        if found.is_empty() {
            return;
        }
        if origins.kind == Kind::Mirror {
            from = last.next();
        }
        origins.search = Some(Search {
            from,
            upto: last,
            found,
        });
        self.go_on_searching(now);
    }

    /// Looks through some more messages; says whether there are more.
    fn go_on_searching(&mut self, now: Timestamp) -> bool {
        let Some(origins) = &mut self.origins else {
            return false;
        };
        let Some(search) = &mut origins.search else {
            return false;
        };
        let mut budget = LOOKS;
        let mut looked = 0;
        let all = Filters::all();
        while search.from <= search.upto && looked < LOOKS {
            let next = self.store.next(
                &all,
                search.from,
                search.upto,
                &mut budget,
                &mut self.buffer,
            );
            match next {
                Ok(Found::Message(stored)) => {
                    let record = &stored.record;
                    search.from = record.sequence.next();
                    looked += 1;
                    let Some(origin) = header::of_message(record.headers) else {
                        continue;
                    };
                    for (id, found) in &mut search.found {
                        let link = origins.links.get(id).map(|entry| &entry.link);
                        let is_new = record.sequence > found.start;
                        if is_new && link.is_some_and(|link| origin.is_of(link.index_name())) {
                            found.position = StreamSeq(origin.sequence);
                            origin.identity.clone_into(&mut found.identity);
                        }
                    }
                }
                Ok(Found::Paused(at)) => {
                    search.from = at;
                    if budget == 0 {
                        break;
                    }
                }
                Ok(Found::End) => search.from = search.upto.next(),
                Err(error) => {
                    log::error!(
                        "Stream {}: its sources cannot be found: {error}",
                        self.config.name
                    );
                    search.from = search.from.next();
                }
            }
        }
        if search.from <= search.upto {
            return true;
        }
        let found = origins.search.take().map(|search| search.found);
        for (id, found) in found.into_iter().flatten() {
            if let Some(entry) = origins.links.get_mut(&id) {
                entry.stored = found.position;
                let rng = &mut origins.rng;
                entry.link.found(found.position, &found.identity, now, rng);
                origins.changed |= entry.cell.is_none();
            }
        }
        self.keep_positions(true);
        false
    }

    /// When [`Stream::drive_origins`] is to be called.
    pub fn origins_at(&self) -> Option<Timestamp> {
        let origins = self.origins.as_ref()?;
        if origins.search.is_some() {
            return Some(Timestamp(0));
        }
        let links = origins.links.values();
        links.filter_map(|entry| entry.link.deadline()).min()
    }

    /// Lets links do what is due.
    pub fn drive_origins(&mut self, now: Timestamp, steps: &mut Vec<(u32, Step)>) {
        if self.go_on_searching(now) {
            return;
        }
        let target = self.target();
        let Some(origins) = &mut self.origins else {
            return;
        };
        let owner = Origins::owner(origins.domain.as_ref(), &self.config, &self.account.name);
        let mut own = Vec::new();
        for (id, entry) in &mut origins.links {
            let whole = (&owner, &target);
            entry.link.tick(whole, now, &mut origins.rng, &mut own);
            steps.extend(own.drain(..).map(|step| (*id, step)));
        }
    }

    fn target(&self) -> Target {
        Target {
            last: self.store.last(),
        }
    }

    /// A stream by this name has come: links to it need not wait.
    pub fn poke_origins(&mut self, name: &str, now: Timestamp) {
        let Some(origins) = &mut self.origins else {
            return;
        };
        for entry in origins.links.values_mut() {
            let source = entry.link.source();
            if source.name == name && source.external.is_none() {
                entry.link.poke(now, &mut origins.rng);
            }
        }
    }

    /// Whether messages come from other streams.
    pub fn has_origins(&self) -> bool {
        let origins = self.origins.as_ref();
        origins.is_some_and(|origins| !origins.links.is_empty())
    }

    /// Takes note of where the node listens for a link, nowhere for none; gives where it did.
    pub fn set_ear(&mut self, link: u32, ear: Ear, slot: Option<u32>) -> Option<u32> {
        let ears = &mut self.origins.as_mut()?.ears;
        match slot {
            Some(slot) => ears.insert((link, ear), slot),
            None => ears.remove(&(link, ear)),
        }
    }

    /// Nobody got a request of a link.
    pub fn handle_unheard(&mut self, link: u32, now: Timestamp, steps: &mut Vec<(u32, Step)>) {
        let Some(origins) = &mut self.origins else {
            return;
        };
        if let Some(entry) = origins.links.get_mut(&link) {
            let mut own = Vec::new();
            let rng = &mut origins.rng;
            entry.link.handle_unheard(now, rng, &mut own);
            steps.extend(own.into_iter().map(|step| (link, step)));
        }
    }

    /// Takes what came for a link.
    pub fn handle_linked(
        &mut self,
        (link, ear): (u32, Ear),
        heard: &Heard<'_>,
        now: Timestamp,
        steps: &mut Vec<(u32, Step)>,
    ) {
        let target = self.target();
        let Some(origins) = &mut self.origins else {
            return;
        };
        let Some(entry) = origins.links.get_mut(&link) else {
            return;
        };
        let mut own = Vec::new();
        let verdict = match ear {
            Ear::Answer => {
                let owner =
                    Origins::owner(origins.domain.as_ref(), &self.config, &self.account.name);
                let whole = (&owner, &target);
                let time = (now, &mut origins.rng);
                let answered = entry.link.handle_answer(whole, heard, time, &mut own);
                if let Answered::SkipTo(last) = answered {
                    self.dirty = true;
                    if let Err(error) = self.store.skip_to(last) {
                        log::warn!("Stream {}: {error}", self.config.name);
                        entry.link.refused(now, &mut origins.rng, &mut own);
                    }
                }
                Verdict::Nothing
            }
            Ear::Messages => entry.link.handle(heard, now, &mut origins.rng, &mut own),
        };
        match verdict {
            Verdict::Nothing => {}
            Verdict::Answer { to, with_place } => {
                let (consumer, stream) = entry.link.place();
                let block = match with_place {
                    true => format!(
                        "NATS/1.0\r\nNats-Last-Consumer: {consumer}\r\nNats-Last-Stream: {}\r\n\r\n",
                        stream.0
                    ),
                    false => String::new(),
                };
                let after = self.store.log().last_index();
                self.waiting
                    .push(after, &to, block.as_bytes(), Answer::Status);
                self.dirty = true;
            }
            Verdict::Take(taking) => self.take_linked(link, heard, &taking, now, &mut own),
        }
        steps.extend(own.into_iter().map(|step| (link, step)));
    }

    /// Stores a message of an origin.
    fn take_linked(
        &mut self,
        link: u32,
        heard: &Heard<'_>,
        taking: &crate::jetstream::origin::link::Taking,
        now: Timestamp,
        own: &mut Vec<Step>,
    ) {
        let Some(mut origins) = self.origins.take() else {
            return;
        };
        let kind = origins.kind;
        if let Some(entry) = origins.links.get_mut(&link) {
            let mut subject = std::mem::take(&mut self.subject);
            let rng = &mut self.rng;
            let applied = entry.transforms.iter().any(|transform| {
                subject.clear();
                transform.apply(heard.subject, rng, &mut subject)
            });
            if !applied {
                subject.clear();
                subject.extend_from_slice(heard.subject);
            }
            let result = match kind {
                Kind::Mirror => self.take_mirrored(heard, &subject, taking),
                Kind::Source => {
                    let (name, identity) = (entry.link.index_name(), entry.link.identity());
                    let mut value = Vec::new();
                    let sequence = taking.sequence.0;
                    header::write(name, sequence, heard.subject, identity, &mut value);
                    self.take_sourced(heard, &subject, &value, now)
                }
            };
            self.subject = subject;
            match result {
                Ok(stored) => {
                    entry.link.took(taking);
                    entry.stored = taking.sequence;
                    origins.changed = true;
                    origins.hidden |= !stored;
                    origins.caught_up |= entry.link.is_caught_up();
                }
                Err(error) => {
                    // A stream that discards new messages may well be full for long.
                    let level = match error.to_string().starts_with("maximum ") {
                        true => log::Level::Debug,
                        false => log::Level::Warn,
                    };
                    log::log!(
                        level,
                        "Stream {}: a message of stream {} is not taken: {error}",
                        self.config.name,
                        entry.link.source().name
                    );
                    entry.link.refused(now, &mut origins.rng, own);
                }
            }
        }
        self.origins = Some(origins);
    }

    /// Writes how far links have got, if that may be needed or `now` is true.
    pub(super) fn keep_positions(&mut self, now: bool) {
        let Some(origins) = &mut self.origins else {
            return;
        };
        let is_due = origins.kind == Kind::Source && origins.changed && origins.search.is_none();
        if !is_due {
            return;
        }
        let last = self.store.last();
        let floor = origins.floor.map_or(0, |(_, floor)| floor.0);
        let many = last.0.saturating_sub(floor) >= KEEP_EVERY;
        if !(now || origins.hidden || many || loses_messages(&self.config)) {
            return;
        }
        match write_cells(origins, &mut self.store, last) {
            Ok(()) => (origins.changed, origins.hidden) = (false, false),
            // It is tried again.
            Err(error) => log::warn!("Stream {}: {error}", self.config.name),
        }
        self.dirty = true;
    }

    /// What is told of the stream's origin as a mirror, and of its sources.
    pub fn origin_infos(&self, now: Timestamp) -> (Option<SourceInfo>, Vec<SourceInfo>) {
        let Some(origins) = &self.origins else {
            return (None, Vec::new());
        };
        let entries = origins.links.values();
        match origins.kind {
            Kind::Mirror => {
                let mut entries = entries.map(|entry| entry.link.info(now, None));
                (entries.next(), Vec::new())
            }
            Kind::Source => {
                let told = |entry: &Entry| entry.link.info(now, Some(entry.stored));
                (None, entries.map(told).collect())
            }
        }
    }

    /// Whether the stream, as a mirror, may be read from in place of the stream by this name.
    pub fn stands_for(&self, name: &str) -> bool {
        let mirror = self.config.mirror.as_ref();
        let is_of = mirror.is_some_and(|m| m.external.is_none() && m.name == name);
        let caught_up = self.origins.as_ref().is_some_and(|o| o.caught_up);
        is_of && self.config.mirror_direct && caught_up
    }
}

/// Writes those cells that are out of date, and last the one that says so.
fn write_cells(
    origins: &mut Origins,
    store: &mut StreamStore,
    last: StreamSeq,
) -> Result<(), LogError> {
    for entry in origins.links.values_mut() {
        let (position, identity) = (entry.link.position(), entry.link.identity());
        let same = entry
            .cell
            .as_ref()
            .is_some_and(|cell| cell.position == position && cell.identity == identity);
        if same {
            continue;
        }
        let id = entry.cell.as_ref().map(|cell| cell.id);
        let name = cell_name(entry.link.index_name());
        let id = write_cell(store, id, &name, &cell_bytes(position, identity))?;
        entry.cell = Some(Cell {
            id,
            position,
            identity: identity.to_owned(),
        });
    }
    let id = origins.floor.map(|(id, _)| id);
    let id = write_cell(store, id, &floor_name(), &cell_bytes(last, ""))?;
    origins.floor = Some((id, last));
    Ok(())
}

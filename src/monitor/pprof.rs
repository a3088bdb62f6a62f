//! Profiles in the format of pprof: the message `perftools.profiles.Profile` of
//! github.com/google/pprof, `proto/profile.proto`, in protobuf's encoding, behind gzip.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

/// What a value counts, and its unit: names that viewers show.
pub type ValueType = (&'static str, &'static str);

/// A profile in the making.
pub struct Profile {
    sample_types: Vec<ValueType>,
    samples: Message,
    locations: Message,
    functions: Message,
    function_ids: HashMap<(String, String), u64>,
    location_count: u64,
    strings: Strings,
    /// What is counted, and how much of it lies between two samples.
    period: Option<(ValueType, i64)>,
    /// When it was begun, in nanoseconds since 1970, and how long it took.
    time: Option<(i64, Duration)>,
    comments: Vec<String>,
}

/// A place in a function: the innermost of those that were inlined there comes first.
pub struct Line {
    pub function: String,
    /// Empty if it is not known.
    pub file: String,
    /// 0 if it is not known.
    pub line: u32,
}

/// A location of a [`Profile`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocationId(u64);

/// Texts, each once; the first is empty, as the format has it.
struct Strings {
    ids: HashMap<String, u64>,
    all: Vec<String>,
}

impl Strings {
    fn id(&mut self, text: &str) -> u64 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = self.all.len() as u64;
        self.ids.insert(text.into(), id);
        self.all.push(text.into());
        id
    }
}

/// A message of protobuf.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            // The low seven bits.
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// A field with a number. Zero is what a field is without being written.
    fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(value);
        }
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u32, message: &Message) {
        self.bytes(field, &message.0);
    }

    /// A repeated field of numbers, packed.
    fn numbers(&mut self, field: u32, values: impl Iterator<Item = u64>) {
        let mut packed = Message::default();
        values.for_each(|value| packed.varint(value));
        self.message(field, &packed);
    }
}

/// The fields of `Profile` that are written.
mod field {
    pub(super) const SAMPLE_TYPE: u32 = 1;
    pub(super) const SAMPLE: u32 = 2;
    pub(super) const MAPPING: u32 = 3;
    pub(super) const LOCATION: u32 = 4;
    pub(super) const FUNCTION: u32 = 5;
    pub(super) const STRING_TABLE: u32 = 6;
    pub(super) const TIME_NANOS: u32 = 9;
    pub(super) const DURATION_NANOS: u32 = 10;
    pub(super) const PERIOD_TYPE: u32 = 11;
    pub(super) const PERIOD: u32 = 12;
    pub(super) const COMMENT: u32 = 13;
}

impl Profile {
    /// An empty profile whose samples have values of these types.
    pub fn new(sample_types: &[ValueType]) -> Profile {
        let mut strings = Strings {
            ids: HashMap::new(),
            all: Vec::new(),
        };
        strings.id("");
        Profile {
            sample_types: sample_types.into(),
            samples: Message::default(),
            locations: Message::default(),
            functions: Message::default(),
            function_ids: HashMap::new(),
            location_count: 0,
            strings,
            period: None,
            time: None,
            comments: Vec::new(),
        }
    }

    pub fn set_period(&mut self, kind: ValueType, period: i64) {
        self.period = Some((kind, period));
    }

    pub fn set_time(&mut self, began_at_nanos: i64, took: Duration) {
        self.time = Some((began_at_nanos, took));
    }

    /// A remark that viewers show.
    pub fn comment(&mut self, text: String) {
        self.comments.push(text);
    }

    /// A place in the program, or in what stands for one.
    pub fn location(&mut self, address: u64, lines: &[Line]) -> LocationId {
        self.location_count += 1;
        let id = self.location_count;
        let mut location = Message::default();
        location.number(1, id);
        location.number(2, 1);
        location.number(3, address);
        for line in lines {
            let function = self.function(&line.function, &line.file);
            let mut message = Message::default();
            message.number(1, function);
            message.number(2, u64::from(line.line));
            location.message(4, &message);
        }
        self.locations.message(field::LOCATION, &location);
        LocationId(id)
    }

    fn function(&mut self, name: &str, file: &str) -> u64 {
        let next = self.function_ids.len() as u64 + 1;
        let key = (name.to_owned(), file.to_owned());
        let id = *self.function_ids.entry(key).or_insert(next);
        if id == next {
            let mut function = Message::default();
            let name = self.strings.id(name);
            function.number(1, id);
            function.number(2, name);
            function.number(3, name);
            function.number(4, self.strings.id(file));
            self.functions.message(field::FUNCTION, &function);
        }
        id
    }

    /// What was seen at a place, with what led there behind it: a value for each type.
    pub fn sample(
        &mut self,
        stack: impl Iterator<Item = LocationId>,
        values: &[i64],
        labels: &[(&str, &str)],
    ) {
        let mut sample = Message::default();
        sample.numbers(1, stack.map(|id| id.0));
        sample.numbers(2, values.iter().map(|value| value.cast_unsigned()));
        for (key, text) in labels {
            let mut label = Message::default();
            label.number(1, self.strings.id(key));
            label.number(2, self.strings.id(text));
            sample.message(3, &label);
        }
        self.samples.message(field::SAMPLE, &sample);
    }

    /// The profile as viewers read it.
    pub fn encode(mut self) -> Vec<u8> {
        let mut all = Message::default();
        let types = std::mem::take(&mut self.sample_types);
        for kind in types {
            let kind = self.value_type(kind);
            all.message(field::SAMPLE_TYPE, &kind);
        }
        all.0.append(&mut self.samples.0);
        // One for the whole program, which says that nothing is left to be looked up.
        let mut mapping = Message::default();
        mapping.number(1, 1);
        mapping.number(3, u64::MAX);
        mapping.number(5, self.strings.id("nats-server"));
        (7..=10).for_each(|has| mapping.number(has, 1));
        all.message(field::MAPPING, &mapping);
        all.0.append(&mut self.locations.0);
        all.0.append(&mut self.functions.0);
        if let Some((at, took)) = self.time {
            all.number(field::TIME_NANOS, at.cast_unsigned());
            let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            all.number(field::DURATION_NANOS, took);
        }
        if let Some((kind, period)) = self.period {
            let kind = self.value_type(kind);
            all.message(field::PERIOD_TYPE, &kind);
            all.number(field::PERIOD, period.cast_unsigned());
        }
        let comments = std::mem::take(&mut self.comments);
        let comments = comments.iter().map(|text| self.strings.id(text));
        let comments = comments.collect::<Vec<_>>();
        all.numbers(field::COMMENT, comments.into_iter());
        for text in &self.strings.all {
            all.bytes(field::STRING_TABLE, text.as_bytes());
        }
        gzip(&all.0)
    }

    fn value_type(&mut self, (kind, unit): ValueType) -> Message {
        let mut message = Message::default();
        message.number(1, self.strings.id(kind));
        message.number(2, self.strings.id(unit));
        message
    }
}

/// Memory that is in use for something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryUse {
    /// What for, from the most general to the most special.
    pub purpose: Vec<String>,
    /// How many things there are of this kind.
    pub objects: u64,
    pub bytes: u64,
}

/// A profile of memory by what it is in use for, taken at `nanos` since 1970.
pub fn memory_profile(uses: &[MemoryUse], nanos: i64) -> Vec<u8> {
    let mut profile = Profile::new(&[("inuse_objects", "count"), ("inuse_space", "bytes")]);
    profile.set_period(("space", "bytes"), 1);
    profile.set_time(nanos, Duration::ZERO);
    let mut places = HashMap::new();
    for part in uses {
        let mut stack = Vec::new();
        for function in part.purpose.iter().rev() {
            let address = places.len() as u64 + 1;
            let place = places.entry(function.clone()).or_insert_with(|| {
                let (function, file) = (function.clone(), String::new());
                let line = 0;
                profile.location(
                    address,
                    &[Line {
                        function,
                        file,
                        line,
                    }],
                )
            });
            stack.push(*place);
        }
        let values = [part.objects, part.bytes].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        profile.sample(stack.into_iter(), &values, &[]);
    }
    profile.encode()
}

/// Compresses something.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("a vector takes everything")
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;

    #[derive(PartialEq, Eq, Debug)]
    enum Value {
        Number(u64),
        Bytes(Vec<u8>),
    }

    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }

    fn fields(mut bytes: &[u8]) -> Vec<(u64, Value)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let value = varint(&mut bytes);
            fields.push(match tag & 7 {
                0 => (tag >> 3, Value::Number(value)),
                2 => {
                    let (inside, rest) = bytes.split_at(value as usize);
                    bytes = rest;
                    (tag >> 3, Value::Bytes(inside.into()))
                }
                other => panic!("wire type {other}"),
            });
        }
        fields
    }

    /// The contents of all fields with this number.
    fn all(message: &[(u64, Value)], field: u32) -> Vec<&[u8]> {
        let of_field = message.iter().filter(|(own, _)| *own == u64::from(field));
        let inside = of_field.filter_map(|(_, value)| match value {
            Value::Bytes(bytes) => Some(&bytes[..]),
            Value::Number(_) => None,
        });
        inside.collect()
    }

    fn unpacked(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
        plain
    }

    #[test]
    fn numbers_are_written_as_protobuf_has_them() {
        for (value, bytes) in [
            (1, &[1][..]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let mut message = Message::default();
            message.varint(value);
            assert_eq!(message.0, bytes);
            assert_eq!(varint(&mut &message.0[..]), value);
        }
    }

    #[test]
    fn memory_is_shown_by_what_it_is_for() {
        let part = |purpose: &[&str], objects, bytes| MemoryUse {
            purpose: purpose.iter().map(ToString::to_string).collect(),
            objects,
            bytes,
        };
        let uses = [
            part(&["loop 0", "queues"], 2, 300),
            part(&["loop 1", "queues"], 1, 5),
        ];
        let plain = unpacked(&memory_profile(&uses, 7));
        let profile = fields(&plain);
        let strings = all(&profile, field::STRING_TABLE);
        let text = |id: u64| str::from_utf8(strings[id as usize]).unwrap();
        assert_eq!(text(0), "");
        let types = all(&profile, field::SAMPLE_TYPE).into_iter().map(|kind| {
            let [(1, Value::Number(kind)), (2, Value::Number(unit))] = fields(kind)[..] else {
                panic!("{kind:?}");
            };
            (text(kind), text(unit))
        });
        let expected = [("inuse_objects", "count"), ("inuse_space", "bytes")];
        assert_eq!(types.collect::<Vec<_>>(), expected);
        assert!(profile.contains(&(u64::from(field::TIME_NANOS), Value::Number(7))));
        // Three functions; what both have in common is one.
        let names = all(&profile, field::FUNCTION).into_iter().map(|function| {
            let name = fields(function).remove(1);
            let (2, Value::Number(name)) = name else {
                panic!("{name:?}");
            };
            text(name)
        });
        assert_eq!(names.collect::<Vec<_>>(), ["queues", "loop 0", "loop 1"]);
        let samples = all(&profile, field::SAMPLE);
        let first = fields(samples[0]);
        assert_eq!(first[0], (1, Value::Bytes(vec![1, 2])));
        assert_eq!(first[1], (2, Value::Bytes(vec![2, 0xac, 2])));
        assert_eq!(fields(samples[1])[0], (1, Value::Bytes(vec![1, 3])));
    }
}

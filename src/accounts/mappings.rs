//! Subject mappings: what becomes of the subject that a client publishes to.
//!
//! A mapping has destinations with weights, each a share of a hundred messages. What their sum
//! leaves to a hundred stays on its subject, unless the source is one of the destinations: then
//! as much is lost on purpose.

use crate::base::rng::Rng;
use crate::base::text::quoted;
use crate::options::security::{Destination, Mapping};
use crate::subject::pattern::matches;
use crate::subject::pattern_set::PatternSet;
use crate::subject::transform::Transform;
use crate::subject::{is_valid, is_wildcard_token};
use std::collections::{HashMap, HashSet};

/// The mappings of an account.
#[derive(Clone, Debug, Default)]
pub struct Mappings {
    choices: Vec<Choices>,
    /// By their sources: their places in `choices`.
    sources: PatternSet<usize>,
}

/// What a mapping makes of a message's subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mapped {
    /// Another subject, or the same if the draw said so.
    To,
    /// None: the message is lost, as configured.
    Lost,
}

/// Transforms with their weights, or with the bounds that these add up to.
type Weighted = Vec<(u8, Transform)>;

/// The destinations of a mapping in one cluster.
#[derive(Clone, Debug)]
struct Choices {
    is_wild: bool,
    /// Ascending bounds: each is for the draws below its own and not below the one before.
    bounds: Weighted,
}

impl Mappings {
    /// The mappings as they are configured, for a server in the cluster of that name.
    ///
    /// # Errors
    /// What is wrong with the first that is not as it has to be.
    pub fn new(mappings: &[Mapping], cluster: Option<&str>) -> Result<Mappings, String> {
        let mut compiled = Mappings::default();
        let mut places = HashMap::new();
        for mapping in mappings {
            let source = &mapping.source;
            if !is_valid(source.as_bytes()) {
                let source = quoted(source.as_bytes());
                return Err(format!("Subject {source} is not a valid subject"));
            }
            let choices =
                Choices::new(mapping, cluster).map_err(|text| described(mapping, &text))?;
            // Of two mappings with one source, the later one counts, in the earlier one's place.
            let place = *places.entry(source).or_insert_with(|| {
                let place = compiled.choices.len();
                compiled.sources.insert(source.as_bytes(), place);
                place
            });
            match compiled.choices.get_mut(place) {
                Some(before) => *before = choices,
                None => compiled.choices.push(choices),
            }
        }
        Ok(compiled)
    }

    /// Whether there is no mapping.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }

    /// Writes to `out`, in place of what is there, what a message on `subject` is mapped to.
    /// `None` if there is no mapping for it. A mapping for just this subject comes before those
    /// with wildcards, and of these the first counts.
    ///
    /// A result with empty tokens is possible, see [`Transform`]; it reaches nobody.
    #[inline]
    pub fn select(&self, subject: &[u8], rng: &mut Rng, out: &mut Vec<u8>) -> Option<Mapped> {
        if self.is_empty() {
            return None;
        }
        self.draw(subject, rng, out)
    }

    fn draw(&self, subject: &[u8], rng: &mut Rng, out: &mut Vec<u8>) -> Option<Mapped> {
        let matching = self.sources.candidates(subject);
        let matching = matching.filter(|(source, _)| matches(source, subject));
        let place = matching
            .map(|(_, place)| *place)
            .min_by_key(|place| (self.choices[*place].is_wild, *place))?;
        let bounds = &self.choices[place].bounds;
        let draw = match bounds[..] {
            [(100, _)] => 0,
            _ => rng.below(100),
        };
        let drawn = bounds.iter().find(|(bound, _)| draw < usize::from(*bound));
        Some(match drawn {
            Some((_, transform)) if transform.apply(subject, rng, out) => Mapped::To,
            _ => Mapped::Lost,
        })
    }
}

impl Choices {
    fn new(mapping: &Mapping, cluster: Option<&str>) -> Result<Choices, String> {
        let source = mapping.source.as_str();
        let mut seen = HashSet::new();
        // By cluster; those for any come first.
        let mut groups: Vec<(Option<&str>, Weighted)> = vec![(None, Weighted::new())];
        for destination in &mapping.destinations {
            let Destination {
                subject,
                weight,
                cluster,
            } = destination;
            if !seen.insert(subject.as_str()) {
                let subject = quoted(subject.as_bytes());
                return Err(format!("duplicate entry for {subject}"));
            }
            if *weight > 100 {
                return Err("individual weights need to be <= 100".to_owned());
            }
            let cluster = cluster.as_deref().filter(|name| !name.is_empty());
            let at = groups.iter().position(|(name, _)| *name == cluster);
            let at = at.unwrap_or_else(|| {
                groups.push((cluster, Weighted::new()));
                groups.len() - 1
            });
            let group = &mut groups[at].1;
            if total(group) + u32::from(*weight) > 100 {
                return Err("total weight needs to be <= 100".to_owned());
            }
            let transform = Transform::for_mapping(source, subject);
            group.push((*weight, transform.map_err(|error| error.to_string())?));
        }
        let own = groups
            .iter()
            .position(|(name, _)| name.is_some() && *name == cluster);
        let (_, mut bounds) = groups.swap_remove(own.unwrap_or(0));
        let rest = u8::try_from(100 - total(&bounds)).expect("sums are at most 100");
        if rest > 0 && !seen.contains(source) {
            let same = Transform::new(source, "", false);
            bounds.push((rest, same.map_err(|error| error.to_string())?));
        }
        bounds.sort_by_key(|(weight, _)| *weight);
        let mut bound = 0;
        for (weight, _) in &mut bounds {
            bound += *weight;
            *weight = bound;
        }
        Ok(Choices {
            is_wild: source.split('.').any(|t| is_wildcard_token(t.as_bytes())),
            bounds,
        })
    }
}

fn total(group: &[(u8, Transform)]) -> u32 {
    group.iter().map(|(weight, _)| u32::from(*weight)).sum()
}

/// An error of a mapping, with what it is about.
fn described(mapping: &Mapping, text: &str) -> String {
    let source = quoted(mapping.source.as_bytes());
    match &mapping.destinations[..] {
        [only] if only.weight == 100 && only.cluster.is_none() => {
            let destination = quoted(only.subject.as_bytes());
            format!("Error adding mapping for {source} to {destination} : {text}")
        }
        _ => format!("Error adding mapping for {source} : {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn mapping(source: &str, destinations: &[(&str, u8, &str)]) -> Mapping {
        Mapping {
            source: source.to_owned(),
            destinations: destinations
                .iter()
                .map(|(subject, weight, cluster)| Destination {
                    subject: (*subject).to_owned(),
                    weight: *weight,
                    cluster: (!cluster.is_empty()).then(|| (*cluster).to_owned()),
                })
                .collect(),
        }
    }

    fn only(mapping: Mapping) -> Mappings {
        Mappings::new(&[mapping], None).unwrap()
    }

    /// How often each result came up in 10,000 draws, in hundredths, rounded; `-` is a loss.
    fn shares(mappings: &Mappings, subject: &str) -> BTreeMap<String, u32> {
        let (mut rng, mut out, mut counts) = (Rng::new(3), Vec::new(), BTreeMap::new());
        for _ in 0..10_000 {
            let result = match mappings.select(subject.as_bytes(), &mut rng, &mut out) {
                None => "none".to_owned(),
                Some(Mapped::Lost) => "-".to_owned(),
                Some(Mapped::To) => String::from_utf8(out.clone()).unwrap(),
            };
            *counts.entry(result).or_insert(0) += 1;
        }
        counts.values_mut().for_each(|n| *n = (*n + 50) / 100);
        counts
    }

    #[track_caller]
    fn expect_shares(mappings: &Mappings, subject: &str, expected: &[(&str, u32)]) {
        let shares = shares(mappings, subject);
        assert_eq!(shares.len(), expected.len(), "{shares:?}");
        for (result, share) in expected {
            assert!(shares[*result].abs_diff(*share) <= 2, "{shares:?}");
        }
    }

    #[test]
    fn weights_share_out_messages_and_the_rest_stays() {
        let mappings = only(mapping("a.*", &[("b.$1", 50, ""), ("c.$1", 20, "")]));
        expect_shares(&mappings, "a.x", &[("b.x", 50), ("c.x", 20), ("a.x", 30)]);
        expect_shares(&mappings, "a", &[("none", 100)]);
    }

    #[test]
    fn the_rest_is_lost_where_the_source_is_named() {
        let mappings = only(mapping("a", &[("a", 50, ""), ("b", 25, "")]));
        expect_shares(&mappings, "a", &[("a", 50), ("b", 25), ("-", 25)]);
        expect_shares(&only(mapping("a", &[("a", 0, "")])), "a", &[("-", 100)]);
    }

    #[test]
    fn a_weight_of_nothing_is_never_drawn() {
        let mappings = only(mapping("a", &[("b", 0, ""), ("c", 100, "")]));
        expect_shares(&mappings, "a", &[("c", 100)]);
        expect_shares(&only(mapping("a", &[])), "a", &[("a", 100)]);
        expect_shares(&only(mapping("a.$1.*", &[])), "a.$1.x", &[("a.$1.x", 100)]);
    }

    #[test]
    fn clusters_have_their_own_destinations() {
        let mapping = mapping(
            "a",
            &[("b", 100, ""), ("c", 60, "east"), ("d", 100, "west")],
        );
        let at = |cluster| Mappings::new(std::slice::from_ref(&mapping), cluster).unwrap();
        expect_shares(&at(None), "a", &[("b", 100)]);
        expect_shares(&at(Some("north")), "a", &[("b", 100)]);
        expect_shares(&at(Some("east")), "a", &[("c", 60), ("a", 40)]);
        expect_shares(&at(Some("west")), "a", &[("d", 100)]);
    }

    #[test]
    fn a_literal_source_comes_first_then_the_order_counts() {
        let mappings = [
            mapping(">", &[("all.>", 100, "")]),
            mapping("a.*", &[("star.$1", 100, "")]),
            mapping("a.b", &[("exact", 100, "")]),
        ];
        let all = Mappings::new(&mappings, None).unwrap();
        expect_shares(&all, "a.b", &[("exact", 100)]);
        expect_shares(&all, "a.c", &[("all.a.c", 100)]);
        let some = Mappings::new(&mappings[1..], None).unwrap();
        expect_shares(&some, "a.c", &[("star.c", 100)]);
        expect_shares(&some, "b", &[("none", 100)]);
        let twice = [
            mapping("a", &[("b", 100, "")]),
            mapping("a", &[("c", 100, "")]),
        ];
        expect_shares(&Mappings::new(&twice, None).unwrap(), "a", &[("c", 100)]);
    }

    #[test]
    fn no_mappings_map_nothing() {
        let mappings = Mappings::new(&[], None).unwrap();
        assert!(mappings.is_empty());
        assert_eq!(
            mappings.select(b"a", &mut Rng::new(1), &mut Vec::new()),
            None
        );
    }

    #[test]
    fn errors_read_as_in_the_go_server() {
        for (mapping, text) in [
            (
                mapping("a..b", &[("c", 100, "")]),
                r#"Subject "a..b" is not a valid subject"#,
            ),
            (
                mapping("a.*", &[("b.$2", 100, "")]),
                r#"Error adding mapping for "a.*" to "b.$2" : invalid mapping destination: wildcard index out of range in $2: [2]"#,
            ),
            (
                mapping("a.*", &[("b.{{leave(1,2)}}", 50, "")]),
                r#"Error adding mapping for "a.*" : invalid mapping destination: unknown function in {{leave(1,2)}}"#,
            ),
            (
                mapping("a", &[("b", 10, ""), ("b", 10, "east")]),
                r#"Error adding mapping for "a" : duplicate entry for "b""#,
            ),
            (
                mapping("a", &[("b", 60, ""), ("c", 50, "")]),
                r#"Error adding mapping for "a" : total weight needs to be <= 100"#,
            ),
            (
                mapping("a", &[("b", 101, "")]),
                r#"Error adding mapping for "a" : individual weights need to be <= 100"#,
            ),
            (
                mapping("a", &[("", 100, "east")]),
                r#"Error adding mapping for "a" : invalid mapping destination: invalid transform"#,
            ),
        ] {
            assert_eq!(Mappings::new(&[mapping], None).unwrap_err(), text);
        }
        let shared = mapping("a", &[("b", 60, ""), ("c", 50, "east"), ("d", 40, "")]);
        assert!(Mappings::new(&[shared], Some("east")).is_ok());
    }
}

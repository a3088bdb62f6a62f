//! Which subjects the streams of an account take, so that it need not be asked of each of them whether
//! another one may have a subject.

use crate::jetstream::api::StreamConfig;
use std::collections::HashMap;

/// The subjects of all streams, by account.
#[derive(Debug, Default)]
pub(super) struct Taken {
    accounts: HashMap<u32, Node>,
}

/// The tokens that subjects go on with.
#[derive(Debug, Default)]
struct Node {
    next: HashMap<Box<str>, Node>,
    /// The streams of which a subject ends here, one entry for each subject.
    owners: Vec<Box<str>>,
}

impl Taken {
    /// Takes note of a stream's subjects.
    pub(super) fn add(&mut self, account: u32, config: &StreamConfig) {
        for subject in &config.subjects {
            let mut node = self.accounts.entry(account).or_default();
            for token in subject.split('.') {
                node = node.next.entry(token.into()).or_default();
            }
            node.owners.push((*config.name).into());
        }
    }

    /// Forgets them.
    pub(super) fn remove(&mut self, account: u32, config: &StreamConfig) {
        let Some(node) = self.accounts.get_mut(&account) else {
            return;
        };
        for subject in &config.subjects {
            node.remove(subject.split('.'), &config.name);
        }
        if node.is_empty() {
            self.accounts.remove(&account);
        }
    }

    /// Whether a stream by another name than `except` has a subject that overlaps with this one.
    pub(super) fn is_taken(&self, account: u32, subject: &str, except: &str) -> bool {
        let node = self.accounts.get(&account);
        node.is_some_and(|node| node.overlaps(subject.split('.'), except))
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        self.next.is_empty() && self.owners.is_empty()
    }

    fn remove<'s>(&mut self, mut tokens: impl Iterator<Item = &'s str>, owner: &str) {
        let Some(token) = tokens.next() else {
            let at = self.owners.iter().position(|own| **own == *owner);
            at.map(|at| self.owners.swap_remove(at));
            return;
        };
        if let Some(next) = self.next.get_mut(token) {
            next.remove(tokens, owner);
            if next.is_empty() {
                self.next.remove(token);
            }
        }
    }

    fn is_owned(&self, except: &str) -> bool {
        self.owners.iter().any(|owner| **owner != *except)
    }

    /// Whether there is a subject here or further on.
    fn has_any(&self, except: &str) -> bool {
        self.is_owned(except) || self.next.values().any(|next| next.has_any(except))
    }

    fn overlaps<'s>(
        &self,
        mut tokens: impl Iterator<Item = &'s str> + Clone,
        except: &str,
    ) -> bool {
        let Some(token) = tokens.next() else {
            return self.is_owned(except);
        };
        let all = self.next.get(">");
        if all.is_some_and(|all| all.is_owned(except)) {
            return true;
        }
        match token {
            ">" => self.next.values().any(|next| next.has_any(except)),
            "*" => {
                let mut each = self.next.values();
                each.any(|next| next.overlaps(tokens.clone(), except))
            }
            token => [token, "*"].into_iter().any(|token| {
                let next = self.next.get(token);
                next.is_some_and(|next| next.overlaps(tokens.clone(), except))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::subject::pattern::overlaps;

    fn config(name: &str, subjects: &[String]) -> StreamConfig {
        StreamConfig {
            name: name.into(),
            subjects: subjects.to_vec(),
            ..StreamConfig::default()
        }
    }

    #[test]
    fn what_overlaps_is_what_a_look_at_all_pairs_finds() {
        let mut rng = Rng::new(7);
        let mut subject = || {
            let len = 1 + rng.below(4);
            let mut tokens: Vec<&str> = (0..len)
                .map(|_| ["a", "b", "c", "*"][rng.below(4)])
                .collect();
            if rng.below(4) == 0 {
                tokens.push(">");
            }
            tokens.join(".")
        };
        let mut taken = Taken::default();
        let mut all: Vec<StreamConfig> = vec![];
        let mut seen = [0; 2];
        for n in 0..2000 {
            let (asked, name) = (subject(), format!("S{}", n % 20));
            let is_taken = all.iter().filter(|c| c.name != name).any(|c| {
                let mut subjects = c.subjects.iter();
                subjects.any(|s| overlaps(s.as_bytes(), asked.as_bytes()))
            });
            assert_eq!(
                taken.is_taken(1, &asked, &name),
                is_taken,
                "{asked} of {all:?}"
            );
            assert!(!taken.is_taken(2, &asked, &name));
            seen[usize::from(is_taken)] += 1;
            if n % 3 == 0 {
                let new = config(&name, &[asked, subject()]);
                taken.add(1, &new);
                all.push(new);
            }
            if all.len() > 6 {
                let old = all.remove(n % 6);
                taken.remove(1, &old);
            }
        }
        assert!(seen.iter().all(|n| *n > 100), "{seen:?}");
        all.iter().for_each(|config| taken.remove(1, config));
        assert!(taken.accounts.is_empty());
    }
}

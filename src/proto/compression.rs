//! Compression between servers: how two of them agree on it (`selectCompressionMode` in
//! `server/server.go` of the reference at 2.15).

use crate::base::text::GoDuration;
use std::time::Duration;

/// How hard to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Level {
    /// Not at all: only framed.
    Uncompressed,
    #[default]
    Fast,
    Better,
    Best,
}

impl Level {
    /// As servers name it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Uncompressed => "s2_uncompressed",
            Level::Fast => "s2_fast",
            Level::Better => "s2_better",
            Level::Best => "s2_best",
        }
    }
}

/// What a server wants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// It behaves as one that knows of none.
    NotSupported,
    Off,
    /// If the other one wants it.
    #[default]
    Accept,
    /// By the round trip time: none up to the first of these, and so on, up to three or four of them.
    /// Zero leaves a level out.
    Auto(Vec<Duration>),
    Fixed(Level),
}

/// The thresholds of [`Compression::Auto`] where none are given.
pub const THRESHOLDS: [Duration; 3] = [
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
];

/// What two servers have come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Agreed {
    NotSupported,
    Off,
    On(Level),
}

impl Agreed {
    /// As servers name it.
    pub fn name(self) -> &'static str {
        match self {
            Agreed::NotSupported => "not supported",
            Agreed::Off => "off",
            Agreed::On(level) => level.name(),
        }
    }
}

impl Compression {
    /// What is configured by that word, with these thresholds.
    ///
    /// # Errors
    /// What is wrong with them, in the reference's words.
    pub fn parse(mode: &str, thresholds: &[Duration]) -> Result<Compression, String> {
        Ok(match &*mode.to_ascii_lowercase() {
            "not supported" | "not_supported" => Compression::NotSupported,
            "disabled" | "off" | "false" => Compression::Off,
            "accept" => Compression::Accept,
            "auto" | "s2_auto" => Compression::Auto(ordered(mode, thresholds)?),
            "on" | "enabled" | "true" | "fast" | "s2_fast" => Compression::Fixed(Level::Fast),
            "better" | "s2_better" => Compression::Fixed(Level::Better),
            "best" | "s2_best" => Compression::Fixed(Level::Best),
            _ => return Err(format!("unsupported compression mode {mode:?}")),
        })
    }

    /// As servers name it.
    pub fn name(&self) -> &'static str {
        match self {
            Compression::NotSupported => "not supported",
            Compression::Off => "off",
            Compression::Accept => "accept",
            Compression::Auto(_) => "s2_auto",
            Compression::Fixed(level) => level.name(),
        }
    }

    /// The level for this round trip time, if that decides.
    pub fn by_rtt(&self, rtt: Duration) -> Option<Level> {
        let Compression::Auto(thresholds) = self else {
            return None;
        };
        let found = thresholds.iter().position(|threshold| rtt <= *threshold);
        let at = found.unwrap_or(match thresholds.len() {
            0..=2 => thresholds.len().saturating_sub(1),
            _ => 3,
        });
        Some(match at {
            0 => Level::Uncompressed,
            1 => Level::Fast,
            2 => Level::Better,
            _ => Level::Best,
        })
    }

    /// What comes of it with a server that says that it wants `theirs`, at this round trip time.
    ///
    /// # Errors
    /// That is nothing that is known.
    pub fn agree(&self, theirs: &str, rtt: Duration) -> Result<Agreed, String> {
        let level = match theirs {
            "" | "not supported" => return Ok(Agreed::NotSupported),
            "off" => return Ok(Agreed::Off),
            "accept" => None,
            "s2_auto" | "s2_fast" => Some(Level::Fast),
            "s2_uncompressed" => Some(Level::Uncompressed),
            "s2_better" => Some(Level::Better),
            "s2_best" => Some(Level::Best),
            _ => return Err(format!("unsupported route compression mode {theirs:?}")),
        };
        Ok(match self {
            Compression::NotSupported => Agreed::NotSupported,
            Compression::Off => Agreed::Off,
            Compression::Accept => level.map_or(Agreed::Off, Agreed::On),
            Compression::Auto(_) => Agreed::On(self.by_rtt(rtt).unwrap_or_default()),
            Compression::Fixed(level) => Agreed::On(*level),
        })
    }
}

/// Thresholds in order, without zeros at the end.
fn ordered(mode: &str, thresholds: &[Duration]) -> Result<Vec<Duration>, String> {
    if thresholds.is_empty() {
        return Ok(THRESHOLDS.to_vec());
    }
    let mut last = Duration::ZERO;
    for threshold in thresholds.iter().filter(|t| !t.is_zero()) {
        if *threshold < last {
            return Err(format!(
                "RTT threshold values {} should be in ascending order",
                shown(thresholds)
            ));
        }
        last = *threshold;
    }
    let end = thresholds.iter().rposition(|t| !t.is_zero());
    let kept = &thresholds[..end.map_or(0, |at| at + 1)];
    match kept.len() {
        0 => Err(format!(
            "compression mode {mode:?} requires at least one RTT threshold"
        )),
        1..=4 => Ok(kept.to_vec()),
        _ => Err(format!(
            "compression mode {mode:?} should have no more than 4 RTT thresholds: {}",
            shown(thresholds)
        )),
    }
}

fn shown(thresholds: &[Duration]) -> String {
    let each = thresholds.iter().map(|t| GoDuration(*t).to_string());
    format!("[{}]", each.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(times: &[u64]) -> Vec<Duration> {
        times.iter().map(|n| Duration::from_millis(*n)).collect()
    }

    #[test]
    fn words_of_configurations() {
        for (word, want) in [
            ("Not_Supported", Compression::NotSupported),
            ("off", Compression::Off),
            ("accept", Compression::Accept),
            ("on", Compression::Fixed(Level::Fast)),
            ("s2_better", Compression::Fixed(Level::Better)),
            ("BEST", Compression::Fixed(Level::Best)),
            ("auto", Compression::Auto(THRESHOLDS.to_vec())),
        ] {
            assert_eq!(Compression::parse(word, &[]), Ok(want), "{word}");
        }
        for word in ["", "s2", "s2_uncompressed", "gzip"] {
            let wrong = format!("unsupported compression mode {word:?}");
            assert_eq!(Compression::parse(word, &[]), Err(wrong));
        }
    }

    #[test]
    fn thresholds_are_in_order_and_zeros_leave_levels_out() {
        let parse = |times: &[u64]| Compression::parse("auto", &ms(times));
        assert_eq!(parse(&[5, 0, 0]), Ok(Compression::Auto(ms(&[5]))));
        assert_eq!(parse(&[0, 5, 9]), Ok(Compression::Auto(ms(&[0, 5, 9]))));
        let wrong = "RTT threshold values [9ms 5ms] should be in ascending order";
        assert_eq!(parse(&[9, 5]), Err(wrong.into()));
        let wrong = "compression mode \"auto\" requires at least one RTT threshold";
        assert_eq!(parse(&[0, 0]), Err(wrong.into()));
        let wrong = "compression mode \"auto\" should have no more than 4 RTT thresholds: \
                     [1ms 2ms 3ms 4ms 5ms]";
        assert_eq!(parse(&[1, 2, 3, 4, 5]), Err(wrong.into()));
    }

    #[test]
    fn round_trips_decide_if_that_is_asked_for() {
        let level = |thresholds: &[u64], rtt: u64| {
            let auto = Compression::Auto(ms(thresholds));
            auto.by_rtt(Duration::from_millis(rtt)).unwrap()
        };
        let usual = [10, 50, 100];
        assert_eq!(level(&usual, 10), Level::Uncompressed);
        assert_eq!(level(&usual, 11), Level::Fast);
        assert_eq!(level(&usual, 100), Level::Better);
        assert_eq!(level(&usual, 101), Level::Best);
        // With fewer thresholds, the last one is for all that is slower.
        assert_eq!(level(&[10], 500), Level::Uncompressed);
        assert_eq!(level(&[0, 10], 500), Level::Fast);
        assert_eq!(Compression::Accept.by_rtt(Duration::ZERO), None);
    }

    #[test]
    fn two_servers_come_to_the_same() {
        let rtt = Duration::from_millis(60);
        let auto = || Compression::Auto(THRESHOLDS.to_vec());
        let on = Agreed::On;
        for (own, theirs, want) in [
            (Compression::Accept, "", Agreed::NotSupported),
            (Compression::Accept, "accept", Agreed::Off),
            (Compression::Accept, "s2_best", on(Level::Best)),
            (Compression::Accept, "s2_auto", on(Level::Fast)),
            (
                Compression::Accept,
                "s2_uncompressed",
                on(Level::Uncompressed),
            ),
            (Compression::Off, "s2_best", Agreed::Off),
            (Compression::NotSupported, "s2_best", Agreed::NotSupported),
            (Compression::Fixed(Level::Best), "off", Agreed::Off),
            (Compression::Fixed(Level::Best), "accept", on(Level::Best)),
            (Compression::Fixed(Level::Fast), "s2_best", on(Level::Fast)),
            (auto(), "accept", on(Level::Better)),
            (auto(), "s2_fast", on(Level::Better)),
        ] {
            assert_eq!(own.agree(theirs, rtt), Ok(want), "{own:?} {theirs}");
        }
        let wrong = "unsupported route compression mode \"zstd\"";
        assert_eq!(auto().agree("zstd", rtt), Err(wrong.into()));
    }
}

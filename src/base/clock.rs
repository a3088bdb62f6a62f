//! The one reader of operating system time. Everything else is handed a [`Mono`].

use std::ops::Add;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// A point in monotonic time: nanoseconds since this process first asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Mono(u64);

impl Mono {
    /// The start of the process' time.
    pub const ZERO: Mono = Mono(0);

    /// The point `nanos` nanoseconds after [`Mono::ZERO`].
    pub const fn from_nanos(nanos: u64) -> Mono {
        Mono(nanos)
    }

    /// Nanoseconds since [`Mono::ZERO`].
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this point; zero if `earlier` is not earlier.
    pub const fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;

    fn add(self, d: Duration) -> Mono {
        Mono(
            self.0
                .saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// The monotonic time now.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one reader of OS time"
)]
pub fn mono() -> Mono {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    Mono(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

/// The wall clock time now.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one reader of OS time"
)]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

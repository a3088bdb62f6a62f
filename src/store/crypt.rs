//! Keys for what is on disk.

/// The keys that a server was configured with, and what to do with them.
#[derive(Clone, Debug, Default)]
pub struct Keys(());

impl Keys {
    /// Without any key: nothing is encrypted.
    pub fn none() -> Keys {
        Keys::default()
    }
}

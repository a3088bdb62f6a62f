//! What operators may have done to the whole server by way of the system account.

use crate::loops::system::Operator;
use std::sync::OnceLock;
use std::time::Duration;

type Reload = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The ways to have something done.
#[derive(Default)]
pub(super) struct Operations {
    reload: OnceLock<Reload>,
}

impl Operations {
    pub(super) fn set_reload(&self, reload: Reload) {
        // Whoever runs the server says it once.
        let _ = self.reload.set(reload);
    }
}

impl Operator for Operations {
    fn reload(&self) -> Result<(), String> {
        match self.reload.get() {
            Some(reload) => reload(),
            None => Err("the configuration of this server cannot be read again".into()),
        }
    }

    fn profile(&self, name: &str, _duration: Duration) -> Result<Vec<u8>, String> {
        Err(format!("there is no profile {name:?}"))
    }
}

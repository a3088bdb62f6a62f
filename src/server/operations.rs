//! What operators may have done to the whole server by way of the system account.

use super::{Figures, profiling};
use crate::loops::system::Operator;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

type Reload = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The ways to have something done.
pub(super) struct Operations {
    figures: Arc<Figures>,
    reload: OnceLock<Reload>,
}

impl Operations {
    pub(super) fn new(figures: Arc<Figures>) -> Operations {
        Operations {
            figures,
            reload: OnceLock::new(),
        }
    }

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

    fn profile(&self, name: &str, duration: Duration) -> Result<Vec<u8>, String> {
        profiling::profile(&*self.figures, name, duration)
    }
}

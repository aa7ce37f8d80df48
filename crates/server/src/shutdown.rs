//! The signal to stop, which everything in a process shares.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Tells everything in the process to stop. Clones share the signal; once given it stays.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A signal that has not been given.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// A signal that SIGTERM or SIGINT gives. A second one of these ends the process at once, with exit code 1.
    ///
    /// Must be called within a tokio runtime. Fails if the handlers cannot be installed.
    pub fn on_signals() -> io::Result<Shutdown> {
        let shutdown = Shutdown::new();
        let given = shutdown.clone();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            let name = either(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = name, "stopping; a second signal stops at once");
            given.give();
            let name = either(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name, "stopped at once");
            std::process::exit(1);
        });
        Ok(shutdown)
    }

    /// Gives the signal.
    pub fn give(&self) {
        self.0.cancel();
    }

    /// Whether it was given.
    pub fn is_given(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns once the signal is given. Can be dropped and called again.
    pub async fn given(&self) {
        self.0.cancelled().await;
    }

    /// The same as a future of its own.
    pub fn given_owned(&self) -> WaitForCancellationFutureOwned {
        self.0.clone().cancelled_owned()
    }

    /// A signal that is given with this one, or by itself: to stop one role and not its neighbours.
    pub fn child(&self) -> Shutdown {
        Shutdown(self.0.child_token())
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_and_child_hears_the_signal() {
        let shutdown = Shutdown::new();
        let (clone, child) = (shutdown.clone(), shutdown.child());
        assert!(!clone.is_given());
        shutdown.give();
        clone.given().await;
        child.given().await;
    }

    #[tokio::test]
    async fn a_child_stops_alone() {
        let shutdown = Shutdown::new();
        let child = shutdown.child();
        child.give();
        assert!(child.is_given() && !shutdown.is_given());
    }
}

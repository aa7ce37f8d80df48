//! A short while, after which what can wait is sent all the same.

use std::{pin::Pin, time::Duration};

use tokio::time::{Instant, Sleep, sleep};

use super::Heard;

/// Longest time that something waits for a message to travel with. Only what no reader can be waiting for is held back:
/// what lets others forget, watermarks that are not far behind, and frames that do not concern the reader. Nothing is
/// forgotten above the stable cut, which moves as often as the balancer writes results: every 20 ms.
pub const LINGER: Duration = Duration::from_millis(20);

/// Whether there is something that waits, and until when.
#[derive(Debug, Default)]
pub struct Linger {
    /// Made once, and set again.
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

/// What an engine does next.
#[derive(Debug)]
pub enum Next<E> {
    /// It handles an event.
    Event(E),
    /// It sends what waits.
    Due,
    /// It ends: all its senders are gone.
    Closed,
}

impl Linger {
    /// Something waits from now on, if nothing has before.
    pub fn arm(&mut self) {
        if self.armed {
            return;
        }
        self.armed = true;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(Instant::now() + LINGER),
            None => self.sleep = Some(Box::pin(sleep(LINGER))),
        }
    }

    /// What an engine hears next, unless what waits has waited long enough. May be dropped and asked again.
    pub async fn or<E>(&mut self, heard: &mut Heard<E>) -> Next<E> {
        // Not biased: an inbox that is never empty must not hold back what waits.
        tokio::select! {
            event = heard.next() => event.map_or(Next::Closed, Next::Event),
            () = self.due() => Next::Due,
        }
    }

    /// Returns once what waits has waited long enough; never when nothing does. May be dropped and asked again.
    async fn due(&mut self) {
        match &mut self.sleep {
            Some(sleep) if self.armed => {
                sleep.await;
                self.armed = false;
            }
            _ => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_waits_is_due_once_and_by_the_first_of_it() {
        let mut linger = Linger::default();
        assert_eq!(linger.due().now_or_never(), None);
        for _ in 0..2 {
            let began = Instant::now();
            linger.arm();
            assert_eq!(linger.due().now_or_never(), None);
            linger.arm();
            linger.due().await;
            assert!(began.elapsed() >= LINGER);
            assert_eq!(linger.due().now_or_never(), None);
        }
    }
}

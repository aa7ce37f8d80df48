//! Beats, by which balancers that share a log know of one another: a thread says this one's, another hears all.

use std::{io, thread, time::Duration};

use dovetail_log::shared::{Beat, Engine};
use tokio::sync::mpsc;

/// Beats that wait for the engine. It may miss some.
const HEARD: usize = 64;
/// How long a thread waits before it looks whether anybody listens.
const PATIENCE: Duration = Duration::from_millis(250);

/// The ways of beats, in and out.
#[derive(Debug)]
pub(super) struct Beats {
    /// What is to be said: the last is.
    pub(super) say: mpsc::UnboundedSender<Beat>,
    /// What was heard, of others and of this one.
    pub(super) heard: mpsc::Receiver<Beat>,
}

/// Starts the threads. They end with what is returned.
pub(super) fn start(engine: &dyn Engine) -> io::Result<Beats> {
    let (say, mut said) = mpsc::unbounded_channel();
    let (hear, heard) = mpsc::channel(HEARD);
    let (mut speaks, listens) = (engine.another(), engine.another());
    thread::Builder::new().name("beat".into()).spawn(move || {
        while let Some(mut beat) = said.blocking_recv() {
            // What could not be said in time is old.
            while let Ok(newer) = said.try_recv() {
                beat = newer;
            }
            speaks.beat(&beat);
        }
    })?;
    thread::Builder::new().name("hear".into()).spawn(move || {
        // Asked for here: a thread of the runtime must not wait for the engine.
        let mut listens = listens.hear();
        while !hear.is_closed() {
            if let Some(beat) = listens.next(PATIENCE) {
                // Others follow.
                _ = hear.try_send(beat);
            }
        }
    })?;
    Ok(Beats { say, heard })
}

//! What every engine has to do, done by this one on one server and on three.

use dovetail_jetstream::{JetStreamEngine, JetStreamOptions};
use dovetail_log::conformance::shared::{self, Fixture};
use dovetail_log::shared::{Engine, LostPut};

use crate::harness::{Admin, Servers};
use crate::lossy::Lossy;

/// Logs one after the other, each of which is gone once the next is there.
struct OnServers<'a> {
    servers: &'a Servers,
    admin: Admin,
    made: usize,
    last: Option<(JetStreamOptions, Lossy)>,
}

impl OnServers<'_> {
    fn make(&mut self, bytes_max: u64) -> Box<dyn Engine> {
        if let Some((options, _)) = self.last.take() {
            self.admin.delete(&format!("dovetail-{}", options.cluster));
        }
        self.made += 1;
        let mut options = self.servers.options(&format!("c{}", self.made));
        options.max_bytes = bytes_max;
        let engine = Lossy::over(JetStreamEngine::open(&options).unwrap());
        self.last = Some((options, engine.clone()));
        Box::new(engine)
    }

    fn last(&self) -> &Lossy {
        &self.last.as_ref().unwrap().1
    }
}

impl Fixture for OnServers<'_> {
    fn empty(&mut self) -> Box<dyn Engine> {
        self.make(1 << 30)
    }

    fn another(&mut self) -> Box<dyn Engine> {
        let (options, last) = self.last.as_ref().unwrap();
        Box::new(last.another(JetStreamEngine::open(options).unwrap()))
    }

    fn lose(&mut self, what: LostPut) -> bool {
        self.last().lose(what);
        true
    }

    fn arrive(&mut self) {
        self.last().arrive();
    }

    fn stale(&mut self, looks: usize) {
        self.last().stale(looks);
    }

    fn small(&mut self, bytes_max: usize) -> Option<Box<dyn Engine>> {
        Some(self.make(bytes_max as u64))
    }
}

fn conforms_on(servers: usize) {
    let Some(servers) = Servers::start(servers) else { return };
    let admin = servers.admin();
    shared::check(&mut OnServers { servers: &servers, admin, made: 0, last: None });
}

#[test]
fn the_engine_conforms_on_one_server() {
    conforms_on(1);
}

#[test]
fn the_engine_conforms_on_three_servers() {
    conforms_on(3);
}

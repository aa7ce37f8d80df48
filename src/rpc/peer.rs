//! Who a node is, and whom it talks to.

use std::sync::{Arc, Mutex, PoisonError};

use tonic::Status;

use crate::{
    pb,
    settings::{ClusterSettings, Role},
};

impl From<Role> for pb::Role {
    /// The role's number in the protocol.
    fn from(role: Role) -> pb::Role {
        match role {
            Role::Balancer => pb::Role::Balancer,
            Role::Matcher => pb::Role::Matcher,
            Role::Gatherer => pb::Role::Gatherer,
        }
    }
}

/// Who this node is, as it tells its peers.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What the cluster agrees on.
    pub cluster: ClusterSettings,
    /// What this node does.
    pub role: Role,
    /// Its index among its role.
    pub index: u32,
    log_id: Arc<Mutex<String>>,
}

impl Identity {
    /// A node that has read no log yet.
    #[must_use]
    pub fn new(cluster: ClusterSettings, role: Role, index: u32) -> Identity {
        Identity { cluster, role, index, log_id: Arc::default() }
    }

    /// From now on this node's state comes from this log; empty for none.
    pub fn reads_log(&self, log_id: &str) {
        log_id.clone_into(&mut self.log_id.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The log this node's state comes from; empty for none.
    #[must_use]
    pub fn log_id(&self) -> String {
        self.log_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As sent with every subscription.
    #[must_use]
    pub fn pb(&self) -> pb::Peer {
        pb::Peer {
            cluster: self.cluster.name.clone(),
            settings_digest: self.cluster.digest(),
            settings: self.cluster.to_string(),
            role: pb::Role::from(self.role).into(),
            index: self.index,
            log_id: self.log_id(),
        }
    }

    /// Lets only nodes of the same cluster, with the same settings and the same log, through: what was decided for one log
    /// means nothing for another.
    ///
    /// # Errors
    /// FAILED_PRECONDITION for a stranger, showing what both sides have.
    pub fn check(&self, peer: Option<&pb::Peer>) -> Result<(), Status> {
        let peer =
            peer.ok_or_else(|| Status::invalid_argument("the request does not say who sends it: peer is missing"))?;
        let own = self.cluster.digest();
        if peer.settings_digest != own {
            return Err(Status::failed_precondition(format!(
                "the peer's cluster settings ({}; digest {:016x}) are not those of this {} ({}; digest {own:016x})",
                peer.settings, peer.settings_digest, self.role, self.cluster
            )));
        }
        let log_id = self.log_id();
        if !log_id.is_empty() && !peer.log_id.is_empty() && log_id != peer.log_id {
            let role = self.role;
            let found = &peer.log_id;
            return Err(Status::failed_precondition(format!(
                "the peer's log is {found}, that of this {role} is {log_id}"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(slices: u32) -> Identity {
        let cluster = ClusterSettings {
            name: "test".into(),
            slices,
            matchers: 1,
            gatherers: 1,
            block: 64,
            virtual_nodes: 160,
            list_max: 256,
        };
        Identity::new(cluster, Role::Gatherer, 0)
    }

    #[test]
    fn a_node_with_the_same_settings_is_let_in() {
        assert!(identity(4).check(Some(&identity(4).pb())).is_ok());
    }

    #[test]
    fn a_node_with_another_log_is_refused_and_one_with_none_is_let_in() {
        let (one, other) = (identity(4), identity(4));
        one.reads_log("aa");
        assert!(one.check(Some(&other.pb())).is_ok());
        other.reads_log("bb");
        let refused = one.check(Some(&other.pb())).unwrap_err();
        assert!(refused.message().contains("aa") && refused.message().contains("bb"), "{}", refused.message());
    }

    #[test]
    fn a_stranger_is_refused_with_both_values() {
        let refused = identity(4).check(Some(&identity(6).pb())).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        assert!(refused.message().contains("slices 4"), "{}", refused.message());
        assert!(refused.message().contains("slices 6"), "{}", refused.message());
    }
}

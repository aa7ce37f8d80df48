//! Who a node is, and whom it talks to.

use std::sync::{Arc, Mutex, PoisonError};

use tonic::{Status, metadata::MetadataValue};

use super::{ECHO_BYTES_MAX, Fault, Reason, cut};
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

impl TryFrom<pb::Role> for Role {
    type Error = ();

    fn try_from(role: pb::Role) -> Result<Role, ()> {
        match role {
            pb::Role::Unspecified => Err(()),
            pb::Role::Balancer => Ok(Role::Balancer),
            pb::Role::Matcher => Ok(Role::Matcher),
            pb::Role::Gatherer => Ok(Role::Gatherer),
        }
    }
}

/// Marks a refusal for other cluster settings, beside its message for people.
const OTHER_SETTINGS: &str = "dovetail-other-settings";

/// Whether a refusal is one for other cluster settings.
pub(super) fn is_other_settings(status: &Status) -> bool {
    status.metadata().contains_key(OTHER_SETTINGS)
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
    /// Whom it refused last, and why: told once.
    refused: Arc<Mutex<String>>,
}

impl Identity {
    /// A node that has read no log yet.
    #[must_use]
    pub fn new(cluster: ClusterSettings, role: Role, index: u32) -> Identity {
        Identity { cluster, role, index, log_id: Arc::default(), refused: Arc::default() }
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
        let missing = || Fault::new(Reason::FieldMissing, "the request does not say who sends it: peer is missing");
        let peer = peer.ok_or_else(|| missing().at("peer"))?;
        let own = self.cluster.digest();
        if peer.settings_digest != own {
            let text = format!(
                "the peer's cluster settings ({}; digest {:016x}) are not those of this {} ({}; digest {own:016x})",
                cut(peer.settings.clone(), ECHO_BYTES_MAX),
                peer.settings_digest,
                self.role,
                self.cluster
            );
            let mut refusal = Status::from(Fault::new(Reason::PeerDiffers, text));
            refusal.metadata_mut().insert(OTHER_SETTINGS, MetadataValue::from_static("true"));
            self.tell_refused(peer, refusal.message());
            return Err(refusal);
        }
        let log_id = self.log_id();
        if !log_id.is_empty() && !peer.log_id.is_empty() && log_id != peer.log_id {
            let role = self.role;
            let found = cut(peer.log_id.clone(), ECHO_BYTES_MAX);
            let text = format!("the peer's log is {found}, that of this {role} is {log_id}");
            return Err(Fault::new(Reason::PeerDiffers, text).into());
        }
        Ok(())
    }

    /// Logs whom it refused, unless that is what it logged last: a stranger tries again and again.
    fn tell_refused(&self, peer: &pb::Peer, error: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if *refused != error {
            let role = Role::try_from(peer.role()).map_or("unknown role", Role::name);
            tracing::error!(peer = role, index = peer.index, error, "refused a node with other cluster settings");
            error.clone_into(&mut refused);
        }
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
        assert!(is_other_settings(&refused));
        assert!(!is_other_settings(&Status::failed_precondition("another reason")));
    }
}

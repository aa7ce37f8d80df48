//! Channels to other nodes.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use dovetail::traffic::Traffic;
use dovetail_certs::NodeTrust;

/// A channel to another node, connected when it is first used and again whenever it breaks. Its bytes are counted. The
/// node that answers has to be trusted.
///
/// # Errors
/// When the address is not a URL.
pub fn dial(address: &str, traffic: &Traffic, trust: NodeTrust) -> Result<Channel, tonic::transport::Error> {
    Ok(Endpoint::from_shared(address.to_owned())?
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .connect_with_connector_lazy(traffic.connector(trust)))
}

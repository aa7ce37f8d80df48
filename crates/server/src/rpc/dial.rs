//! Channels to other nodes.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use dovetail::traffic::Traffic;
use dovetail_certs::NodeTrust;

/// How often a silent connection is probed, and how long an answer may take. Without others of its role, what a node
/// would do sooner is nothing but dial it again.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));
/// The same where others can be asked instead.
const KEEPALIVE_OF_SEVERAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(1));

/// A channel to another node, connected when it is first used and again whenever it breaks. Its bytes are counted. The
/// node that answers has to be trusted. One of `several` that can be asked is given up sooner.
///
/// # Errors
/// When the address is not a URL.
pub fn dial(
    address: &str,
    traffic: &Traffic,
    trust: NodeTrust,
    several: bool,
) -> Result<Channel, tonic::transport::Error> {
    let (every, answer) = if several { KEEPALIVE_OF_SEVERAL } else { KEEPALIVE };
    let connect = if several { answer } else { Duration::from_secs(2) };
    Ok(Endpoint::from_shared(address.to_owned())?
        .connect_timeout(connect)
        .http2_keep_alive_interval(every)
        .keep_alive_timeout(answer)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .connect_with_connector_lazy(traffic.connector(trust)))
}

//! Who calls: strangers, clients with and without rights, and nodes, each with channels of its own.

use std::{collections::BTreeMap, fs, io, path::Path};

use dovetail_server::auth::api_keys;
use dovetail_sim::rng::Rng;
use tonic::transport::Channel;

use crate::{clients::channel_with, cluster::ClusterPlaces, secure, shape::ClusterNode};

/// Who may do what in a run that asks: `PLAYER` a little, `CLIENT` by its certificate a little else, `OPS` everything,
/// the rest nothing.
const POLICY: &str = r#"
[[grant]]
who = ["key:ops"]
roles = ["operator"]

[[grant]]
who = ["key:player"]
roles = ["producer", "consumer", "owner-only"]
pools = ["p*"]

[[grant]]
who = ["cert:ada"]
roles = ["producer", "pool-admin"]
pools = ["p1*"]
"#;

/// Somebody.
#[derive(Clone, Debug)]
pub struct CallerKind {
    pub name: String,
    pub token: Option<String>,
    channels: BTreeMap<ClusterNode, Channel>,
    /// How often it calls, beside the others.
    weight: u64,
}

/// All who call.
#[derive(Debug)]
pub struct Everybody(Vec<CallerKind>);

/// The keys of a run that asks who calls.
#[derive(Debug)]
pub struct Keys {
    pub ops: String,
    player: String,
    nobody: String,
}

impl Keys {
    /// Makes keys, and writes the files that every node reads. Adds the flags that name them.
    pub fn make(place: &mut ClusterPlaces) -> io::Result<Keys> {
        let made = || api_keys::generate().map_err(io::Error::other);
        let ((ops, ops_hash), (player, player_hash), (nobody, nobody_hash)) = (made()?, made()?, made()?);
        let hashes = format!("ops = {ops_hash:?}\nplayer = {player_hash:?}\nnobody = {nobody_hash:?}\n");
        for (flag, name, text) in [("policy", "policy.toml", POLICY), ("api-keys", "api-keys.toml", &hashes)] {
            let path = place.folder.join(name);
            fs::write(&path, text)?;
            place.flags.push((flag, path.display().to_string()));
        }
        Ok(Keys { ops, player, nobody })
    }
}

impl Everybody {
    /// All callers of a run with these keys, or without.
    pub fn new(place: &ClusterPlaces, keys: Option<&Keys>) -> io::Result<Everybody> {
        let folder = place.certs();
        let who = |cert: Option<&str>, token: Option<(&str, &str)>, weight| {
            somebody(place, &folder, cert, token, weight).map_err(io::Error::other)
        };
        let mut everybody = Vec::new();
        if secure::scheme() == "https" {
            for (cert, weight) in [("matcher-0", 20), ("gatherer-1", 20), ("balancer", 5), (secure::CLIENT, 15)] {
                everybody.push(who(Some(cert), None, weight)?);
            }
        }
        if let Some(Keys { ops, player, nobody }) = keys {
            everybody.push(who(None, Some(("ops", ops)), 50)?);
            everybody.push(who(None, Some(("player", player)), 30)?);
            everybody.push(who(None, Some(("nobody", nobody)), 5)?);
            let signed = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJvcHMifQ.AAAA";
            everybody.push(who(None, Some(("a token that nobody signed", signed)), 3)?);
        }
        let weight = if everybody.is_empty() || keys.is_none() { 60 } else { 5 };
        everybody.push(who(None, None, weight)?);
        Ok(Everybody(everybody))
    }

    /// One of them.
    pub fn draw(&self, rng: &mut Rng) -> &CallerKind {
        let mut at = rng.below(self.0.iter().map(|who| who.weight).sum());
        let drawn = self.0.iter().find(|who| {
            let found = at < who.weight;
            at = at.saturating_sub(who.weight);
            found
        });
        drawn.unwrap_or(&self.0[0])
    }
}

fn somebody(
    place: &ClusterPlaces,
    folder: &Path,
    cert: Option<&str>,
    token: Option<(&str, &str)>,
    weight: u64,
) -> Result<CallerKind, tonic::transport::Error> {
    let trust = secure::trust_as(folder, cert);
    let channels = place.shape.nodes().into_iter().map(|node| {
        let channel = channel_with(&place.url(node), trust.clone())?;
        Ok((node, channel))
    });
    let channels = channels.collect::<Result<_, tonic::transport::Error>>()?;
    let name = cert.or(token.map(|(name, _)| name)).unwrap_or("a stranger").to_owned();
    Ok(CallerKind { name, token: token.map(|(_, token)| token.to_owned()), channels, weight })
}

impl CallerKind {
    pub fn channel(&self, node: ClusterNode) -> Channel {
        self.channels[&node].clone()
    }
}

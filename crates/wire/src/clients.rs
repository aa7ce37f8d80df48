//! What clients say of each element of a batch beside its attributes, as columns.

use bytes::Bytes;
use dovetail_core::batch::ClientColumns;

use super::error::ConvertError;
use dovetail::{
    columns::{byte_strings, fixed, texts},
    pb,
};

/// What a batch has of each element beside its attributes, from the wire.
pub(super) fn clients(
    count: usize,
    keys: &pb::TextColumn,
    payloads: Option<&pb::BytesColumn>,
    ttls_ms: &Bytes,
    idempotency_keys: Option<&pb::TextColumn>,
    owners: Option<&pb::TextColumn>,
) -> Result<ClientColumns, ConvertError> {
    let named = |name: &str| {
        let name = name.to_owned();
        move |source| ConvertError::AttributeColumn { name, source }
    };
    let payloads = payloads.map(|column| byte_strings(count, column));
    let ttls_ms = (!ttls_ms.is_empty()).then(|| fixed::<8>("ttls_ms", count, ttls_ms));
    let idempotency_keys = idempotency_keys.map(|column| texts(count, column));
    let owners = owners.map(|column| texts(count, column));
    Ok(ClientColumns {
        keys: texts(count, keys).map_err(named("keys"))?,
        payloads: payloads.transpose().map_err(named("payloads"))?,
        ttls_ms: ttls_ms.transpose().map_err(named("ttls_ms"))?,
        idempotency_keys: idempotency_keys.transpose().map_err(named("idempotency_keys"))?,
        owners: owners.transpose().map_err(named("owners"))?,
    })
}

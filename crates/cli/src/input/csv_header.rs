//! What the columns of a CSV file hold: its header, as the options read it.

use csv::StringRecord;
use dovetail_rule::AttributeType;

use super::reading::ReadingArgs;
use crate::schema::{PoolSchema, shorten};

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Column {
    Key,
    Payload,
    TtlMs,
    IdempotencyKey,
    Attribute(String, AttributeType),
    /// Nothing that is read.
    PassedOver,
}

/// Reads the header.
pub(super) fn columns(
    header: &StringRecord,
    schema: &PoolSchema,
    options: &ReadingArgs,
) -> Result<Vec<Column>, String> {
    let names: Vec<&str> = header.iter().map(str::trim).collect();
    other_delimiter(&names, options.delimiter())?;
    all_are_there(&names, options)?;
    let mut columns: Vec<Column> = Vec::with_capacity(names.len());
    for (index, &name) in names.iter().enumerate() {
        let column = column(index, name, schema, options)?;
        if column != Column::PassedOver && columns.contains(&column) {
            return Err(format!("the header has {name:?} twice, or two columns for it"));
        }
        columns.push(column);
    }
    match columns.contains(&Column::Key) {
        true => Ok(columns),
        false if names.is_empty() => Err("the file is empty: there is no header".to_owned()),
        false => {
            let names = names.join(", ");
            let names = shorten(&names);
            Err(format!("the header has no column \"key\", but {names}; --key-column names the one to take for it"))
        }
    }
}

fn column(index: usize, name: &str, schema: &PoolSchema, options: &ReadingArgs) -> Result<Column, String> {
    if options.key_column.as_deref() == Some(name) {
        return Ok(Column::Key);
    }
    let renamed = options.rename.iter().find(|(from, _)| from == name).map(|(_, to)| to.as_str());
    let meant = renamed.unwrap_or(name);
    let is_key = meant == "key" && options.key_column.is_none();
    if !options.columns.is_empty() && !options.columns.iter().any(|chosen| chosen == name) && !is_key {
        return Ok(Column::PassedOver);
    }
    let attribute = match meant {
        "key" if is_key => return Ok(Column::Key),
        "payload" => return Ok(Column::Payload),
        "ttl_ms" => return Ok(Column::TtlMs),
        "idempotency_key" => return Ok(Column::IdempotencyKey),
        name => name.strip_prefix("attributes.").unwrap_or(name),
    };
    match schema.find(attribute) {
        Some((_, name, declared)) => Ok(Column::Attribute(name.to_owned(), declared)),
        None if options.ignore_unknown && renamed.is_none() => Ok(Column::PassedOver),
        None if name.is_empty() => Err(format!(
            "column {} has no name, as an index that pandas writes has none; write the file without it (index=False), \
             take it for the key with --key-column \"\", or pass over it with --ignore-unknown",
            index + 1
        )),
        None => Err(format!(
            "{}; --ignore-unknown passes over columns that it does not have, --columns chooses some, and \
             --rename {:?} takes this one for another",
            schema.unknown(attribute),
            format!("{}=NAME", shorten(name)),
        )),
    }
}

/// A header that is one cell for want of the right delimiter is told so.
fn other_delimiter(names: &[&str], delimiter: u8) -> Result<(), String> {
    let [only] = names else { return Ok(()) };
    let others = [(';', "';'"), ('\t', "tab"), (',', "','"), ('|', "'|'")];
    match others.iter().find(|(other, _)| *other != char::from(delimiter) && only.contains(*other)) {
        Some((_, text)) => Err(format!("the header is one column, {:?}: try --delimiter {text}", shorten(only))),
        None => Ok(()),
    }
}

/// Columns that an option names have to be in the file.
fn all_are_there(names: &[&str], options: &ReadingArgs) -> Result<(), String> {
    let named = options.key_column.iter().map(|name| ("--key-column", name));
    let named = named.chain(options.columns.iter().map(|name| ("--columns", name)));
    let named = named.chain(options.rename.iter().map(|(name, _)| ("--rename", name)));
    for (option, name) in named {
        if !names.contains(&name.as_str()) {
            let there_are = names.join(", ");
            return Err(format!("{option} names {name:?}, but the header has {}", shorten(&there_are)));
        }
    }
    Ok(())
}

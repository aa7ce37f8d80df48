//! How elements are read: where to begin, and how a file of CSV is taken.

/// How to read them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ReadingArgs {
    /// Begin with the first element that starts on this line or after it
    #[arg(long, value_name = "LINE", default_value_t = 1, hide_default_value = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) from_line: u64,
    /// Pass over columns, members and attributes that the pool does not have
    #[arg(long)]
    pub(super) ignore_unknown: bool,
    /// CSV: what separates cells: one ASCII character, or "tab"; without it a comma, or a tab for files that end in
    /// .tsv
    #[arg(long, value_name = "CHAR", value_parser = delimiter, allow_hyphen_values = true)]
    pub(super) delimiter: Option<u8>,
    /// CSV: the column to take for the key, instead of "key"
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    pub(super) key_column: Option<String>,
    /// CSV: read these columns and the key, and pass over the others
    #[arg(long, value_name = "COLUMN,..", value_delimiter = ',')]
    pub(super) columns: Vec<String>,
    /// CSV: take a column for another: --rename "Skill Level=skill"; may be repeated
    #[arg(long, value_name = "COLUMN=NAME", value_parser = renaming)]
    pub(super) rename: Vec<(String, String)>,
    /// CSV: cells that are missing values, as empty ones always are: --null NA,null
    #[arg(long, value_name = "TEXT,..", value_delimiter = ',', allow_hyphen_values = true)]
    pub(super) null: Vec<String>,
    /// CSV: the cell that is an empty string, or an empty list
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) empty: Option<String>,
}

/// One byte, for clap.
fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if text == "tab" || text == "\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err("expected one ASCII character other than a quote or a line break, or \"tab\"".to_owned()),
    }
}

/// A column and what it is taken for, for clap. A column's name may have a `=`, that of an attribute has none.
fn renaming(text: &str) -> Result<(String, String), String> {
    let (column, name) = text.rsplit_once('=').ok_or("expected COLUMN=NAME, such as \"Skill Level=skill\"")?;
    Ok((column.to_owned(), name.to_owned()))
}

impl ReadingArgs {
    pub(super) fn delimiter(&self) -> u8 {
        self.delimiter.unwrap_or(b',')
    }

    /// What only CSV has, if it is given.
    pub(super) fn of_csv(&self) -> Option<&'static str> {
        let given = [
            (self.delimiter.is_some(), "--delimiter"),
            (self.key_column.is_some(), "--key-column"),
            (!self.columns.is_empty(), "--columns"),
            (!self.rename.is_empty(), "--rename"),
            (!self.null.is_empty(), "--null"),
            (self.empty.is_some(), "--empty"),
        ];
        given.into_iter().find_map(|(given, name)| given.then_some(name))
    }
}

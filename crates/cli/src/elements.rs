//! `dovetail list`, and `dovetail withdraw` of many: the elements that wait in a pool, chosen by key prefix and
//! attributes.

use std::cell::Cell;
use std::io::{self, BufRead as _, IsTerminal as _};

use serde_json::json;

use super::arguments::ServerArgs;
use super::element::{self, ElementJson};
use super::error::CliError;
use super::pool::{self, or_no_pool};
use super::schema::PoolSchema;
use super::table::{TextTable, thousands};
use super::{duration, input, match_json, notices, output};
use dovetail::{client::Client, pb};
use dovetail_server::printable::printable;
use dovetail_server::time;

/// Elements read at a time.
const PAGE: u64 = 1_000;

/// Which elements of a pool.
#[derive(Debug, Default, clap::Args)]
pub struct FilterArgs {
    /// Only those whose key begins with this
    #[arg(long, value_name = "PREFIX", requires = "pool", allow_hyphen_values = true)]
    key_prefix: Option<String>,
    /// Only those with this attribute; may be repeated. Lists are separated by |
    #[arg(long = "where", value_name = "NAME=VALUE", requires = "pool", value_parser = condition)]
    wheres: Vec<(String, String)>,
}

/// Flags of `dovetail list`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dovetail list --pool duel\n  dovetail list --pool duel --where region=eu --key-prefix p --json"
)]
pub struct ListElementsArgs {
    /// The pool to look into
    #[arg(long, value_name = "POOL")]
    pool: String,
    #[command(flatten)]
    filter: FilterArgs,
    /// Most elements to print; without it, all of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

fn condition(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as region=eu")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl FilterArgs {
    /// As the protocol has it, with values of the types that the pool declares.
    pub async fn read(&self, client: &Client, pool: &str) -> Result<pb::ElementFilter, CliError> {
        let mut filter = pb::ElementFilter {
            pool: pool.to_owned(),
            key_prefix: self.key_prefix.clone().unwrap_or_default(),
            ..Default::default()
        };
        if self.wheres.is_empty() {
            return Ok(filter);
        }
        let schema = PoolSchema::of(&pool::definition(client, pool).await?);
        for (name, text) in &self.wheres {
            let unknown = || CliError::Arguments(schema.unknown(name));
            let (_, _, declared) = schema.find(name).ok_or_else(unknown)?;
            let value = input::cell(&schema, name, text, declared).map_err(CliError::Arguments)?;
            if filter.attributes.insert(name.clone(), value).is_some() {
                return Err(CliError::Arguments(format!("--where {name} is given twice")));
            }
        }
        Ok(filter)
    }

    /// In words.
    fn words(&self) -> String {
        let prefix = self.key_prefix.iter().map(|prefix| format!("key prefix {prefix:?}"));
        let wheres = self.wheres.iter().map(|(name, value)| format!("{name} = {value}"));
        prefix.chain(wheres).collect::<Vec<_>>().join(", ")
    }
}

/// Prints the elements that wait.
pub async fn list(arguments: ListElementsArgs) -> Result<(), CliError> {
    let print = async |client: Client| {
        let filter = arguments.filter.read(&client, &arguments.pool).await?;
        let (mut left, mut page_token, mut printed) = (arguments.limit.unwrap_or(u64::MAX), String::new(), 0);
        loop {
            let page_size = left.min(PAGE) as u32;
            let request = pb::ListElementsRequest { filter: Some(filter.clone()), page_size, page_token };
            let page = client.list_elements(request).await;
            let page = or_no_pool(&client, Some(&arguments.pool), page).await?;
            left -= page.elements.len() as u64;
            output::print(&text(&page.elements, arguments.json, printed == 0))?;
            printed += page.elements.len();
            page_token = page.next_page_token;
            if page_token.is_empty() || left == 0 {
                break;
            }
        }
        if printed == 0 && !arguments.json {
            output::print("no such element waits\n")?;
        }
        Ok(client)
    };
    let late = arguments.server.deadline();
    let client = arguments.server.run(print).await?;
    // Also when no element is listed: one that was submitted since is in no answer yet.
    ServerArgs::as_of(&client, 0, late).await;
    Ok(())
}

fn text(elements: &[pb::Element], json: bool, first: bool) -> String {
    if json {
        return elements.iter().map(|element| match_json::line(&ElementJson::from(element))).collect();
    }
    if elements.is_empty() {
        return String::new();
    }
    let now_ms = time::now_ms();
    let mut table = TextTable::new(&[">id", "key", ">waited", "attributes"]);
    for element in elements {
        let attribute = |(name, value): (&String, &pb::Value)| {
            format!("{}={}", printable(name), element::attribute_text(element, name, value))
        };
        let sorted: std::collections::BTreeMap<_, _> = element.attributes.iter().collect();
        table.row([
            element.id.to_string(),
            printable(&element.key).into_owned(),
            duration::format_ms(now_ms.saturating_sub(element.arrived_ms)),
            sorted.into_iter().map(attribute).collect::<Vec<_>>().join(" "),
        ]);
    }
    let text = table.render(0);
    if first {
        return text;
    }
    // The heading is there already.
    text.split_once('\n').map(|(_, rows)| rows.to_owned()).unwrap_or_default()
}

/// What is withdrawn, when it is not one element.
#[derive(Debug)]
pub struct Many<'a> {
    pub pool: &'a str,
    pub filter: &'a FilterArgs,
    /// It does not ask.
    pub yes: bool,
    pub json: bool,
    /// Becomes true when the first is asked to be withdrawn.
    pub sent: &'a Cell<bool>,
}

/// Withdraws page after page, and says what became of them.
pub async fn withdraw(client: &Client, many: Many<'_>) -> Result<(), CliError> {
    let filter = many.filter.read(client, many.pool).await?;
    if !many.yes {
        confirm(&many)?;
    }
    let all = many.filter.words().is_empty();
    let (mut total, mut page_token) = (pb::WithdrawElementsResponse::default(), String::new());
    many.sent.set(true);
    loop {
        let request =
            pb::WithdrawElementsRequest { filter: Some(filter.clone()), all, page_size: PAGE as u32, page_token };
        let part = notices::during(client, client.withdraw_elements(request)).await;
        let part = or_no_pool(client, Some(many.pool), part).await?;
        total.withdrawn += part.withdrawn;
        total.matched += part.matched;
        total.ended += part.ended;
        total.position = total.position.max(part.position);
        page_token = part.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let pb::WithdrawElementsResponse { withdrawn, matched, ended, position, .. } = total;
    let text = if many.json {
        match_json::line(&json!({ "withdrawn": withdrawn, "matched": matched, "ended": ended, "position": position }))
    } else {
        format!(
            "{} withdrawn, {} matched before, {} ended otherwise\n",
            thousands(withdrawn),
            thousands(matched),
            thousands(ended)
        )
    };
    Ok(output::print(&text)?)
}

/// Asks a person. Where there is none, only `--yes` will do.
fn confirm(many: &Many<'_>) -> Result<(), CliError> {
    let words = many.filter.words();
    let which = if words.is_empty() { "all elements".to_owned() } else { format!("all elements with {words}") };
    if !io::stdin().is_terminal() {
        let text = format!("this would withdraw {which} that wait in pool {:?}; add --yes if that is meant", many.pool);
        return Err(CliError::Arguments(text));
    }
    eprint!("Withdraw {} that wait in pool {}? [y/N] ", printable(&which), printable(many.pool));
    let mut answer = String::new();
    // No answer is none.
    _ = io::stdin().lock().read_line(&mut answer);
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CliError::Arguments("nothing was withdrawn".to_owned())),
    }
}

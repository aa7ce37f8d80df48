//! The files in `deploy/` and the pages for people use only flags, variables, settings and commands that exist.
#![allow(clippy::unwrap_used, reason = "a file that is not as expected is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{CommandFactory as _, Parser as _};
use dovetail::{Role, client::code_name, reason::Reason};
use dovetail_cli::Cli;
use dovetail_core::{Pool, PoolDefinition, PoolId};
use dovetail_rule::AttributeType;
use dovetail_server::{
    program,
    settings::{
        Program, RoleFlags, Sources,
        keys::{SECTIONS, SETTINGS, Setting, SettingKind},
        known_names,
    },
};
use serde_yaml_ng::Value as Yaml;

const PROGRAMS: [Program; 4] =
    [Program::Up, Program::Role(Role::Balancer), Program::Role(Role::Matcher), Program::Role(Role::Gatherer)];
/// Where deployments mount or install the sample settings.
const INSTALLED: &str = "/etc/dovetail/dovetail.toml";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn folder(path: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(path)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

/// The pages of the top folder, and docs/*.md.
fn pages() -> Vec<PathBuf> {
    let mut pages =
        folder("").into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "md")).collect::<Vec<_>>();
    pages.extend(folder("docs").into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "md")));
    pages
}

/// Runs a command line of ours through its real parser; `None` when the program is not one of ours. `$HOST` and the
/// like stay as they are.
fn parse(words: &[String]) -> Option<Result<(), String>> {
    let program = Path::new(&words[0]).file_name()?.to_str()?;
    let checked = |matches: Result<_, clap::Error>| match matches {
        Ok(_) => Ok(()),
        // `--help` and `--version` are meant.
        Err(error) if error.exit_code() == 0 => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    match Role::ALL.into_iter().find(|role| program == format!("dovetail-{role}")) {
        Some(role) => Some(checked(program::command(role).try_get_matches_from(words).map(drop))),
        None if program == "dovetail" => Some(checked(Cli::try_parse_from(words).map(drop))),
        None => None,
    }
}

/// The lines of a page's fenced blocks for a shell, with continuations joined and prompts removed. What a block shows
/// after `$ ` is a command; the other lines of a `console` block are output.
fn shell_lines(page: &str) -> Vec<String> {
    let (mut lines, mut block, mut open) = (Vec::<String>::new(), None, false);
    for line in page.lines() {
        if let Some(info) = line.strip_prefix("```") {
            block = if block.is_some() { None } else { Some(info.to_owned()) };
            open = false;
            continue;
        }
        let Some(info) = block.as_deref().filter(|info| matches!(*info, "console" | "sh" | "bash")) else { continue };
        let prompt = line.split_once("$ ").filter(|(host, _)| !host.contains(' '));
        let text = match (open, prompt) {
            (true, _) => {
                let last = lines.last_mut().expect("a line is open");
                last.push(' ');
                last.push_str(line.trim().trim_end_matches('\\'));
                open = line.ends_with('\\') || last.matches('\'').count() % 2 == 1;
                continue;
            }
            (false, Some((_, command))) => command,
            (false, None) if info == "console" => continue,
            (false, None) => line,
        };
        lines.push(text.trim_end_matches('\\').to_owned());
        open = text.ends_with('\\') || text.matches('\'').count() % 2 == 1;
    }
    lines
}

/// The simple commands of a line: what stands between pipes and the like, without redirections.
fn commands(line: &str) -> Vec<Vec<String>> {
    // A quoted semicolon separates nothing.
    const QUOTED: &str = "quoted-semicolon";
    let unquoted = line.replace("';'", QUOTED).replace("\";\"", QUOTED);
    let words = shlex::split(&unquoted).unwrap_or_else(|| panic!("not a shell command: {line}"));
    let separate = |word: &String| matches!(word.as_str(), "|" | "||" | "&&" | "&" | ";" | "do" | "done");
    let simple = words.split(separate).map(|words| {
        let end = words.iter().position(|word| matches!(word.as_str(), ">" | "<" | "2>")).unwrap_or(words.len());
        let mut words: Vec<_> = words[..end].iter().map(|word| word.replace(QUOTED, ";")).collect();
        // `cargo run --release -- up` is `dovetail up`.
        if words.starts_with(&["cargo".to_owned(), "run".to_owned()]) && !words.iter().any(|word| word == "-p") {
            let from = words.iter().position(|word| word == "--").expect("cargo run without --");
            words.splice(..=from, ["dovetail".to_owned()]);
        }
        words
    });
    simple.filter(|words| !words.is_empty()).collect()
}

/// Every `--flag` of every program.
fn flags() -> BTreeSet<String> {
    fn collect(command: &clap::Command, flags: &mut BTreeSet<String>) {
        let longs = command.get_arguments().filter_map(|argument| argument.get_long());
        flags.extend(longs.map(|long| format!("--{long}")));
        command.get_subcommands().for_each(|command| collect(command, flags));
    }
    let mut flags = BTreeSet::from(["--help".to_owned(), "--version".to_owned()]);
    collect(&Cli::command(), &mut flags);
    Role::ALL.into_iter().for_each(|role| collect(&program::command(role), &mut flags));
    flags
}

/// Keys, variables and flags of all settings.
fn names() -> BTreeSet<String> {
    let mut names: BTreeSet<String> = PROGRAMS.into_iter().flat_map(known_names).collect();
    names.extend(
        [
            "DOVETAIL_SERVER",
            "DOVETAIL_TIMEOUT",
            "DOVETAIL_BUILD_ID",
            "DOVETAIL_CONTEXT",
            "DOVETAIL_CONTEXTS",
            "DOVETAIL_TOKEN",
            "DOVETAIL_TOKEN_FILE",
        ]
        .map(str::to_owned),
    );
    // Of tests, which the contributors' page names.
    for (name, test) in [
        ("DOVETAIL_LOG_SEEDS", "crates/log/tests/histories.rs"),
        ("DOVETAIL_TABLE_N", "crates/rule/src/table/tests/workloads.rs"),
        ("DOVETAIL_TABLE_SCAN", "crates/rule/src/table/tests/workloads.rs"),
        ("DOVETAIL_CRASH_ROUNDS", "tests/cluster/crash_points.rs"),
        ("DOVETAIL_TEST", "crates/log/src/crash.rs"),
    ] {
        assert!(read(test).contains(name), "{test} reads no {name}");
        names.insert(name.to_owned());
    }
    names
}

/// The words of a text that begin with `prefix` and go on in `more`.
fn words_with<'a>(text: &'a str, prefix: &'a str, more: fn(char) -> bool) -> impl Iterator<Item = &'a str> {
    text.match_indices(prefix).map(move |(at, _)| {
        let rest = &text[at + prefix.len()..];
        let end = rest.find(|c| !more(c)).unwrap_or(rest.len());
        &text[at..at + prefix.len() + end]
    })
}

#[test]
fn every_dovetail_command_on_the_pages_is_understood() {
    let mut checked = 0;
    for page in pages() {
        for line in shell_lines(&read(&page)) {
            for words in commands(&line) {
                let Some(parsed) = parse(&words) else { continue };
                parsed.unwrap_or_else(|error| panic!("{}: {line}\n{error}", page.display()));
                checked += 1;
            }
        }
    }
    assert!(checked >= 20, "only {checked} commands were found on the pages: does this test still read them?");
}

#[test]
fn every_flag_variable_and_setting_on_the_pages_and_in_deploy_exists() {
    let (flags, names) = (flags(), names());
    let mut files = pages();
    files.extend(folder("deploy"));
    files.extend(folder("deploy/systemd"));
    for file in files {
        let text = read(&file);
        let variable = |c: char| c.is_ascii_uppercase() || c == '_';
        for name in words_with(&text, "DOVETAIL_", variable).filter(|name| *name != "DOVETAIL_") {
            assert!(names.contains(name), "{}: there is no variable {name}", file.display());
        }
        for span in text.split('`').skip(1).step_by(2) {
            let word = span.split([' ', '=']).next().unwrap_or_default();
            if word.starts_with("--") {
                assert!(flags.contains(word), "{}: there is no flag {word}", file.display());
            }
            let in_section = SECTIONS.iter().any(|(section, _)| span.strip_prefix(section).is_some_and(is_key));
            assert!(!in_section || names.contains(span), "{}: there is no setting {span}", file.display());
        }
    }
    fn is_key(rest: &str) -> bool {
        rest.strip_prefix('.').is_some_and(|key| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
    }
}

#[test]
fn every_rule_on_the_rules_page_compiles_and_is_free_of_notes() {
    let page = read("docs/rules.md");
    let blocks = |info: &str| -> Vec<String> {
        let open = format!("```{info}\n");
        page.split(&open).skip(1).map(|rest| rest.split("```").next().unwrap().trim().to_owned()).collect()
    };
    let attributes = &blocks("text")[0];
    let schema = attributes.split_whitespace().map(|attribute| {
        let (name, declared) = attribute.split_once('=').unwrap();
        (name.to_owned(), declared.parse().unwrap_or_else(|error| panic!("{attribute}: {error}")))
    });
    let attributes: Vec<(String, AttributeType)> = schema.collect();
    let rules = blocks("cel");
    assert!(rules.len() >= 5, "only {} rules were found", rules.len());
    for rule in rules {
        let definition = PoolDefinition {
            name: "page".to_owned(),
            attributes: attributes.clone(),
            reprobe_ms: if rule.contains("waited") { vec![5_000, 10_000] } else { vec![] },
            rule,
            ttl_ms: 60_000,
            waiting_max: 0,
            payload_bytes_max: 0,
        };
        let rule = definition.rule.clone();
        let pool = Pool::compile(PoolId(0), Arc::new(definition)).unwrap_or_else(|error| panic!("{rule}\n{error}"));
        assert_eq!(pool.notes(), [], "{rule}");
    }
}

/// The files below a folder whose names end so, but for what a build makes.
fn files_below(folder: &str, ends: &[&str]) -> Vec<PathBuf> {
    fn collect(folder: &Path, ends: &[&str], files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_str().unwrap();
            if entry.is_dir() && name != "target" {
                collect(&entry, ends, files);
            } else if ends.iter().any(|end| name.ends_with(end)) {
                files.push(entry);
            }
        }
    }
    let mut files = Vec::new();
    collect(&root().join(folder), ends, &mut files);
    files
}

/// The Rust sources of all crates and of the root, with those of their tests.
fn rust_files() -> Vec<PathBuf> {
    ["src", "crates", "tests"].iter().flat_map(|folder| files_below(folder, &[".rs"])).collect()
}

/// All Rust sources, as one text.
fn sources_of_the_code() -> String {
    let files = rust_files().into_iter().filter(|file| file.components().any(|part| part.as_os_str() == "src"));
    files.map(read).collect()
}

/// The sources of a type and of its implementations, as rustfmt writes them: from the line that names it to the brace at
/// the beginning of a line.
fn blocks_of<'a>(code: &'a str, owner: &str) -> Vec<&'a str> {
    let is_head = |line: &str| {
        let item = line.strip_prefix("pub").map_or(line, |rest| rest.trim_start_matches(|c| c != ' ').trim_start());
        let is_item = ["struct ", "enum ", "trait ", "impl ", "impl<"].iter().any(|start| item.starts_with(start));
        is_item && line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == owner)
    };
    let heads = code.match_indices('\n').filter(|(at, _)| is_head(code[at + 1..].split('\n').next().unwrap_or("")));
    heads.map(|(at, _)| code[at + 1..].split_once("\n}\n").map_or(&code[at + 1..], |(block, _)| block)).collect()
}

/// Whether a type has a function, constant, field or variant of this name.
fn has_member(code: &str, owner: &str, member: &str) -> bool {
    let declares = |line: &str| {
        let mut line = line.trim_start();
        if let Some(rest) = line.strip_prefix("pub") {
            line = rest.trim_start_matches(|c| c != ' ').trim_start();
        }
        for word in ["const ", "async ", "fn "] {
            line = line.strip_prefix(word).unwrap_or(line);
        }
        line.strip_prefix(member).is_some_and(|rest| rest.starts_with(['(', '<', ':', ',', ' ']))
    };
    blocks_of(code, owner).iter().any(|block| block.lines().skip(1).any(declares))
}

#[test]
fn every_member_of_a_type_that_a_page_names_is_one_of_that_type() {
    let code = sources_of_the_code();
    let is_name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let mut checked = 0;
    for page in pages() {
        for span in read(&page).split('`').skip(1).step_by(2) {
            for word in span.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':') {
                let Some((path, member)) = word.rsplit_once("::") else { continue };
                let owner = path.rsplit("::").next().unwrap_or_default();
                if is_name(member) && is_name(owner) && owner.starts_with(|c: char| c.is_ascii_uppercase()) {
                    let page = page.display();
                    assert!(
                        has_member(&code, owner, member),
                        "{page} names {owner}::{member}, which is not in the code"
                    );
                    checked += 1;
                }
            }
        }
    }
    assert!(checked >= 30, "only {checked} members were found on the pages");
    assert!(!has_member(&code, "DecisionLinks", "add"), "a member of another type is none of this");
    assert!(!has_member(&code, "Decision", "new"), "a part of a name is no name");
}

#[test]
fn every_constant_that_a_page_names_exists() {
    let code = sources_of_the_code();
    let mut checked = 0;
    for page in pages() {
        for span in read(&page).split('`').skip(1).step_by(2) {
            let exists = if span.ends_with("_MAX") && !span.starts_with("DOVETAIL_")
                || matches!(span, "EVENTS" | "CANDIDATES")
            {
                code.contains(&format!("const {span}:"))
            } else {
                continue;
            };
            assert!(exists, "{} names {span}, which is not in the code", page.display());
            checked += 1;
        }
    }
    assert!(checked >= 5, "only {checked} names were found on the pages");
}

#[test]
fn every_type_that_the_glossary_names_exists() {
    // What nodes say to each other and store.
    let protos = ["node", "storage"].map(|package| files_below(&format!("proto/dovetail/{package}"), &[".proto"]));
    let protos: String = protos.iter().flatten().map(read).collect();
    let code = sources_of_the_code();
    let mut checked = 0;
    for span in read("docs/glossary.md").split('`').skip(1).step_by(2) {
        let is_type =
            span.starts_with(|c: char| c.is_ascii_uppercase()) && span.chars().all(|c| c.is_ascii_alphanumeric());
        if !is_type {
            continue;
        }
        let exists = ["struct", "enum", "trait"]
            .iter()
            .any(|kind| [" ", "<", "(", ";"].iter().any(|after| code.contains(&format!("{kind} {span}{after}"))));
        // Ids are made by a macro.
        let is_id = read("crates/core/src/ids.rs").contains(&format!("    {span}("));
        let is_message = protos.contains(&format!("message {span} "));
        assert!(exists || is_id || is_message, "the glossary names {span}, which is not in the code");
        checked += 1;
    }
    assert!(checked >= 25, "only {checked} types were found in the glossary");
}

/// What links to the headings of a page end with.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let heading: String = heading.trim_start_matches('#').trim().chars().filter(kept).collect();
        heading.to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_file_and_section_that_a_page_links_to_exists() {
    for page in pages() {
        let text = read(&page);
        for link in words_with(&text, "](", |c| c != ')') {
            let (target, section) = link[2..].split_once('#').unwrap_or((&link[2..], ""));
            if target.contains("://") {
                continue;
            }
            let path = if target.is_empty() { page.clone() } else { page.parent().unwrap().join(target) };
            assert!(path.exists(), "{} links to {target}, which is not there", page.display());
            if !section.is_empty() && path.extension().is_some_and(|ext| ext == "md") {
                let has = anchors(&read(&path)).iter().any(|anchor| anchor == section);
                assert!(has, "{} links to {target}#{section}, which is no heading there", page.display());
            }
        }
    }
}

#[test]
fn every_source_file_that_a_page_names_exists() {
    let files: Vec<String> = ["src", "crates", "tests", "fuzz", "bench", "proto", "deploy", "examples"]
        .iter()
        .flat_map(|folder| files_below(folder, &[""]))
        .map(|file| file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned())
        .collect();
    let folders = ["src/", "crates/", "tests/", "fuzz/", "bench/", "proto/", "deploy/", "examples/"];
    let mut checked = 0;
    for page in pages() {
        for span in read(&page).split('`').skip(1).step_by(2) {
            let is_path = !span.contains([' ', '*', '{', '=', '\n', ':', '<']);
            let exists = if is_path && folders.iter().any(|folder| span.starts_with(folder)) {
                root().join(span).exists()
            } else if is_path && span.ends_with(".rs") {
                files.iter().any(|file| file.ends_with(&format!("/{span}")))
            } else {
                continue;
            };
            assert!(exists, "{} names {span}, which is not there", page.display());
            checked += 1;
        }
    }
    assert!(checked >= 100, "only {checked} files were found on the pages");
}

/// The page of this name that a source file means: of the repository, or of its own crate.
fn page_meant(file: &Path, name: &str) -> Option<PathBuf> {
    file.ancestors()
        .skip(1)
        .take_while(|folder| folder.starts_with(root()))
        .map(|folder| folder.join(name))
        .find(|page| page.exists())
}

#[test]
fn every_page_that_a_comment_names_exists_and_has_the_section() {
    let mut checked = 0;
    for file in rust_files().into_iter().chain(files_below("proto", &[".proto"])) {
        let text = read(&file);
        let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("//"));
        let comments = lines.map(|line| line.trim_start_matches(['/', '!']).trim()).collect::<Vec<_>>().join(" ");
        for (at, _) in comments.match_indices(".md") {
            let start = comments[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && !"/_-.".contains(c));
            let name = &comments[start.map_or(0, |start| start + 1)..at + ".md".len()];
            // `*.md` names none.
            if name == ".md" {
                continue;
            }
            let page = page_meant(&file, name);
            let page = page.unwrap_or_else(|| panic!("{} names {name}, which is not there", file.display()));
            if let Some((section, _)) =
                comments[at + ".md".len()..].strip_prefix(", \"").and_then(|rest| rest.split_once('"'))
            {
                let has = read(&page).lines().any(|line| line.trim_start_matches('#').trim() == section);
                assert!(has, "{} names the section {section:?} of {name}, which is not there", file.display());
            }
            checked += 1;
        }
    }
    assert!(checked >= 10, "only {checked} pages were found in comments");
}

/// The words that are labels of invariants, such as `ledger.L1`.
fn labels(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').map(|word| word.trim_matches('.'));
    words.filter(|word| {
        word.split_once('.').is_some_and(|(room, label)| {
            let [letter, digit] = label.as_bytes() else { return false };
            room.bytes().all(|byte| byte.is_ascii_lowercase()) && letter.is_ascii_uppercase() && digit.is_ascii_digit()
        })
    })
}

#[test]
fn every_invariant_has_one_label_and_is_stated_where_the_architecture_page_says() {
    let mut stated = BTreeMap::<String, PathBuf>::new();
    for file in rust_files() {
        let text = read(&file);
        let head = text.lines().filter_map(|line| line.strip_prefix("//!")).collect::<Vec<_>>().join(" ");
        let Some((_, invariants)) = head.split_once("Invariant") else { continue };
        let bare = invariants
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
            .find(|word| matches!(word.as_bytes(), [b'A'..=b'Q' | b'S'..=b'Z', digit] if digit.is_ascii_digit()));
        assert_eq!(bare, None, "{}: an invariant's label begins with its room, as ledger.L1", file.display());
        for label in labels(invariants) {
            let earlier = stated.insert(label.to_owned(), file.clone()).filter(|earlier| *earlier != file);
            assert!(earlier.is_none(), "{label} is stated in {} and in {}", earlier.unwrap().display(), file.display());
        }
    }
    let page = read("docs/architecture.md");
    let (_, table) = page.split_once("\n## Invariants\n").expect("the page has the invariants");
    let mut checked = 0;
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        for label in labels(row.split('|').nth(1).unwrap_or_default()) {
            let file = stated.get(label).unwrap_or_else(|| panic!("{label} is stated nowhere"));
            let file = file.strip_prefix(root()).unwrap().to_str().unwrap();
            assert!(row.contains(&format!("`{file}`")), "{label} is stated in {file}: {row}");
            checked += 1;
        }
    }
    assert!(checked >= 60, "only {checked} invariants were found on the page");
}

#[test]
fn every_ci_step_that_is_named_exists() {
    let steps = read(".ci/run");
    for file in ["justfile", "README.md", "CONTRIBUTING.md", "docs/operations.md", "docs/architecture.md"] {
        for line in read(file).lines() {
            let Some((_, named)) = line.split_once(".ci/run ") else { continue };
            let words = named.split('`').next().unwrap_or_default().split(' ').map(str::trim);
            for step in words.take_while(|word| !word.is_empty() && !word.starts_with('#')) {
                let known = steps.contains(&format!("step_{step}()"));
                assert!(known || step == "runs", "{file}: .ci/run has no step {step:?}");
            }
        }
    }
}

#[test]
fn just_verify_runs_every_ci_step_but_the_one_that_installs() {
    let (run, just) = (read(".ci/run"), read("justfile"));
    let all = run.lines().find_map(|line| line.strip_prefix("ALL=(tools ")?.strip_suffix(')'));
    let verify = just.lines().find_map(|line| line.trim().strip_prefix("bash .ci/run fmt "));
    assert_eq!(verify.map(|steps| format!("fmt {steps}")).as_deref(), all);
}

/// The table of docs/operations.md, from the table in the code.
fn settings_table() -> String {
    let mut table = "| setting | default | bounds | what it is |\n|---|---|---|---|\n".to_owned();
    for setting in SETTINGS {
        let bounds = match setting.kind {
            SettingKind::Text => String::new(),
            SettingKind::Switch => "true or false".to_owned(),
            SettingKind::Count { min, max } => format!("{min} to {max}"),
            SettingKind::Nodes { max } => format!("1 to {max}"),
        };
        let own = setting.default_for(Program::Role(Role::Balancer));
        let mut default = format!("`{own}`");
        for (program, name) in PROGRAMS.into_iter().zip(["`dovetail up`", "balancer", "matcher", "gatherer"]) {
            let other = setting.default_for(program);
            if other != own {
                default.push_str(&format!("; {name}: `{other}`"));
            }
        }
        let flag = format!("`{}` `--{}`", setting.key, setting.flag);
        table.push_str(&format!("| {flag} | {default} | {bounds} | {} |\n", setting.help));
    }
    table
}

#[test]
fn the_settings_table_of_the_operations_page_is_that_of_the_code() {
    check_table("docs/operations.md", "settings", &settings_table());
}

/// The reasons of errors: what the protocol says of each, and what the code makes of it.
fn reasons_table() -> String {
    let proto = read("proto/dovetail/v1/match.proto");
    let (_, body) = proto.split_once("enum ErrorReason {\n").unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let mut table = "| reason | code | when | try again after |\n|---|---|---|---|\n".to_owned();
    let mut when = String::new();
    for line in body.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("// ") {
            when = [when.as_str(), comment].join(" ").trim().to_owned();
            continue;
        }
        let (name, _) = line.split_once(" = ").unwrap();
        let reason = Reason::from_str_name(name).unwrap();
        let when = std::mem::take(&mut when);
        if reason != Reason::Unspecified {
            let after = reason.retry_after().map(|after| format!("{} ms", after.as_millis())).unwrap_or_default();
            let code = code_name(reason.code());
            table.push_str(&format!("| `{}` | {code} | {} | {after} |\n", reason.name(), when.trim_end_matches('.')));
        }
    }
    table
}

#[test]
fn the_table_of_reasons_on_the_page_for_clients_is_that_of_the_code() {
    check_table("docs/clients.md", "reasons", &reasons_table());
}

/// A page has this table between its marks; `UPDATE_DOCS=1` writes it.
fn check_table(path: &str, name: &str, code: &str) {
    let marks = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let page = read(path);
    let (before, rest) = page.split_once(&marks.0).expect("the page marks where the table begins");
    let (table, after) = rest.split_once(&marks.1).expect("the page marks where the table ends");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let page = [before, &marks.0, code, &marks.1, after].concat();
        fs::write(root().join(path), page).unwrap();
        return;
    }
    let page = table.lines().collect::<Vec<_>>();
    let stale: Vec<&str> = code.lines().filter(|line| !page.contains(line)).collect();
    assert!(stale.is_empty(), "these lines are new; UPDATE_DOCS=1 writes the table anew:\n{}", stale.join("\n"));
    assert_eq!(table, code, "the table has lines that are no more; UPDATE_DOCS=1 writes it anew");
}

/// The sample with the defaults it only shows switched on.
fn sample_with_everything_set() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => setting.to_owned(),
        _ => line.to_owned(),
    };
    read("deploy/dovetail.toml").lines().map(line).collect::<Vec<_>>().join("\n")
}

fn keys_of(text: &str) -> BTreeMap<String, toml::Value> {
    let sections: toml::Table = text.parse().unwrap();
    let keys = sections.into_iter().flat_map(|(section, values)| {
        let values = values.as_table().unwrap().clone();
        values.into_iter().map(move |(key, value)| (format!("{section}.{key}"), value))
    });
    keys.collect()
}

/// As the containers have it.
fn sources(file: &str) -> Sources {
    let flags = vec![("node.insecure", "true".to_owned())];
    Sources { file: Some(root().join(file)), flags, ..Sources::default() }
}

#[test]
fn the_sample_settings_name_every_setting_and_show_its_default() {
    let shown = keys_of(&sample_with_everything_set());
    let all: BTreeSet<String> = SETTINGS.iter().map(|setting| setting.key.to_owned()).collect();
    assert_eq!(shown.keys().cloned().collect::<BTreeSet<_>>(), all);
    let set = keys_of(&read("deploy/dovetail.toml"));
    for setting in SETTINGS.iter().filter(|setting| !set.contains_key(setting.key)) {
        let text = match &shown[setting.key] {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let default = Setting::default_for(setting, Program::Role(Role::Balancer));
        assert_eq!(text, default, "{} in deploy/dovetail.toml", setting.key);
    }
}

#[test]
fn the_settings_files_load_for_every_node() {
    for file in ["deploy/dovetail.toml", "deploy/loopback.toml"] {
        for (role, nodes) in [(Role::Balancer, 1), (Role::Matcher, 3), (Role::Gatherer, 3)] {
            for index in 0..nodes {
                let mut sources = sources(file);
                sources.flags.push(("node.index", index.to_string()));
                let settings = sources.load(role).unwrap_or_else(|error| panic!("{file}, {role} {index}: {error}"));
                assert_eq!((settings.cluster.matchers, settings.cluster.gatherers), (3, 3));
            }
        }
    }
    sources("deploy/dovetail.toml").load_up().unwrap();
}

fn compose() -> Yaml {
    let mut compose: Yaml = serde_yaml_ng::from_str(&read("deploy/compose.yaml")).unwrap();
    // Each call resolves one level of `<<`.
    for _ in 0..3 {
        compose.apply_merge().unwrap();
    }
    compose
}

fn strings(list: &Yaml) -> Vec<String> {
    let list = list.as_sequence().unwrap_or_else(|| panic!("{list:?} is not a list"));
    list.iter().map(|entry| entry.as_str().unwrap_or_else(|| panic!("{entry:?} is not text")).to_owned()).collect()
}

/// The role, index and listening port that a command line gives a node, with the sample settings in place of the
/// installed.
fn node_of(words: &[String]) -> (Role, u32, u16) {
    let program = Path::new(&words[0]).file_name().unwrap().to_str().unwrap();
    let role = Role::ALL.into_iter().find(|role| program == format!("dovetail-{role}")).expect("a role's binary");
    let sample = root().join("deploy/dovetail.toml").display().to_string();
    let words = words.iter().map(|word| if word == INSTALLED { sample.clone() } else { word.clone() });
    let matches = program::command(role).try_get_matches_from(words).unwrap_or_else(|error| panic!("{error}"));
    let settings = RoleFlags::from_matches(&matches).load(role).unwrap_or_else(|error| panic!("{error}"));
    (role, settings.node.index, settings.node.listen.port())
}

#[test]
fn compose_runs_every_node_of_the_sample_settings_where_the_others_look_for_it() {
    let compose = compose();
    let addresses = sources("deploy/dovetail.toml").load(Role::Balancer).unwrap().node.addresses;
    let mut expected = BTreeSet::from_iter(addresses.balancers);
    expected.extend(addresses.matchers);
    expected.extend(addresses.gatherers);
    let mut found = BTreeSet::new();
    for (name, service) in compose["services"].as_mapping().unwrap() {
        let name = name.as_str().unwrap();
        let words = [strings(&service["entrypoint"]), strings(&service["command"])].concat();
        let (role, index, port) = node_of(&words);
        let own = if role == Role::Balancer { role.to_string() } else { format!("{role}-{index}") };
        assert_eq!((name, service["hostname"].as_str()), (own.as_str(), Some(own.as_str())));
        found.insert(format!("http://{name}:{port}"));

        let check = strings(&service["healthcheck"]["test"]);
        assert_eq!(check[0], "CMD", "{name}: the image has no shell to rely on");
        parse(&check[1..]).expect("the check runs dovetail").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(check.contains(&format!("http://127.0.0.1:{port}")), "{name} listens on {port}: {check:?}");

        let config = &service["configs"][0];
        assert_eq!(config["target"].as_str(), Some(INSTALLED));
        let file = compose["configs"][config["source"].as_str().unwrap()]["file"].as_str().unwrap();
        assert!(root().join("deploy").join(file).exists(), "{file}");
        assert!(root().join(service["build"]["dockerfile"].as_str().unwrap()).exists());
    }
    assert_eq!(found, expected);
    let volumes = strings(&compose["services"]["balancer"]["volumes"]);
    let data = sources("deploy/dovetail.toml").load(Role::Balancer).unwrap().node.data;
    assert_eq!(volumes, [format!("log:{}", data.display())], "the log must outlive the container");
    assert!(compose["volumes"].as_mapping().unwrap().contains_key("log"));
}

/// The values of a unit's setting.
fn unit_values<'a>(unit: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    unit.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix('='))
}

#[test]
fn the_units_start_the_role_they_are_named_after() {
    let mut roles = BTreeSet::new();
    for file in folder("deploy/systemd") {
        let unit = read(&file);
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let [line] = unit_values(&unit, "ExecStart").collect::<Vec<_>>()[..] else { panic!("{name}: one ExecStart") };
        let line = line.replace("${STATE_DIRECTORY}", "/var/lib/dovetail").replace("%i", "2");
        // The sample settings in place of those of a host, which name certificates.
        let words = [shlex::split(&line).unwrap(), vec!["--insecure".to_owned()]].concat();
        let (role, index, _) = node_of(&words);
        let own = if role == Role::Balancer {
            format!("dovetail-{role}.service")
        } else {
            format!("dovetail-{role}@.service")
        };
        assert_eq!(name, own);
        assert_eq!(index, if role == Role::Balancer { 0 } else { 2 }, "{name}: the instance is the index");
        assert_eq!(unit_values(&unit, "Restart").collect::<Vec<_>>(), ["on-failure"]);
        // The audit log of docs/security.md: under ProtectSystem=strict the unit writes only where it says so.
        let logs = unit_values(&unit, "LogsDirectory").map(|name| format!("`audit = \"/var/log/{name}/audit.jsonl\"`"));
        let [audit] = &logs.collect::<Vec<_>>()[..] else { panic!("{name}: one LogsDirectory") };
        assert!(read("docs/security.md").contains(audit), "{name}: {audit}");
        roles.insert(role);
    }
    assert_eq!(roles.len(), Role::ALL.len());
}

#[test]
fn nodes_are_given_the_time_to_drain() {
    let drain_s = sources("deploy/dovetail.toml").load(Role::Balancer).unwrap().node.limits.drain_ms_max / 1000;
    for file in folder("deploy/systemd") {
        let unit = read(&file);
        let [stop] = unit_values(&unit, "TimeoutStopSec").collect::<Vec<_>>()[..] else { panic!("one TimeoutStopSec") };
        assert!(stop.parse::<u64>().unwrap() > drain_s, "{}: {stop}", file.display());
    }
    for (name, service) in compose()["services"].as_mapping().unwrap() {
        let grace = service["stop_grace_period"].as_str().unwrap().strip_suffix('s').unwrap();
        assert!(grace.parse::<u64>().unwrap() > drain_s, "{name:?}: {grace}");
    }
}

#[test]
fn the_image_has_every_binary_and_is_built_with_the_rust_that_the_crates_ask_for() {
    let dockerfile = read("deploy/Dockerfile");
    let roles = Role::ALL.map(|role| format!("dovetail-{role}"));
    let binaries: BTreeSet<String> = ["dovetail".to_owned()].into_iter().chain(roles).collect();
    let more = |c: char| c.is_ascii_lowercase() || c == '-';
    let prefix = "target/release/";
    let copied: BTreeSet<String> =
        words_with(&dockerfile, prefix, more).map(|path| path[prefix.len()..].to_owned()).collect();
    assert_eq!(copied, binaries);
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert!(dockerfile.contains(&format!("FROM rust:{rust}-")), "Cargo.toml asks for {rust}");
    let user = dockerfile.lines().find_map(|line| line.strip_prefix("USER ")).expect("a user without rights");
    assert_ne!(user, "0");
    let run = dockerfile.lines().find_map(|line| line.strip_prefix("#   docker run ")).expect("how to run it");
    let (_, arguments) = run.split_once(" dovetail ").unwrap();
    let words = shlex::split(&format!("dovetail {arguments}")).unwrap();
    parse(&words).unwrap().unwrap_or_else(|error| panic!("{run}: {error}"));
}

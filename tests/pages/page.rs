//! Reads a page: its commands with their outputs, in order, and the files it shows.

/// What is not run: it builds, tests or installs the project, sets up the reader's shell, or copies to hosts. Tests of
/// their own cover most of it.
pub const SKIPPED: [&str; 7] = [
    "cargo build",
    "cargo test",
    "bash tests/foreign/install.sh",
    "export PATH=",
    "scp ",
    "for host in 10.0.0.{1..7}; do s",
    "for n in 0 1 2; do scp ",
];

/// A page, as far as it is run.
pub struct Page {
    /// Files to be there before anything runs: `toml` blocks whose first line is a comment with an absolute path.
    pub files: Vec<(String, String)>,
    pub blocks: Vec<Block>,
}

/// A `console` block.
pub struct Block {
    pub steps: Vec<Step>,
}

/// A command, or `^C`.
#[derive(Debug)]
pub enum Step {
    Run(Run),
    /// Ends every program that still runs.
    Interrupt,
}

/// A command and what it is to print.
#[derive(Debug)]
pub struct Run {
    /// Page and line, for messages.
    pub at: String,
    /// The host before the prompt, if the page has several.
    pub host: Option<String>,
    pub command: String,
    pub expected: Vec<String>,
    /// The block stands after `<!-- numbers vary -->`.
    pub numbers_vary: bool,
}

impl Page {
    pub fn parse(path: &str, text: &str) -> Page {
        let mut page = Page { files: Vec::new(), blocks: Vec::new() };
        let (mut numbers_vary, mut lines) = (false, text.lines().enumerate());
        while let Some((_, line)) = lines.next() {
            match line {
                "<!-- numbers vary -->" => numbers_vary = true,
                "```console" => {
                    let inside: Vec<_> = lines.by_ref().take_while(|(_, line)| *line != "```").collect();
                    page.blocks.push(Block::parse(path, &inside, numbers_vary));
                    numbers_vary = false;
                }
                "```toml" => {
                    let inside: Vec<_> =
                        lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
                    if let Some(name) = inside.first().and_then(|line| line.strip_prefix("# /")) {
                        page.files.push((format!("/{name}"), inside.join("\n")));
                    }
                }
                _ if line.starts_with("```") => _ = lines.by_ref().find(|(_, line)| *line == "```"),
                _ => {}
            }
        }
        page
    }
}

impl Block {
    fn parse(path: &str, lines: &[(usize, &str)], numbers_vary: bool) -> Block {
        let (mut steps, mut open) = (Vec::new(), false);
        for (number, line) in lines {
            let prompt = line.split_once("$ ").filter(|(host, _)| !host.contains([' ', '"', '{']));
            match (prompt, steps.last_mut()) {
                (_, Some(Step::Run(run))) if open => {
                    run.command.push('\n');
                    run.command.push_str(line);
                    open = is_open(&run.command);
                }
                (Some((host, command)), _) => {
                    let run = Run {
                        at: format!("{path}:{}", number + 1),
                        host: (!host.is_empty()).then(|| host.to_owned()),
                        command: command.to_owned(),
                        expected: Vec::new(),
                        numbers_vary,
                    };
                    open = is_open(&run.command);
                    if SKIPPED.iter().any(|skipped| command.starts_with(skipped)) {
                        continue;
                    }
                    steps.push(Step::Run(run));
                }
                (None, _) if *line == "^C" => steps.push(Step::Interrupt),
                (None, Some(Step::Run(run))) => run.expected.push((*line).to_owned()),
                (None, _) => {}
            }
        }
        Block { steps }
    }
}

/// Whether a command goes on in the next line.
fn is_open(command: &str) -> bool {
    command.ends_with('\\') || command.matches('\'').count() % 2 == 1
}

#[test]
fn a_block_is_commands_with_their_outputs() {
    let page = Page::parse(
        "p.md",
        "text\n```console\n$ one 'a\nb' \\\n  c\nout\n...\n10.0.0.1$ two\n^C\n```\n```text\n$ three\n```\n",
    );
    let [Block { steps }] = &page.blocks[..] else { panic!("one block is a console") };
    let [Step::Run(one), Step::Run(two), Step::Interrupt] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!((one.command.as_str(), one.at.as_str()), ("one 'a\nb' \\\n  c", "p.md:3"));
    assert_eq!(one.expected, ["out", "..."]);
    assert_eq!((two.command.as_str(), two.host.as_deref()), ("two", Some("10.0.0.1")));
}

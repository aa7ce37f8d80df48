//! Settings as clap flags, built from the table.

use std::env;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, builder::ValueParser};

use super::keys::{CONFIG, SECTIONS, SETTINGS, Setting, SettingKind};
use super::{Program, Settings, SettingsError, Sources, UpSettings};
use dovetail::Role;

/// What `--help` says at its end: how a flag's other names follow from it.
pub const HELP_NAMES: &str = "\
Every setting has three names: --list-max is also list_max in the settings file and DOVETAIL_LIST_MAX in the \
environment (and --cluster-name is name under [cluster]). A flag wins over the environment, that over the file, and \
that over the default. One file can serve all nodes: give each its --index, and its --listen if they share a host.";

/// The settings flags of a role's binary, as given.
#[derive(Debug, Clone, Default)]
pub struct RoleFlags(Given);

/// The settings flags of `dovetail up`, as given.
#[derive(Debug, Clone, Default)]
pub struct UpFlags(Given);

/// The file and the values that flags named.
#[derive(Debug, Clone, Default)]
struct Given {
    file: Option<PathBuf>,
    values: Vec<(&'static str, String)>,
}

impl RoleFlags {
    /// Adds the settings flags to the command of `role`.
    pub fn augment(command: Command, role: Role) -> Command {
        Given::augment(command, Program::Role(role))
    }

    /// What was given, from the matches of an augmented command.
    pub fn from_matches(matches: &ArgMatches) -> RoleFlags {
        RoleFlags(Given::from_matches(matches))
    }

    /// The settings of `role`: these flags over this process's environment, the file, and the defaults.
    pub fn load(self, role: Role) -> Result<Settings, SettingsError> {
        self.0.sources().load(role)
    }
}

impl UpFlags {
    /// The settings of `dovetail up`: these flags over this process's environment, the file, and the defaults.
    pub fn load(self) -> Result<UpSettings, SettingsError> {
        self.0.sources().load_up()
    }
}

impl Given {
    fn sources(self) -> Sources {
        // A variable that is not UTF-8 is no setting of ours, or wrong anyhow.
        let env =
            env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Sources { file: self.file, env: env.collect(), flags: self.values }
    }

    fn from_matches(matches: &ArgMatches) -> Given {
        let value = |setting: &Setting| {
            let text = matches.try_get_one::<String>(setting.key).ok().flatten()?;
            Some((setting.key, text.clone()))
        };
        Given {
            file: matches.get_one::<PathBuf>(CONFIG.0).cloned(),
            values: SETTINGS.iter().filter_map(value).collect(),
        }
    }

    fn augment(command: Command, program: Program) -> Command {
        let config = Arg::new(CONFIG.0)
            .long(CONFIG.0)
            .value_name("FILE")
            .env(CONFIG.1)
            .hide_env(true)
            .value_parser(ValueParser::path_buf())
            .help("Settings file, in TOML");
        SECTIONS.into_iter().fold(command.arg(config), |command, (section, heading)| {
            let of_section = |setting: &&Setting| setting.section() == section && setting.is_flag_of(program);
            command.args(SETTINGS.iter().filter(of_section).map(|setting| flag(setting, program).help_heading(heading)))
        })
    }
}

fn flag(setting: &'static Setting, program: Program) -> Arg {
    let default = setting.default_for(program);
    let counted = program == Program::Up && matches!(setting.kind, SettingKind::Nodes { .. });
    let bounds = match setting.kind {
        SettingKind::Count { min, max } => format!("; {min} to {max}"),
        SettingKind::Nodes { .. } | SettingKind::Text | SettingKind::Switch => String::new(),
    };
    let help = match (setting.flag, counted) {
        ("matchers", true) => "How many matchers",
        ("gatherers", true) => "How many gatherers",
        _ => setting.help,
    };
    let arg = Arg::new(setting.key);
    let arg = match setting.kind {
        SettingKind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        SettingKind::Text | SettingKind::Count { .. } | SettingKind::Nodes { .. } => arg,
    };
    let default = if default.is_empty() { "none" } else { default };
    arg.long(setting.flag)
        .value_name(if counted { "N" } else { setting.value_name })
        // So that -1 is refused with the bounds, and not as an unknown flag.
        .allow_negative_numbers(true)
        .help(format!("{help} [default: {default}{bounds}]"))
}

impl FromArgMatches for UpFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<UpFlags, clap::Error> {
        Ok(UpFlags(Given::from_matches(matches)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0 = Given::from_matches(matches);
        Ok(())
    }
}

impl Args for UpFlags {
    fn augment_args(command: Command) -> Command {
        Given::augment(command, Program::Up)
    }

    fn augment_args_for_update(command: Command) -> Command {
        UpFlags::augment_args(command)
    }
}

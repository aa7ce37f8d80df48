//! Defaults, file, environment and flags, laid over one another, each value remembering where it came from.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};

use super::keys::{self, CONFIG, SETTINGS, Setting, SettingKind};
use super::{Origin, Program, Settings, SettingsError, UpSettings, check};

/// Everything a program's settings may come from, besides the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The settings file.
    pub file: Option<PathBuf>,
    /// The environment. Variables that belong to no setting are ignored: Kubernetes adds some with our prefix.
    pub env: BTreeMap<String, String>,
    /// Values by the setting's key, as given to its flag.
    pub flags: Vec<(&'static str, String)>,
}

impl Sources {
    /// The settings of a role's binary.
    pub fn load(&self, role: dovetail::Role) -> Result<Settings, SettingsError> {
        check::settings(&Layers::of(self, Program::Role(role))?, role)
    }

    /// The settings of `dovetail up`.
    pub fn load_up(&self) -> Result<UpSettings, SettingsError> {
        check::up(&Layers::of(self, Program::Up)?)
    }
}

/// One value as a layer of its own, so that it can say where it came from.
struct Layer {
    origin: Origin,
    values: Dict,
}

impl Layer {
    fn single(origin: Origin, key: &str, value: Value) -> Layer {
        let (section, name) = key.split_once('.').unwrap_or((key, ""));
        let inner = Dict::from([(name.to_owned(), value)]);
        Layer { origin, values: Dict::from([(section.to_owned(), inner.into())]) }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        match &self.origin {
            Origin::Default => Metadata::named("default"),
            Origin::File(path) => Metadata::from("file", Source::File(path.clone())),
            Origin::Env(name) => Metadata::from("env", Source::Custom(name.clone())),
            Origin::Flag(name) => Metadata::from("flag", Source::Custom(name.clone())),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// Which layer a value came from: the reverse of `Layer::metadata`.
fn origin(metadata: Option<&Metadata>) -> Origin {
    match metadata.map(|found| (&*found.name, found.source.as_ref())) {
        Some(("file", Some(Source::File(path)))) => Origin::File(path.clone()),
        Some(("env", Some(Source::Custom(name)))) => Origin::Env(name.clone()),
        Some(("flag", Some(Source::Custom(name)))) => Origin::Flag(name.clone()),
        _ => Origin::Default,
    }
}

/// A value from text: what the environment, flags and defaults have to offer.
fn parse(setting: &Setting, text: &str) -> Value {
    let number = || text.replace('_', "").parse::<u64>().ok();
    match setting.kind {
        SettingKind::Text => Value::from(text),
        SettingKind::Switch => text.parse::<bool>().map_or_else(|_| Value::from(text), Value::from),
        SettingKind::Count { .. } => number().map_or_else(|| Value::from(text), Value::from),
        // None are given.
        SettingKind::Nodes { .. } if text.is_empty() => Value::from(text),
        SettingKind::Nodes { .. } => match number() {
            Some(number) => Value::from(number),
            None => text.split(',').map(|part| Value::from(part.trim())).collect::<Vec<Value>>().into(),
        },
    }
}

/// The layers merged: exactly the known settings, each with its origin.
pub(super) struct Layers {
    merged: Figment,
}

impl Layers {
    fn of(sources: &Sources, program: Program) -> Result<Layers, SettingsError> {
        let mut merged = Figment::new();
        for setting in SETTINGS {
            let value = parse(setting, setting.default_for(program));
            merged = merged.merge(Layer::single(Origin::Default, setting.key, value));
        }
        if let Some(path) = &sources.file {
            merged = merged.merge(Layer { origin: Origin::File(path.clone()), values: read(path)? });
        }
        for setting in SETTINGS {
            let name = setting.env();
            if let Some(text) = sources.env.get(&name) {
                merged = merged.merge(Layer::single(Origin::Env(name), setting.key, parse(setting, text)));
            }
        }
        for (key, text) in &sources.flags {
            let setting = keys::by_key(key).unwrap_or_else(|| panic!("flag for {key}, which is no setting"));
            let origin = Origin::Flag(setting.flag.to_owned());
            merged = merged.merge(Layer::single(origin, key, parse(setting, text)));
        }
        let layers = Layers { merged };
        layers.refuse_unknown()?;
        Ok(layers)
    }

    /// A setting's value and where it came from.
    pub(super) fn get(&self, key: &'static str) -> (Value, Origin) {
        // Every setting has a default, and unknown keys, which could hide one, were refused.
        let value = self.merged.find_value(key).unwrap_or_else(|_| panic!("{key} has no default"));
        let origin = origin(self.merged.get_metadata(value.tag()));
        (value, origin)
    }

    fn refuse_unknown(&self) -> Result<(), SettingsError> {
        let all: Dict = self.merged.extract().unwrap_or_else(|error| panic!("settings are no table: {error}"));
        let unknown = |key: String, value: &Value| {
            let origin = origin(self.merged.get_metadata(value.tag()));
            let hint = hint(&key);
            Err(SettingsError::Unknown { key, origin, hint })
        };
        for (section, value) in &all {
            let Some(inner) = value.as_dict().filter(|inner| !inner.is_empty()) else {
                return unknown(section.clone(), value);
            };
            for (name, value) in inner {
                let key = format!("{section}.{name}");
                if keys::by_key(&key).is_none() {
                    return unknown(key, value);
                }
            }
        }
        Ok(())
    }
}

/// What may have been meant: a setting of that name in another section, or the flag's spelling.
fn hint(key: &str) -> String {
    let name = key.rsplit('.').next().unwrap_or(key).replace('-', "_");
    let meant = SETTINGS.iter().find(|setting| setting.key.ends_with(&format!(".{name}")));
    meant.map(|setting| format!("; did you mean {:?}?", setting.key)).unwrap_or_default()
}

/// What is wrong with a file; without the line that it is about, where that may have a password.
fn told(error: &toml::de::Error) -> String {
    let told = error.to_string();
    match told.split_once('\n') {
        Some((place, _)) if told.contains('@') => format!("{place}: {}", error.message()),
        _ => told.trim_end().to_owned(),
    }
}

fn read(path: &Path) -> Result<Dict, SettingsError> {
    let text = fs::read_to_string(path).map_err(|source| SettingsError::File { path: path.to_owned(), source })?;
    let syntax = |error: toml::de::Error| SettingsError::Syntax { path: path.to_owned(), reason: told(&error) };
    toml::from_str(&text).map_err(syntax)
}

/// Every name by which a setting can be given: keys of the file, flags and environment variables of `program`. For
/// tests that check what deployment files use.
pub fn known_names(program: Program) -> Vec<String> {
    let mut names = vec![format!("--{}", CONFIG.0), CONFIG.1.to_owned()];
    for setting in SETTINGS {
        names.push(setting.key.to_owned());
        names.push(setting.env());
        if setting.is_flag_of(program) {
            names.push(format!("--{}", setting.flag));
        }
    }
    names
}

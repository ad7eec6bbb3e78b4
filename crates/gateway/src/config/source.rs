//! Where the values of settings come from: flags win over the environment, that over the file, that over the default.

use std::{collections::BTreeMap, path::Path};

use super::{Mistake, settings::SETTINGS};

/// A value as somebody wrote it, and where, for error messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The text.
    pub text: String,
    /// `--listen`, `TRUNKLINE_LISTEN`, or `listen in trunkline.toml`.
    pub origin: String,
}

/// The values by setting name; defaults are not in here.
pub type Values = BTreeMap<&'static str, Raw>;

/// The values of the layers, laid over each other. `flags` are by setting name.
pub fn gather(
    flags: &BTreeMap<String, String>,
    environment: &dyn Fn(&str) -> Option<String>,
    mistakes: &mut Vec<Mistake>,
) -> Values {
    let mut values = Values::new();
    for setting in SETTINGS {
        if let Some(text) = flags.get(setting.name) {
            values.insert(setting.name, Raw { text: text.clone(), origin: format!("--{}", setting.name) });
            continue;
        }
        let variables = std::iter::once(setting.variable()).chain(setting.aliases.iter().map(|&name| name.to_owned()));
        // An empty variable is how compose files and shells say "not set".
        let found = variables.filter_map(|name| environment(&name).filter(|text| !text.is_empty()).map(|t| (name, t)));
        if let Some((origin, text)) = found.into_iter().next() {
            values.insert(setting.name, Raw { text, origin });
        }
    }
    if let Some(Raw { text: path, origin }) = values.get("config").cloned() {
        for (name, raw) in read_file(Path::new(&path), &origin, mistakes) {
            values.entry(name).or_insert(raw);
        }
    }
    values
}

fn read_file(path: &Path, origin: &str, mistakes: &mut Vec<Mistake>) -> Values {
    let mut values = Values::new();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            mistakes.push(Mistake::new(origin, format!("could not read {}: {error}", path.display())));
            return values;
        }
    };
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            mistakes.push(Mistake::new(origin, format!("{} is not TOML: {error}", path.display())));
            return values;
        }
    };
    for (key, value) in table {
        let origin = format!("{key} in {}", path.display());
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key() == key) else {
            mistakes.push(Mistake::new(&origin, "there is no such setting".to_owned()));
            continue;
        };
        match plain(&value) {
            Some(text) => drop(values.insert(setting.name, Raw { text, origin })),
            None => mistakes.push(Mistake::new(&origin, "expected text, a number, true, false or a list".to_owned())),
        }
    }
    values
}

/// A TOML value as it would stand on the command line.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(on) => Some(if *on { "on" } else { "off" }.to_owned()),
        toml::Value::Array(items) => items.iter().map(plain).collect::<Option<Vec<_>>>().map(|items| items.join(",")),
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

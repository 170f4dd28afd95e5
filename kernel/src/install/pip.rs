//! pip, told where packages are and nothing else of the user's settings.
//!
//! `PIP_TARGET`, `PIP_USER`, a constraints file or `no-index` would put packages elsewhere or keep
//! them from being found, whether they come from variables or from a `pip.conf`. So pip reads no
//! configuration file, and gets those settings as variables that say how to reach an index.

use std::path::Path;
use std::process::Command;

use crate::install::command::output;
use crate::install::environment::for_python;

/// Options of pip that say where packages are and how to get there.
const REACH: [&str; 17] = [
    "cache-dir",
    "cert",
    "client-cert",
    "default-timeout",
    "extra-index-url",
    "find-links",
    "index-url",
    "keyring-provider",
    "no-cache-dir",
    "proxy",
    "resume-retries",
    "retries",
    "timeout",
    "trusted-host",
    "use-deprecated",
    "use-feature",
    "pypi-url",
];

/// The user's settings that matter for reaching an index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PipSettings {
    /// Options of [`REACH`] with their values.
    reach: Vec<(String, String)>,
    /// Whether the user forbids an index and names folders with packages instead.
    folders_only: bool,
}

impl PipSettings {
    /// Asks the pip of `python`, which knows all the files that it reads. Without an answer, only
    /// variables count.
    pub(crate) fn of(python: &Path) -> PipSettings {
        let mut ask = Command::new(python);
        for_python(&mut ask).args(["-m", "pip", "--disable-pip-version-check", "config", "list"]);
        // These would hide the answer or refuse to give it.
        for name in ["PIP_QUIET", "PIP_VERBOSE", "PIP_LOG", "PIP_REQUIRE_VIRTUALENV", "PIP_PYTHON"]
        {
            ask.env_remove(name);
        }
        match output(&mut ask) {
            Ok(listed) => PipSettings::parse(&listed),
            Err(_) => PipSettings::parse(&variables()),
        }
    }

    /// Reads lines such as `global.index-url='https://…'`, later ones going before earlier ones:
    /// those of variables before those of `[install]`, those before `[global]`.
    fn parse(listed: &str) -> PipSettings {
        let entries: Vec<(&str, String, String)> = listed
            .lines()
            .filter_map(|line| {
                let (key, value) = line.split_once('=')?;
                let (section, option) = key.rsplit_once('.')?;
                Some((section, option.replace('_', "-"), unquote(value)))
            })
            .collect();
        let mut settings = PipSettings::default();
        let mut no_index = false;
        for section in ["global", "download", "install", ":env:"] {
            for (_, option, value) in entries.iter().filter(|(at, ..)| *at == section) {
                if value.is_empty() {
                    continue;
                }
                if option == "no-index" {
                    no_index = !["0", "false", "no", "off"].contains(&&*value.to_lowercase());
                } else if REACH.contains(&&**option) {
                    settings.reach.retain(|(name, _)| name != option);
                    settings.reach.push((option.clone(), value.clone()));
                }
            }
        }
        let folders = settings.reach.iter().any(|(option, _)| option == "find-links");
        settings.folders_only = no_index && folders;
        settings
    }

    /// Whether the user wants packages from folders of their own and from no index. Where such a
    /// folder lacks one, set-up asks the index after all.
    pub(crate) fn folders_only(&self) -> bool {
        self.folders_only
    }

    /// Gives a command that runs pip these settings and no others.
    pub(crate) fn apply<'a>(&self, command: &'a mut Command, no_index: bool) -> &'a mut Command {
        for_python(command);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PIP_")) {
                command.env_remove(&name);
            }
        }
        // The name by which pip knows that it shall read no file.
        command.env("PIP_CONFIG_FILE", "/dev/null");
        for (option, value) in &self.reach {
            command.env(variable(option), value);
        }
        if no_index {
            command.env("PIP_NO_INDEX", "1");
        }
        command
    }
}

fn variable(option: &str) -> String {
    format!("PIP_{}", option.to_uppercase().replace('-', "_"))
}

/// The variables in the form in which pip lists them.
fn variables() -> String {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let option = name.to_str()?.strip_prefix("PIP_")?.to_lowercase().replace('_', "-");
            Some(format!(":env:.{option}='{}'\n", value.to_str()?.replace('\'', "\\'")))
        })
        .collect()
}

/// The text of a string as Python shows it.
fn unquote(shown: &str) -> String {
    let shown = shown.trim();
    let inner = ['\'', '"']
        .iter()
        .find_map(|quote| shown.strip_prefix(*quote).and_then(|rest| rest.strip_suffix(*quote)));
    let Some(inner) = inner else { return shown.to_owned() };
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(next) = chars.next() {
        if next != '\\' {
            text.push(next);
            continue;
        }
        match chars.next() {
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some(other) => text.push(other),
            None => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(settings: &'a PipSettings, option: &str) -> Option<&'a str> {
        settings.reach.iter().find(|(name, _)| name == option).map(|(_, value)| &**value)
    }

    #[test]
    fn what_reaches_an_index_is_kept_and_the_rest_is_not() {
        let settings = PipSettings::parse(
            "global.index-url='https://mirror.example/simple'\n\
             global.target='/elsewhere'\n\
             global.user='true'\n\
             install.constraint='old.txt'\n\
             install.find-links='/a\\n/b'\n\
             :env:.index-url='https://other.example/simple'\n\
             :env:.cert=\"/it's/ca.pem\"\n\
             :env:.require-virtualenv='1'\n",
        );
        assert_eq!(value(&settings, "index-url"), Some("https://other.example/simple"));
        assert_eq!(value(&settings, "find-links"), Some("/a\n/b"));
        assert_eq!(value(&settings, "cert"), Some("/it's/ca.pem"));
        assert_eq!(settings.reach.len(), 3);
        assert!(!settings.folders_only());
    }

    #[test]
    fn no_index_counts_only_with_folders_to_look_in() {
        assert!(!PipSettings::parse("global.no-index='true'\n").folders_only());
        let both = "global.no-index='1'\nglobal.find-links='/wheels'\n";
        assert!(PipSettings::parse(both).folders_only());
        let off = ":env:.no-index='0'\n";
        assert!(!PipSettings::parse(&format!("{both}{off}")).folders_only());
    }

    #[test]
    fn variables_read_as_if_pip_had_listed_them() {
        let listed = ":env:.index-url='https://a.example/x'\n";
        assert_eq!(value(&PipSettings::parse(listed), "index-url"), Some("https://a.example/x"));
        assert_eq!(unquote("'a\\'b\\\\c'"), "a'b\\c");
        assert_eq!(variable("extra-index-url"), "PIP_EXTRA_INDEX_URL");
    }
}

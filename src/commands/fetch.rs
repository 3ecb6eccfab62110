//! `--fetch`: getting what is missing, through the tool that owns the cache. Nothing else here has anything use the network.

mod pip;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::inputs::Inputs;
use super::tool::run_tool;
use crate::cli::Verbosity;
use crate::error::{Context, Error, Result};
use crate::lock::{Excerpt, InstallFilter, Lock, Pin, Selection};
use crate::venv::Layout;

/// What would have uv take something else of a lock than the options say.
const CHOOSING: [&str; 9] = [
    "UV_DEV",
    "UV_NO_DEV",
    "UV_NO_GROUP",
    "UV_NO_DEFAULT_GROUPS",
    "UV_NO_EDITABLE",
    "UV_NO_INSTALL_PROJECT",
    "UV_NO_INSTALL_WORKSPACE",
    "UV_NO_INSTALL_LOCAL",
    "UV_LOCKED",
];

/// What is missing, and for whom.
pub(super) struct Fetch<'a> {
    /// The pins that are missing.
    pub(super) missing: &'a [Pin],
    /// How many there are in all.
    pub(super) total: usize,
    /// The locks that they are of.
    pub(super) lock: &'a Lock,
    pub(super) inputs: &'a Inputs,
    /// The interpreter that wheels are got and built for.
    pub(super) python: &'a Path,
    pub(super) layout: &'a Layout,
    pub(super) verbosity: Verbosity,
}

impl Fetch<'_> {
    /// Fills uv's cache by having uv install what is missing into a folder that is thrown away: with the indexes,
    /// credentials and settings that uv finds where it runs.
    ///
    /// # Errors
    /// uv is not there, or fails; what it says itself has then been seen.
    pub(super) fn with_uv(&self) -> Result<()> {
        let uv = self.tool("uv").ok_or_else(|| {
            let venv = self.layout.root.display();
            Error::new(format!("uv is not there, neither on PATH nor in {venv}, to get what is missing"))
                .with_help("install uv, or fill the cache beforehand")
        })?;
        let cache = self.inputs.cache.display();
        let (count, total) = (self.missing.len(), self.total);
        self.verbosity.note(format!("{} gets {count} of {total} distributions into {cache}", uv.display()));
        let folder = folder()?;
        let excerpt = self.lock.excerpt(self.missing, &self.inputs.selection)?;
        for command in self.uv_commands(&uv, folder.path(), &excerpt)? {
            self.run("uv", command)?;
        }
        Ok(())
    }

    fn run(&self, name: &str, command: Command) -> Result<()> {
        let code = run_tool(command)?;
        if code == 0 {
            return Ok(());
        }
        let (count, total, cache) = (self.missing.len(), self.total, self.inputs.cache.display());
        let failed = format!("{name} did not get {count} of {total} distributions into {cache}");
        Err(Error::new(format!("{failed}: it ended with {code}")).with_help("what it says above tells why"))
    }

    fn uv_commands(&self, uv: &Path, folder: &Path, excerpt: &Excerpt) -> Result<Vec<Command>> {
        let mut commands = Vec::new();
        let mut sync = |name: String, text: &str, options: &[&str]| -> Result<()> {
            let file = folder.join(name);
            fs_err::write(&file, text)?;
            let mut command = self.uv_command(uv, &["pip", "sync"]);
            command.args(options).arg("--target").arg(folder.join(commands.len().to_string())).arg(file);
            commands.push(command);
            Ok(())
        };
        if let Some(requirements) = &excerpt.requirements {
            let hashes: &[&str] = if requirements.has_hashes { &["--require-hashes"] } else { &[] };
            sync("requirements.txt".to_owned(), &requirements.text, hashes)?;
        }
        for (number, pylock) in excerpt.pylocks.iter().enumerate() {
            sync(format!("pylock.{number}.toml"), pylock, &[])?;
        }
        for project in &excerpt.projects {
            let mut command = self.uv_command(uv, &["sync", "--frozen"]);
            command.arg("--project").arg(&project.folder);
            // What is left out is told by name.
            let wanted = Selection { install: InstallFilter::default(), ..self.inputs.selection.clone() };
            for argument in wanted.arguments() {
                command.args(argument.split(' '));
            }
            for name in &project.without {
                command.args(["--no-install-package", name.as_str()]);
            }
            for group in &project.groups {
                command.args(["--group", group.as_str()]);
            }
            CHOOSING.iter().for_each(|variable| {
                command.env_remove(variable);
            });
            command
                .env("UV_PROJECT_ENVIRONMENT", folder.join(format!("venv{}", commands.len())))
                .env_remove("VIRTUAL_ENV");
            commands.push(command);
        }
        Ok(commands)
    }

    fn uv_command(&self, uv: &Path, verb: &[&str]) -> Command {
        let mut command = Command::new(uv);
        command
            .args(verb)
            .args(self.verbosity.quiet.then_some("--quiet"))
            .arg("--cache-dir")
            .arg(&self.inputs.cache)
            .arg("--python")
            .arg(self.python)
            // What is installed is thrown away: only what is in the cache counts.
            .args(["--link-mode", "symlink"])
            .env_remove("UV_NO_CACHE");
        command
    }

    /// A tool on PATH, else in the environment.
    fn tool(&self, name: &str) -> Option<PathBuf> {
        let program = OsString::from(format!("{name}{}", env::consts::EXE_SUFFIX));
        let scripts = self.layout.root.join(&self.layout.scheme.scripts);
        let path = env::var_os("PATH").unwrap_or_default();
        let mut folders = env::split_paths(&path).filter(|folder| folder.is_absolute()).chain([scripts]);
        folders.find_map(|folder| Some(folder.join(&program)).filter(|tool| tool.is_file()))
    }
}

/// A folder that is thrown away.
fn folder() -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("sitefs-fetch-").tempdir();
    folder.context(|| "no folder can be made to get into what is missing".to_owned())
}

//! What is missing, as wheels, through pip: for folders of wheels and for stores.

use std::path::Path;
use std::process::Command;

use super::{Fetch, folder};
use crate::cache::{Cache, wheels_in};
use crate::error::{Error, Result};
use crate::lock::{Pin, Requirements, Source, by_hashes};
use crate::progress::Progress;
use crate::sys::posix::may_write;

impl Fetch<'_> {
    /// Has pip get or build the wheels that are missing, in a folder that is thrown away, and brings them into the cache
    /// when they are whole.
    ///
    /// # Errors
    /// pip is not there, or fails, and what it says itself has then been seen; the cache does not take the wheels.
    pub(in crate::commands) fn with_pip(&self, cache: &Cache) -> Result<()> {
        let root = &self.inputs.cache;
        let (count, total) = (self.missing.len(), self.total);
        if !may_write(root) {
            let message =
                format!("{} cannot be written: {count} of {total} distributions are missing", root.display());
            return Err(
                Error::new(message).with_help("have who may write there get them, or take another cache")
            );
        }
        let is_in_git = |pin: &&Pin| matches!(pin.source, Source::Git { file: Some(_), .. });
        if let Some(pin) = self.missing.iter().find(is_in_git) {
            let message = format!("{} is a file in a Git repository, which pip does not get", pin.name);
            return Err(Error::new(message).with_help("have uv get it, into a cache of uv's"));
        }
        self.verbosity.note(format!("pip gets {count} of {total} distributions into {}", root.display()));
        let folder = folder()?;
        let wheels = folder.path().join("wheels");
        fs_err::create_dir(&wheels)?;
        for requirements in by_hashes(self.missing, &self.lock.index_options) {
            let file = folder.path().join("requirements.txt");
            fs_err::write(&file, &requirements.text)?;
            self.run("pip", self.pip_command(&requirements, &file, &wheels)?)?;
        }
        cache.receive(&wheels_in(&wheels)?, &Progress::unless(self.verbosity.quiet))
    }

    /// `pip wheel`, which takes wheels as they are, and builds what is none. What was built has none of the hashes that the
    /// lock has for its sources, so what has hashes is not built in vain.
    fn pip_command(&self, requirements: &Requirements, file: &Path, wheels: &Path) -> Result<Command> {
        let mut command = self.pip()?;
        command
            .arg("--python")
            .arg(self.python)
            .args(["--no-input", "--disable-pip-version-check"])
            .args(self.verbosity.quiet.then_some("--quiet"))
            .args(["wheel", "--no-deps", "--wheel-dir"])
            .arg(wheels);
        if requirements.has_hashes {
            command.args(["--require-hashes", "--only-binary", ":all:"]);
        }
        command.arg("--requirement").arg(file);
        Ok(command)
    }

    /// pip itself, else the one that uv runs as a tool. uv alone gets no wheels as files.
    fn pip(&self) -> Result<Command> {
        if let Some(pip) = self.tool("pip") {
            return Ok(Command::new(pip));
        }
        let Some(uv) = self.tool("uv") else {
            let venv = self.layout.root.display();
            return Err(Error::new(format!(
                "neither pip nor uv is there, on PATH or in {venv}, to get what is missing"
            ))
            .with_help("install one, or fill the cache beforehand"));
        };
        let mut command = Command::new(uv);
        command.args(["tool", "run"]).args(self.verbosity.quiet.then_some("--quiet"));
        command.arg("--python").arg(self.python).arg("pip");
        Ok(command)
    }
}

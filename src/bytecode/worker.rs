//! A process of the environment's interpreter that compiles modules.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::index::Compiled;
use crate::error::{Context, Error, Result};
use crate::venv::interpreter::is_read_by_python;

const SCRIPT: &str = include_str!("worker.py");

/// A module to be compiled.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) source: PathBuf,
    /// Its path in the archive, with `/`.
    pub(super) path: String,
    pub(super) target: PathBuf,
    /// What tracebacks call it, unless importlib says better, as it does for each module that it loads.
    pub(super) name: String,
    pub(super) optimization: u8,
}

/// What became of a module.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    /// It was compiled, and written.
    Compiled(Compiled),
    /// It does not compile.
    Refused(String),
    /// What was compiled could not be written.
    Failed(String),
}

#[derive(Serialize)]
struct Line<'a> {
    source: String,
    target: String,
    name: &'a str,
    optimization: u8,
}

/// Interpreters that wait for modules. They end with this process, too, since nobody tells them more then.
#[derive(Debug, Default)]
pub(super) struct Workers {
    running: Mutex<Vec<Arc<Mutex<Child>>>>,
}

/// One of them. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    process: Arc<Mutex<Child>>,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Workers {
    /// Starts one: disturbed neither by the user's variables nor by what is installed, in which a `.pth` file runs code.
    pub(super) fn start(&self, python: &Path) -> Result<Worker> {
        let mut command = Command::new(python);
        command.args(["-I", "-S", "-B", "-c", SCRIPT]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        for (variable, _) in std::env::vars_os().filter(|(variable, _)| is_read_by_python(variable)) {
            command.env_remove(variable);
        }
        // Ctrl-C is for sitefs, which then ends them.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let started = || format!("the interpreter {} cannot be started", python.display());
        let mut process = command.spawn().context(started)?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Error::new(started()));
        };
        let process = Arc::new(Mutex::new(process));
        self.running.lock().push(Arc::clone(&process));
        Ok(Worker { process, input, output: BufReader::new(output) })
    }

    /// Ends all, whatever they are at.
    pub(super) fn end(&self) {
        for process in self.running.lock().iter() {
            let _ = process.lock().kill();
        }
    }
}

impl Worker {
    /// Has it compile a module.
    ///
    /// # Errors
    /// It has ended: the module was too much for its compiler, or somebody killed it.
    pub(super) fn compile(&mut self, job: &Job) -> io::Result<Answer> {
        let line = Line {
            source: hexadecimal(job.source.as_os_str()),
            target: hexadecimal(job.target.as_os_str()),
            name: &job.name,
            optimization: job.optimization,
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        self.input.write_all(&text)?;
        let mut answer = Vec::new();
        if self.output.read_until(b'\n', &mut answer)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut process = self.process.lock();
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn hexadecimal(path: &OsStr) -> String {
    HEXLOWER.encode(path.as_encoded_bytes())
}

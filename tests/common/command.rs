//! Running commands in an environment that the person who runs the tests cannot colour.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(300);

/// A command with `home` as its home and without any variable that changes what Python, uv, pip or sitefs do.
pub fn clean_command(program: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if is_colouring(&name) {
            command.env_remove(name);
        }
    }
    for (name, folder) in [
        ("HOME", "."),
        ("XDG_CACHE_HOME", ".cache"),
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_STATE_HOME", ".local/state"),
    ] {
        command.env(name, home.join(folder));
    }
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

fn is_colouring(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let prefixes = ["PYTHON", "PIP_", "UV_", "SITEFS_", "XDG_", "PYENV_", "CONDA_"];
    name == "VIRTUAL_ENV" || prefixes.iter().any(|prefix| name.starts_with(prefix)) && name != "PIP_CERT"
}

/// The same command, run as the user `nobody` with its group alone. Only root can.
pub fn as_nobody(command: &Command) -> Command {
    let mut setpriv = Command::new("setpriv");
    setpriv
        .arg(format!("--reuid={}", id_of_nobody("-u")))
        .arg(format!("--regid={}", id_of_nobody("-g")))
        // setpriv itself may still open what only root can; the program that env starts may not.
        .args(["--clear-groups", "--", "env"]);
    started_by(setpriv, command)
}

/// The same command, started by a program that takes it as its last arguments.
pub fn started_by(mut starter: Command, command: &Command) -> Command {
    starter.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => starter.env(name, value),
            None => starter.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        starter.current_dir(folder);
    }
    starter
}

/// `id -u nobody` or `id -g nobody`.
pub fn id_of_nobody(which: &str) -> u32 {
    let output = Command::new("id").args([which, "nobody"]).output().expect("id runs");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("there is a user nobody")
}

/// Whether the user `nobody` can run this program: a Python below /root, for one, it cannot.
pub fn nobody_can_run(program: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(["-c", ""]).current_dir("/");
    as_nobody(&command).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// How a command ended and what it said.
pub struct Outcome {
    command_line: String,
    status: ExitStatus,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl Outcome {
    /// Runs the command to its end. Panics if it does not end, or leaves a process behind that holds its output open.
    pub fn of(command: &mut Command) -> Self {
        let command_line = command_line(command);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command_line}: {error}"));
        let stdout = read_in_background(child.stdout.take().expect("piped"));
        let stderr = read_in_background(child.stderr.take().expect("piped"));
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("still running after {} s: {command_line}", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let text = |receiver: Receiver<Vec<u8>>| match receiver.recv_timeout(Duration::from_secs(20)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => panic!("a process that it left behind holds the output open: {command_line}"),
        };
        let (stdout, stderr) = (text(stdout), text(stderr));
        Self { command_line, status, stdout, stderr }
    }

    /// The exit code, or none if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// It exited with 0.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.exits(0)
    }

    /// It could not do it: exit code 1, a message of one or two lines that starts as errors do, and no panic.
    #[track_caller]
    pub fn fails(self) -> Self {
        let outcome = self.exits(1);
        assert!(!outcome.stderr.trim().is_empty(), "failed without a word: {outcome}");
        outcome
    }

    /// It exited with this code, and did not panic on the way.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code() == Some(code), "expected exit code {code}: {self}");
        assert!(!self.stderr.contains("panicked at"), "it panicked: {self}");
        self
    }

    /// Its standard output is this line.
    #[track_caller]
    pub fn prints(self, line: &str) -> Self {
        assert!(self.stdout.trim_end() == line, "expected the output {line:?}: {self}");
        self
    }

    /// Its output or its error says this somewhere.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(said, "expected it to say {text:?}: {self}");
        self
    }

    /// Neither its output nor its error says this anywhere.
    #[track_caller]
    pub fn says_nothing_of(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(!said, "expected it not to say {text:?}: {self}");
        self
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command_line, status, stdout, stderr } = self;
        write!(formatter, "\n$ {command_line}\n{status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

fn read_in_background(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

fn command_line(command: &Command) -> String {
    let words: Vec<OsString> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_os_string).collect();
    words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

//! Tests of `sitefs run`: starting it, and who runs because of it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::command::Outcome;
use super::fuse_for_nobody;
use super::sitefs::wait_until;
use super::venv::Sandbox;
use super::wheel::WheelBuilder;

/// A distribution with a module and a command, both of which say hello.
pub fn greet() -> WheelBuilder {
    WheelBuilder::new("greet", "1.0")
        .file("greet/__init__.py", "word = 'hello'\n\ndef main():\n    print(word)\n")
        .entry_point("console_scripts", "greet = greet:main")
}

/// Says hello by the module.
pub const GREET: &str = "import greet; print(greet.word, flush=True)";

/// Says hello, and stays.
pub const STAY: &str = "import greet, time; print(greet.word, flush=True); time.sleep(1000)";

/// A sandbox whose lock asks for [`greet`]; none, said loudly, if FUSE does not work.
pub fn sandbox() -> Option<Sandbox> {
    Some(Sandbox::with_fuse()?.with_wheels([greet()]))
}

/// The same of the user `nobody`.
pub fn sandbox_for_nobody() -> Option<Sandbox> {
    fuse_for_nobody().then(|| Sandbox::for_nobody().with_wheels([greet()]))
}

/// The arguments of `sitefs run OPTIONS -- COMMAND` on a sandbox.
pub fn run_arguments(test: &Sandbox, options: &[&str], command: &[&str]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["run".into()];
    for (option, value) in [("-r", &test.requirements), ("--venv", &test.venv), ("--cache", &test.cache)] {
        arguments.extend([option.into(), value.into()]);
    }
    arguments.extend(options.iter().map(OsString::from));
    arguments.push("--".into());
    arguments.extend(command.iter().map(OsString::from));
    arguments
}

/// The processes, of any user, for which this is so.
fn processes(is_so: impl Fn(&Path) -> bool) -> Vec<u32> {
    let pids =
        fs_err::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| is_so(Path::new(&format!("/proc/{pid}")))).collect()
}

/// The sitefs processes of a sandbox.
pub fn sitefs_below(test: &Sandbox) -> Vec<u32> {
    let program = test.root().join("sitefs");
    processes(|process| fs_err::read_link(process.join("exe")).is_ok_and(|link| link == program))
}

/// The processes that the command of a sandbox consists of.
pub fn processes_in(test: &Sandbox) -> Vec<u32> {
    let active = format!("VIRTUAL_ENV={}", test.venv.display());
    processes(|process| {
        let environment = fs_err::read(process.join("environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == active.as_bytes())
    })
}

/// The server of the `sitefs run` with this id.
pub fn server(test: &Sandbox, run: u32) -> u32 {
    let servers: Vec<u32> = sitefs_below(test).into_iter().filter(|&pid| pid != run).collect();
    assert!(servers.len() == 1, "expected one server, not {servers:?}");
    servers[0]
}

/// Sends a signal.
pub fn kill(signal: &str, pid: u32) {
    Outcome::of(Command::new("kill").args(["-s", signal, &pid.to_string()])).succeeds();
}

/// A `sitefs run` that is not waited for yet.
pub struct Running {
    /// The process itself.
    pub child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// `sitefs run OPTIONS -- COMMAND`.
    pub fn start(test: &Sandbox, options: &[&str], command: &[&str]) -> Self {
        Self::of(test.sitefs_command(run_arguments(test, options, command)))
    }

    /// Any such command.
    pub fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next line of its output is this.
    #[track_caller]
    pub fn says(&mut self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    /// Its exit code, or 128 and the signal that ended it.
    pub fn ends(&mut self) -> Option<i32> {
        let mut ended = None;
        wait_until("sitefs run ends", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        let status = ended.unwrap();
        status.code().or_else(|| Some(128 + status.signal()?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A package index on this machine: see index.py beside this.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::venv::python;

const SERVER: &str = include_str!("index.py");

/// A package index that serves the distributions of a folder. Dropping it ends it.
pub struct Index {
    server: Child,
    port: u32,
    log: PathBuf,
}

impl Index {
    /// The index of a folder; with `USER:PASSWORD`, only for who gives them.
    pub fn of(folder: &Path, credentials: Option<&str>) -> Self {
        fs_err::create_dir_all(folder).unwrap();
        let log = folder.with_extension("log");
        let mut server = Command::new(python())
            .args(["-I", "-c", SERVER])
            .args([folder, &log])
            .args(credentials)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { server, port: line.trim().parse().unwrap(), log }
    }

    /// Its address, with or without `USER:PASSWORD@`.
    pub fn url(&self, credentials: &str) -> String {
        format!("http://{credentials}127.0.0.1:{}/simple", self.port)
    }

    /// The paths that it was asked for.
    pub fn requests(&self) -> Vec<String> {
        fs_err::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

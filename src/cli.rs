//! What a person types.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Complete a Python virtual environment at once, and copy nothing.
///
/// A FUSE file system is mounted on the environment's site-packages: a union of the locked distributions, whose entries
/// are links into a cache of unpacked wheels.
#[derive(Debug, Parser)]
#[command(name = "sitefs", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an environment complete
    Mount(MountOptions),
    /// Undo it
    #[command(alias = "umount")]
    Unmount(UnmountOptions),
    /// Tell what is mounted, how, from which cache, since when, by which process
    Status(StatusOptions),
    /// Tell which distribution an entry comes from, its target, what it hides
    Why(WhyOptions),
}

/// Options of `mount`.
#[derive(Debug, Args)]
pub struct MountOptions {
    /// The virtual environment
    pub venv: PathBuf,
    /// The cache of unpacked wheels: uv's [default: the environment variable UV_CACHE_DIR, then uv's own default]
    #[arg(env = "SITEFS_CACHE")]
    pub cache: Option<PathBuf>,
    /// A lock file, in requirements.txt format [default: requirements.txt beside VENV, then what was last mounted]
    #[arg(short, long = "requirements", value_name = "FILE")]
    pub requirements: Vec<PathBuf>,
    /// The interpreter to create VENV with, if it is not there: a path, or a name such as python3.12
    #[arg(long)]
    pub python: Option<String>,
    /// Let all users see the mount, as it is by default when root mounts
    #[arg(long)]
    pub allow_other: bool,
    /// Serve in this process, until it is unmounted or interrupted
    #[arg(short, long)]
    pub foreground: bool,
    /// Print what was mounted as JSON
    #[arg(long)]
    pub json: bool,
    /// How much to say.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// Options of `unmount`.
#[derive(Debug, Args)]
pub struct UnmountOptions {
    /// The virtual environment
    #[arg(required_unless_present = "all")]
    pub venv: Option<PathBuf>,
    /// Unmount every environment of this user; as root, of all users
    #[arg(long, conflicts_with = "venv")]
    pub all: bool,
    /// Let go at once even if it is in use; who uses it keeps it until they end
    #[arg(long)]
    pub lazy: bool,
    /// How much to say.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusOptions {
    /// The virtual environment [default: all that are mounted]
    pub venv: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `why`.
#[derive(Debug, Args)]
pub struct WhyOptions {
    /// The virtual environment
    pub venv: PathBuf,
    /// A path in the environment, or relative to its site-packages
    pub path: PathBuf,
}

/// How much to say.
#[derive(Clone, Copy, Debug, Args)]
pub struct Verbosity {
    /// Say more
    #[arg(short, long)]
    pub verbose: bool,
    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// Writes a line to standard output. Whoever reads it may have gone, as `head` does.
pub fn print(what: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{what}");
}

impl Verbosity {
    /// Says what a command did.
    pub fn say(self, what: impl std::fmt::Display) {
        if !self.quiet {
            print(what);
        }
    }

    /// Says what a person should know beside it.
    pub fn note(self, what: impl std::fmt::Display) {
        if !self.quiet {
            eprintln!("note: {what}");
        }
    }

    /// Says what only those who asked for more want to know.
    pub fn detail(self, what: impl std::fmt::Display) {
        if self.verbose {
            eprintln!("note: {what}");
        }
    }
}

//! What a person types.

mod selection;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::selection::SelectionOptions;
use crate::error::{Context, Error, Result};
use crate::place::LinkMode;
use crate::view::{EntriesChoice, EntriesWord};

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
    Mount(MountCommand),
    /// Undo it
    #[command(alias = "umount")]
    Unmount(UnmountOptions),
    /// Mount, run a command in the environment, unmount: for entrypoints of containers (with --fetch), and everywhere else
    Run(RunCommand),
    /// Tell what is mounted, how, from which cache, since when, by which process
    Status(StatusOptions),
    /// Tell which distribution an entry comes from, its target, what it hides
    Why(WhyOptions),
    /// Look after the store, where wheels are unpacked and their modules compiled
    #[command(subcommand)]
    Cache(CacheCommand),
}

/// What can be done with the store.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Unpack wheels into the store
    Add(CacheAddOptions),
    /// Compile the modules that a lock asks for, once for all environments with the same cache and the same Python
    Compile(Box<CacheCompileOptions>),
    /// List what is in it: wheels, and bytecode by interpreter
    List(CacheOptions),
    /// Compare every file with what its wheel said of it, and bytecode with what was compiled
    Verify(CacheVerifyOptions),
    /// Remove what no environment uses, and the bytecode of what is gone
    Prune(CachePruneOptions),
}

/// What most do alike.
#[derive(Debug, Args)]
pub struct CacheOptions {
    /// The store [default: SITEFS_STORE, then sitefs/store in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How much to say.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// `cache add`.
#[derive(Debug, Args)]
pub struct CacheAddOptions {
    /// Wheels, or folders of wheels
    #[arg(required = true, value_name = "WHEEL")]
    pub wheels: Vec<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub options: CacheOptions,
}

/// `cache verify`.
#[derive(Debug, Args)]
pub struct CacheVerifyOptions {
    /// What to read instead of the store: wheels, folders of wheels, and environments, of which what they use of the cache
    /// is compared with its RECORD
    #[arg(value_name = "WHEEL|VENV")]
    pub wheels: Vec<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub options: CacheOptions,
}

/// `cache prune`.
#[derive(Debug, Args)]
pub struct CachePruneOptions {
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Where.
    #[command(flatten)]
    pub options: CacheOptions,
}

/// `cache compile`: for what, and how.
#[derive(Debug, Args)]
pub struct CacheCompileOptions {
    /// A virtual environment, whose interpreter compiles; nothing in it is changed
    pub venv: PathBuf,
    /// Where wheels are: a cache of uv, a folder of .whl, or a store of sitefs [default: SITEFS_CACHE, UV_CACHE_DIR, what was last mounted, uv's default]
    pub cache: Option<PathBuf>,
    /// What it shall hold, as for `mount`.
    #[command(flatten)]
    pub wanted: WantedOptions,
    /// For interpreters that optimize: 1 for -O, 2 for -OO [default: what PYTHONOPTIMIZE says, then 0]
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=2))]
    pub optimize: Option<u8>,
    /// How many processes compile [default: as many as there are processors]
    #[arg(short, long, value_name = "NUMBER")]
    pub jobs: Option<usize>,
    /// How much to say.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// `mount`: what, and how.
#[derive(Debug, Args)]
pub struct MountCommand {
    /// The virtual environment
    pub venv: PathBuf,
    /// Where wheels are: a cache of uv, a folder of .whl, or a store of sitefs [default: SITEFS_CACHE, UV_CACHE_DIR, what was last mounted, uv's default]
    pub cache: Option<PathBuf>,
    /// How it is mounted.
    #[command(flatten)]
    pub options: MountOptions,
    /// Go back to the lock: what was removed of it is there again, and what was changed or installed in its place is moved to
    /// VENV/.sitefs/set-aside/. What the lock does not name stays
    #[arg(long)]
    pub reset: bool,
    /// Serve in this process, until it is unmounted or interrupted
    #[arg(short, long)]
    pub foreground: bool,
    /// Print what was mounted as JSON
    #[arg(long)]
    pub json: bool,
}

/// `run`: what, where, and how it is mounted.
#[derive(Debug, Args)]
pub struct RunCommand {
    /// The virtual environment [default: the environment variable VIRTUAL_ENV, then .venv]
    #[arg(long)]
    pub venv: Option<PathBuf>,
    /// Where wheels are: a cache of uv, a folder of .whl, or a store of sitefs [default: SITEFS_CACHE, UV_CACHE_DIR, what was last mounted, uv's default]
    #[arg(long)]
    pub cache: Option<PathBuf>,
    /// How it is mounted.
    #[command(flatten)]
    pub options: MountOptions,
    /// Mount where other processes see it too, not in a mount namespace of COMMAND's own; so it is anyway for root as process 1
    #[arg(long)]
    pub no_namespace: bool,
    /// The command and its arguments; it is looked for in the environment first
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What an environment shall hold, and how it is found in the cache.
#[derive(Debug, Args)]
pub struct WantedOptions {
    /// A lock: uv.lock, pylock.toml or requirements.txt, known by name, then by content [default: the first of pylock.toml,
    /// uv.lock and requirements.txt beside VENV, then what was last mounted]
    #[arg(short, long = "requirements", value_name = "FILE")]
    pub requirements: Vec<PathBuf>,
    /// What of it.
    #[command(flatten)]
    pub selection: SelectionOptions,
    /// Get what is missing in CACHE, with uv, or pip for wheels and stores, and their own settings. Without this, nothing ever uses the network
    #[arg(long)]
    pub fetch: bool,
    /// Do not hold uv's lock on CACHE: `uv cache prune` and `uv cache clean` then do not wait until VENV is unmounted
    #[arg(long)]
    pub no_cache_lock: bool,
    /// Where the wheels of a folder are unpacked, and bytecode is kept [default: SITEFS_STORE, then sitefs/store in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

/// How `mount` and `run` mount.
#[derive(Debug, Args)]
pub struct MountOptions {
    /// What is mounted.
    #[command(flatten)]
    pub wanted: WantedOptions,
    /// How the environment is made; auto is fuse, else symlink, else copy [default: SITEFS_LINK_MODE, then auto]
    #[arg(long, value_name = "MODE", value_enum)]
    pub link_mode: Option<LinkModeChoice>,
    /// How a mount shows files of CACHE: symlink (links), file (regular files, so that nothing reaches CACHE, copied when they
    /// are first written to), mixed (Python's sources and other text as files, all else as links). Repeat it for single
    /// distributions: starlette=file [default: SITEFS_ENTRIES, then as last mounted, then symlink]
    #[arg(long, value_name = "[NAME=]KIND")]
    pub entries: Vec<EntriesWord>,
    /// Mount so that every change in site-packages is refused, bytecode included. VENV need not be writable then: what sitefs
    /// writes, commands too, goes to the user's runtime directory (XDG_RUNTIME_DIR, else below /run or /tmp)
    #[arg(long, conflicts_with_all = ["fallback", "fold"])]
    pub read_only: bool,
    /// With link mode symlink: one link for a whole directory where that is safe for programs. Tools that uninstall or install
    /// anew, and Python's bytecode, reach through it into CACHE
    #[arg(long)]
    pub fold: bool,
    /// Allow copy where the link mode asked for does not work
    #[arg(long)]
    pub fallback: bool,
    /// Compile what the store has no bytecode of, once for all environments: before it is mounted (now, which is meant where
    /// no WHEN is given), afterwards, giving way to all else (background), or never [default: SITEFS_COMPILE_BYTECODE, then
    /// never for mount and background for run]
    #[arg(long, value_name = "WHEN", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "now")]
    pub compile_bytecode: Option<CompileWhen>,
    /// The interpreter to create VENV with, if it is not there: a path, or a name such as python3.12
    #[arg(long)]
    pub python: Option<String>,
    /// Have links lead to CACHE itself, not through a read-only mount of it, which they do where this user may mount it
    #[arg(long)]
    pub no_cache_mount: bool,
    /// Let all users see the mount, as it is by default when root mounts
    #[arg(long)]
    pub allow_other: bool,
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
    /// Tell also how often the kernel has asked the server for what, since it was mounted
    #[arg(short, long)]
    pub verbose: bool,
}

/// Options of `why`.
#[derive(Debug, Args)]
pub struct WhyOptions {
    /// The virtual environment
    pub venv: PathBuf,
    /// A path in the environment, or relative to its site-packages
    pub path: PathBuf,
}

impl MountOptions {
    /// When to compile: by option, or by the environment; an empty variable counts as none.
    ///
    /// # Errors
    /// The variable says something else.
    pub fn compile_when(&self, usually: CompileWhen) -> Result<CompileWhen> {
        let variable = std::env::var("SITEFS_COMPILE_BYTECODE").unwrap_or_default();
        match self.compile_bytecode {
            Some(when) => Ok(when),
            None if variable.is_empty() => Ok(usually),
            None => CompileWhen::from_str(&variable, true).map_err(|_| {
                Error::new(format!("SITEFS_COMPILE_BYTECODE is {variable}, which says not when"))
                    .with_help("it may be now, background or never")
            }),
        }
    }

    /// The link mode asked for, by option or by the environment; an empty variable counts as none.
    ///
    /// # Errors
    /// The variable names no link mode; `--fold` is given with another than symlink, `--entries` with another than fuse.
    pub fn link_mode(&self) -> Result<LinkModeChoice> {
        let variable = std::env::var("SITEFS_LINK_MODE").unwrap_or_default();
        let choice = match self.link_mode {
            Some(choice) => choice,
            // Files can be changed.
            None if self.read_only => LinkModeChoice::Fuse,
            None if variable.is_empty() => LinkModeChoice::Auto,
            None => LinkModeChoice::from_str(&variable, true).map_err(|_| {
                Error::new(format!("SITEFS_LINK_MODE is {variable}, which is no link mode"))
                    .with_help("it may be auto, fuse, symlink, hardlink, clone or copy")
            })?,
        };
        if self.fold && choice != LinkModeChoice::Symlink {
            return Err(Error::new(format!("--fold makes links, and the link mode is {}", choice.name()))
                .with_help("give --link-mode symlink with it, or leave it out"));
        }
        if self.read_only && choice != LinkModeChoice::Fuse {
            let error = format!("--read-only is about mounts, and the link mode is {}", choice.name());
            return Err(Error::new(error).with_help("leave one of them out"));
        }
        if !self.entries.is_empty() && choice.one().is_some_and(|mode| mode != LinkMode::Fuse) {
            return Err(Error::new(format!(
                "--entries is about mounts, and the link mode is {}",
                choice.name()
            ))
            .with_help("leave one of them out"));
        }
        Ok(choice)
    }

    /// The entries asked for, by option or by the environment; none where nobody asked.
    ///
    /// # Errors
    /// The variable has a word that is no kind of entries.
    pub fn entries(&self) -> Result<Option<EntriesChoice>> {
        if !self.entries.is_empty() {
            return Ok(Some(EntriesChoice::of_words(self.entries.iter().cloned())));
        }
        let variable = std::env::var("SITEFS_ENTRIES").unwrap_or_default();
        let words = variable.split([' ', ',']).filter(|word| !word.is_empty());
        let words = words.map(str::parse::<EntriesWord>).collect::<Result<Vec<_>>>();
        let words = words.context(|| "SITEFS_ENTRIES cannot be used".to_owned())?;
        Ok(Some(words).filter(|words| !words.is_empty()).map(EntriesChoice::of_words))
    }
}

/// When to compile what the store has no bytecode of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompileWhen {
    /// Before it is mounted
    Now,
    /// Afterwards, giving way to all else
    Background,
    /// Not at all
    Never,
}

/// What a person may ask for as link mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LinkModeChoice {
    /// The first that works of fuse, symlink and copy
    Auto,
    /// Mounted, with FUSE
    Fuse,
    /// Real directories, a symbolic link for each file
    Symlink,
    /// Real directories, another name of the cache's file for each file: cache and environment share it
    Hardlink,
    /// Private copies that share the cache's blocks (btrfs, XFS)
    Clone,
    /// Private copies
    Copy,
}

impl LinkModeChoice {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The link mode that was asked for by name.
    pub fn one(self) -> Option<LinkMode> {
        match self {
            Self::Auto => None,
            Self::Fuse => Some(LinkMode::Fuse),
            Self::Symlink => Some(LinkMode::Symlink),
            Self::Hardlink => Some(LinkMode::Hardlink),
            Self::Clone => Some(LinkMode::Clone),
            Self::Copy => Some(LinkMode::Copy),
        }
    }

    /// The link modes to try, in turn.
    pub fn in_turn(self, fallback: bool) -> Vec<LinkMode> {
        match self.one() {
            None => vec![LinkMode::Fuse, LinkMode::Symlink, LinkMode::Copy],
            Some(LinkMode::Fuse) if fallback => vec![LinkMode::Fuse, LinkMode::Symlink, LinkMode::Copy],
            Some(mode) if fallback && mode != LinkMode::Copy => vec![mode, LinkMode::Copy],
            Some(mode) => vec![mode],
        }
    }
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

/// Writes a line to standard error. Whoever reads it may have gone.
pub fn tell(what: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{what}");
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
            tell(format_args!("note: {what}"));
        }
    }

    /// Says what only those who asked for more want to know.
    pub fn detail(self, what: impl std::fmt::Display) {
        if self.verbose {
            tell(format_args!("note: {what}"));
        }
    }
}

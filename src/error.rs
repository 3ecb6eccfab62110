//! One error type: what failed, on which path, why, and what to do next.

use std::fmt;

/// A result whose error is meant for a person.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Between an error and its help, where one process tells another.
const HELP: char = '\u{1f}';

/// What failed, why (the source), and what to do about it (the help).
///
/// `Display` gives the message and the chain of its causes on one line; [`Error::help`] is printed below it.
#[derive(Debug)]
pub struct Error {
    message: String,
    help: Option<String>,
    source: Option<Source>,
}

impl Error {
    /// An error that says what failed, on which path.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, source: None }
    }

    /// The same error, with what to do next.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same error, with its cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The error as another process is told it, to be [`heard`](Self::heard) there.
    pub fn told(&self) -> String {
        let help = self.help().map(|help| format!("{HELP}{help}")).unwrap_or_default();
        format!("{self}{help}")
    }

    /// The error that another process [`told`](Self::told).
    pub fn heard(text: &str) -> Self {
        match text.split_once(HELP) {
            Some((message, help)) => Self::new(message).with_help(help),
            None => Self::new(text),
        }
    }

    /// What to do next, if this error or one of its causes knows.
    pub fn help(&self) -> Option<&str> {
        match (&self.help, &self.source) {
            (Some(help), _) => Some(help),
            (None, Some(source)) => source.downcast_ref::<Error>().and_then(Error::help),
            (None, None) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(formatter, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// An I/O error from `fs_err` already names its path.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Says what was being done when something failed.
pub trait Context<T> {
    /// Puts `message` before the error.
    ///
    /// # Errors
    /// The same failure, with the message in front.
    fn context(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Source>> Context<T> for std::result::Result<T, E> {
    fn context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::new(message()).because(error))
    }
}

//! venv
pub mod interpreter;

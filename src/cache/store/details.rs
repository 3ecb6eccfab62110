//! What is known of a wheel in a store: `wheel.json`.

use serde::{Deserialize, Serialize};

use super::{Place, is_absent};
use crate::python::WheelName;

/// What is known of a wheel in a store.
#[derive(Clone, Debug)]
pub struct Details {
    /// The wheel's name.
    pub wheel: WheelName,
    /// The digest of its RECORD, which has those of all its files.
    pub record: String,
    /// How many files it has.
    pub files: u64,
    /// How many bytes these have.
    pub bytes: u64,
}

/// `wheel.json`.
#[derive(Serialize, Deserialize)]
struct Written {
    wheel: String,
    record_sha256: String,
    files: u64,
    bytes: u64,
}

impl Details {
    pub(super) fn to_json(&self) -> Vec<u8> {
        let written = Written {
            wheel: self.wheel.to_string(),
            record_sha256: self.record.clone(),
            files: self.files,
            bytes: self.bytes,
        };
        serde_json::to_vec(&written).unwrap_or_default()
    }
}

impl Place {
    /// What is known of the wheel, or why it does not count.
    pub fn details(&self) -> Result<Details, String> {
        let file = self.details_file();
        let path = file.display();
        let text = match fs_err::read(&file) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => {
                return Err(match fs_err::read_to_string(self.damage_file()) {
                    Ok(reason) => format!("its archive is damaged: {}", reason.trim()),
                    Err(_) => format!("{path} is missing"),
                });
            }
            Err(error) => return Err(error.to_string()),
        };
        let written: Written =
            serde_json::from_slice(&text).map_err(|error| format!("{path} is damaged: {error}"))?;
        let wheel = written.wheel.parse().map_err(|error| format!("{path} is damaged: {error}"))?;
        Ok(Details { wheel, record: written.record_sha256, files: written.files, bytes: written.bytes })
    }
}

//! Where uv keeps what it built with settings: in a folder beside what it built without any, named after their digest.

use std::hash::Hasher;

use seahash::SeaHasher;

use crate::lock::{BuildSettings, ConfigSetting};

/// The name of the folder; none where there are no settings.
///
/// # Errors
/// Why it cannot be known.
pub(super) fn folder(settings: &BuildSettings) -> Result<Option<String>, String> {
    if settings.has_extra_build_dependencies {
        return Err(
            "it is built with `extra-build-dependencies`, which sitefs does not find: lock a wheel of it"
                .to_owned(),
        );
    }
    if *settings == BuildSettings::default() {
        return Ok(None);
    }
    let digest = digest(settings).to_le_bytes();
    Ok(Some(data_encoding::HEXLOWER.encode(&digest)))
}

/// As uv 0.13 has it, and no document of uv's: what is not found by it is missing, and never another build.
fn digest(settings: &BuildSettings) -> u64 {
    let mut hasher = SeaHasher::new();
    for (key, setting) in &settings.config_settings {
        write(&mut hasher, key);
        match setting {
            ConfigSetting::One(value) => write(&mut hasher, value),
            ConfigSetting::Several(values) => {
                hasher.write_u64(values.len() as u64);
                values.iter().for_each(|value| write(&mut hasher, value));
            }
        }
    }
    let no_extra_build_dependencies = 0;
    hasher.write_u64(no_extra_build_dependencies);
    hasher.write_u64(settings.extra_build_variables.len() as u64);
    for (name, value) in &settings.extra_build_variables {
        write(&mut hasher, name);
        write(&mut hasher, value);
    }
    hasher.finish()
}

/// A text as Rust hashes it: with a byte after it that no text has.
fn write(hasher: &mut SeaHasher, text: &str) {
    hasher.write(text.as_bytes());
    hasher.write_u8(0xff);
}

/// Whether a folder is named as those for settings are.
pub(super) fn is_folder(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::folder;
    use crate::lock::{BuildSettings, ConfigSetting};

    /// What uv 0.13.9 called these.
    #[test]
    fn the_folder_is_named_as_uv_names_it() {
        let setting = |key: &str, values: &[&str]| {
            let setting = match values {
                [value] => ConfigSetting::One((*value).to_owned()),
                values => ConfigSetting::Several(values.iter().map(|value| (*value).to_owned()).collect()),
            };
            (key.to_owned(), setting)
        };
        let mut settings = BuildSettings::default();
        assert_eq!(folder(&settings).unwrap(), None);
        settings.config_settings = [setting("a", &["x", "y"]), setting("b", &["2"])].into();
        assert_eq!(folder(&settings).unwrap().as_deref(), Some("24144093c60ff6ca"));
        settings.config_settings = [setting("a", &["q", "x", "y"]), setting("b", &["2"])].into();
        assert_eq!(folder(&settings).unwrap().as_deref(), Some("61b4106b87e05f29"));
        settings.config_settings = [setting("a", &["x", "y"]), setting("b", &["2"])].into();
        settings.extra_build_variables = [("FLAV".to_owned(), "v".to_owned())].into();
        assert_eq!(folder(&settings).unwrap().as_deref(), Some("bc5ba47aee8c10cd"));
        settings.has_extra_build_dependencies = true;
        assert!(folder(&settings).unwrap_err().contains("extra-build-dependencies"));
    }
}

//! The platform tags of Linux: `linux`, manylinux (PEP 600) and musllinux (PEP 656).

use serde::{Deserialize, Serialize};

use super::normalize;

/// What the platform tags of an interpreter on Linux follow from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linux {
    /// `sysconfig.get_platform()`, as `linux-x86_64`: the kernel's machine, also for a 32-bit interpreter.
    pub platform: String,
    /// True for a 32-bit interpreter.
    pub is_32bit: bool,
    /// The version of glibc that the interpreter runs on, if it may use manylinux wheels at all.
    pub glibc: Option<(u32, u32)>,
    /// The version of musl that the interpreter is linked to.
    pub musl: Option<(u32, u32)>,
    /// What the interpreter's own ELF header says, where the machine's name leaves it open.
    pub elf_abi: Option<ElfAbi>,
}

/// An ABI that a machine may or may not have, seen from the header of its interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ElfAbi {
    /// 32-bit ARM, EABI 5, hard float.
    ArmHf,
    /// 32-bit x86.
    I686,
}

const MANYLINUX_ARCHITECTURES: [&str; 7] =
    ["x86_64", "aarch64", "ppc64", "ppc64le", "s390x", "loongarch64", "riscv64"];

impl Linux {
    pub(super) fn platforms(&self) -> Vec<String> {
        let platform = normalize(&self.platform);
        let Some(machine) = platform.strip_prefix("linux_") else {
            return vec![platform];
        };
        let architectures = self.architectures(machine);
        let mut platforms: Vec<String> =
            architectures.iter().map(|architecture| format!("linux_{architecture}")).collect();
        if self.has_manylinux_abi(&architectures) {
            platforms.extend(self.manylinux(&architectures));
        }
        platforms.extend(self.musllinux(&architectures));
        platforms
    }

    fn architectures<'a>(&self, machine: &'a str) -> Vec<&'a str> {
        match machine {
            "x86_64" if self.is_32bit => vec!["i686"],
            "aarch64" if self.is_32bit => vec!["armv8l", "armv7l"],
            "armv8l" => vec!["armv8l", "armv7l"],
            other => vec![other],
        }
    }

    fn has_manylinux_abi(&self, architectures: &[&str]) -> bool {
        if architectures.contains(&"armv7l") {
            self.elf_abi == Some(ElfAbi::ArmHf)
        } else if architectures.contains(&"i686") {
            self.elf_abi == Some(ElfAbi::I686)
        } else {
            architectures.iter().any(|architecture| MANYLINUX_ARCHITECTURES.contains(architecture))
        }
    }

    fn manylinux(&self, architectures: &[&str]) -> Vec<String> {
        let Some((2, newest)) = self.glibc else {
            return Vec::new();
        };
        let is_x86 = architectures.iter().any(|other| matches!(*other, "x86_64" | "i686"));
        let oldest = if is_x86 { 5 } else { 17 };
        let mut tags = Vec::new();
        for architecture in architectures {
            for minor in (oldest..=newest).rev() {
                tags.push(format!("manylinux_2_{minor}_{architecture}"));
                if let Some(legacy) = legacy_manylinux(minor) {
                    tags.push(format!("{legacy}_{architecture}"));
                }
            }
        }
        tags
    }

    fn musllinux(&self, architectures: &[&str]) -> Vec<String> {
        let Some((major, newest)) = self.musl else {
            return Vec::new();
        };
        architectures
            .iter()
            .flat_map(|architecture| {
                (0..=newest).rev().map(move |minor| format!("musllinux_{major}_{minor}_{architecture}"))
            })
            .collect()
    }
}

/// The name that `manylinux_2_{minor}` had before PEP 600 (PEP 513, 571, 599).
fn legacy_manylinux(minor: u32) -> Option<&'static str> {
    match minor {
        17 => Some("manylinux2014"),
        12 => Some("manylinux2010"),
        5 => Some("manylinux1"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(machine: &str) -> Linux {
        Linux {
            platform: format!("linux-{machine}"),
            is_32bit: false,
            glibc: None,
            musl: None,
            elf_abi: None,
        }
    }

    #[test]
    fn glibc_counts_down_to_the_oldest_with_the_legacy_names() {
        let x86 = Linux { glibc: Some((2, 18)), ..linux("x86_64") };
        assert_eq!(
            x86.platforms(),
            [
                "linux_x86_64",
                "manylinux_2_18_x86_64",
                "manylinux_2_17_x86_64",
                "manylinux2014_x86_64",
                "manylinux_2_16_x86_64",
                "manylinux_2_15_x86_64",
                "manylinux_2_14_x86_64",
                "manylinux_2_13_x86_64",
                "manylinux_2_12_x86_64",
                "manylinux2010_x86_64",
                "manylinux_2_11_x86_64",
                "manylinux_2_10_x86_64",
                "manylinux_2_9_x86_64",
                "manylinux_2_8_x86_64",
                "manylinux_2_7_x86_64",
                "manylinux_2_6_x86_64",
                "manylinux_2_5_x86_64",
                "manylinux1_x86_64",
            ]
        );
        let arm = Linux { glibc: Some((2, 18)), ..linux("aarch64") };
        assert_eq!(
            arm.platforms(),
            ["linux_aarch64", "manylinux_2_18_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64",]
        );
    }

    #[test]
    fn musl_counts_down_to_its_first_minor_version() {
        let alpine = Linux { musl: Some((1, 2)), ..linux("x86_64") };
        assert_eq!(
            alpine.platforms(),
            ["linux_x86_64", "musllinux_1_2_x86_64", "musllinux_1_1_x86_64", "musllinux_1_0_x86_64",]
        );
    }

    #[test]
    fn a_32_bit_interpreter_on_a_64_bit_kernel_has_its_own_machine() {
        let x86 =
            Linux { is_32bit: true, glibc: Some((2, 5)), elf_abi: Some(ElfAbi::I686), ..linux("x86_64") };
        assert_eq!(x86.platforms(), ["linux_i686", "manylinux_2_5_i686", "manylinux1_i686"]);
        let arm =
            Linux { is_32bit: true, glibc: Some((2, 17)), elf_abi: Some(ElfAbi::ArmHf), ..linux("aarch64") };
        assert_eq!(
            arm.platforms(),
            [
                "linux_armv8l",
                "linux_armv7l",
                "manylinux_2_17_armv8l",
                "manylinux2014_armv8l",
                "manylinux_2_17_armv7l",
                "manylinux2014_armv7l",
            ]
        );
    }

    #[test]
    fn manylinux_needs_an_abi_that_it_knows() {
        for (machine, elf_abi) in [("armv7l", None), ("i686", Some(ElfAbi::ArmHf)), ("mips64", None)] {
            let other = Linux { glibc: Some((2, 36)), elf_abi, ..linux(machine) };
            assert_eq!(other.platforms(), [format!("linux_{machine}")]);
        }
    }
}

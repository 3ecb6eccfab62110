//! Packaging standards as values: text in, value out. Nothing here touches a disk or runs a program.

pub mod bytecode;
pub mod entry_points;
pub mod name;
pub mod record;
pub mod tags;
pub mod wheel_name;

pub use entry_points::EntryPoint;
pub use name::PackageName;
pub use record::RecordEntry;
pub use tags::Tags;
pub use wheel_name::WheelName;

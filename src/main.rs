//! sitefs
fn main() {}

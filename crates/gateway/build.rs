//! The pages are embedded when they are built: look again when they were built anew.

fn main() {
    println!("cargo:rerun-if-changed=pages/dist");
}

//! What this process and those that it starts may use: which core, how many descriptors.

use std::process::Command;

use crate::wait::{Deadline, until};

/// Binds this process, and what it starts from here on, to one core.
///
/// # Panics
///
/// When `taskset` refuses.
pub fn bind_to_core(core: &str) {
    let process = std::process::id().to_string();
    let arguments = ["--all-tasks", "--cpu-list", "--pid", core, &process];
    until("a core of our own", Deadline::after_s(5), || {
        // A thread that ends meanwhile makes it fail.
        change("taskset", &arguments)
    });
}

/// Lets this process, and each that it starts from here on, have so many descriptors open.
///
/// # Panics
///
/// When `prlimit` refuses.
pub fn allow_descriptors(descriptors_max: u32) {
    let process = std::process::id().to_string();
    let changed = change("prlimit", &[&format!("--nofile={descriptors_max}"), "--pid", &process]);
    changed.expect("the system allows as many");
}

fn change(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("the program is part of every Debian");
    let said = || format!("{program}: {}", String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said()) }
}

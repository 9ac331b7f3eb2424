//! How much of its host each unit leaves within reach of its process.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::ground::PROGRAMS;

/// The highest exposure that `systemd-analyze security` may find, of 10.
const EXPOSURE_MAX: f64 = 1.5;

#[test]
fn a_unit_exposes_next_to_nothing() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd");
    for program in PROGRAMS {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager"]);
        command.arg(units.join(format!("{program}.service")));
        let output = command.output().expect("systemd is installed");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let overall = said.lines().find(|line| line.contains("Overall exposure level"));
        let overall = overall.unwrap_or_else(|| panic!("{output:?}")).trim();
        let exposure = overall.split_whitespace().find_map(|word| word.parse::<f64>().ok());
        // Past the test harness, which keeps the output of tests that pass to itself.
        writeln!(std::io::stderr(), "{overall}").expect("there is a standard error");
        assert!(exposure.is_some_and(|exposure| exposure <= EXPOSURE_MAX), "{said}");
    }
}

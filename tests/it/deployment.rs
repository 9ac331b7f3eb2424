//! The units and the Debian packages: installed, run, upgraded and removed under systemd.

mod ground;
mod packages;
mod units;

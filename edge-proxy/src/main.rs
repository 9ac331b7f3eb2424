//! The command line of the edge proxy.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use edge_proxy::cert;
use edge_proxy::config::{self, Config};
use edge_proxy::run::{self, Edge};
use host::command;
use host::exit::{Cause, Failure};
use host::health;

// Messages are allocated on one thread and freed on another, which the system's allocator is
// slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The DMZ side of Isthmus: speaks with partners, proves who they are, and forwards what they
/// send to the front-end gateway.
#[derive(Parser)]
#[command(name = "edge-proxy", version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, global = true, default_value = "/etc/isthmus/edge-proxy.toml")]
    config: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Runs the edge until it is told to stop.
    Run,
    /// Reports every error of the configuration and its files, and starts nothing.
    Check,
    /// Asks the running edge whether it is ready, at its internal address.
    Health,
    /// Renews the certificate that partners see. Streams that stand stay.
    Cert {
        #[command(subcommand)]
        action: cert::Action,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let path = &arguments.config;
    let outcome = command::load(path, config::read).and_then(|config| match &arguments.action {
        Action::Run => start(&config),
        Action::Check => {
            run::check(&config)?;
            command::say(&format!("{}: no errors", path.display()));
            Ok(())
        }
        Action::Health => health::ask(config.internal_listen),
        Action::Cert { action } => cert::run(action, &config),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            command::complain(&failure.message);
            failure.into()
        }
    }
}

fn usage(error: &clap::Error) -> ExitCode {
    // The terminal may be gone; there is nobody left to tell.
    let _ = error.print();
    if error.use_stderr() { Failure::new(Cause::Usage, "").into() } else { ExitCode::SUCCESS }
}

fn start(config: &Config) -> Result<(), Failure> {
    host::log::start(config.log);
    command::run(|stop| async { Edge::prepare(config).await?.run(stop).await })
}

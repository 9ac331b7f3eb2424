//! What the command lines of both hosts share: the file read, the process run until it is told to
//! stop, and words for the operator.

use std::future::Future;
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Read, Table};
use crate::exit::{Cause, Failure};

/// Reads and checks a configuration file, and shows its warnings.
///
/// # Errors
/// Fails when the file cannot be read, or with every error in it, one on each line.
pub fn load<T>(
    path: &Path,
    read: impl FnOnce(&mut Table<'_, '_>) -> Read<T>,
) -> Result<T, Failure> {
    let text = config::open(path).map_err(|error| Failure::new(Cause::Input, error))?;
    check(path, &text, read)
}

/// Checks a document, and shows its warnings.
///
/// # Errors
/// Fails with every error in it, one on each line.
pub fn check<T>(
    path: &Path,
    text: &str,
    read: impl FnOnce(&mut Table<'_, '_>) -> Read<T>,
) -> Result<T, Failure> {
    let (value, diagnostics) = config::parse(text, read);
    let lines: Vec<String> =
        diagnostics.iter().map(|finding| finding.display(path).to_string()).collect();
    match value {
        Some(value) => {
            lines.iter().for_each(|line| complain(line));
            Ok(value)
        }
        None => Err(Failure::new(Cause::Configuration, lines.join("\n"))),
    }
}

/// Runs a process until it fails, or is told to stop by SIGTERM or SIGINT.
///
/// # Errors
/// Fails when the process does.
pub fn run<F>(process: impl FnOnce(CancellationToken) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let internal = |error: std::io::Error| Failure::new(Cause::Internal, error);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(internal)?;
    runtime.block_on(async {
        let mut terminations = signal(SignalKind::terminate()).map_err(internal)?;
        let mut interruptions = signal(SignalKind::interrupt()).map_err(internal)?;
        let stop = CancellationToken::new();
        let told = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminations.recv() => {}
                _ = interruptions.recv() => {}
            }
            told.cancel();
        });
        process(stop).await
    })
}

/// Answers a command.
#[expect(clippy::print_stdout, reason = "the answer to a command")]
pub fn say(text: &str) {
    println!("{text}");
}

/// Tells the operator what is wrong.
#[expect(clippy::print_stderr, reason = "for the operator, before there is a log")]
pub fn complain(text: &str) {
    eprintln!("{text}");
}

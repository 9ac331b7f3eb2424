//! The socket on which commands are taken, at both ends: one command and one answer, in JSON.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::core::administration::{Command, Reply};

/// The largest command, in bytes: a policy document and what JSON adds to it.
const COMMAND_BYTES_MAX: u64 = 2 * host::config::FILE_BYTES_MAX;

/// Time for a command to arrive, and for its answer to be taken.
const TRANSFER_MAX: Duration = Duration::from_secs(10);

/// A command that waits for its answer.
#[derive(Debug)]
pub struct Commanded {
    /// The command.
    pub command: Command,
    /// Takes the answer.
    pub answer: oneshot::Sender<Reply>,
}

/// The listening socket; its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds the socket, for the owner alone; a file that a killed process left is replaced.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)?;
            }
            Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Takes commands until `stop` is cancelled.
    pub async fn serve<I>(self, inputs: mpsc::Sender<I>, stop: CancellationToken)
    where
        I: From<Commanded> + Send + 'static,
    {
        while let Some(accepted) = stop.run_until_cancelled(self.listener.accept()).await {
            let Ok((stream, _)) = accepted else { continue };
            let inputs = inputs.clone();
            tokio::spawn(async move {
                if let Err(error) = answer(stream, &inputs).await {
                    tracing::warn!(%error, "a command was not answered");
                }
            });
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A file that stays is replaced by the next process.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer<I: From<Commanded>>(
    mut stream: UnixStream,
    inputs: &mpsc::Sender<I>,
) -> io::Result<()> {
    let mut text = Vec::new();
    let mut bounded = (&mut stream).take(COMMAND_BYTES_MAX);
    let read = bounded.read_to_end(&mut text);
    tokio::time::timeout(TRANSFER_MAX, read).await??;
    let command: Command = serde_json::from_slice(&text)?;
    tracing::info!(?command, "a command");
    let (answer, answered) = oneshot::channel();
    let stopping = || io::Error::other("the front end is stopping");
    inputs.send(Commanded { command, answer }.into()).await.map_err(|_| stopping())?;
    let reply = answered.await.map_err(|_| stopping())?;
    let written = async {
        stream.write_all(&serde_json::to_vec(&reply)?).await?;
        stream.shutdown().await
    };
    tokio::time::timeout(TRANSFER_MAX, written).await?
}

/// Gives a command to the front end that listens at `path`, and waits for its answer.
pub fn command(path: &Path, command: &Command) -> io::Result<Reply> {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.write_all(&serde_json::to_vec(command)?)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

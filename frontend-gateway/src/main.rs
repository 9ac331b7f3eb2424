//! The command line of the front-end gateway.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use frontend_gateway::administrator;
use frontend_gateway::cert;
use frontend_gateway::clock::Now;
use frontend_gateway::config::{self, Config};
use frontend_gateway::core::administration::{Command, Outcome};
use frontend_gateway::core::explanation::explain_offline;
use frontend_gateway::run::{self, FrontEnd, Judged};
use host::command;
use host::exit::{Cause, Failure};
use host::health;
use rustls::pki_types::UnixTime;
use xmpp_proto::jid::Jid;

// Messages are allocated on one thread and freed on another, which the system's allocator is
// slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The longest password that is read, in bytes.
const PASSWORD_BYTES_MAX: u64 = 1024;

/// The inside of Isthmus: translates XMPP and SIP, applies the policy, keeps what it accepted, and
/// is the home of SIP users.
#[derive(Parser)]
#[command(name = "frontend-gateway", version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, global = true, default_value = "/etc/isthmus/frontend-gateway.toml")]
    config: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Runs the front end until it is told to stop.
    Run,
    /// Reports every error of the configuration, its files, the policy and the store, and starts
    /// nothing.
    Check,
    /// Asks the running front end whether it is ready, at its internal address.
    Health,
    /// Shows what a policy document would change of the one in force.
    Plan {
        /// The policy document.
        policy: PathBuf,
    },
    /// Puts a policy document in force.
    Apply {
        /// The policy document.
        policy: PathBuf,
    },
    /// Looks after the certificates of the front end.
    Cert {
        #[command(subcommand)]
        action: CertAction,
    },
    /// Changes the users of the home.
    User {
        #[command(subcommand)]
        action: UserAction,
    },
    /// Lists the edges: each address, how its link is, and the streams with partners that it has.
    Edges,
    /// Shows partners, and how the edges reach them and are reached.
    Partner {
        #[command(subcommand)]
        action: PartnerAction,
    },
    /// Shows each gate between two addresses with its verdict.
    Explain {
        /// Who sends.
        from: String,
        /// Who is to receive.
        to: String,
        /// Judges by the store, or by the configured policy document while there is no store,
        /// without asking a running front end.
        #[arg(long)]
        offline: bool,
    },
}

#[derive(Subcommand)]
enum CertAction {
    /// Shows every certificate and the authorities of others; ends with 77 when something is missing,
    /// or ends within 14 days.
    Show,
}

#[derive(Subcommand)]
enum PartnerAction {
    /// Lists the partners with how many streams each has.
    List,
    /// Shows a partner's record as it is in force, its streams, what waits for it, and the last
    /// attempts to open streams that succeeded and failed.
    Show {
        /// A domain of the partner.
        domain: String,
    },
    /// Shows the last attempts to open streams with a domain, step by step, the newest at the end.
    Attempts {
        /// The domain; it need not be a partner's.
        domain: String,
        /// Only those of the edges of this name.
        #[arg(long)]
        edge: Option<String>,
        /// How many are shown.
        #[arg(long, default_value_t = 10)]
        last: usize,
    },
}

#[derive(Subcommand)]
enum UserAction {
    /// Adds a user, or gives it another password: the first line of standard input, or a random one
    /// that is shown, when that is a terminal or empty.
    Add {
        /// The address, `user@domain`.
        address: String,
        /// Offers only MD5 to the user's devices, for those that know nothing else.
        #[arg(long)]
        legacy_digest: bool,
    },
    /// Removes a user with all that is kept for it.
    Remove {
        /// The address, `user@domain`.
        address: String,
    },
    /// Lists the users, whether they are registered, and their digests.
    List,
    /// Lets a contact reach a user.
    Allow {
        /// The user, `user@domain`.
        user: String,
        /// The contact's address.
        contact: String,
    },
    /// Forbids a contact to reach a user.
    Deny {
        /// The user, `user@domain`.
        user: String,
        /// The contact's address.
        contact: String,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let path = &arguments.config;
    let outcome = command::load(path, config::read)
        .and_then(|config| perform(&config, path, arguments.action));
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

fn perform(config: &Config, path: &Path, action: Action) -> Result<(), Failure> {
    match action {
        Action::Run => {
            host::log::start(config.log);
            command::run(|stop| async { FrontEnd::prepare(config).await?.run(config, stop).await })
        }
        Action::Check => {
            let policy = run::check(config)?;
            command::say(&format!("{}, with {policy}: no errors", path.display()));
            Ok(())
        }
        Action::Health => health::ask(config.internal_listen),
        Action::Plan { policy } => {
            let (file, policy) = read_policy(&policy)?;
            ask(config, &Command::Plan { file, policy })
        }
        Action::Apply { policy } => {
            let (file, policy) = read_policy(&policy)?;
            ask(config, &Command::Apply { file, policy })
        }
        Action::Cert { action: CertAction::Show } => cert::show(config, UnixTime::now()),
        Action::User { action } => change_user(config, action),
        Action::Edges => ask(config, &Command::Edges),
        Action::Partner { action } => ask_about_partner(config, action),
        Action::Explain { from, to, offline: false } => ask(config, &Command::Explain { from, to }),
        Action::Explain { from, to, offline: true } => explain_stored(config, &from, &to),
    }
}

fn read_policy(path: &Path) -> Result<(String, String), Failure> {
    let text = host::config::open(path).map_err(|error| Failure::new(Cause::Input, error))?;
    Ok((path.display().to_string(), text))
}

fn change_user(config: &Config, action: UserAction) -> Result<(), Failure> {
    let command = match action {
        UserAction::Add { address, legacy_digest } => {
            let password = match given_password()? {
                Some(password) => password,
                None => {
                    let password = random_password()?;
                    command::say(&format!("password: {password}"));
                    password
                }
            };
            Command::UserAdd { address, password, legacy_digest }
        }
        UserAction::Remove { address } => Command::UserRemove { address },
        UserAction::List => Command::UserList,
        UserAction::Allow { user, contact } => Command::UserDecide { user, contact, allowed: true },
        UserAction::Deny { user, contact } => Command::UserDecide { user, contact, allowed: false },
    };
    ask(config, &command)
}

fn ask_about_partner(config: &Config, action: PartnerAction) -> Result<(), Failure> {
    let command = match action {
        PartnerAction::List => Command::PartnerList,
        PartnerAction::Show { domain } => Command::PartnerShow { domain },
        PartnerAction::Attempts { domain, edge, last } => {
            Command::PartnerAttempts { domain, edge, last }
        }
    };
    ask(config, &command)
}

fn given_password() -> Result<Option<String>, Failure> {
    let input = std::io::stdin();
    if input.is_terminal() {
        return Ok(None);
    }
    let mut text = String::new();
    let read = input.take(PASSWORD_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| Failure::new(Cause::Input, format!("cannot read a password: {error}")))?;
    Ok(text.lines().next().filter(|line| !line.is_empty()).map(str::to_owned))
}

fn random_password() -> Result<String, Failure> {
    use base64::Engine;
    let mut bytes = [0; 15];
    getrandom::fill(&mut bytes).map_err(|error| Failure::new(Cause::Internal, error))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

/// Gives a command to the running front end and shows its answer.
fn ask(config: &Config, command: &Command) -> Result<(), Failure> {
    let path = config.admin.display();
    let reply = administrator::command(&config.admin, command).map_err(|error| {
        let text = format!("cannot reach a front end at {path} (admin.socket): {error}");
        Failure::new(Cause::Unavailable, text)
    })?;
    let cause = match reply.outcome {
        Outcome::Done => {
            command::say(&reply.text);
            return Ok(());
        }
        Outcome::Refused => Cause::Refused,
        Outcome::Invalid => Cause::Configuration,
        Outcome::NotStored => Cause::Store,
    };
    Err(Failure::new(cause, reply.text))
}

fn explain_stored(config: &Config, from: &str, to: &str) -> Result<(), Failure> {
    let address = |text: &str| {
        let jid = Jid::parse(text).map(|jid| jid.bare());
        jid.map_err(|error| Failure::new(Cause::Usage, format!("{text:?}: {error}")))
    };
    let (from, to) = (address(from)?, address(to)?);
    let Judged { policy, source, stored } = run::judge(config)?;
    let explanation = explain_offline(&policy, stored, &from, &to, Now::read());
    let text = format!("judged by {source}\n{}", explanation.text);
    match explanation.passes {
        true => command::say(&text),
        false => return Err(Failure::new(Cause::Refused, text)),
    }
    Ok(())
}

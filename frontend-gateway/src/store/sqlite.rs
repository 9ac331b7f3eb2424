//! The store of a single host: one SQLite file, one process.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, params};

use super::record::{
    Authorisation, AuthorisationState, Binding, BounceReason, ContactDecision,
    DialbackSecretRecord, DialogRecord, Direction, HomeMessage, JournalRecord, MessageSize,
    Outcome, PolicyVersion, Publication, SettledRecord, User,
};
use super::{Loaded, StoreError, Write, schema};

const ACCEPTED: i64 = 0;
const BOUNCING: i64 = 1;
const DELIVERED: i64 = 2;
const BOUNCED: i64 = 3;

/// How long, and how many, settled messages are kept in mind for their repetition.
const REPETITION_MS_MAX: u64 = 10 * 60 * 1000;
const REPETITIONS_MAX: i64 = 100_000;

/// An open store.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    // Held for as long as the store is open: two gateways on one journal would each deliver it.
    _lock: File,
}

impl Sqlite {
    /// Opens or creates the store and locks it against other processes.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |reason: String| StoreError::Open { path: path.display().to_string(), reason };
        let lock_path = PathBuf::from(format!("{}.lock", path.display()));
        let lock = File::create(lock_path).map_err(|error| failed(error.to_string()))?;
        if lock.try_lock().is_err() {
            return Err(StoreError::InUse(path.display().to_string()));
        }
        let mut connection = Connection::open(path).map_err(|error| failed(error.to_string()))?;
        restrict_to_owner(path).map_err(|error| failed(error.to_string()))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A group is confirmed when it is on the disk, not when the system has been told of it.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -16_384)?;
        // Pages of the journal change often before they rest: 16 MiB are copied back at once.
        connection.pragma_update(None, "wal_autocheckpoint", 4_096)?;
        connection.set_prepared_statement_cache_capacity(64);
        schema::migrate(&mut connection)?;
        Ok(Self { connection, _lock: lock })
    }

    /// Opens a store for reading only, beside a running gateway; none when there is none yet, and
    /// one could be made.
    pub fn open_to_read(path: &Path) -> Result<Option<Reader>, StoreError> {
        let failed = |reason: String| StoreError::Open { path: path.display().to_string(), reason };
        if !path.try_exists().map_err(|error| failed(error.to_string()))? {
            let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
            let listed = std::fs::read_dir(directory.unwrap_or(Path::new(".")));
            return listed.map(|_| None).map_err(|error| failed(error.to_string()));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = if wal_of(path).exists() {
            Connection::open_with_flags(path, flags)
        } else {
            // Nobody writes. SQLite would leave an empty write-ahead log behind all the same, and
            // could not read where it cannot make one.
            Connection::open_with_flags(immutable(path), flags | OpenFlags::SQLITE_OPEN_URI)
        };
        let connection = connection.map_err(|error| failed(error.to_string()))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        Ok(schema::is_made(&connection)?.then_some(Reader { connection }))
    }

    /// Applies writes in one transaction; all of them are on the disk, or none.
    pub fn apply<'w>(&mut self, writes: impl Iterator<Item = &'w Write>) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        for write in writes {
            apply_one(&transaction, write)?;
        }
        Ok(transaction.commit()?)
    }

    /// Returns the oldest messages kept for a user, `count_max` at the most.
    pub fn messages(&self, aor: &str, count_max: u32) -> Result<Vec<HomeMessage>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, aor, received_ms, expires_ms, request FROM home_message
             WHERE aor = ?1 ORDER BY id LIMIT ?2",
        )?;
        let rows = statement.query_map(params![aor, count_max], |row| {
            Ok(HomeMessage {
                id: row.get(0)?,
                aor: row.get(1)?,
                received_ms: row.get(2)?,
                expires_ms: row.get(3)?,
                request: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns the secret of this installation, and makes it from `fresh` when there is none.
    pub fn installation_secret(&mut self, fresh: &[u8]) -> Result<Vec<u8>, StoreError> {
        let key = INSTALLATION_SECRET;
        self.connection
            .execute("INSERT OR IGNORE INTO meta VALUES (?1, ?2)", params![key, fresh])?;
        let sql = "SELECT value FROM meta WHERE key = ?1";
        Ok(self.connection.query_row(sql, [key], |row| row.get(0))?)
    }

    /// Reads what the gateway starts from.
    pub fn load(&self, now_ms: u64) -> Result<Loaded, StoreError> {
        load(&self.connection, now_ms)
    }
}

/// A store opened for reading beside its gateway.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// Reads what a gateway would start from.
    pub fn load(&self, now_ms: u64) -> Result<Loaded, StoreError> {
        load(&self.connection, now_ms)
    }
}

/// Its name is that of its first use, before dialback keys had secrets of their own.
const INSTALLATION_SECRET: &str = "dialback_secret";

fn wal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Returns the URI of a file that does not change while it is read.
fn immutable(path: &Path) -> PathBuf {
    let mut uri = OsString::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.push(format!("%{byte:02x}")),
            _ => uri.push(OsStr::from_bytes(std::slice::from_ref(byte))),
        }
    }
    uri.push("?immutable=1");
    uri.into()
}

fn restrict_to_owner(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

fn apply_one(to: &Transaction<'_>, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::Accept(record) => accept(to, record),
        Write::Bounce { id, reason } => {
            let sql = "UPDATE journal SET state = ?2, condition = ?3, reason = ?4, address = ?5
                       WHERE id = ?1";
            run(to, sql, params![id, BOUNCING, reason.condition, reason.text, reason.address])
        }
        Write::Settle { id, outcome, at_ms } => settle(to, *id, outcome, *at_ms),
        Write::KeepMessage(message) => {
            let sql = "INSERT INTO home_message VALUES (?1, ?2, ?3, ?4, ?5)";
            let HomeMessage { id, aor, received_ms, expires_ms, request } = message;
            run(to, sql, params![id, aor, received_ms, expires_ms, request])
        }
        Write::DropMessage { id } => run(to, "DELETE FROM home_message WHERE id = ?1", [id]),
        Write::ForgetSettled { before_ms } => {
            // Only the oldest rows are looked at, so that the cost does not follow the table's size.
            let sql =
                "DELETE FROM journal WHERE id IN (SELECT id FROM (SELECT id, state, settled_ms
                       FROM journal ORDER BY id LIMIT 10000) WHERE state >= 2 AND settled_ms < ?1)";
            run(to, sql, [before_ms])
        }
        Write::PutPolicy(PolicyVersion { version, text, applied_ms }) => {
            run(to, "INSERT INTO policy VALUES (?1, ?2, ?3)", params![version, text, applied_ms])
        }
        _ => apply_state(to, write),
    }
}

fn accept(to: &Transaction<'_>, record: &JournalRecord) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO journal (id, direction, state, origin, correlation_id, accepted_ms, stanza)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let JournalRecord { id, direction, origin, correlation_id, accepted_ms, stanza, .. } = record;
    let direction = direction_number(*direction);
    run(to, sql, params![id, direction, ACCEPTED, origin, correlation_id, accepted_ms, &stanza[..]])
}

fn settle(to: &Transaction<'_>, id: u64, outcome: &Outcome, at_ms: u64) -> Result<(), StoreError> {
    match outcome {
        Outcome::Delivered => {
            let sql = "UPDATE journal SET state = ?2, settled_ms = ?3, stanza = NULL WHERE id = ?1";
            run(to, sql, params![id, DELIVERED, at_ms])
        }
        Outcome::Bounced(reason) => {
            let sql = "UPDATE journal SET state = ?2, settled_ms = ?3, stanza = NULL,
                       condition = ?4, reason = ?5, address = ?6 WHERE id = ?1";
            let BounceReason { condition, text, address } = reason;
            run(to, sql, params![id, BOUNCED, at_ms, condition, text, address])
        }
    }
}

fn apply_state(to: &Transaction<'_>, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::PutUser(User { address, md5, sha256 }) => {
            run(to, "REPLACE INTO home_user VALUES (?1, ?2, ?3)", params![address, md5, sha256])
        }
        Write::RemoveUser { address } => remove_user(to, address),
        Write::PutContact(ContactDecision { user, contact, allowed }) => {
            run(to, "REPLACE INTO contact VALUES (?1, ?2, ?3)", params![user, contact, allowed])
        }
        Write::PutBinding(Binding { aor, contact, call_id, cseq, expires_ms }) => {
            let sql = "REPLACE INTO binding VALUES (?1, ?2, ?3, ?4, ?5)";
            run(to, sql, params![aor, contact, call_id, cseq, expires_ms])
        }
        Write::RemoveBinding { aor, contact } => {
            run(to, "DELETE FROM binding WHERE aor = ?1 AND contact = ?2", [aor, contact])
        }
        Write::PutPublication(Publication { tag, presentity, expires_ms, document }) => {
            let sql = "REPLACE INTO publication VALUES (?1, ?2, ?3, ?4)";
            run(to, sql, params![tag, presentity, expires_ms, document])
        }
        Write::RemovePublication { tag } => {
            run(to, "DELETE FROM publication WHERE tag = ?1", [tag])
        }
        Write::PutAuthorisation(authorisation) => put_authorisation(to, authorisation),
        Write::RemoveAuthorisation { presentity, watcher } => {
            let sql = "DELETE FROM authorisation WHERE presentity = ?1 AND watcher = ?2";
            run(to, sql, [presentity, watcher])
        }
        Write::PutDialog(DialogRecord { key, watcher, presentity, expires_ms, fields }) => {
            let sql = "REPLACE INTO dialog VALUES (?1, ?2, ?3, ?4, ?5)";
            run(to, sql, params![key, watcher, presentity, expires_ms, fields])
        }
        Write::PutDialbackSecret(DialbackSecretRecord { secret, made_ms }) => {
            run(to, "REPLACE INTO dialback_secret VALUES (?1, ?2)", params![secret, made_ms])
        }
        Write::RemoveDialbackSecret { secret } => {
            run(to, "DELETE FROM dialback_secret WHERE secret = ?1", [secret])
        }
        Write::RemoveDialog { key } => run(to, "DELETE FROM dialog WHERE key = ?1", [key]),
        _ => Ok(()),
    }
}

fn put_authorisation(to: &Transaction<'_>, it: &Authorisation) -> Result<(), StoreError> {
    let active = it.state == AuthorisationState::Active;
    let direction = direction_number(it.direction);
    let sql = "REPLACE INTO authorisation VALUES (?1, ?2, ?3, ?4, ?5)";
    run(to, sql, params![it.presentity, it.watcher, direction, active, it.seen_ms])
}

fn remove_user(to: &Transaction<'_>, address: &str) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM home_user WHERE address = ?1",
        "DELETE FROM contact WHERE user = ?1",
        "DELETE FROM binding WHERE aor = ?1",
        "DELETE FROM publication WHERE presentity = ?1",
        "DELETE FROM authorisation WHERE presentity = ?1 OR watcher = ?1",
        "DELETE FROM dialog WHERE presentity = ?1 OR watcher = ?1",
        "DELETE FROM home_message WHERE aor = ?1",
    ] {
        run(to, sql, [address])?;
    }
    Ok(())
}

fn run(to: &Transaction<'_>, sql: &str, values: impl rusqlite::Params) -> Result<(), StoreError> {
    to.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

const fn direction_number(direction: Direction) -> i64 {
    match direction {
        Direction::X2s => 0,
        Direction::S2x => 1,
    }
}

fn direction(row: &Row<'_>, index: usize) -> rusqlite::Result<Direction> {
    Ok(if row.get::<_, i64>(index)? == 0 { Direction::X2s } else { Direction::S2x })
}

fn load(from: &Connection, now_ms: u64) -> Result<Loaded, StoreError> {
    let secret = "SELECT value FROM meta WHERE key = ?1";
    let secret: Option<Vec<u8>> =
        from.query_row(secret, [INSTALLATION_SECRET], |row| row.get(0)).optional()?;
    let last = "SELECT coalesce(max(id), 0) FROM journal";
    Ok(Loaded {
        installation_secret: secret.unwrap_or_default(),
        dialback_secrets: all(from, "SELECT secret, made_ms FROM dialback_secret", |row| {
            Ok(DialbackSecretRecord { secret: row.get(0)?, made_ms: row.get(1)? })
        })?,
        journal_last: from.query_row(last, [], |row| row.get(0))?,
        open: all(
            from,
            "SELECT id, direction, state, origin, correlation_id, accepted_ms, stanza,
                  condition, reason, address FROM journal WHERE state < 2 ORDER BY id",
            open_record,
        )?,
        settled: settled(from, now_ms)?,
        policy: from
            .query_row("SELECT * FROM policy ORDER BY version DESC LIMIT 1", [], |row| {
                Ok(PolicyVersion {
                    version: row.get(0)?,
                    text: row.get(1)?,
                    applied_ms: row.get(2)?,
                })
            })
            .optional()?,
        users: all(from, "SELECT * FROM home_user", |row| {
            Ok(User { address: row.get(0)?, md5: row.get(1)?, sha256: row.get(2)? })
        })?,
        contacts: all(from, "SELECT * FROM contact", |row| {
            Ok(ContactDecision { user: row.get(0)?, contact: row.get(1)?, allowed: row.get(2)? })
        })?,
        bindings: all(from, "SELECT * FROM binding", binding)?,
        publications: all(from, "SELECT * FROM publication", publication)?,
        authorisations: all(from, "SELECT * FROM authorisation", authorisation)?,
        dialogs: all(from, "SELECT * FROM dialog", dialog)?,
        messages: all(
            from,
            "SELECT id, aor, expires_ms, length(request) FROM home_message",
            |row| {
                Ok(MessageSize {
                    id: row.get(0)?,
                    aor: row.get(1)?,
                    expires_ms: row.get(2)?,
                    bytes: row.get(3)?,
                })
            },
        )?,
    })
}

fn all<T>(
    from: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = from.prepare(sql)?;
    Ok(statement.query_map([], read)?.collect::<Result<_, _>>()?)
}

fn open_record(row: &Row<'_>) -> rusqlite::Result<JournalRecord> {
    let bouncing = row.get::<_, i64>(2)? == BOUNCING;
    let bounce = bouncing.then(|| bounce_reason(row, 7)).transpose()?;
    Ok(JournalRecord {
        id: row.get(0)?,
        direction: direction(row, 1)?,
        origin: row.get(3)?,
        correlation_id: row.get(4)?,
        accepted_ms: row.get(5)?,
        stanza: row.get::<_, Option<Vec<u8>>>(6)?.unwrap_or_default().into(),
        bounce,
    })
}

fn bounce_reason(row: &Row<'_>, first: usize) -> rusqlite::Result<BounceReason> {
    let condition: Option<String> = row.get(first)?;
    let text: Option<String> = row.get(first + 1)?;
    Ok(BounceReason {
        condition: condition.unwrap_or_default(),
        text: text.unwrap_or_default(),
        address: row.get(first + 2)?,
    })
}

fn settled(from: &Connection, now_ms: u64) -> Result<Vec<SettledRecord>, StoreError> {
    // By number and not by time, for which there is no index: the newest rows are read backwards.
    let mut statement = from.prepare(
        "SELECT id, origin, settled_ms, state, condition, reason, address FROM journal
         WHERE state >= 2 ORDER BY id DESC LIMIT ?1",
    )?;
    let rows = statement.query_map([REPETITIONS_MAX], |row| {
        let bounced = row.get::<_, i64>(3)? == BOUNCED;
        let outcome =
            if bounced { Outcome::Bounced(bounce_reason(row, 4)?) } else { Outcome::Delivered };
        Ok(SettledRecord { id: row.get(0)?, origin: row.get(1)?, settled_ms: row.get(2)?, outcome })
    })?;
    let oldest_ms = now_ms.saturating_sub(REPETITION_MS_MAX);
    let mut settled: Vec<SettledRecord> = rows.collect::<Result<_, _>>()?;
    settled.retain(|record| record.settled_ms >= oldest_ms);
    settled.reverse();
    Ok(settled)
}

fn binding(row: &Row<'_>) -> rusqlite::Result<Binding> {
    Ok(Binding {
        aor: row.get(0)?,
        contact: row.get(1)?,
        call_id: row.get(2)?,
        cseq: row.get(3)?,
        expires_ms: row.get(4)?,
    })
}

fn publication(row: &Row<'_>) -> rusqlite::Result<Publication> {
    Ok(Publication {
        tag: row.get(0)?,
        presentity: row.get(1)?,
        expires_ms: row.get(2)?,
        document: row.get(3)?,
    })
}

fn authorisation(row: &Row<'_>) -> rusqlite::Result<Authorisation> {
    let active: bool = row.get(3)?;
    Ok(Authorisation {
        presentity: row.get(0)?,
        watcher: row.get(1)?,
        direction: direction(row, 2)?,
        state: if active { AuthorisationState::Active } else { AuthorisationState::Pending },
        seen_ms: row.get(4)?,
    })
}

fn dialog(row: &Row<'_>) -> rusqlite::Result<DialogRecord> {
    Ok(DialogRecord {
        key: row.get(0)?,
        watcher: row.get(1)?,
        presentity: row.get(2)?,
        expires_ms: row.get(3)?,
        fields: row.get(4)?,
    })
}

#[cfg(test)]
mod tests;

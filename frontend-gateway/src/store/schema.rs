//! The tables, and the steps from one version of them to the next.

use rusqlite::Connection;

use super::StoreError;

/// Each step brings the schema from its index to the next version.
const STEPS: [&str; 2] = [
    "
CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- state: 0 accepted, 1 bouncing, 2 delivered, 3 bounced. direction: 0 x2s, 1 s2x.
-- The content of a message is gone once it is settled.
CREATE TABLE journal (
  id INTEGER PRIMARY KEY,
  direction INTEGER NOT NULL,
  state INTEGER NOT NULL,
  origin BLOB NOT NULL,
  correlation_id TEXT NOT NULL,
  accepted_ms INTEGER NOT NULL,
  settled_ms INTEGER,
  condition TEXT,
  reason TEXT,
  address TEXT,
  stanza BLOB
) STRICT;

CREATE TABLE home_user (
  address TEXT PRIMARY KEY,
  md5 TEXT,
  sha256 TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE contact (
  user TEXT NOT NULL,
  contact TEXT NOT NULL,
  allowed INTEGER NOT NULL,
  PRIMARY KEY (user, contact)
) STRICT, WITHOUT ROWID;

CREATE TABLE binding (
  aor TEXT NOT NULL,
  contact TEXT NOT NULL,
  call_id TEXT NOT NULL,
  cseq INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  PRIMARY KEY (aor, contact)
) STRICT, WITHOUT ROWID;

CREATE TABLE publication (
  tag TEXT PRIMARY KEY,
  presentity TEXT NOT NULL,
  expires_ms INTEGER NOT NULL,
  document BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- direction: 0 the watcher is an XMPP user, 1 a SIP user. active: 0 pending, 1 active.
CREATE TABLE authorisation (
  presentity TEXT NOT NULL,
  watcher TEXT NOT NULL,
  direction INTEGER NOT NULL,
  active INTEGER NOT NULL,
  seen_ms INTEGER NOT NULL,
  PRIMARY KEY (presentity, watcher)
) STRICT, WITHOUT ROWID;

CREATE TABLE dialog (
  key TEXT PRIMARY KEY,
  watcher TEXT NOT NULL,
  presentity TEXT NOT NULL,
  expires_ms INTEGER NOT NULL,
  fields TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE policy (
  version INTEGER PRIMARY KEY,
  text TEXT NOT NULL,
  applied_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE home_message (
  id INTEGER PRIMARY KEY,
  aor TEXT NOT NULL,
  received_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  request BLOB NOT NULL
) STRICT;
CREATE INDEX home_message_aor ON home_message (aor, id);
",
    "
CREATE TABLE dialback_secret (
  secret BLOB PRIMARY KEY,
  made_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys of the one that served until now stay good while the next one takes over.
INSERT INTO dialback_secret SELECT value, 0 FROM meta WHERE key = 'dialback_secret';
",
];

/// Says whether there is a schema yet, of a version that this program knows.
pub(super) fn is_made(connection: &Connection) -> Result<bool, StoreError> {
    let known = STEPS.len() as i64;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    Ok(found > 0)
}

/// Brings the schema to the version of this program.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = STEPS.len() as i64;
    let transaction = connection.transaction()?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(found).ok().filter(|found| *found <= STEPS.len());
    let Some(done) = done else { return Err(StoreError::TooNew { found, known }) };
    for step in &STEPS[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    Ok(transaction.commit()?)
}

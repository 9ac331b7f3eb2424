//! What was confirmed is found again by the next process; what failed left nothing behind.

use tempfile::TempDir;

use super::super::record::{
    BounceReason, ContactDecision, Direction, HomeMessage, JournalRecord, Outcome, User,
};
use super::super::{Loaded, StoreError, Write};
use super::Sqlite;

const NOW_MS: u64 = 1_800_000_000_000;

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(directory: &TempDir) -> Sqlite {
    Sqlite::open(&directory.path().join("store")).unwrap()
}

/// Closes the store, opens it again, and loads it.
fn reload(directory: &TempDir, store: Sqlite) -> Loaded {
    drop(store);
    open(directory).load(NOW_MS).unwrap()
}

fn record(id: u64) -> JournalRecord {
    JournalRecord {
        id,
        direction: Direction::S2x,
        origin: [id as u8; 16],
        correlation_id: format!("c{id}"),
        accepted_ms: NOW_MS - 5,
        stanza: b"<message/>"[..].into(),
        bounce: None,
    }
}

fn reason() -> BounceReason {
    BounceReason { condition: "item-not-found".into(), text: "No such user".into(), address: None }
}

#[test]
fn open_messages_and_recent_outcomes_are_found_again() {
    let directory = directory();
    let mut store = open(&directory);
    let writes = [
        Write::Accept(record(1)),
        Write::Accept(record(2)),
        Write::Accept(record(3)),
        Write::Settle { id: 1, outcome: Outcome::Delivered, at_ms: NOW_MS },
        Write::Bounce { id: 2, reason: reason() },
    ];
    store.apply(writes.iter()).unwrap();

    let loaded = reload(&directory, store);

    assert_eq!(loaded.journal_last, 3);
    let bouncing = JournalRecord { bounce: Some(reason()), ..record(2) };
    assert_eq!(loaded.open, [bouncing, record(3)]);
    assert_eq!(loaded.settled.len(), 1);
    assert_eq!(loaded.settled[0].origin, [1; 16]);
    assert_eq!(loaded.settled[0].outcome, Outcome::Delivered);
}

#[test]
fn a_settled_message_leaves_no_content_on_the_disk() {
    let directory = directory();
    let mut store = open(&directory);
    let mut secret = record(1);
    secret.stanza = b"canary-5d41402abc"[..].into();
    store.apply([Write::Accept(secret)].iter()).unwrap();
    let bounced = Outcome::Bounced(reason());
    store.apply([Write::Settle { id: 1, outcome: bounced, at_ms: NOW_MS }].iter()).unwrap();
    let count: i64 = store
        .connection
        .query_row("SELECT count(*) FROM journal WHERE stanza IS NOT NULL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 0);
}

#[test]
fn outcomes_too_old_to_be_repeated_are_not_loaded_and_can_be_forgotten() {
    let directory = directory();
    let mut store = open(&directory);
    let old_ms = NOW_MS - super::REPETITION_MS_MAX - 1;
    let writes = [
        Write::Accept(record(1)),
        Write::Settle { id: 1, outcome: Outcome::Delivered, at_ms: old_ms },
        Write::Accept(record(2)),
        Write::ForgetSettled { before_ms: NOW_MS },
    ];
    store.apply(writes[..3].iter()).unwrap();
    assert_eq!(store.load(NOW_MS).unwrap().settled, []);
    store.apply(writes[3..].iter()).unwrap();
    let rows: i64 =
        store.connection.query_row("SELECT count(*) FROM journal", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1, "the open message stays");
}

#[test]
fn a_removed_user_takes_everything_of_it_along() {
    let directory = directory();
    let mut store = open(&directory);
    let aor = "romeo@contoso.example";
    let user = User { address: aor.into(), md5: Some("a".into()), sha256: None };
    let contact =
        ContactDecision { user: aor.into(), contact: "j@f.example".into(), allowed: true };
    let message = HomeMessage {
        id: 1,
        aor: aor.into(),
        received_ms: NOW_MS,
        expires_ms: NOW_MS + 1,
        request: b"MESSAGE".to_vec(),
    };
    let writes =
        [Write::PutUser(user.clone()), Write::PutContact(contact), Write::KeepMessage(message)];
    store.apply(writes.iter()).unwrap();
    assert_eq!(store.messages(aor, 10).unwrap().len(), 1);
    let loaded = store.load(NOW_MS).unwrap();
    assert_eq!((loaded.users, loaded.contacts.len(), loaded.messages.len()), (vec![user], 1, 1));

    store.apply([Write::RemoveUser { address: aor.into() }].iter()).unwrap();

    let loaded = reload(&directory, store);
    assert_eq!((loaded.users.len(), loaded.contacts.len(), loaded.messages.len()), (0, 0, 0));
}

#[test]
fn the_secret_of_the_installation_is_made_once() {
    let directory = directory();
    let mut store = open(&directory);
    assert_eq!(store.installation_secret(b"first").unwrap(), b"first");
    assert_eq!(store.installation_secret(b"second").unwrap(), b"first");
    assert_eq!(reload(&directory, store).installation_secret, b"first");
}

#[test]
fn a_store_in_use_is_not_opened_twice() {
    let directory = directory();
    let first = open(&directory);
    let second = Sqlite::open(&directory.path().join("store"));
    assert!(matches!(second, Err(StoreError::InUse(_))), "{second:?}");
    drop(first);
    open(&directory);
}

#[test]
fn a_store_of_a_later_version_is_refused() {
    let directory = directory();
    let store = open(&directory);
    store.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let opened = Sqlite::open(&directory.path().join("store"));
    assert!(matches!(opened, Err(StoreError::TooNew { found: 99, .. })), "{opened:?}");
}

#[test]
fn a_full_disk_fails_the_whole_group_and_the_next_one_succeeds_when_there_is_room() {
    let directory = directory();
    let mut store = open(&directory);
    let pages: i64 =
        store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.connection.pragma_update(None, "max_page_count", pages).unwrap();
    let mut large = record(2);
    large.stanza = vec![b'x'; 1_000_000].into();
    let group = [Write::Accept(record(1)), Write::Accept(large)];
    assert!(matches!(store.apply(group.iter()), Err(StoreError::Full)));
    assert_eq!(store.load(NOW_MS).unwrap().open, []);

    store.connection.pragma_update(None, "max_page_count", pages + 1_000).unwrap();
    store.apply(group.iter()).unwrap();
    assert_eq!(store.load(NOW_MS).unwrap().open.len(), 2);
}

#[test]
fn reading_needs_no_front_end_and_leaves_no_file_behind() {
    let directory = directory();
    let path = directory.path().join("a %41?#store");
    assert!(Sqlite::open_to_read(&path).unwrap().is_none(), "there is none yet");
    assert!(Sqlite::open_to_read(&directory.path().join("nowhere/store")).is_err());
    assert!(Sqlite::open_to_read(directory.path()).is_err(), "a directory");

    let user = User { address: "romeo@contoso.example".into(), md5: None, sha256: None };
    let mut store = Sqlite::open(&path).unwrap();
    store.apply([Write::PutUser(user.clone())].iter()).unwrap();
    let read = || Sqlite::open_to_read(&path).unwrap().unwrap().load(NOW_MS).unwrap().users;
    assert_eq!(read(), std::slice::from_ref(&user), "beside the front end");
    drop(store);
    let files = || {
        let entries = std::fs::read_dir(directory.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    assert_eq!(read(), [user], "after its end");
    assert_eq!(files(), before);
}

//! Subscription dialogs as records of the store, so that they survive a restart.

use serde_json::{Value, json};
use sip_proto::dialog::{DialogId, DialogSnapshot};
use sip_proto::usage::subscription::{Notifier, NotifierRules, NotifierSnapshot};
use xmpp_proto::jid::Jid;

use crate::clock::Now;
use crate::store::record::DialogRecord;

/// CSeq numbers that are skipped after a restart: more NOTIFYs than can be lost with the writes
/// that the process did not wait for.
const SEQUENCE_GAP: u32 = 100;

/// Returns the key of a dialog's record; `owner` tells the dialogs of different parts apart.
pub fn key(owner: &str, id: &DialogId) -> String {
    format!("{owner} {} {} {}", id.call_id, id.local_tag, id.remote_tag)
}

/// Makes the record of a subscription that has not ended.
pub fn record(
    owner: &str,
    notifier: &Notifier,
    watcher: &Jid,
    presentity: &Jid,
    now: Now,
) -> Option<DialogRecord> {
    let snapshot = notifier.snapshot(now.instant, now.unix_ms / 1000)?;
    Some(DialogRecord {
        key: key(owner, &notifier.dialog().id()),
        watcher: watcher.to_string(),
        presentity: presentity.to_string(),
        expires_ms: snapshot.expires_at_unix_seconds * 1000,
        fields: fields(&snapshot).to_string(),
    })
}

/// Restores a subscription; none when the record is not one of `owner` or cannot be read.
pub fn restore(
    owner: &str,
    record: &DialogRecord,
    rules: &NotifierRules,
    now: Now,
) -> Option<(Notifier, Jid, Jid)> {
    record.key.strip_prefix(owner)?.strip_prefix(' ')?;
    let mut snapshot = snapshot(&serde_json::from_str(&record.fields).ok()?)?;
    snapshot.dialog.local_sequence = snapshot.dialog.local_sequence.saturating_add(SEQUENCE_GAP);
    let notifier = Notifier::restore(&snapshot, rules, now.instant, now.unix_ms / 1000).ok()?;
    Some((notifier, Jid::parse(&record.watcher).ok()?, Jid::parse(&record.presentity).ok()?))
}

fn fields(snapshot: &NotifierSnapshot) -> Value {
    let dialog = &snapshot.dialog;
    json!({
        "call_id": dialog.call_id,
        "local": dialog.local,
        "remote": dialog.remote,
        "remote_target": dialog.remote_target,
        "route_set": dialog.route_set,
        "local_sequence": dialog.local_sequence,
        "remote_sequence": dialog.remote_sequence,
        "contact": snapshot.contact,
        "event": snapshot.event,
        "media_type": snapshot.media_type,
        "is_active": snapshot.is_active,
        "expires_at": snapshot.expires_at_unix_seconds,
    })
}

fn snapshot(fields: &Value) -> Option<NotifierSnapshot> {
    let text = |key: &str| fields.get(key)?.as_str().map(str::to_owned);
    let number = |key: &str| fields.get(key)?.as_u64();
    let small = |key: &str| number(key).and_then(|number| u32::try_from(number).ok());
    let routes = fields.get("route_set")?.as_array()?.iter();
    Some(NotifierSnapshot {
        dialog: DialogSnapshot {
            call_id: text("call_id")?,
            local: text("local")?,
            remote: text("remote")?,
            remote_target: text("remote_target")?,
            route_set: routes
                .map(|route| route.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
            local_sequence: small("local_sequence")?,
            remote_sequence: small("remote_sequence"),
        },
        contact: text("contact")?,
        event: text("event")?,
        media_type: text("media_type")?,
        is_active: fields.get("is_active")?.as_bool()?,
        expires_at_unix_seconds: number("expires_at")?,
    })
}

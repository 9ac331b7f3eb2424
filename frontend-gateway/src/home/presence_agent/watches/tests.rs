//! What is found by user and by time stays true to the watches and publications.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;
use std::time::{Duration, Instant};

use sip_proto::IdSource;
use sip_proto::dialog::DialogId;
use sip_proto::header::NameAddr;
use sip_proto::message::{Message, Request};
use sip_proto::transaction::FlowId;
use sip_proto::usage::subscription::Standing;
use xmpp_proto::jid::Jid;

use crate::home::presence_agent::{PresenceAgent, WATCHERS_MAX, Wanted};
use crate::home::tests::Numbers;
use crate::testing::{self, Clock, jid, status};

const FLOW: FlowId = FlowId(1);

struct Stage {
    agent: PresenceAgent,
    clock: Clock,
    ids: IdSource,
    serial: u64,
}

impl Stage {
    fn new() -> Self {
        let ids = IdSource::new([7; 32]);
        Self { agent: PresenceAgent::default(), clock: Clock::new(), ids, serial: 0 }
    }

    fn request(&mut self, text: &str) -> Request {
        self.serial += 1;
        let text = text.replace("SERIAL", &self.serial.to_string());
        match testing::messages(&testing::sip(&text, self.serial)).remove(0) {
            Message::Request(request) => *request,
            Message::Response(response) => panic!("{response:?}"),
        }
    }

    /// Subscribes a watcher to a user for so long; returns the dialog if it is accepted.
    fn subscribe(
        &mut self,
        presentity: &Jid,
        watcher: &Jid,
        expires: u32,
        standing: Standing,
    ) -> Option<DialogId> {
        let tag = self.ids.tag();
        let request = self.request(&format!(
            "SUBSCRIBE sip:{presentity} SIP/2.0\nFrom: <sip:{watcher}>;tag=w\n\
             To: <sip:{presentity}>\nCall-ID: SERIAL\nCSeq: SERIAL SUBSCRIBE\nEvent: presence\n\
             Contact: <sip:{watcher}>\nExpires: {expires}"
        ));
        let contact = NameAddr::parse("<sip:home.example.net>").unwrap();
        let (flow, stored) = (FLOW, true);
        let wanted = Wanted {
            presentity,
            watcher,
            request: &request,
            flow,
            standing,
            stored,
            contact: &contact,
        };
        self.agent.subscribe(&wanted, &tag, self.clock.now).ok()?;
        let call_id = self.serial.to_string();
        Some(DialogId { call_id, local_tag: tag, remote_tag: "w".into() })
    }

    fn resubscribe(&mut self, id: &DialogId, expires: u32) -> bool {
        let DialogId { call_id, local_tag, remote_tag } = id;
        let request = self.request(&format!(
            "SUBSCRIBE sip:home.example.net SIP/2.0\nFrom: <sip:w@example.net>;tag={remote_tag}\n\
             To: <sip:p@example.net>;tag={local_tag}\nCall-ID: {call_id}\nCSeq: SERIAL SUBSCRIBE\n\
             Event: presence\nContact: <sip:w@example.net>\nExpires: {expires}"
        ));
        let answer = self.agent.resubscribe(&request, FLOW, self.clock.now);
        answer.is_some_and(|answer| answer.is_ok())
    }

    /// Publishes, or refreshes or removes what has the tag; returns whether that is accepted.
    fn publish(&mut self, user: &Jid, tag: Option<&str>, expires: u32) -> bool {
        let condition = tag.map(|tag| format!("SIP-If-Match: {tag}\n")).unwrap_or_default();
        let content = match tag {
            Some(_) => "",
            None => {
                "Content-Type: application/pidf+xml\n\n\
                 <presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:p@example.net'>\
                 <tuple id='t'><status><basic>open</basic></status></tuple></presence>"
            }
        };
        let request = self.request(&format!(
            "PUBLISH sip:{user} SIP/2.0\nFrom: <sip:{user}>;tag=1\nTo: <sip:{user}>\n\
             Call-ID: p\nCSeq: SERIAL PUBLISH\nEvent: presence\n{condition}Expires: {expires}\n\
             {content}"
        ));
        self.agent.publish(user, &request, &mut self.ids, self.clock.now).is_ok()
    }

    fn pass_ms(&mut self, milliseconds: u64) {
        self.clock.set(self.clock.now.instant + Duration::from_millis(milliseconds));
    }

    fn after(&self, seconds: u64) -> Option<Instant> {
        Some(self.clock.now.instant + Duration::from_secs(seconds))
    }

    fn due(&self) -> Option<Instant> {
        self.agent.poll_timeout(self.clock.now)
    }

    /// Takes the NOTIFYs that are due; returns their dialogs.
    fn notified(&mut self) -> Vec<DialogId> {
        let (notifies, _) = self.agent.take_notifies(self.clock.now);
        notifies.into_iter().map(|notify| notify.dialog).collect()
    }

    fn answer(&mut self, id: &DialogId, code: u16) {
        self.agent.handle_notify_response(id, Some(status(code)));
    }

    /// Looks at everything, and compares with what is found without.
    fn assert_consistent(&self) {
        let (agent, watches) = (&self.agent, &self.agent.watches);
        let mut of_presentity: BTreeMap<Jid, BTreeSet<DialogId>> = BTreeMap::new();
        let mut of_watcher = of_presentity.clone();
        for (id, watch) in &watches.all {
            of_presentity.entry(watch.presentity.clone()).or_default().insert(id.clone());
            of_watcher.entry(watch.watcher.clone()).or_default().insert(id.clone());
        }
        assert_eq!(watches.of_presentity, of_presentity);
        assert_eq!(watches.of_watcher, of_watcher);
        let all = || watches.all.values();
        let expiries = || all().filter_map(|watch| watch.notifier.poll_timeout());
        let openings = || all().filter_map(|watch| watch.throttle.poll_timeout());
        assert_eq!(watches.expiries.count(), expiries().count());
        assert_eq!(watches.openings.count(), openings().count());
        assert!(watches.touched.iter().all(|id| watches.all.contains_key(id)));
        let published = agent.published.values();
        assert!(published.clone().all(|published| !published.is_empty()));
        assert_eq!(agent.expiries.count(), agent.published.len());
        let over = published.flatten().map(|it| self.clock.now.instant_of(it.record.expires_ms));
        assert_eq!(self.due(), over.chain(expiries()).chain(openings()).min());
    }

    /// Takes the NOTIFYs that are due, which are those that a look at every watch finds.
    fn assert_notified(&mut self) -> Vec<DialogId> {
        let now = self.clock.now.instant;
        let owed = self.agent.watches.all.iter().filter(|(_, watch)| {
            let mut throttle = watch.throttle;
            throttle.take(now) || watch.notifier.owes_notify()
        });
        let owed: Vec<DialogId> = owed.map(|(id, _)| id.clone()).collect();
        assert_eq!(self.notified(), owed);
        assert!(self.agent.watches.touched.is_empty(), "each is looked at once");
        owed
    }
}

fn users() -> [Jid; 2] {
    ["romeo", "paris"].map(|user| jid(&format!("{user}@example.net")))
}

fn watchers() -> [Jid; 3] {
    ["juliet@example.com", "nurse@example.com", "paris@example.net"].map(jid)
}

#[test]
fn a_watch_that_has_ended_leaves_nothing_behind() {
    type End = fn(&mut Stage, &DialogId);
    let ends: [(&str, End); 5] = [
        ("it runs out", |stage, _| {
            stage.pass_ms(600_000);
            stage.agent.handle_timeout(stage.clock.now);
        }),
        ("the watcher ends it", |stage, id| assert!(stage.resubscribe(id, 0))),
        ("the user denies it", |stage, _| {
            stage.agent.decide(&users()[0], &watchers()[0], false);
        }),
        ("the user is removed", |stage, _| stage.agent.remove_user(&users()[0])),
        ("the watcher does not know it", |stage, id| stage.answer(id, 481)),
    ];
    for (why, end) in ends {
        let mut stage = Stage::new();
        let ([romeo, _], [juliet, ..]) = (users(), watchers());
        let id = stage.subscribe(&romeo, &juliet, 600, Standing::Active).unwrap();
        assert_eq!(stage.notified(), slice::from_ref(&id));
        // It has a change to tell when it ends.
        stage.agent.set_online(&romeo, true);
        end(&mut stage, &id);
        for id in stage.notified() {
            stage.answer(&id, 200);
        }
        let watches = &stage.agent.watches;
        assert!(watches.all.is_empty(), "{why}");
        assert!(watches.of_presentity.is_empty() && watches.of_watcher.is_empty(), "{why}");
        assert!(watches.touched.is_empty(), "{why}");
        assert_eq!((stage.due(), watches.count_of_presentity(&romeo)), (None, 0), "{why}");
    }
}

#[test]
fn a_watch_that_is_refreshed_runs_out_at_its_new_time_only() {
    let mut stage = Stage::new();
    let ([romeo, _], [juliet, ..]) = (users(), watchers());
    let id = stage.subscribe(&romeo, &juliet, 600, Standing::Active).unwrap();
    stage.notified();
    assert_eq!(stage.due(), stage.after(600));
    stage.pass_ms(599_000);
    assert!(stage.resubscribe(&id, 600));
    assert_eq!(stage.notified(), slice::from_ref(&id));
    assert_eq!(stage.due(), stage.after(600));
    stage.pass_ms(1_000);
    stage.agent.handle_timeout(stage.clock.now);
    assert!(stage.notified().is_empty());
    stage.pass_ms(599_000);
    stage.agent.handle_timeout(stage.clock.now);
    assert_eq!(stage.notified(), [id]);
}

#[test]
fn a_change_that_is_held_back_is_told_when_its_time_has_come_whoever_comes_by() {
    let mut stage = Stage::new();
    let ([romeo, paris], [juliet, nurse, _]) = (users(), watchers());
    let held = stage.subscribe(&romeo, &juliet, 600, Standing::Active).unwrap();
    stage.notified();
    stage.agent.set_online(&romeo, true);
    assert!(stage.notified().is_empty());
    assert_eq!(stage.due(), stage.after(5));
    stage.pass_ms(4_999);
    assert!(stage.notified().is_empty());
    stage.pass_ms(1);
    // The timer has not fired yet; a request for somebody else is answered.
    let other = stage.subscribe(&paris, &nurse, 600, Standing::Active).unwrap();
    assert_eq!(stage.notified(), [held, other]);
    assert_eq!(stage.due(), stage.after(595));
}

#[test]
fn a_decision_is_for_the_watches_of_one_user_by_one_watcher() {
    let mut stage = Stage::new();
    let ([romeo, paris], [juliet, nurse, _]) = (users(), watchers());
    let mut wait = |user, watcher| stage.subscribe(user, watcher, 600, Standing::Pending).unwrap();
    let first = wait(&romeo, &juliet);
    for (user, watcher) in [(&romeo, &nurse), (&paris, &juliet), (&paris, &nurse)] {
        wait(user, watcher);
    }
    let second = wait(&romeo, &juliet);
    assert_eq!(stage.notified().len(), 5);
    stage.agent.decide(&romeo, &juliet, true);
    assert_eq!(stage.notified(), [first, second]);
}

#[test]
fn a_user_has_so_many_watchers_and_room_again_when_one_has_gone() {
    let mut stage = Stage::new();
    let ([romeo, paris], [juliet, ..]) = (users(), watchers());
    let subscribe = |stage: &mut Stage, user| stage.subscribe(user, &juliet, 600, Standing::Active);
    let first = subscribe(&mut stage, &romeo).unwrap();
    for _ in 1..WATCHERS_MAX {
        subscribe(&mut stage, &romeo).unwrap();
    }
    assert_eq!(subscribe(&mut stage, &romeo), None);
    assert!(subscribe(&mut stage, &paris).is_some(), "another user has room");
    stage.answer(&first, 481);
    assert!(subscribe(&mut stage, &romeo).is_some());
    assert_eq!(subscribe(&mut stage, &romeo), None);
}

#[test]
fn a_publication_that_is_refreshed_or_removed_or_refused_leaves_no_time_behind() {
    let mut stage = Stage::new();
    let [romeo, paris] = users();
    let tag = |stage: &Stage| stage.agent.published[&romeo].last().unwrap().record.tag.clone();
    assert!(stage.publish(&romeo, None, 600));
    let first = tag(&stage);
    assert!(stage.publish(&romeo, None, 900));
    assert_eq!(stage.due(), stage.after(600));
    assert!(stage.publish(&romeo, Some(&first), 1_200));
    assert_eq!(stage.due(), stage.after(900));
    assert!(!stage.publish(&paris, Some("unknown"), 600));
    stage.pass_ms(900_000);
    assert_eq!(stage.agent.handle_timeout(stage.clock.now).len(), 1);
    assert_eq!(stage.due(), stage.after(300));
    let last = tag(&stage);
    assert!(stage.publish(&romeo, Some(&last), 0));
    assert_eq!(stage.due(), None);
    assert!(stage.agent.published.is_empty());
}

#[test]
fn whatever_happens_the_indexes_hold_what_a_look_at_every_watch_would_find() {
    const CODES: [u16; 4] = [200, 200, 481, 503];
    for seed in 0..8 {
        let mut numbers = Numbers(seed);
        let mut stage = Stage::new();
        let mut sent: Vec<DialogId> = Vec::new();
        let mut known: Vec<DialogId> = Vec::new();
        for _ in 0..400 {
            let user = &users()[numbers.below(2) as usize];
            let watcher = &watchers()[numbers.below(3) as usize];
            let at = |numbers: &mut Numbers, all: &[DialogId]| {
                numbers.below(all.len() as u64 + 1) as usize
            };
            let standing = numbers.one_of(&[Standing::Pending, Standing::Active]);
            let expires = numbers.one_of(&[0, 60, 90, 600]);
            match numbers.below(16) {
                0..3 => known.extend(stage.subscribe(user, watcher, expires, standing)),
                3 => {
                    if let Some(id) = known.get(at(&mut numbers, &known)) {
                        stage.resubscribe(id, expires);
                    }
                }
                4 => drop(stage.publish(user, None, 60 + expires)),
                5 => {
                    let all = stage.agent.published.get(user).into_iter().flatten();
                    if let Some(tag) = all.map(|it| it.record.tag.clone()).next() {
                        assert!(stage.publish(user, Some(&tag), expires));
                    }
                }
                6 => stage.agent.set_online(user, expires > 60),
                7 => stage.agent.decide(user, watcher, expires > 0),
                8 if numbers.below(4) == 0 => stage.agent.remove_user(user),
                8 | 9 => stage.agent.renew(watcher),
                10 | 11 if !sent.is_empty() => {
                    let id = sent.swap_remove(numbers.below(sent.len() as u64) as usize);
                    stage.answer(&id, numbers.one_of(&CODES));
                }
                12 => drop(stage.agent.handle_timeout(stage.clock.now)),
                13 => sent.extend(stage.assert_notified()),
                _ => stage.pass_ms(numbers.one_of(&[1, 2_500, 5_000, 30_000])),
            }
            stage.assert_consistent();
        }
    }
}

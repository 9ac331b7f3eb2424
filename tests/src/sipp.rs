//! SIPp, from Debian, over TCP: any scenario, and a user who registers, writes and answers.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

use crate::account::Account;
use crate::namespace::Place;
use crate::process::{Mark, Process};
use crate::wait::Deadline;

/// Connections at one time; SIPp refuses to start with more than it may open files.
const CONNECTIONS_MAX: &str = "500";

/// How SIPp spreads its calls over connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// All share one, and end with it: `-t t1`.
    Shared,
    /// Each has its own: `-t tn`. Later calls survive a restart of the server, unless the server
    /// dies while a call waits for it: then SIPp ends.
    PerCall,
}

/// Where SIPp runs and to whom it talks.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The name of its log and its folder.
    pub name: &'a str,
    /// Its own address.
    pub address: Ipv4Addr,
    /// The server.
    pub server: SocketAddrV4,
    /// Its connections.
    pub connections: Connections,
}

impl Setup<'_> {
    /// Runs a scenario with more arguments, such as `-m 1000 -r 50`.
    ///
    /// What its `log` actions write is part of the output. The process ends with success only if
    /// every call did.
    ///
    /// # Panics
    ///
    /// When SIPp cannot be started.
    pub fn run(&self, place: &Place, scenario: &str, arguments: &[&str]) -> Process {
        let directory = place.make_directory(self.name);
        let file = place.write(&format!("{}/scenario.xml", self.name), scenario);
        let mut command = Command::new("sipp");
        command.arg("-sf").arg(file).arg(self.server.to_string());
        command.args(["-i", &self.address.to_string(), "-nostdin", "-trace_err", "-trace_msg"]);
        command.args(["-trace_logs", "-log_file", "/dev/stdout"]);
        command.args(match self.connections {
            Connections::Shared => ["-t", "t1"].as_slice(),
            Connections::PerCall => &["-t", "tn", "-max_socket", CONNECTIONS_MAX],
        });
        command.args(arguments).current_dir(&directory).env("TERM", "dumb");
        Process::start(self.name, &directory, command)
    }

    /// Runs a user who registers with MD5, sends each text to its URI in turn, and then stays.
    ///
    /// # Panics
    ///
    /// When SIPp cannot be started.
    pub fn user(
        &self,
        place: &Place,
        account: &Account<'_>,
        texts: &[(&str, &str)],
        stay_s: u32,
    ) -> SippUser {
        place.make_directory(self.name);
        let answering = place.write(&format!("{}/answering.xml", self.name), ANSWERING);
        let answering = answering.to_string_lossy();
        let scenario = user_scenario(account, texts, stay_s);
        SippUser { process: self.run(place, &scenario, &["-m", "1", "-oocsf", &answering]) }
    }
}

/// A user that SIPp plays.
pub struct SippUser {
    process: Process,
}

impl SippUser {
    /// Waits until the user is registered and every text was answered with 200 or 202.
    ///
    /// # Panics
    ///
    /// When that does not happen.
    pub fn expect_all_sent(&mut self, deadline: Deadline) {
        self.process.wait_for_line("all texts were answered", deadline);
    }

    /// Waits for a MESSAGE whose body is this one line, received after `mark`.
    ///
    /// # Panics
    ///
    /// When none comes.
    pub fn expect_text(&mut self, mark: Mark, text: &str, deadline: Deadline) {
        self.process.wait_for_line_after(mark, &format!("received: {text}"), deadline);
    }

    /// The process: its log and its end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn user_scenario(account: &Account<'_>, texts: &[(&str, &str)], stay_s: u32) -> String {
    let Account { user, domain, password } = account;
    let (aor, registrar) = (account.aor(), format!("sip:{domain}"));
    let contact = format!("Contact: <sip:{user}@[local_ip]:[local_port];transport=tcp>\n");
    let credentials = format!("[authentication username={user} password={password}]\n");
    let register = |cseq: u32, credentials: &str| {
        let fields = format!("{contact}{credentials}Expires: 600\n");
        request("REGISTER", &registrar, [&aor, &aor], cseq, &fields, "")
    };
    let mut steps = vec![
        register(1, ""),
        "<recv response=\"401\" auth=\"true\"/>\n".to_owned(),
        register(2, &credentials),
        "<recv response=\"200\"/>\n".to_owned(),
    ];
    for (cseq, (to, text)) in (3..).zip(texts) {
        let fields = "Content-Type: text/plain; charset=UTF-8\n";
        steps.push(request("MESSAGE", to, [&aor, to], cseq, fields, text));
        steps.push(format!("<recv response=\"202\" optional=\"true\" next=\"{cseq}\"/>\n"));
        steps.push(format!("<recv response=\"200\"/>\n<label id=\"{cseq}\"/>\n"));
    }
    let steps = steps.concat();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<scenario>\n{steps}\
         <nop><action><log message=\"all texts were answered\"/></action></nop>\n\
         <pause milliseconds=\"{stay_s}000\"/>\n</scenario>\n"
    )
}

/// One `send` step; every request is of the one call, and so has its Call-ID.
fn request(
    method: &str,
    uri: &str,
    [from, to]: [&str; 2],
    cseq: u32,
    fields: &str,
    body: &str,
) -> String {
    format!(
        "<send><![CDATA[\n{method} {uri} SIP/2.0\n\
         Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n\
         From: <{from}>;tag=[call_number]\nTo: <{to}>\nCall-ID: [call_id]\n\
         CSeq: {cseq} {method}\nMax-Forwards: 70\n{fields}Content-Length: [len]\n\n\
         {body}]]></send>\n"
    )
}

/// What SIPp does with a request that belongs to no call of its own.
const ANSWERING: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<scenario>
<recv request="MESSAGE">
  <action>
    <ereg regexp=".*" search_in="body" assign_to="1"/>
    <log message="received: [$1]"/>
  </action>
</recv>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
"#;

//! Asks the running process of this host whether it is ready, for what watches over it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::command;
use crate::exit::{Cause, Failure};

/// How long the process may take for the connection, and then for each part of its answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Bytes of the answer that are read; a readiness page is much shorter.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// Asks for `/readyz` at the process's own internal address, and shows what it says.
///
/// # Errors
/// Fails with [`Cause::Unavailable`] when it is not ready, which the message explains, or when it
/// cannot be reached.
pub fn ask(internal: SocketAddr) -> Result<(), Failure> {
    let address = SocketAddr::new(reachable(internal.ip()), internal.port());
    let unavailable = |text: String| Failure::new(Cause::Unavailable, text);
    let answer = page(address).map_err(|error| {
        unavailable(format!("cannot reach a process at {address} (internal.listen): {error}"))
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let body = body.trim_end();
    // A status line of HTTP: the version, and after it the status code.
    match head.split(' ').nth(1) {
        Some("200") => {
            command::say(body);
            Ok(())
        }
        Some("503") => Err(unavailable(format!("not ready: {body}"))),
        _ => Err(unavailable(format!("what listens at {address} is not this process"))),
    }
}

/// A process that listens everywhere is reached by way of the loopback interface.
fn reachable(listen: IpAddr) -> IpAddr {
    match listen {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        specific => specific,
    }
}

fn page(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    let question = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(question.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What is said of a process that answers like this.
    fn said_of(answer: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody asks");
            let mut question = Vec::new();
            while !question.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("the question goes on");
                question.push(byte[0]);
            }
            assert!(question.starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).expect("the answer is taken");
        });
        let said = ask(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
        server.join().expect("the server has answered");
        said.map_err(|failure| {
            assert_eq!(failure.cause, Cause::Unavailable);
            failure.message
        })
    }

    #[test]
    fn a_ready_process_is_healthy() {
        assert_eq!(said_of("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n"), Ok(()));
    }

    #[test]
    fn a_process_that_waits_says_for_what() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\n\r\nlink: no front end is attached\n";
        assert_eq!(said_of(answer), Err("not ready: link: no front end is attached".to_owned()));
    }

    #[test]
    fn what_is_no_process_of_ours_and_nobody_at_all_are_told_apart() {
        let stranger = said_of("220 mail.example ESMTP\r\n").expect_err("it is not ours");
        assert!(stranger.contains("is not this process"), "{stranger}");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = free.local_addr().expect("it is bound");
        drop(free);
        let nobody = ask(address).expect_err("nobody listens").message;
        assert!(nobody.contains("cannot reach"), "{nobody}");
    }
}

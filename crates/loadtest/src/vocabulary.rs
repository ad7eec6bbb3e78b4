//! The server's words: which events it takes and which it sends. Trunkline's `native` dialect unless told otherwise.

use std::fmt;

use anyhow::{Context, ensure};
use serde_json::Value;

/// Where a message's content goes in a template.
const CONTENT: &str = "{content}";

/// Words of the server, as options of the program.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "The server's words")]
pub(crate) struct Words {
    /// Joins a room: EVENT=JSON, in which {room} stands for the room and {user} for the client.
    #[arg(long, value_name = "EVENT=JSON", default_value = r#"conversation:join="{room}""#)]
    join: Template,

    /// Sends to a room; {content} stands for the content.
    #[arg(
        long,
        value_name = "EVENT=JSON",
        default_value = r#"message:send={"conversationId":"{room}","content":"{content}"}"#
    )]
    send: Template,

    /// Sends to a user, named by {user}, and keeps the message.
    #[arg(
        long,
        value_name = "EVENT=JSON",
        default_value = r#"private:message={"recipientUserId":"{user}","content":"{content}"}"#
    )]
    direct: Template,

    /// Sends to a user and keeps nothing.
    #[arg(long, value_name = "EVENT=JSON", default_value = r#"call:signal={"userId":"{user}","data":"{content}"}"#)]
    signal: Template,

    /// Events that bring what was sent; repeat it.
    #[arg(long, value_name = "EVENT", default_values = ["message:new", "call:signal"])]
    heard: Vec<String>,

    /// How an ack begins that says yes; empty if every ack does.
    #[arg(long, default_value = r#"{"success":true"#)]
    yes: String,

    /// The server answers nothing: joins are taken for done after two seconds, and closed loops wait for deliveries.
    #[arg(long)]
    no_acks: bool,

    /// Senders hear their own messages.
    #[arg(long)]
    echo: bool,

    /// Query of the handshake; {user} stands for the client's name.
    #[arg(long, default_value = "userId={user}")]
    query: String,

    /// Payload of CONNECT.
    #[arg(long, default_value = "", value_name = "JSON")]
    auth: String,

    /// Namespace.
    #[arg(long, default_value = "/")]
    namespace: String,
}

impl Words {
    /// Whether the server answers events.
    pub(crate) fn acks(&self) -> bool {
        !self.no_acks
    }

    /// Whether senders hear their own messages.
    pub(crate) fn echo(&self) -> bool {
        self.echo
    }
}

/// How a message is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Room(u32),
    /// Kept for the user.
    Direct(u32),
    /// Not kept.
    Signal(u32),
}

/// The words, ready for use in one run.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    words: Words,
    /// Rooms and users of one run are not those of the run before, or of another crowd.
    run: String,
    /// How events begin that count: `["message:new",`.
    heard: Vec<Vec<u8>>,
    yes: Vec<u8>,
}

impl Vocabulary {
    pub(crate) fn new(words: Words, run: String) -> anyhow::Result<Self> {
        for (option, template) in [("--send", &words.send), ("--direct", &words.direct), ("--signal", &words.signal)] {
            ensure!(template.payload.matches(CONTENT).count() == 1, "{option} must have {CONTENT} in it once");
        }
        ensure!(words.namespace.starts_with('/'), "--namespace begins with /, as /chat does");
        let heard = words.heard.iter().map(|event| format!("[{},", Value::from(event.as_str())).into_bytes()).collect();
        let yes = format!("[{}", words.yes).into_bytes();
        Ok(Self { words, run, heard, yes })
    }

    pub(crate) fn query(&self) -> &str {
        &self.words.query
    }

    pub(crate) fn auth(&self) -> &str {
        &self.words.auth
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.words.namespace
    }

    pub(crate) fn acks(&self) -> bool {
        self.words.acks()
    }

    /// Whether this event brings a message.
    pub(crate) fn brings(&self, event: &[u8]) -> bool {
        self.heard.iter().any(|heard| event.starts_with(heard))
    }

    pub(crate) fn says_yes(&self, ack: &[u8]) -> bool {
        self.words.yes.is_empty() || ack.starts_with(&self.yes)
    }

    pub(crate) fn user(&self, number: u32) -> String {
        format!("load-{}-{number}", self.run)
    }

    pub(crate) fn join(&self, user: u32, room: u32) -> String {
        let Template { event, payload } = &self.words.join;
        let payload = payload.replace("{room}", &self.room(room)).replace("{user}", &self.user(user));
        // A join may have no payload.
        let comma = if payload.is_empty() { "" } else { "," };
        format!("[{}{comma}{payload}]", Value::from(event.as_str()))
    }

    /// The event that sends, before and behind the content.
    pub(crate) fn message(&self, to: To) -> (String, String) {
        let (template, key, name) = match to {
            To::Room(room) => (&self.words.send, "{room}", self.room(room)),
            To::Direct(user) => (&self.words.direct, "{user}", self.user(user)),
            To::Signal(user) => (&self.words.signal, "{user}", self.user(user)),
        };
        let payload = template.payload.replace(key, &name);
        let (before, behind) = payload.split_once(CONTENT).unwrap_or((&payload, ""));
        (format!("[{},{before}", Value::from(template.event.as_str())), format!("{behind}]"))
    }

    fn room(&self, number: u32) -> String {
        format!("load-{}-{number}", self.run)
    }
}

/// `EVENT=JSON`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Template {
    event: String,
    payload: String,
}

impl std::str::FromStr for Template {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (event, payload) = text.split_once('=').context("it must be EVENT=JSON")?;
        if !payload.is_empty() {
            serde_json::from_str::<Value>(payload).with_context(|| format!("{payload} is not JSON"))?;
        }
        Ok(Self { event: event.to_owned(), payload: payload.to_owned() })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.event, self.payload)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        words: Words,
    }

    fn vocabulary(options: &[&str]) -> anyhow::Result<Vocabulary> {
        let words = Cli::try_parse_from([&["test"], options].concat())?.words;
        Vocabulary::new(words, "run".into())
    }

    #[test]
    fn native_words_need_no_option() {
        let native = vocabulary(&[]).unwrap();
        assert_eq!(native.join(1, 2), r#"["conversation:join","load-run-2"]"#);
        let (before, behind) = native.message(To::Room(3));
        assert_eq!(before, r#"["message:send",{"conversationId":"load-run-3","content":""#);
        assert_eq!(behind, r#""}]"#);
        assert!(native.brings(br#"["message:new",{}]"#) && !native.brings(br#"["message:newer",{}]"#));
        assert!(native.says_yes(br#"[{"success":true,"seq":1}]"#) && !native.says_yes(br#"[{"success":false}]"#));
    }

    #[test]
    fn any_server_has_its_own_words() {
        let words = ["--join", "enter=", "--send", r#"say=["{room}","{content}"]"#, "--heard", "said", "--yes", ""];
        let other = vocabulary(&words).unwrap();
        assert_eq!(other.join(1, 2), r#"["enter"]"#);
        assert_eq!(other.message(To::Room(1)).0, r#"["say",["load-run-1",""#);
        assert!(other.brings(br#"["said",1]"#) && other.says_yes(b"[]"));
    }

    #[test]
    fn words_that_cannot_work_are_refused_with_the_option_named() {
        assert!(vocabulary(&["--send", "say={}"]).unwrap_err().to_string().contains("--send must have {content}"));
        assert!(vocabulary(&["--send", "say={oops"]).unwrap_err().to_string().contains("not JSON"));
        assert!(vocabulary(&["--namespace", "chat"]).unwrap_err().to_string().contains("begins with /"));
    }
}

//! Scripts and calls of them.

use std::borrow::Cow;

use redis::{Arg, Cmd, ToRedisArgs};

/// A script that servers know by its digest once they have seen it.
#[derive(Debug, Clone)]
pub struct Script {
    code: String,
    digest: String,
}

impl Script {
    /// Of Lua code.
    pub fn new(code: &str) -> Self {
        Self { code: code.to_owned(), digest: redis::Script::new(code).get_hash().to_owned() }
    }

    /// A call with a first key.
    pub fn key(&self, key: impl ToRedisArgs) -> Call<'_> {
        let mut call = self.call();
        call.key(key);
        call
    }

    /// A call without keys or arguments yet.
    pub fn call(&self) -> Call<'_> {
        Call { script: self, keys: Cmd::with_capacity(KEYS, KEY_BYTES), begun: None }
    }

    pub(crate) fn load(&self) -> Cmd {
        let mut command = Cmd::with_capacity(3, self.code.len() + 16);
        command.arg("SCRIPT").arg("LOAD").arg(&self.code);
        command
    }
}

/// What a script is called with. Keys stand in a buffer of their own until the first argument comes: by then they are counted, and
/// the command begins with them. So most calls are written once, and take no allocation for each key and argument.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    script: &'a Script,
    keys: Cmd,
    /// The command, with all keys and the arguments so far.
    begun: Option<Cmd>,
}

/// What there is room for from the start.
const KEYS: usize = 16;
const KEY_BYTES: usize = 512;
const ARGS: usize = 48;
const ARG_BYTES: usize = 1536;

impl Call<'_> {
    /// One more key, or several.
    pub fn key(&mut self, key: impl ToRedisArgs) -> &mut Self {
        let before = self.keys.args_iter().len();
        self.keys.arg(key);
        if let Some(begun) = self.begun.take() {
            let mut command = self.begin();
            words(&begun).skip(HEADER + before).for_each(|arg| _ = command.arg(arg));
            self.begun = Some(command);
        }
        self
    }

    /// One more argument, or several.
    pub fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        if self.begun.is_none() {
            self.begun = Some(self.begin());
        }
        if let Some(command) = &mut self.begun {
            command.arg(arg);
        }
        self
    }

    pub(crate) fn script(&self) -> &Script {
        self.script
    }

    pub(crate) fn command(&self) -> Cow<'_, Cmd> {
        self.begun.as_ref().map_or_else(|| Cow::Owned(self.begin()), Cow::Borrowed)
    }

    fn begin(&self) -> Cmd {
        let keys = words(&self.keys);
        let mut command = Cmd::with_capacity(HEADER + KEYS + ARGS, KEY_BYTES + ARG_BYTES);
        command.arg("EVALSHA").arg(&self.script.digest).arg(keys.len());
        keys.for_each(|key| _ = command.arg(key));
        command
    }
}

/// Words before the keys: the command, the digest, their number.
const HEADER: usize = 3;

fn words(command: &Cmd) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
    command.args_iter().map(|arg| match arg {
        Arg::Simple(word) => word,
        // Made by the commands that scan, which these are not.
        _ => &[],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_before_arguments_whatever_the_order_of_the_calls() {
        let script = Script::new("return 1");
        let mut call = script.key("a");
        call.arg(1).key("b").arg(&["x", "y"]).arg("");
        let command = call.command();
        let words: Vec<_> = words(&command).map(|word| std::str::from_utf8(word).unwrap()).collect();
        assert_eq!(words, ["EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "2", "a", "b", "1", "x", "y", ""]);
    }
}

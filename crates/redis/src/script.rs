//! Scripts and calls of them.

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
        Call { script: self, keys: Cmd::with_capacity(16, 512), args: Cmd::with_capacity(64, 1024) }
    }

    pub(crate) fn load(&self) -> Cmd {
        let mut command = Cmd::with_capacity(3, self.code.len() + 16);
        command.arg("SCRIPT").arg("LOAD").arg(&self.code);
        command
    }
}

/// What a script is called with. Keys and arguments each stand in one buffer: a call of many takes no allocation for each.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    script: &'a Script,
    keys: Cmd,
    args: Cmd,
}

impl Call<'_> {
    /// One more key, or several.
    pub fn key(&mut self, key: impl ToRedisArgs) -> &mut Self {
        self.keys.arg(key);
        self
    }

    /// One more argument, or several.
    pub fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        self.args.arg(arg);
        self
    }

    pub(crate) fn script(&self) -> &Script {
        self.script
    }

    pub(crate) fn command(&self) -> Cmd {
        let (keys, args) = (words(&self.keys), words(&self.args));
        let bytes: usize = keys.clone().chain(args.clone()).map(<[u8]>::len).sum();
        let mut command = Cmd::with_capacity(keys.len() + args.len() + 3, bytes + self.script.digest.len() + 16);
        command.arg("EVALSHA").arg(&self.script.digest).arg(keys.len());
        for word in keys.chain(args) {
            command.arg(word);
        }
        command
    }
}

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

//! The TypeScript declarations of `typescript/`: made from the types and tables of this crate, and compared with the files.
//!
//! `UPDATE_TYPESCRIPT=1 cargo test -p trunkline-protocol typescript` writes them anew.

use std::{any::TypeId, collections::BTreeMap, fmt::Write, fs, path::PathBuf};

use ts_rs::{Config, TS, TypeVisitor};

use crate::{
    codes::Code,
    conversations,
    lenient::{Any, RoomRef, Text},
    native, online_users, rooms, showcase,
};

/// A type that leaves Rust under another one's name.
macro_rules! written_as {
    ($($ty:ty => $text:literal),*) => {$(
        impl TS for $ty {
            type WithoutGenerics = Self;
            type OptionInnerType = Self;
            fn name(_: &Config) -> String {
                $text.to_owned()
            }
            fn inline(_: &Config) -> String {
                $text.to_owned()
            }
        }
    )*};
}

written_as!(Any => "any", Text => "string | number", RoomRef => "string | number");

/// Who sends an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A type, ready to be declared.
pub(crate) struct Type {
    name: String,
    optional: bool,
    collect: fn(&mut Declarations),
}

/// `T`, for a row of an event table.
pub(crate) fn of<T: TS + 'static>() -> Type {
    // An optional argument may be left out; that `null` means the same need not be told.
    let name = T::name(&config()).trim_end_matches(" | null").to_owned();
    Type { name, optional: T::IS_OPTION, collect: |declarations| declarations.visit::<T>() }
}

fn config() -> Config {
    Config::new().with_large_int("number")
}

/// Declarations by name: each type once, whatever refers to it.
#[derive(Default)]
pub(crate) struct Declarations {
    seen: Vec<TypeId>,
    text: BTreeMap<String, String>,
}

impl TypeVisitor for Declarations {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        if self.seen.contains(&TypeId::of::<T>()) {
            return;
        }
        self.seen.push(TypeId::of::<T>());
        T::visit_dependencies(self);
        T::visit_generics(self);
        if T::output_path().is_some() {
            let docs = T::docs().unwrap_or_default();
            self.text.insert(T::ident(&config()), tidied(&format!("{docs}export {}", T::decl(&config()))));
        }
    }
}

/// One line for a comment of one line, and fields indented.
fn tidied(declaration: &str) -> String {
    let declaration = declaration.replace(", };", ",\n};").replace("[`", "`").replace("`]", "`");
    let mut tidy = String::new();
    let mut lines = declaration.lines().map(str::trim_end).filter(|line| !line.is_empty()).peekable();
    let mut depth = 0;
    while let Some(line) = lines.next() {
        let indent = if depth > 0 && line != "};" { "  " } else { "" };
        let first = if line == "/**" { lines.next_if(|line| line.starts_with(" * ")) } else { None };
        match first {
            Some(text) if lines.next_if_eq(&" */").is_some() => {
                writeln!(tidy, "{indent}/** {} */", &text[3..]).unwrap()
            }
            Some(text) => writeln!(tidy, "{indent}/**\n{indent}{text}").unwrap(),
            None => writeln!(tidy, "{indent}{line}").unwrap(),
        }
        depth += line.matches('{').count();
        depth = depth.saturating_sub(line.matches('}').count());
    }
    tidy
}

/// One file.
#[derive(Default)]
pub(crate) struct Module {
    declarations: Declarations,
    client: String,
    server: String,
}

impl Module {
    /// A row of an event table: arguments with their alternatives, and the answer if there is one.
    pub(crate) fn event(&mut self, side: Side, name: &str, args: &[&[Type]], answer: &[Type]) {
        let mut parameters = Vec::new();
        for (position, alternatives) in args.iter().enumerate() {
            let names: Vec<&str> = alternatives.iter().map(|each| each.name.as_str()).collect();
            let optional = if alternatives.iter().any(|each| each.optional) { "?" } else { "" };
            let label = if position == 0 { "payload".to_owned() } else { format!("payload{position}") };
            parameters.push(format!("{label}{optional}: {}", names.join(" | ")));
        }
        parameters.extend(answer.iter().map(|each| format!("ack?: (answer: Ack<{}>) => void", each.name)));
        args.iter().copied().flatten().chain(answer).for_each(|each| (each.collect)(&mut self.declarations));
        let events = if side == Side::Client { &mut self.client } else { &mut self.server };
        writeln!(events, "  {name:?}: ({}) => void;", parameters.join(", ")).unwrap();
    }

    fn finish(mut self, dialect: &str, ack: &str) -> String {
        if ack.contains("Code") {
            self.declarations.visit::<Code>();
        }
        let declarations: Vec<String> = self.declarations.text.into_values().collect();
        format!(
            "// The `{dialect}` dialect. Made from crates/protocol by its tests: change the types there, not here.\n\n\
             /** What clients send. */\nexport interface ClientToServerEvents {{\n{}}}\n\n\
             /** What clients receive. */\nexport interface ServerToClientEvents {{\n{}}}\n\n\
             /** The answer to an event. */\nexport type Ack<T> = {ack};\n\n{}",
            self.client,
            self.server,
            declarations.join("\n"),
        )
    }
}

const ANSWER: &str = "(T & { success: true }) | { success: false; error: Code; message: string; retryable: boolean }";
const STATUS: &str = "(T & { success: true }) | { success: false; status: \"error\"; error: string; code: Code }";

fn modules() -> [(&'static str, String); 5] {
    let made = |fill: fn(&mut Module), dialect, ack| {
        let mut module = Module::default();
        fill(&mut module);
        (dialect, module.finish(dialect, ack))
    };
    [
        made(native::typescript, "native", ANSWER),
        made(online_users::typescript, "online-users", ANSWER),
        made(rooms::typescript, "rooms", ANSWER),
        made(conversations::typescript, "conversations", ANSWER),
        made(showcase::typescript, "showcase", STATUS),
    ]
}

#[test]
fn the_typescript_declarations_are_those_of_the_types() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("typescript");
    let package = fs::read_to_string(directory.join("package.json")).unwrap();
    for (dialect, text) in modules() {
        assert!(package.contains(&format!("\"./{dialect}.d.ts\"")), "package.json does not export {dialect}");
        let file = directory.join(format!("{dialect}.d.ts"));
        if std::env::var_os("UPDATE_TYPESCRIPT").is_some() {
            fs::create_dir_all(&directory).unwrap();
            fs::write(&file, &text).unwrap();
        }
        let committed = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == text,
            "{} is out of date: UPDATE_TYPESCRIPT=1 cargo test -p trunkline-protocol typescript",
            file.display()
        );
    }
}

#[test]
fn no_event_is_in_a_table_twice() {
    for (client, server) in [
        (native::event::CLIENT, native::event::SERVER),
        (online_users::event::CLIENT, online_users::event::SERVER),
        (rooms::event::CLIENT, rooms::event::SERVER),
        (conversations::event::CLIENT, conversations::event::SERVER),
        (showcase::event::CLIENT, showcase::event::SERVER),
    ] {
        for side in [client, server] {
            let mut names = side.to_vec();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), side.len());
        }
    }
}

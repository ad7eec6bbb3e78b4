//! One table per dialect: every event with its direction, arguments and answer.

/// Declares a dialect's events.
///
/// A row is a constant, the name on the wire, the arguments (alternatives separated by `|`), and the answer for those
/// who ask for one. Rows of `both` have the client's side first. From the rows come the constants in `event`, the
/// lists `CLIENT` and `SERVER` for tests of completeness, and the TypeScript interfaces.
macro_rules! events {
    (
        client { $($c:ident $cw:literal ($($($ca:ty)|+),*) $(-> $cr:ty)?,)* }
        server { $($s:ident $sw:literal ($($($sa:ty)|+),*) $(-> $sr:ty)?,)* }
        both { $($b:ident $bw:literal ($($($bca:ty)|+),*) $(-> $bcr:ty)?, ($($($bsa:ty)|+),*),)* }
    ) => {
        /// Names of events, and who sends them.
        pub mod event {
            $(#[doc = concat!("`", $cw, "`: client to server.")] pub const $c: &str = $cw;)*
            $(#[doc = concat!("`", $sw, "`: server to client.")] pub const $s: &str = $sw;)*
            $(#[doc = concat!("`", $bw, "`: both ways.")] pub const $b: &str = $bw;)*

            /// What clients send.
            pub const CLIENT: &[&str] = &[$($cw,)* $($bw,)*];

            /// What clients receive.
            pub const SERVER: &[&str] = &[$($sw,)* $($bw,)*];
        }

        #[cfg(test)]
        pub(crate) fn typescript(module: &mut crate::typescript::Module) {
            use crate::typescript::Side::{Client, Server};
            $(module.event(Client, $cw, &[$(&[$(crate::typescript::of::<$ca>()),+]),*], &[$(crate::typescript::of::<$cr>())?]);)*
            $(module.event(Client, $bw, &[$(&[$(crate::typescript::of::<$bca>()),+]),*], &[$(crate::typescript::of::<$bcr>())?]);)*
            $(module.event(Server, $sw, &[$(&[$(crate::typescript::of::<$sa>()),+]),*], &[$(crate::typescript::of::<$sr>())?]);)*
            $(module.event(Server, $bw, &[$(&[$(crate::typescript::of::<$bsa>()),+]),*], &[]);)*
        }

        // Names the types, so that the compiler checks the table in every build.
        const _: fn() = || {
            $($($(let _: Option<$ca>;)+)* $(let _: Option<$cr>;)?)*
            $($($(let _: Option<$sa>;)+)* $(let _: Option<$sr>;)?)*
            $($($(let _: Option<$bca>;)+)* $(let _: Option<$bcr>;)? $($(let _: Option<$bsa>;)+)*)*
        };
    };
}

pub(crate) use events;

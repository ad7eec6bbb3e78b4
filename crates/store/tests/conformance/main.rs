//! What both implementations promise: every test runs against the store in memory, and against one in a real Redis of
//! every kind.

mod bench;
mod log;
mod nodes;
mod presence;
mod topologies;

use bench::{Bench, within_deadline};

macro_rules! conformance {
    ($($module:ident: $($name:ident),+;)+) => {
        mod in_memory {
            $($(#[tokio::test]
            async fn $name() {
                crate::within_deadline(async { crate::$module::$name(crate::Bench::memory()).await }).await
            })+)+
        }
        mod in_redis {
            $($(#[tokio::test]
            async fn $name() {
                crate::within_deadline(async { crate::$module::$name(crate::Bench::redis().await).await }).await
            })+)+
        }
        /// All promises, one after the other, in the Redis at `url`, which `empty` empties.
        async fn everything_at(url: &str, empty: impl AsyncFn()) {
            $($(
                println!("{}", stringify!($name));
                empty().await;
                within_deadline(async { $module::$name(Bench::at(url).await).await }).await;
            )+)+
        }
    };
}

conformance! {
    nodes:
        a_node_is_alive_from_its_first_heartbeat_until_it_leaves,
        the_first_proposed_secret_is_everybodys;
    presence:
        only_the_first_socket_of_a_user_comes_online,
        only_the_last_socket_of_a_user_goes_offline,
        reporting_a_socket_again_changes_nothing,
        racing_sockets_of_one_user_come_and_go_once,
        presence_answers_in_the_order_of_the_question,
        pages_show_each_user_once,
        a_foreign_cursor_is_refused,
        a_room_has_whoever_joined_and_did_not_leave,
        ids_of_any_text_are_kept_apart,
        a_sweep_among_the_living_finds_nobody;
    log:
        numbers_start_at_one_and_have_no_gaps,
        parallel_appends_are_published_in_the_order_of_their_numbers,
        a_repeated_client_message_id_answers_the_first_result_and_publishes_nothing,
        client_message_ids_of_two_senders_do_not_meet,
        publications_are_filled_with_msgpack,
        entries_come_back_as_they_were_written,
        a_page_says_whether_anything_is_missing,
        a_log_keeps_its_newest_entries,
        a_log_drops_entries_that_are_too_old,
        a_conversation_nobody_wrote_to_is_empty_and_complete,
        a_cursor_beyond_the_end_is_not_complete;
}
